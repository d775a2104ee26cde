"""A request that failed in two attempts is for a person to look at: `next` does not send it round for ever."""

from __future__ import annotations

from pathlib import Path

from local_server.app import LocalServer
from local_server.settings import FailRule
from support.running import run, write_requests


def test_what_failed_twice_is_no_next_step_any_more_but_can_be_planned_all_the_same(server: LocalServer) -> None:
    server.app.settings.fail.append(FailRule.parse("number 1=503"))
    requests = write_requests(Path("r.jsonl"), 3, "number {n}")
    first = run("run_batch", requests, "--json")
    assert (first.code, first.facts["next"].split("/")[-1]) == (9, "retry_failed.py r.jsonl")
    assert run("retry_failed", requests).code == 0
    again = run("run_batch", requests, "--json")
    assert (again.code, again.facts["next"]) == (9, None)
    told = run("run_batch", requests)
    assert "1 request without a result" in told.err
    assert "r.errors.jsonl and ask the user" in told.err
    assert "may be deleted" not in told.err
    assert run("list_batches", "--local", "--folder", ".").code == 0
    server.app.settings.fail.clear()
    assert run("retry_failed", requests, "--include-permanent").code == 0
    assert run("run_batch", requests).code == 0


def test_what_never_came_back_is_sent_again_however_often(server: LocalServer) -> None:
    server.app.rehearsal.held = True
    requests = write_requests(Path("r.jsonl"), 2)
    assert run("run_batch", requests, "--timeout-seconds", "0").code == 8
    for _ in range(2):
        assert run("cancel_batch", requests).code == 0
        stopped = run("download", requests, "--json")
        assert stopped.facts["next"].split("/")[-1] == "retry_failed.py r.jsonl", stopped.err
        assert run("retry_failed", requests).code == 0
        assert run("run_batch", requests, "--timeout-seconds", "0").code == 8
    server.app.rehearsal.held = False
    assert run("run_batch", requests).code == 0
