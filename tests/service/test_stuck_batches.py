"""Batches that will not move by themselves: named after a while, torn up only when asked, their answers kept."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path

import pytest

from doubleword.service.server_objects import SETTLES_SECONDS
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.proxy.exchange import Exchange, Fault
from support.running import Ran, json_lines, write_requests

MINUTE = 60.0
FOREVER = 1e9  # seconds of the server's that never pass


def requests_of(count: int = 4) -> Path:
    return write_requests(Path("r.jsonl"), count)


def ended_as_stuck(ran: Ran, word: str, minutes: float, trouble: Trouble, started: float) -> None:
    assert (ran.code, ran.out) == (8, f"{word}\n"), ran.err
    assert f"is stuck: {word} for" in ran.err
    waited = trouble.clock.now() - started
    assert minutes * MINUTE - 1 <= waited <= minutes * MINUTE + 70, waited


def test_validating_for_15_minutes_is_named_as_stuck_and_replaced_when_asked(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = requests_of()
    trouble.submit(requests)
    started = trouble.clock.now()
    ended_as_stuck(trouble.run("poll", requests), "validating", 15, trouble, started)
    assert trouble.run("create_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1, "it was torn up without being asked"

    replaced = trouble.run("create_batch", requests, "--replace-stuck")

    assert replaced.code == 0, replaced.err
    torn, fresh = trouble.oracle.batches()
    assert torn.cancelled
    assert not fresh.cancelled
    assert trouble.oracle.ran_together() == []


def test_nothing_is_replaced_that_is_not_stuck(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = requests_of()
    trouble.submit(requests)
    trouble.clock.ahead += 10 * MINUTE

    replaced = trouble.run("create_batch", requests, "--replace-stuck")

    assert replaced.code == 0
    assert "no batch is stuck" in replaced.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [False]


def test_cancelling_for_15_minutes_is_named_as_stuck(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = requests_of()
    trouble.submit(requests)
    assert trouble.run("cancel_batch", requests).code == 0
    started = trouble.clock.now()

    ended_as_stuck(trouble.run("poll", requests), "cancelling", 15, trouble, started)


def test_counts_that_stand_still_for_an_hour_are_named_and_what_was_answered_is_kept(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(delay=0.0, claim_size=2, claim_interval=300.0)
    requests = requests_of(6)
    trouble.submit(requests)
    wait_for_answers(trouble, 2)
    echo = trouble.server.app.registry.get("echo")
    assert echo is not None
    trouble.server.app.registry.remove("echo")  # as when an administrator deletes it: the rest is never claimed
    assert trouble.run("poll", requests, "--timeout-seconds", "600").code == 8
    started = trouble.clock.now()
    ran = trouble.run("poll", requests, "--timeout-seconds", "7200", "--interval-seconds", "300")
    assert (ran.code, ran.out) == (8, "in_progress\n")
    assert "retries failing requests for hours" in ran.err
    assert 45 * MINUTE <= trouble.clock.now() - started <= 62 * MINUTE

    assert trouble.run("create_batch", requests, "--replace-stuck").code == 0
    trouble.server.app.registry.add("echo", echo)
    assert trouble.run("retry_failed", requests).code == 0
    finished = trouble.run("run_batch", requests)

    assert finished.code == 0, finished.err
    assert len(json_lines(Path("r.results.jsonl"))) == 6
    assert trouble.oracle.ran_together() == []
    assert trouble.oracle.answered_twice() == []


def wait_for_answers(trouble: Trouble, count: int) -> None:
    with contextlib.closing(sqlite3.connect(trouble.server.database, timeout=30)) as connection:
        for _ in range(500):
            if connection.execute("SELECT count(*) FROM answers").fetchone()[0] >= count:
                return
            trouble.clock.sleep(10)
    pytest.fail("the server answers nothing")


def test_what_was_torn_up_with_its_answers_does_not_stop_the_other_parts(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(claim_size=1, claim_interval=500.0)
    requests = requests_of(8)
    trouble.submit(requests, "--part-requests", "4")
    while sum(batch.completed for batch in trouble.oracle.batches()) < 1:
        time.sleep(0.05)
    trouble.server.settings.claim_interval = FOREVER
    for _ in range(3):
        trouble.clock.ahead += 61 * MINUTE
        trouble.run("poll", requests, "--once")
    replaced = trouble.run("create_batch", requests, "--replace-stuck")
    assert replaced.code == 0, replaced.err
    assert trouble.run("create_batch", requests).code == 0
    assert trouble.oracle.ran_together() == []


def stuck_in_three(make_trouble: MakeTrouble) -> Trouble:
    trouble = make_trouble(population_delay=FOREVER)
    trouble.submit(requests_of(6), "--part-requests", "2")
    assert trouble.run("poll", "r.jsonl").code == 8
    trouble.clock.slept.clear()
    return trouble


def test_several_stuck_batches_are_waited_for_once(make_trouble: MakeTrouble) -> None:
    trouble = stuck_in_three(make_trouble)
    replaced = trouble.run("create_batch", "r.jsonl", "--replace-stuck")
    assert replaced.code == 0, replaced.err
    assert replaced.err.count("was torn up") == 3
    assert trouble.clock.slept.count(30.0) == 1
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [True] * 3 + [False] * 3
    assert trouble.oracle.ran_together() == []


@pytest.mark.parametrize("fault", [Fault("403_before", "delete_file", nth=2), Fault("403_before", "batch", nth=5)])
def test_what_was_deleted_before_a_failure_is_brought_to_its_end(make_trouble: MakeTrouble, fault: Fault) -> None:
    """The second deletion is refused; or the second look after the wait, which comes after three others."""
    trouble = stuck_in_three(make_trouble)
    trouble.strike(fault)
    refused = trouble.run("create_batch", "r.jsonl", "--replace-stuck")
    assert refused.code == 4, refused.err
    assert refused.err.count("was torn up") == (1 if fault.route == "delete_file" else 2)
    trouble.strike()
    for flags in (["--replace-stuck"], []):
        trouble.run("create_batch", "r.jsonl", *flags)
    assert trouble.oracle.ran_together() == []


@pytest.mark.parametrize("restored", [False, True])
def test_what_was_interrupted_goes_on_with_the_same_command(make_trouble: MakeTrouble, restored: bool) -> None:
    """Within the wait after the deletion, before anything is known of it; also where the batch was taken over."""
    trouble = make_trouble(population_delay=FOREVER)
    requests = requests_of()
    assert trouble.run("upload", requests).code == 0
    uploaded = Path("r.job/record.json").read_bytes()
    assert trouble.run("create_batch", requests).code == 0
    if restored:
        Path("r.job/record.json").write_bytes(uploaded)
        assert trouble.run("create_batch", requests).code == 0
    assert trouble.run("poll", requests).code == 8

    def interrupt() -> None:
        if trouble.clock.slept[-1] == SETTLES_SECONDS:
            trouble.clock.on_sleep.remove(interrupt)
            raise KeyboardInterrupt

    for _ in range(2):
        trouble.clock.on_sleep.append(interrupt)
        assert trouble.run("create_batch", requests, "--replace-stuck").code == 130
        assert trouble.run("poll", requests, "--once").code in (7, 8)
    assert len(trouble.oracle.batches()) == 1

    replaced = trouble.run("create_batch", requests, "--replace-stuck")

    assert replaced.code == 0, replaced.err
    assert "was torn up" in replaced.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [True, False]
    assert "no batch is stuck" in trouble.run("create_batch", requests, "--replace-stuck").err


def test_a_batch_that_still_runs_after_its_file_was_deleted_is_torn_up_by_the_same_command(
    make_trouble: MakeTrouble,
) -> None:
    """Whoever asks for the file then is told 404: that is no other key or base URL."""
    trouble = make_trouble(population_delay=FOREVER)
    trouble.submit(requests_of())
    assert trouble.run("poll", "r.jsonl").code == 8

    def still(exchange: Exchange) -> None:
        answer = exchange.forward()
        batch = json.loads(answer.body) | {"status": "validating", "cancelled_at": None, "cancelling_at": None}
        exchange.send(answer.with_body(json.dumps(batch).encode()))

    trouble.strike(Fault("still", "batch", times=3), still=still)
    early = trouble.run("create_batch", "r.jsonl", "--replace-stuck")
    assert (early.code, "although its file was deleted" in early.err) == (6, True), early.err

    replaced = trouble.run("create_batch", "r.jsonl", "--replace-stuck")

    assert replaced.code == 0, replaced.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [True, False]
    assert trouble.oracle.ran_together() == []
