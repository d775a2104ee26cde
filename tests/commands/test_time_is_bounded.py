"""--timeout-seconds bounds the whole of a command, the retries of a single request too."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.proxy.exchange import Exchange, Fault
from support.running import Ran, write_requests

SECONDS = 20.0  # a request alone is retried for 120


@pytest.mark.parametrize("command", [("poll",), ("poll", "--once"), ("run_batch",)])
def test_an_outage_lasts_no_longer_than_the_time_that_was_given(make_trouble: MakeTrouble, command: list[str]) -> None:
    trouble = make_trouble(population_delay=1e9)
    trouble.submit(write_requests(Path("r.jsonl"), 2))
    trouble.strike(Fault("503_before", "any", times=10_000))
    begun = trouble.clock.monotonic()

    done = trouble.run(command[0], "r.jsonl", *command[1:], "--timeout-seconds", str(SECONDS))

    assert (done.code, done.out) == (6, ""), done.err
    assert trouble.clock.monotonic() - begun < SECONDS + 10


ALWAYS = 100_000
SHORT_SECONDS = 8.0


def test_answers_that_do_not_add_up_are_not_waited_for_beyond_the_time_that_was_given(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("short_content", "content", times=ALWAYS))
    begun = trouble.clock.monotonic()

    done = trouble.run("run_batch", requests, "--timeout-seconds", str(SHORT_SECONDS))

    assert done.code == 6, done.err
    assert trouble.clock.monotonic() - begun < SHORT_SECONDS + 2
    trouble.strike()
    assert trouble.run("run_batch", requests).code == 0


def test_cuts_without_a_line_are_not_waited_for_beyond_the_time_that_was_given(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("cut_answer", "content", times=ALWAYS, value=0.0))
    begun = trouble.clock.monotonic()

    done = trouble.run("run_batch", requests, "--timeout-seconds", str(SHORT_SECONDS))

    assert done.code == 6, done.err
    assert trouble.clock.monotonic() - begun < SHORT_SECONDS + 2


def test_a_lost_submission_is_looked_for_no_longer_than_the_time_that_was_given(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.strike(Fault("replica_lag_and_lost", "submit", value=15.0))
    begun = trouble.clock.monotonic()

    done = trouble.run("run_batch", requests, "--timeout-seconds", str(SHORT_SECONDS))

    assert done.code == 6, done.err
    assert trouble.clock.monotonic() - begun < SHORT_SECONDS + 2
    assert trouble.run("run_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1


def test_when_the_time_is_over_each_run_still_gets_on_by_a_part_at_least(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 6)
    trouble.submit(requests, "--part-requests", "1")
    assert trouble.run("poll", requests).code == 0

    def slow(exchange: Exchange) -> None:
        trouble.clock.ahead += SHORT_SECONDS
        exchange.send(exchange.forward())

    trouble.strike(Fault("slow", "content", times=ALWAYS), slow=slow)
    codes: list[int] = []
    while (not codes or codes[-1] == 8) and len(codes) < 10:
        begun = trouble.clock.monotonic()
        codes.append(trouble.run("run_batch", requests, "--timeout-seconds", str(SHORT_SECONDS), "--jobs", "1").code)
        assert trouble.clock.monotonic() - begun < 5 * SHORT_SECONDS
    assert codes[-1] == 0, codes
    assert 8 in codes


def test_runs_with_too_little_time_for_all_parts_come_to_the_end_all_the_same(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests, "--part-requests", "1")
    assert trouble.run("poll", requests).code == 0

    def slow(exchange: Exchange) -> None:
        trouble.clock.ahead += SHORT_SECONDS
        exchange.send(exchange.forward())

    trouble.strike(Fault("slow", "any", times=ALWAYS), slow=slow)
    codes = [
        trouble.run("run_batch", requests, "--timeout-seconds", str(SHORT_SECONDS), "--jobs", "1").code
        for _ in range(5)
    ]
    assert codes[-1] == 0, codes


def test_a_429_is_waited_for_without_the_jobs_lock(make_trouble: MakeTrouble) -> None:
    """Part 1 runs and costs while part 2 waits for room: a cancel stops both at once."""
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests, "--part-requests", "2").code == 0
    cancelled: list[Ran] = []

    def cancel() -> None:
        if trouble.clock.slept[-1] > 60 and not cancelled:
            cancelled.append(trouble.run("cancel_batch", requests))

    trouble.strike(Fault("429_absurd", "submit", nth=2, times=ALWAYS, value=2.0))
    trouble.clock.on_sleep.append(cancel)
    done = trouble.run("create_batch", requests)
    trouble.clock.on_sleep.remove(cancel)

    assert [ran.code for ran in cancelled] == [0], cancelled
    assert done.code == 4, done.err
    assert "was cancelled" in done.err
    (batch,) = trouble.oracle.batches()
    assert batch.cancelled


def test_a_run_that_found_no_room_for_anything_is_exit_6_not_8(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 2)
    trouble.strike(Fault("429_absurd", "submit", times=ALWAYS, value=2.0))
    done = trouble.run("run_batch", requests, "--timeout-seconds", "300")
    assert done.code == 6, done.err
    assert "Insufficient capacity" in done.err


def test_a_wait_that_stops_before_its_time_says_why_but_not_while_there_is_no_room(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(Fault("429_plain", "submit", nth=2, times=2))

    done = trouble.run("run_batch", requests, "--part-requests", "2", "--timeout-seconds", "200")

    assert done.code == 8, done.err
    assert len(trouble.oracle.batches()) == 2
    assert done.err.count("trying again in") == 2
    assert done.err.count("stopped waiting") == 1
