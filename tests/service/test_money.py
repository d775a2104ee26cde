"""--max-cost and the line before money is spent: nothing is submitted that was not agreed to."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from local_server.app import LocalServer
from local_server.settings import REHEARSAL_PRICE, FailRule, ModelSpec
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.oracle import read
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer
from support.running import chat_line, run, write_requests

ALWAYS = 100_000


@pytest.fixture
def trouble(make_trouble: MakeTrouble) -> Trouble:
    return make_trouble(
        models={"priced": ModelSpec(price=REHEARSAL_PRICE), "free": ModelSpec()},
        fail=[FailRule.parse("fails=500")],
        max_retries=0,
    )


def priced(count: int = 6) -> Path:
    return write_requests(Path("r.jsonl"), count, model="priced")


def estimate(trouble: Trouble, requests: Path) -> Decimal:
    """What the server says that all parts cost together, as the script adds it up."""
    ran = trouble.run("upload", requests, "--part-requests", "2", "--json")
    assert ran.code == 0, ran.err
    return Decimal(ran.facts["estimated_cost_usd"])


@pytest.mark.parametrize("command", ["create_batch", "run_batch"])
def test_over_the_limit_nothing_at_all_is_submitted(trouble: Trouble, command: str) -> None:
    requests = priced()
    cost = estimate(trouble, requests)
    assert cost > 0

    refused = trouble.run(command, requests, "--max-cost", str(cost - Decimal("0.00000001")))

    assert (refused.code, refused.out) == (4, "")
    assert "is over --max-cost" in refused.err
    assert "nothing was submitted" in refused.err
    assert trouble.proxy.requests("submit") == []


@pytest.mark.parametrize("command", ["create_batch", "run_batch"])
def test_at_the_limit_everything_is_submitted_after_one_line_that_says_what(trouble: Trouble, command: str) -> None:
    requests = priced()
    cost = estimate(trouble, requests)

    ran = trouble.run(command, requests, "--max-cost", str(cost))

    assert ran.code == 0, ran.err
    assert len(trouble.oracle.batches()) == 3
    line = next(line for line in ran.err.splitlines() if line.startswith("submitting"))
    assert re.fullmatch(
        r"submitting 6 requests, model priced, window 24h, estimated cost \S+ USD(, \S+ a request)?", line
    )


def test_the_estimate_is_of_all_parts_together(trouble: Trouble) -> None:
    requests = priced()
    cost = estimate(trouble, requests)
    parts = json.loads(Path("r.job/record.json").read_text())["attempts"][0]["parts"]
    assert len(parts) == 3
    assert sum(Decimal(part["estimates"]["24h"]) for part in parts) == cost

    assert trouble.run("create_batch", requests, "--max-cost", str(cost / 2)).code == 4


def test_what_earlier_attempts_cost_counts_too(trouble: Trouble) -> None:
    requests = Path("r.jsonl")
    requests.write_text("".join(chat_line(f"id-{n}", f"{n} fails", model="priced") for n in range(4)))
    first = trouble.run("run_batch", requests, "--max-cost", "1", "--json")
    assert first.code == 9, first.err
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("upload", requests).code == 0
    attempts = json.loads(Path("r.job/record.json").read_text())["attempts"]
    costs = [sum(Decimal(part["estimates"]["24h"]) for part in attempt["parts"]) for attempt in attempts]
    assert len(costs) == 2

    assert trouble.run("run_batch", requests, "--max-cost", str(max(costs))).code == 4
    assert len(trouble.oracle.batches()) == 1
    assert trouble.run("run_batch", requests, "--max-cost", str(sum(costs))).code == 9
    assert len(trouble.oracle.batches()) == 2


@pytest.mark.parametrize("said", ["0", "", "unknown", "NaN", "-1", "Infinity"])
def test_without_a_price_the_cost_cannot_be_estimated_and_a_limit_stops_it(trouble: Trouble, said: str) -> None:
    body = json.dumps({"total_requests": 6, "total_estimated_cost": said}).encode()
    answer = Answer(200, {"content-type": "application/json"}, body)
    trouble.strike(Fault("said", "estimate", times=ALWAYS), said=lambda exchange: exchange.send(answer))

    refused = trouble.run("run_batch", priced(), "--max-cost", "1000000")

    assert (refused.code, refused.out) == (4, "")
    assert "cannot be estimated" in refused.err
    assert trouble.proxy.requests("submit") == []
    trouble.strike()
    assert trouble.run("run_batch", priced(), "--max-cost", "1000000").code == 0, "a price was found since"


def test_a_model_without_a_price_is_never_shown_as_free(trouble: Trouble) -> None:
    ran = trouble.run("run_batch", write_requests(Path("r.jsonl"), 2, model="free"), "--json")

    assert ran.code == 0
    assert "estimated cost unknown" in ran.err
    assert not re.search(r"cost 0\b", ran.err)


@pytest.mark.parametrize("amount", ["0", "-3", "five", "nan", "inf", ""])
def test_a_limit_that_is_no_amount_is_wrong_usage(trouble: Trouble, amount: str) -> None:
    refused = trouble.run("run_batch", priced(), f"--max-cost={amount}")

    assert (refused.code, refused.out) == (2, "")
    assert trouble.proxy.log == []


@pytest.mark.parametrize("window", ["24h", "1h"])
def test_the_estimate_is_of_the_window_that_was_chosen(trouble: Trouble, window: str) -> None:
    assert trouble.run("run_batch", priced(), "--completion-window", window, "--max-cost", "1").code == 0

    assert {seen.target.split("completion_window=")[1] for seen in trouble.proxy.requests("estimate")} == {window}
    assert [batch.window for batch in trouble.oracle.batches()] == [window]


def test_without_credit_it_is_exit_4_in_the_servers_words(trouble: Trouble) -> None:
    trouble.server.settings.users[0].balance = -1.0

    refused = trouble.run("run_batch", priced())

    assert (refused.code, refused.out) == (4, "")
    assert "Account balance too low" in refused.err
    assert trouble.oracle.batches() == []
    trouble.server.settings.users[0].balance = 100.0
    assert trouble.run("run_batch", requests := Path("r.jsonl")).code == 0, requests


@pytest.mark.parametrize("command", ["create_batch", "run_batch"])
def test_a_limit_is_held_against_the_price_of_today(trouble: Trouble, command: str) -> None:
    requests = priced()
    assert trouble.run("upload", requests).code == 0
    trouble.clock.ahead += 24 * 3600
    answer = Answer(200, {"content-type": "application/json"}, b'{"total_estimated_cost": "5"}')
    trouble.strike(Fault("dearer", "estimate", times=ALWAYS), dearer=lambda exchange: exchange.send(answer))

    refused = trouble.run(command, requests, "--max-cost", "1")

    assert (refused.code, "estimated cost 5.00 USD" in refused.err) == (4, True), refused.err
    assert trouble.proxy.requests("submit") == []


def test_a_limit_is_not_held_against_the_price_of_some_of_the_models(trouble: Trouble) -> None:
    """The server's sum leaves out a model without a price."""
    lines = [chat_line(f"k{n}", "text " * 50, model) for n, model in enumerate(["priced", *["free"] * 20])]
    Path("r.jsonl").write_text("".join(lines))

    refused = trouble.run("run_batch", Path("r.jsonl"), "--max-cost", "1")

    assert (refused.code, refused.out) == (4, "")
    assert "cannot be estimated" in refused.err
    assert trouble.proxy.requests("submit") == []


