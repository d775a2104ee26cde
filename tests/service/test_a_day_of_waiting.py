"""What a long wait costs the service, and how soon the end of a short one is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.running import write_requests

DAY = 86_400
A_DAYS_REQUESTS = 3000
PART_OF_IT = 30  # what is waited here: with counts that do not move, batches are named as stuck after an hour


@pytest.mark.parametrize("parts", [1, pytest.param(101, marks=pytest.mark.slow)])
def test_a_wait_of_a_day_costs_at_most_3000_requests(make_trouble: MakeTrouble, parts: int) -> None:
    trouble = make_trouble(delay=1e9)
    requests = write_requests(Path("r.jsonl"), 101)
    trouble.submit(requests, "--part-requests", str(101 // parts))
    before, started = len(trouble.proxy.log), trouble.clock.monotonic()

    ran = trouble.run("poll", requests, "--timeout-seconds", str(DAY // PART_OF_IT))

    assert ran.code == 8, ran.err
    assert trouble.clock.monotonic() - started > DAY / PART_OF_IT - 60
    assert len(trouble.proxy.log) - before <= A_DAYS_REQUESTS / PART_OF_IT


def test_the_end_of_a_short_job_is_noticed_within_the_first_interval(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    started = trouble.clock.monotonic()
    assert trouble.run("poll", requests).code == 0
    assert trouble.clock.monotonic() - started <= 35
