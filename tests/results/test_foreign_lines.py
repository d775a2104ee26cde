"""What is not a batch's, or no JSON, does not stay in its spool, and is not read without a bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests as http

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.kinds import _lines as change_lines
from support.faults.trial import KEY
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


def a_line_without_an_end() -> bytes:
    return b"x" * 300_000_000


@pytest.mark.parametrize("body", [many_lines, a_line_without_an_end])
def test_junk_is_not_read_without_a_bound(trouble: Trouble, body: Callable[[], bytes]) -> None:
    requests = finished(trouble)
    answer = Answer(200, {"content-type": "application/jsonl"}, body())
    trouble.strike(Fault("junk", "content"), junk=lambda exchange: exchange.send_part(answer.encoded()))

    downloaded = trouble.run("download", requests)

    assert downloaded.code == 0, downloaded.err
    assert "more than this batch can have answered" in downloaded.err
    assert spooled() < 1_000_000
    assert len(json_lines(RESULTS)) == 3


LONG = "x" * 16 * 1024 * 1024


def lengthened(place: int) -> Callable[[Exchange], None]:
    """One line of the output is longer than any answer."""

    def change(lines: list[bytes]) -> list[bytes]:
        if len(lines) > place:
            lines[place] = lines[place].replace(b'"content":"', b'"content":"' + LONG.encode())
        return lines

    return lambda exchange: change_lines(exchange, change)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_is_too_long_is_an_error_of_its_request_and_the_others_are_read(
    trouble: Trouble, place: int
) -> None:
    requests = finished(trouble)
    trouble.strike(Fault("long", "content", times=ALWAYS), long=lengthened(place))

    ran = trouble.run("download", requests, "--json")

    assert (ran.code, ran.facts["results"], ran.facts["errors"]) == (9, 2, {"too_long": 1}), ran.err
    (error,) = json_lines(Path("r.errors.jsonl"))
    assert "bytes; at most" in error["text"]
    assert spooled() < 1_000_000
    contents = len(trouble.proxy.requests("content"))
    assert trouble.run("download", requests).code == 9
    assert len(trouble.proxy.requests("content")) == contents, "what was whole was fetched again"
    assert trouble.run("retry_failed", requests).code == 9, "it would be paid for again without a word"


@pytest.mark.parametrize("damage", [lambda raw: b"\0" * len(raw), lambda raw: raw[: len(raw) // 2], lambda raw: b""])
def test_what_a_power_cut_took_of_the_spool_is_fetched_again(
    trouble: Trouble, damage: Callable[[bytes], bytes]
) -> None:
    requests = finished(trouble)
    assert trouble.run("download", requests).code == 0
    before = RESULTS.read_bytes()
    (spool,) = Path("r.job/spool").glob("*.output.jsonl")
    spool.write_bytes(damage(spool.read_bytes()))

    ran = trouble.run("download", requests)

    assert ran.code == 0, ran.err
    assert sorted(RESULTS.read_bytes().splitlines()) == sorted(before.splitlines())


def test_a_foreign_line_in_place_of_an_answer_of_a_deleted_batch_does_not_hold_the_job_up_for_ever(
    trouble: Trouble,
) -> None:
    requests = finished(trouble, 6)

    def in_place_of_the_last(exchange: Exchange) -> None:
        change_lines(exchange, lambda lines: [*lines[:-1], b"<html>\n"])

    trouble.strike(Fault("portal", "content", times=ALWAYS), portal=in_place_of_the_last)
    assert trouble.run("download", requests).code == 6
    trouble.clock.ahead += 600
    (batch,) = trouble.oracle.batches()
    address = f"{trouble.server.base_url}/batches/{batch.id}"
    assert http.delete(address, headers={"Authorization": f"Bearer {KEY}"}).status_code == 204
    gone = Answer(404, {"content-type": "text/plain"}, b"not found")
    trouble.strike(Fault("gone", "content", times=ALWAYS), gone=lambda exchange: exchange.send(gone))
    assert "--again" in trouble.run("download", requests).err

    assert trouble.run("create_batch", requests, "--again").code == 0
    assert trouble.run("retry_failed", requests).code == 0
    assert len(Path("r.job/attempt-2.jsonl").read_text().splitlines()) == 1


def test_a_foreign_line_that_comes_twice_takes_the_place_of_no_answer(trouble: Trouble) -> None:
    requests = finished(trouble)
    twice = Fault("portal", "content", times=ALWAYS)
    trouble.strike(twice, portal=lambda exchange: change_lines(exchange, lambda lines: [b"<html>\n"] * 2 + lines))

    ran = trouble.run("download", requests)

    assert (ran.code, len(json_lines(RESULTS))) == (9, 3)  # results came that are nobody's
    assert "but sent 3 and 0; what was sent is kept" in ran.err
