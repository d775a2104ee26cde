"""What is not a batch's, or no JSON, does not stay in its spool, and is not read without a bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.kinds import _lines as change_lines
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer
from support.running import json_lines, write_requests

ALWAYS = 100_000
RESULTS = Path("r.results.jsonl")


def finished(trouble: Trouble, count: int = 3) -> Path:
    requests = write_requests(Path("r.jsonl"), count)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    return requests


def spooled() -> int:
    return sum(path.stat().st_size for path in Path("r.job/spool").iterdir())


@pytest.mark.parametrize(
    "body",
    [
        b"Sign in to the guest network\n",
        b'{"status": "ok"}\n',
        b'{"id": null, "custom_id": null}\n',
        b"<html><body>\n<h1>Sign in</h1>\n</body></html>\n",
        b"\n\n\n",
        b"[" * 100_000 + b"\n",
        b'{"id": "batch_req_1", "custom_id": "of another batch", "response": null, "error": {"message": "x"}}\n' * 3,
    ],
)
@pytest.mark.parametrize("times", [1, ALWAYS])
def test_a_foreign_200_does_not_stay(trouble: Trouble, body: bytes, times: int) -> None:
    requests = finished(trouble)
    answer = Answer(200, {"content-type": "text/plain"}, body)
    trouble.strike(Fault("portal", "content", times=times), portal=lambda exchange: exchange.send(answer))

    first = trouble.run("download", requests)

    assert first.code == (0 if times == 1 else 6), first.err
    if times > 1:
        assert "not this batch's or no JSON" in first.err
    trouble.strike()
    again = trouble.run("download", requests, "--json")
    assert (again.code, again.facts["results"], again.facts["unexpected"]) == (0, 3, 0), again.err
    assert len(json_lines(RESULTS)) == 3


def test_lines_without_an_id_are_not_taken_for_one_another(trouble: Trouble) -> None:
    requests = finished(trouble, 6)

    def without_ids(exchange: Exchange) -> None:
        def change(lines: list[bytes]) -> list[bytes]:
            return [json.dumps(json.loads(line) | {"id": None}).encode() + b"\n" for line in lines]

        change_lines(exchange, change)

    def first_three(exchange: Exchange) -> None:
        change_lines(exchange, lambda lines: lines[:3])

    trouble.strike(Fault("nulls", "content", times=2), Fault("short", "content", nth=3, times=ALWAYS),
                   nulls=without_ids, short=first_three)  # fmt: skip
    short = trouble.run("download", requests)
    assert short.code in (0, 6), short.err
    assert len(json_lines(RESULTS)) == 6, "a second reading dropped what had been kept"


def many_lines() -> bytes:
    return b'{"id": "x", "custom_id": "nobody"}\n' * 300_000


def one_long_line() -> bytes:
    return b"x" * 100_000_000 + b"\n"


@pytest.mark.parametrize("body", [many_lines, one_long_line])
def test_junk_is_not_read_without_a_bound(trouble: Trouble, body: Callable[[], bytes]) -> None:
    requests = finished(trouble)
    answer = Answer(200, {"content-type": "application/jsonl"}, body())
    trouble.strike(Fault("junk", "content"), junk=lambda exchange: exchange.send_part(answer.encoded()))

    downloaded = trouble.run("download", requests)

    assert downloaded.code == 0, downloaded.err
    assert "more than this batch can have answered" in downloaded.err
    assert spooled() < 1_000_000
    assert len(json_lines(RESULTS)) == 3
