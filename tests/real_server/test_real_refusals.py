"""On the vendor's own server: what it costs, what the account allows, and input that it refuses."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path

import pytest

from real_server.case import Case
from real_server.server import SECOND_USER
from support.running import chat_line

pytestmark = pytest.mark.real

REQUESTS = Path("r.jsonl")
CONTRACT = Path(__file__).parent.parent / "recordings"


# --- money ---------------------------------------------------------------------------------------


def test_the_estimate_is_shown_and_a_cost_limit_is_kept(real: Case) -> None:
    real.write(REQUESTS, 4)
    uploaded = real.run("upload", REQUESTS, "--json")
    cost = Decimal(uploaded.facts["estimated_cost_usd"])
    assert cost > 0
    assert "estimated cost" in uploaded.err
    over = real.run("create_batch", REQUESTS, "--max-cost", str(cost / 2))
    assert (over.code, over.out) == (4, ""), over
    assert "is over --max-cost" in over.err
    assert real.oracle.batches() == []
    under = real.run("create_batch", REQUESTS, "--max-cost", str(cost * 2))
    assert under.code == 0, under.err
    assert [batch.id for batch in real.oracle.live()] == under.lines


@pytest.mark.parametrize("command", ["create_batch", "run_batch"])
def test_without_a_price_a_cost_limit_cannot_be_kept(real: Case, command: str) -> None:
    real.write(REQUESTS, 2, f"{command} {{n}}", "mock-any")
    assert real.run("upload", REQUESTS).code == 0
    refused = real.run(command, REQUESTS, "--max-cost", "1000")
    assert (refused.code, refused.out) == (4, ""), refused
    assert "cannot be estimated" in refused.err
    assert real.oracle.batches() == []


def test_with_a_balance_below_zero_nothing_is_submitted_and_the_user_is_asked(real: Case) -> None:
    real.use_key(real.server.second_key)
    real.server.set_balance(SECOND_USER, "-1")
    try:
        real.write(REQUESTS, 2)
        assert real.run("upload", REQUESTS).code == 0  # uploads are free
        refused = real.run("create_batch", REQUESTS)
    finally:
        real.server.set_balance(SECOND_USER, "0")
    assert (refused.code, refused.out) == (4, ""), refused
    assert "402" in refused.err
    assert "credit" in refused.err
    assert real.oracle.batches() == []
    # At 0 a batch is accepted, and the requests of a priced model fail one by one.
    failed = real.run_batch(REQUESTS, "--json")
    assert failed.code == 9, failed.err
    assert failed.facts["errors"] == {"http_402": 2}
    real.server.set_balance(SECOND_USER, "1")
    try:
        assert real.run("retry_failed", REQUESTS).code == 0
        done = real.run_batch(REQUESTS)
    finally:
        real.server.set_balance(SECOND_USER, "0")
    assert done.code == 0, done.err


# --- bad input -----------------------------------------------------------------------------------


def recorded_uploads() -> list[tuple[str, bytes]]:
    """(name, bytes of the file) of every upload in the recording of bad files."""
    found = []
    for step in json.loads((CONTRACT / "upload_bad.json").read_text())["steps"]:
        for part in step["request"].get("multipart") or []:
            if "content" in part and part["name"] == "file":
                found.append((step["name"], part["content"].encode("utf-8", "surrogatepass")))
            elif "content_base64" in part:
                found.append((step["name"], base64.b64decode(part["content_base64"])))
    return found


# What only the server can know: which models there are, and what they are for.
ONLY_THE_SERVER_KNOWS = ("has not been configured", "model but endpoint")


def test_what_the_server_refuses_the_validator_refuses_too(real: Case) -> None:
    uploads = recorded_uploads()
    assert len(uploads) > 60
    refused = 0
    for name, content in uploads:
        path = Path("bad.jsonl")
        path.write_bytes(content)
        checked = real.run("create_batch_file", "--check", path)
        answer = real.api(
            "POST", "/files", files={"purpose": (None, "batch"), "file": ("bad.jsonl", content, "application/jsonl")}
        )
        refused += answer.status_code != 201
        if answer.status_code != 201 and not any(text in answer.text for text in ONLY_THE_SERVER_KNOWS):
            assert checked.code == 3, (name, answer.text, checked)
    assert refused > 55
    assert real.run("upload", path).code == 3
    assert real.oracle.batches() == []


def test_a_model_that_only_the_server_knows_not_is_refused_at_its_physical_line(real: Case) -> None:
    lines = [chat_line("a", "one", "mock-chat"), "\n", "\n", chat_line("b", "two", "mock-nope")]
    REQUESTS.write_text("".join(lines))
    refused = real.run("upload", REQUESTS)
    assert (refused.code, refused.out) == (3, ""), refused
    assert "r.jsonl line 4" in refused.err
    assert "mock-nope" in refused.err
    assert "list_models.py" in refused.err


def test_a_bad_line_in_a_later_part_is_named_by_its_line_in_the_whole_file(real: Case) -> None:
    good = [chat_line(f"g{n}", f"{n} {real.tag}", "mock-chat") for n in range(5)]
    REQUESTS.write_text("".join([*good, chat_line("bad", "two", "mock-embed")]))
    refused = real.run("upload", REQUESTS, "--part-requests", "4", "--jobs", "1")
    assert (refused.code, refused.out) == (3, ""), refused
    assert "r.jsonl line 6" in refused.err
