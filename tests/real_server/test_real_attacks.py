"""On the vendor's own server: ways in which an attacker with the code once had requests paid twice, or left running.

Each was seen to fail on scripts without the safeguard that it is about.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from doubleword.base.failures import Clock
from real_server.case import LOOK, Case, ids, quick
from support.proxy.exchange import First, Instead, Moment
from support.proxy.http_message import Answer, Request, text
from support.running import FastClock

pytestmark = pytest.mark.real

REQUESTS, RESULTS = Path("r.jsonl"), Path("r.results.jsonl")
CONTENTS, CANCELS = ("GET", "/content"), ("POST", "/cancel")


class SetAhead(Clock):
    """A machine whose clock is ten minutes ahead of the server's."""

    def now(self) -> float:
        return super().now() + 600.0


def answered(real: Case, count: int) -> None:
    while real.run("poll", REQUESTS, "--once", "--json").facts["completed"] < count:
        time.sleep(0.1)


def test_a_fresh_cancel_is_no_old_one_by_a_clock_that_is_ahead(real: Case) -> None:
    """What was in flight lands after the cancel, and is paid for: it is not planned. Takes the scripts' half minute."""
    clock = SetAhead()
    with real.model("in-flight", batch_capacity=12) as model:
        expected = real.write(REQUESTS, 24, "[[rand 200 2500]] {n}", model)
        real.submit(REQUESTS)
        answered(real, 4)
        assert real.run("cancel_batch", REQUESTS, clock=clock).code == 0
        before = len(real.oracle.answers())
        planned = real.run("retry_failed", REQUESTS, clock=clock)
        assert planned.code == 0, planned.err
        after = len(real.oracle.answers())
        assert ids(Path("r.job/attempt-2.jsonl")) == [name for name in expected if name not in real.oracle.answers()]
        done = real.run("run_batch", REQUESTS, *LOOK, clock=clock)
    assert done.code == 0, done.err
    assert before < after < 24, "nothing was in flight when the cancel came"
    assert real.oracle.answered_twice() == []
    assert ids(RESULTS) == expected


def test_a_record_that_was_lost_after_a_cancel_does_not_pay_for_the_answers_again(real: Case) -> None:
    with real.model("lost-record", batch_capacity=4) as model:
        real.write(REQUESTS, 24, "[[slow 900]] {n}", model)
        first = real.submit(REQUESTS)
        answered(real, 4)
        assert real.run("cancel_batch", REQUESTS).code == 0
        shutil.rmtree("r.job")
        refused = real.run_batch(REQUESTS, clock=quick())
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert first in refused.err
    assert len(real.oracle.batches()) == 1


@pytest.mark.parametrize("answer", [text(404, "not found"), Answer(200, {"content-type": "application/x-ndjson"}, b"")])
def test_an_output_that_is_not_handed_out_yet_is_not_paid_for_again(real: Case, answer: Answer) -> None:
    expected = real.write(REQUESTS, 5)
    real.submit(REQUESTS)
    assert real.ended(REQUESTS).code == 0

    def withheld(_: Request) -> None:
        raise Instead(answer)

    with real.through(First(Moment.ARRIVED, CONTENTS, withheld, times=1000)):
        for command in ("download", "retry_failed", "run_batch"):
            later = real.run(command, REQUESTS, clock=FastClock(0.01))
            assert (later.code, later.out) in ((5, ""), (6, "")), later
        assert not Path("r.job/attempt-2.jsonl").exists()
    done = real.run("download", REQUESTS)
    assert (done.code, ids(RESULTS)) == (0, expected), done.err
    assert len(real.oracle.batches()) == 1
    assert real.oracle.answered_twice() == []


def test_a_part_that_cannot_be_cancelled_keeps_none_of_the_others_running(real: Case) -> None:
    with real.model("cancelled-all", batch_capacity=1) as model:
        real.write(REQUESTS, 30, "[[slow 900]] {n}", model)
        real.submit(REQUESTS, "--part-requests", "10")

        def fails(_: Request) -> None:
            raise Instead(text(500, "Internal server error"))

        with real.through(First(Moment.ARRIVED, CANCELS, fails, times=6)):  # as often as one call is retried
            partly = real.run("cancel_batch", REQUESTS, clock=FastClock(0.01))
        assert partly.code == 6, partly.err
        assert "could not be cancelled, and may still run" in partly.err
        assert [batch.cancelled for batch in real.oracle.batches()] == [False, True, True]
        assert real.run("cancel_batch", REQUESTS).code == 0
        assert real.oracle.live() == []
