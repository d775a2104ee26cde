"""--timeout-seconds bounds the whole of a command, the retries of a single request too."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.faults.fixture import MakeTrouble
from support.faults.fixture import make_trouble as make_trouble
from support.proxy.exchange import Fault
from support.running import write_requests

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