@pytest.mark.parametrize("name", ["r.results.jsonl", "r.errors.jsonl", "r.partial.jsonl"])
def test_where_no_answer_could_be_written_nothing_is_submitted(trouble: Trouble, name: str) -> None:
    requests = priced()
    assert trouble.run("upload", requests).code == 0
    Path(name).write_text("mine")

    refused = trouble.run("create_batch", requests)

    assert (refused.code, refused.out) == (3, "")
    assert f"{name} is in the way" in refused.err
    assert trouble.proxy.requests("submit") == []
    Path(name).unlink()
    assert trouble.run("create_batch", requests).code == 0


def test_a_limit_that_was_given_once_holds_for_every_later_command_of_the_job(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 40)
    estimate = Decimal(run("upload", "r.jsonl", "--json").facts["estimated_cost_usd"])
    for command in (("--trial", "5", "--max-cost", str(estimate / 2)), (), ("--trial", "5")):
        stopped = run("run_batch", "r.jsonl", *command)
        assert (stopped.code, stopped.out) == (4, "")
        assert "over --max-cost" in stopped.err
    assert run("run_batch", "r.jsonl", "--trial", "5", "--max-cost", str(estimate * 2)).code == 8
    assert run("run_batch", "r.jsonl").code == 0


@pytest.mark.parametrize("priced_before", [False, True])
def test_no_trial_is_paid_for_where_the_whole_is_over_the_limit(server: LocalServer, priced_before: bool) -> None:
    write_requests(Path("r.jsonl"), 40)
    write_requests(Path("w.jsonl"), 40, prompt="number {n} of the same length")
    estimate = Decimal(run("upload", "w.jsonl", "--json").facts["estimated_cost_usd"])
    if priced_before:
        assert run("upload", "r.jsonl").code == 0

    stopped = run("run_batch", "r.jsonl", "--trial", "5", "--max-cost", str(estimate / 2), "--json")

    assert (stopped.code, stopped.out) == (4, "")
    assert re.search(r"is over --max-cost .* of 40 requests; nothing was submitted", stopped.err), stopped.err
    assert read(server.database, "SELECT seq FROM requests") == []
    trial = run("run_batch", "r.jsonl", "--trial", "5", "--max-cost", str(estimate * 2))
    assert trial.code == 8, trial.err


