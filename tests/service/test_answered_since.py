"""What a plan holds was answered on the server before it was sent: by a retry there, whoever has seen that since."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests as http

from local_server.app import LocalServer
from local_server.settings import FailRule
from support.faults.fixture import MakeTrouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.kinds import busy
from support.oracle import LocalOracle
from support.proxy.exchange import Fault
from support.running import chat_line, json_lines, run, write_requests

LOOKS: dict[str, list[tuple[str, ...]]] = {
    "none": [],
    "download --partial": [("download", "r.jsonl", "--partial")],
    "cancel and resume": [("cancel_batch", "r.jsonl"), ("cancel_batch", "r.jsonl", "--resume")],
}


def headers_of(server: LocalServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.settings.users[0].key}"}


def retried_on_the_server(server: LocalServer, batch: str) -> None:
    """As a button of the dashboard does it."""
    assert http.post(f"{server.base_url}/batches/{batch}/retry", headers=headers_of(server)).status_code == 200


def wait_for_answers(server: LocalServer, batch: str, answered: int) -> None:
    headers = headers_of(server)
    for _ in range(500):
        found = http.get(f"{server.base_url}/batches/{batch}", headers=headers).json()
        if found["request_counts"]["completed"] >= answered:
            return
        time.sleep(0.02)
    raise AssertionError(found)


def planned_after_a_failure(server: LocalServer) -> None:
    """Four requests, of which the second failed and is planned; from then on nothing fails."""
    server.settings.max_retries = 0
    server.settings.fail.append(FailRule.parse("number 2=500"))
    write_requests(Path("r.jsonl"), 4)
    assert run("run_batch", "r.jsonl").code == 9
    assert run("retry_failed", "r.jsonl").code == 0
    server.settings.fail.clear()


@pytest.mark.parametrize("looked", LOOKS)
def test_a_plan_is_withdrawn_whoever_has_seen_the_answer_since(
    server: LocalServer, oracle: LocalOracle, looked: str
) -> None:
    planned_after_a_failure(server)
    (batch,) = oracle.batches()
    retried_on_the_server(server, batch.id)
    wait_for_answers(server, batch.id, 4)
    for command in LOOKS[looked]:
        assert run(*command).code in (0, 8)

    stopped = run("run_batch", "r.jsonl")

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    assert "the plan was withdrawn" in stopped.err
    assert run("run_batch", "r.jsonl").code == 0
    assert len(oracle.batches()) == 1
    assert len(json_lines(Path("r.results.jsonl"))) == 4


def test_a_plan_is_withdrawn_while_what_it_holds_runs_again_as_a_download_has_seen(
    server: LocalServer, oracle: LocalOracle
) -> None:
    planned_after_a_failure(server)
    server.settings.delay = 2.0
    (batch,) = oracle.batches()
    retried_on_the_server(server, batch.id)
    assert run("download", "r.jsonl", "--partial").code == 8

    stopped = run("run_batch", "r.jsonl")

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    wait_for_answers(server, batch.id, 4)
    assert run("run_batch", "r.jsonl").code == 0
    assert len(oracle.batches()) == 1


@pytest.mark.parametrize("still_failing", [None, "3 fails"])
def test_the_rest_of_a_plan_that_was_sent_in_part_is_not_sent_over_what_was_answered_since(
    make_trouble: MakeTrouble, still_failing: str | None
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("fails=500")])
    Path("r.jsonl").write_text("".join(chat_line(f"i{n}", f"{n} fails") for n in range(4)))
    assert trouble.run("run_batch", "r.jsonl", "--part-requests", "2").code == 9
    assert trouble.run("retry_failed", "r.jsonl").code == 0
    trouble.server.settings.fail[:] = [FailRule.parse(f"{still_failing}=500")] if still_failing else []
    trouble.strike(Fault("full", "submit", nth=2, times=1000), full=lambda exchange: exchange.send(busy()))
    assert trouble.run("run_batch", "r.jsonl", "--timeout-seconds", "20").code == 8
    trouble.strike()
    _, second, _ = trouble.oracle.batches()
    retried_on_the_server(trouble.server, second.id)
    wait_for_answers(trouble.server, second.id, 1 if still_failing else 2)

    stopped = trouble.run("run_batch", "r.jsonl")

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    assert "the rest of it is not sent" in stopped.err
    assert "poll.py r.jsonl" in stopped.err.split("next: ")[-1]
    assert trouble.run("poll", "r.jsonl").code == 7
    done = trouble.run("download", "r.jsonl", "--json")
    assert "--resume" not in done.err
    if still_failing:
        assert (done.code, done.facts["results"]) == (9, 3), done.err
        assert "retry_failed.py r.jsonl" in done.facts["next"]
        trouble.server.settings.fail.clear()
        assert trouble.run("retry_failed", "r.jsonl").code == 0
        assert trouble.run("run_batch", "r.jsonl").code == 0
        assert len(json_lines(Path("r.results.jsonl"))) == 4
    else:
        assert (done.facts["results"], done.facts["next"]) == (4, None), done.err
        assert trouble.run("retry_failed", "r.jsonl").out == ""
    assert len(trouble.oracle.batches()) == (4 if still_failing else 3)


def test_the_rest_of_a_trial_that_was_sent_in_part_is_shown_before_anything_else_is_planned(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("fails=500")])
    Path("r.jsonl").write_text("".join(chat_line(f"i{n}", f"{n} fails" if n == 7 else str(n)) for n in range(12)))
    assert trouble.run("run_batch", "r.jsonl", "--part-requests", "2", "--trial", "3").code == 8
    trouble.server.settings.fail.clear()
    trouble.strike(Fault("full", "submit", nth=2, times=1000), full=lambda exchange: exchange.send(busy()))
    assert trouble.run("run_batch", "r.jsonl", "--trial", "4", "--timeout-seconds", "20").code == 8
    trouble.strike()
    (failed,) = (batch for batch in trouble.oracle.batches() if batch.failed)
    retried_on_the_server(trouble.server, failed.id)
    wait_for_answers(trouble.server, failed.id, 2)

    stopped = trouble.run("run_batch", "r.jsonl", "--trial", "4")

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    assert "run_batch.py r.jsonl --trial 4 shows" in stopped.err
    assert "retry_failed" not in stopped.err  # it would plan the seven that nobody has said yes to
    shown = trouble.run("run_batch", "r.jsonl", "--trial", "4", "--json")
    assert (shown.code, shown.facts["trial"], shown.facts["rest"]) == (8, 5, 7), shown.err
    assert len(trouble.oracle.batches()) == 3
    assert trouble.run("run_batch", "r.jsonl").code == 0
    assert sum(batch.total for batch in trouble.oracle.batches()) == 12
