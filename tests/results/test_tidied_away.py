"""Results or spool that somebody tidied away: fetched again, and never paid for again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.jobs import cancelled_half_way, forget_answers
from support.oracle import LocalOracle
from support.running import run, write_requests


def test_a_spool_that_was_tidied_away_is_fetched_again_not_paid_for_again(portioned_server: LocalServer) -> None:
    requests = Path("r.jsonl")
    cancelled_half_way(portioned_server, requests)
    answered = run("download", requests, "--partial", "--json").facts["results"]
    shutil.rmtree("r.job/spool")
    planned = run("retry_failed", requests, "--json")
    assert planned.facts["requests"] == 60 - answered

    shutil.rmtree("r.job/spool")
    forget_answers(portioned_server)
    assert answered > 0
    refused = run("retry_failed", requests)
    assert refused.code == 3
    assert f"{answered} results were downloaded before" in refused.err
    assert len(json.loads(Path("r.job/record.json").read_text())["attempts"]) == 1, "no plan without its file"


def test_results_that_were_moved_away_are_not_paid_for_again(server: LocalServer, oracle: LocalOracle) -> None:
    requests = write_requests(Path("r.jsonl"), 5)
    assert run("run_batch", requests).code == 0
    shutil.rmtree("r.job/spool")
    Path("r.results.jsonl").rename("safe.jsonl")
    forget_answers(server)
    assert run("download", requests).code == 6
    refused = run("retry_failed", requests)
    assert refused.code == 3
    assert "5 results were downloaded before" in refused.err
    assert len(oracle.batches()) == 1


@pytest.mark.parametrize("command", ["retry_failed", "download", "run_batch"])
def test_a_request_file_that_is_gone_is_to_be_restored(server: LocalServer, command: str) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("run_batch", requests).code == 0
    requests.rename("elsewhere.jsonl")
    refused = run(command, requests)
    assert refused.code == 3
    assert "the request file r.jsonl is gone; its requests are needed\nnext: restore it" in refused.err