def test_a_limit_that_no_price_can_be_held_against_is_lifted_by_the_command_that_is_named(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4, model="free")
    stopped = trouble.run("run_batch", requests, "--max-cost", "1")
    assert stopped.code == 4
    assert trouble.run("run_batch", requests).code == 4, "the limit was agreed to and holds"
    assert "run_batch.py r.jsonl --max-cost none" in stopped.err
    assert trouble.run("run_batch", requests, "--max-cost", "none").code == 0
    assert trouble.run("run_batch", requests).code == 0


def test_over_the_limit_is_said_with_how_many_requests_it_would_cover(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 40)
    estimate = Decimal(run("upload", "r.jsonl", "--json").facts["estimated_cost_usd"])
    stopped = run("run_batch", "r.jsonl", "--max-cost", str(estimate / 4))
    assert stopped.code == 4
    assert "would cover about 10 of 40 requests" in stopped.err


@pytest.mark.parametrize("seconds", [20.0, 1.0])
def test_a_cost_for_which_there_was_no_time_is_not_told_by_halves(trouble: Trouble, seconds: float) -> None:
    """Three batches: each answer is within its own time, and all together are in time or not. A bill that is over the
    limit is told as such."""
    requests = priced()
    assert trouble.run("upload", requests, "--part-requests", "2").code == 0
    assert trouble.run("create_batch", requests, "--max-cost", "0.5").code == 0
    assert trouble.run("poll", requests).code == 0

    def slow(exchange: Exchange) -> None:
        answer = Answer(200, {"content-type": "application/json"}, b'{"total_cost": "0.25"}')
        trouble.clock.ahead += seconds
        exchange.send(answer)

    trouble.strike(Fault("slow", "analytics", times=ALWAYS), slow=slow)
    before = trouble.clock.monotonic()
    done = trouble.run("download", requests, "--json")

    assert done.code == 0, done.err
    in_time = 3 * seconds < 30
    assert done.facts["cost_usd"] == ("0.75" if in_time else None)
    assert ("cost: 0.75 USD (" in done.err, "is over --max-cost 0.5," in done.err) == (in_time, in_time)
    assert len(trouble.proxy.requests("analytics")) == (3 if in_time else 2)
    assert trouble.clock.monotonic() - before < 30 + seconds
