"""On the vendor's own server: trials, the rest after them, and answers of earlier jobs, counted by its own database."""

from __future__ import annotations

from pathlib import Path

import pytest

from real_server.case import LOOK, Case, ids, quick
from support.proxy.exchange import Moment

pytestmark = pytest.mark.real

REQUESTS, RESULTS = Path("r.jsonl"), Path("r.results.jsonl")
SUBMISSIONS, CONTENTS = ("POST", "/batches"), ("GET", "/content")
TRIAL, REST = ("run_batch", "r.jsonl", "--trial", "4", *LOOK), ("run_batch", "r.jsonl", *LOOK)


@pytest.mark.parametrize(
    ("moment", "what"),
    [
        (Moment.ARRIVED, SUBMISSIONS),
        (Moment.ANSWERED, SUBMISSIONS),
        (Moment.DELIVERED, SUBMISSIONS),
        (Moment.HALF, CONTENTS),
    ],
)
def test_a_trial_and_its_rest_each_killed_are_every_request_once(
    real: Case, moment: Moment, what: tuple[str, str]
) -> None:
    expected = real.write(REQUESTS, 30)

    real.killed_at(moment, what, TRIAL)
    trial = real.run(*TRIAL, "--json", clock=quick())
    assert trial.code == 8, trial.err
    assert len(trial.facts["shown"]) == 4
    assert sum(real.oracle.answers().values()) == 4

    real.killed_at(moment, what, REST)
    whole = real.run(*REST, clock=quick())
    assert whole.code == 0, whole.err
    assert ids(RESULTS) == expected
    assert real.oracle.answers() == dict.fromkeys(expected, 1)
    assert real.oracle.live_twice() == []


def test_a_table_that_was_done_before_costs_its_new_rows(real: Case) -> None:
    Path("april.csv").write_text("id,text\n" + "".join(f"{n},row {n} {real.tag}\n" for n in range(12)))
    Path("may.csv").write_text("id,text\n" + "".join(f"{n},row {n} {real.tag}\n" for n in range(4, 20)))
    asked = ("--model", "mock-chat", "--prompt", "Say {text}", "--id-column", "id", "--max-tokens", "20")
    assert real.run("create_batch_file", "april.jsonl", "--input", "april.csv", *asked).code == 0
    assert real.run_batch(Path("april.jsonl")).code == 0
    before = sum(real.oracle.answers().values())

    made = real.run("create_batch_file", "may.jsonl", "--input", "may.csv", *asked, "--reuse", "april.jsonl", "--json")
    assert made.facts["reused"] == 8
    assert real.run_batch(Path("may.jsonl")).code == 0

    assert sum(real.oracle.answers().values()) - before == 8, "by the server's own count"
    assert ids(Path("may.results.jsonl")) == [str(n) for n in range(4, 20)]
