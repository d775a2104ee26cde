"""Jobs for the report's tests: made by the script from rows, with results and errors as a download leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.running import json_lines, run


class Failed(NamedTuple):
    """A request without a result, as the errors file says it."""

    kind: str
    text: str
    status: int | None = None


# What a model, a row or a server may write.
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    "<!-- \u2028\u2029 --> \u202egnp.exe \x00\x1b[31m & \" ' <svg onload=alert(2)> ]]> <style>*{display:none}</style>"
)
CREATED = 1_795_812_000  # Unix seconds


def result_line(custom_id: str, text: str, number: int = 0, finish: str = "stop", tokens: int = 3) -> dict[str, Any]:
    """A line of the server's for a chat answer."""
    choice = {"finish_reason": finish, "index": 0, "message": {"content": text, "role": "assistant"}}
    usage = {"completion_tokens": tokens, "prompt_tokens": 40 + number % 7, "total_tokens": 43}
    body = {"choices": [choice], "created": CREATED + number, "id": "r", "model": "m", "object": "chat.completion"}
    response = {"status_code": 200, "request_id": None, "body": body | {"usage": usage}}
    return {"id": f"batch_req_{number}", "custom_id": custom_id, "response": response, "error": None}


def made_job(
    rows: Sequence[dict[str, str]],
    outcomes: Sequence[str | Failed | dict[str, Any] | None],
    *flags: str | Path,
    prompt: str = "Mood of: {text}",
    name: str = "reviews",
) -> Path:
    """The request file of a job in this folder; `outcomes` holds, for each row, an answer's text, a whole line of
    the server's without its id, a failure, or None for what was not sent yet."""
    source = Path(f"{name}.source.jsonl")
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    requests = Path(f"{name}.jsonl")
    ran = run("create_batch_file", requests, "--input", source, "--model", "model-8b", "--prompt", prompt, *flags)
    assert ran.code == 0, ran.err
    ids = [line["custom_id"] for line in json_lines(requests)]
    with Path(f"{name}.results.jsonl").open("w") as good, Path(f"{name}.errors.jsonl").open("w") as bad:
        for number, (custom_id, outcome) in enumerate(zip(ids, outcomes, strict=True), 1):
            if isinstance(outcome, str):
                good.write(json.dumps(result_line(custom_id, outcome, number)) + "\n")
            elif isinstance(outcome, dict):
                good.write(json.dumps(outcome | {"custom_id": custom_id}) + "\n")
            elif outcome is not None:
                facts = {"kind": outcome.kind, "status": outcome.status, "text": outcome.text, "line": number}
                bad.write(json.dumps({"custom_id": custom_id, **facts, "attempt": 1, "batch_id": None}) + "\n")
    return requests
