"""One line of the server's: the fast reading by its two ends says what parsing says, and errors are unpacked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword.results import outcome


def line(
    custom_id: str = "a", status: int = 200, body: Any = None, error: Any = None, **changes: Any
) -> dict[str, Any]:
    response = None if error is not None else {"status_code": status, "request_id": None, "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error} | changes


def chat(content: Any, finish: str = "stop", usage: Any = None, **changes: Any) -> dict[str, Any]:
    choice = {"finish_reason": finish, "index": 0, "message": {"content": content, "role": "assistant"}}
    found = {"choices": [choice], "created": 1, "id": "resp_1", "model": "m", "object": "chat.completion"}
    return found | changes | {"usage": usage or {"completion_tokens": 5, "prompt_tokens": 3, "total_tokens": 8}}


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_one(raw: bytes, tmp_path: Path) -> outcome.Outcome:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(raw)
    found = outcome._read(path)
    assert len(found) == 1
    return found[0]


texts = st.one_of(
    st.text(), st.sampled_from(['"finish_reason":"length"', '"usage":{"prompt_tokens":1}}}', " ", "", "\\"])
)


@given(
    content=texts,
    finish=st.sampled_from(["stop", "length", "tool_calls"]),
    prompt=st.integers(0, 10**9),
    completion=st.integers(0, 10**9),
    details=st.sampled_from([None, {"reasoning_tokens": 2}]),
    second=st.sampled_from([None, "stop", "length"]),
)
def test_the_fast_reading_of_a_line_says_what_parsing_it_says(
    tmp_path_factory: pytest.TempPathFactory,
    content: str,
    finish: str,
    prompt: int,
    completion: int,
    details: Any,
    second: str | None,
) -> None:
    usage = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": prompt + completion}
    if details:
        usage |= {"completion_tokens_details": details}
    body = chat(content, finish, dict(sorted(usage.items())))
    if second:
        body["choices"].append({"finish_reason": second, "index": 1, "message": {"content": "x", "role": "assistant"}})
    raw = dumped(line(body=body))
    folder = tmp_path_factory.mktemp("spool")
    assert read_one(raw, folder) == outcome.outcome_of(raw, folder / "spool.jsonl", 0)


def test_plain_answers_take_the_fast_reading() -> None:
    raw = dumped(line(body=chat("a plain answer")))
    assert outcome._PLAIN_HEAD.match(raw)
    assert outcome._PLAIN_TAIL.search(raw)


@pytest.mark.parametrize(
    ("value", "kind", "status", "text"),
    [
        (line(body="<html>oops</html>"), "not_json", 200, "<html>oops</html>"),
        (line(body=""), "not_json", 200, "(an empty body)"),
        (line(body={"x": 1}, status=404), "http_404", 404, "{'x': 1}"),
        (line(error={"code": "rate_limit", "message": "slow down"}), "rate_limit", None, "slow down"),
        (line(error={"code": None, "message": None}), "error", None, "None"),
        (
            line(
                error={
                    "code": None,
                    "message": json.dumps(
                        {
                            "type": "NonRetriableHttpStatus",
                            "details": {"status": 400, "body": json.dumps({"error": {"message": "bad \x1b[31mthing"}})},
                        }
                    ),
                }
            ),
            "http_400",
            400,
            "bad [31mthing",
        ),
        (
            line(error={"code": None, "message": json.dumps({"type": "Timeout", "details": {"error": "too slow"}})}),
            "timeout",
            None,
            "too slow",
        ),
        (
            line(error={"code": None, "message": json.dumps({"type": "TaskTerminated"})}),
            "task_terminated",
            None,
            "TaskTerminated",
        ),
        (line(response=None), "error", None, "None"),
    ],
)
def test_what_is_no_result_is_an_error_of_a_kind(
    tmp_path: Path, value: Any, kind: str, status: int | None, text: str
) -> None:
    raw = dumped(value)
    found = read_one(raw, tmp_path)
    assert (found.custom_id, found.kind, found.status) == ("a", kind, status)
    assert not found.is_result
    assert outcome.error_text(raw) == text


@pytest.mark.parametrize("raw", [b"[]\n", b"not json\n", b'"text"\n', b"{}\n", b"\n"])
def test_a_line_that_is_none_belongs_to_no_request(tmp_path: Path, raw: bytes) -> None:
    assert read_one(raw, tmp_path).custom_id == ""
