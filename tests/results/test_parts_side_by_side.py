"""Parts are fetched side by side: as many as were asked for, each whole; what goes wrong with one costs no other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer
from support.running import json_lines, write_requests

ALWAYS = 100_000
RESULTS = Path("r.results.jsonl")


def finished(trouble: Trouble, count: int = 20) -> Path:
    requests = write_requests(Path("r.jsonl"), count)
    trouble.submit(requests, "--part-requests", "5")
    assert trouble.run("poll", requests).code == 0
    return requests


def in_order(count: int = 20) -> bool:
    return [line["custom_id"] for line in json_lines(RESULTS)] == [f"row-{n:06}" for n in range(1, count + 1)]


@pytest.mark.parametrize(("flags", "together"), [((), True), (("--jobs", "1"), False)])
def test_two_parts_are_fetched_at_once_unless_told_otherwise(
    trouble: Trouble, flags: tuple[str, ...], together: bool
) -> None:
    requests = finished(trouble)
    meeting, met = threading.Barrier(2), list[bool]()

    def meet(exchange: Exchange) -> None:
        try:
            meeting.wait(10 if together else 0.2)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)
        exchange.send(exchange.forward())

    trouble.strike(Fault("meet", "content", times=ALWAYS), meet=meet)
    assert trouble.run("download", requests, *flags).code == 0
    assert any(met) is together
    assert in_order()


def test_a_429_while_several_are_fetched_slows_and_fails_nothing(trouble: Trouble) -> None:
    requests = finished(trouble)
    busy = Answer(429, {"retry-after": "2"}, b"slow down")
    trouble.strike(Fault("busy", "content", times=6), busy=lambda exchange: exchange.send(busy))
    before = trouble.clock.now()
    ran = trouble.run("download", requests)
    assert ran.code == 0, ran.err
    assert trouble.clock.now() - before >= 2
    assert in_order()


def test_what_was_fetched_beside_a_part_that_fails_is_kept(trouble: Trouble) -> None:
    requests = finished(trouble)
    victims: list[str] = []

    def refuse_the_first(exchange: Exchange) -> None:
        victims.append(exchange.request.target)
        exchange.send(Answer(503, {}, b"") if exchange.request.target == victims[0] else exchange.forward())

    trouble.strike(Fault("refused", "content", times=ALWAYS), refused=refuse_the_first)
    assert trouble.run("download", requests).code == 6
    trouble.strike()
    before = len(trouble.proxy.requests("content"))
    assert trouble.run("download", requests).code == 0
    assert len(trouble.proxy.requests("content")) - before < 8, "what was fetched whole was fetched again"
    assert in_order()
