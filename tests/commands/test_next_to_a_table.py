"""Whoever comes after a run_batch.py that was stopped before it submitted finds the command that ends in its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_server.app import LocalServer
from local_server.settings import FailRule
from support.oracle import LocalOracle
from support.running import run, write_requests


def test_a_run_that_was_over_its_limit_is_continued_by_the_same_run(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    done = run("run_batch", requests, "--max-cost", "0.000001", "--output", "out.csv")
    assert done.code == 4
    listed = run("list_batches", "--local", "--folder", ".").out
    assert "run_batch.py r.jsonl --max-cost 0.000001" in listed
    assert "--output out.csv" in listed


def test_the_table_that_was_asked_for_is_the_same_from_whichever_folder(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings.max_retries = 0
    server.settings.fail.append(FailRule.parse("number 2=500"))
    top = Path.cwd()
    Path("home/sub").mkdir(parents=True)
    monkeypatch.chdir("home/sub")
    write_requests(Path("../r.jsonl"), 3)
    assert run("run_batch", "../r.jsonl", "--output", "out.csv").code == 9
    places = {"home": ("r.jsonl", "sub/out.csv"), ".": ("home/r.jsonl", "home/sub/out.csv")}
    for folder, (path, table) in places.items():
        monkeypatch.chdir(top / folder)
        planned = run("retry_failed", path, "--json")
        assert planned.facts["next"].endswith(f"run_batch.py {path} --output {table}")
    (top / "home").rename("moved")
    assert run("retry_failed", "moved/r.jsonl", "--json").facts["next"].endswith("--output moved/sub/out.csv")


@pytest.mark.parametrize("table", ["R.Results.jsonl", "R.JSONL", "r.JOB/t.csv"])
def test_a_table_whose_name_is_the_jobs_own_but_for_its_case_is_refused_before_anything_is_paid(
    server: LocalServer, table: str
) -> None:
    requests = write_requests(Path("r.jsonl"), 1)
    Path("r.JOB").mkdir()
    refused = run("run_batch", requests, "--output", table)
    assert (refused.code, refused.out) == (2, ""), refused.err
    assert "a file of the job" in refused.err
    assert LocalOracle(server.database).batches() == []


def test_a_look_at_what_still_runs_leaves_its_table_to_the_next_command(portioned_server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 200)
    assert run("upload", requests).code == run("create_batch", requests).code == 0
    early = run("download", requests, "--output", "out.csv", "--columns", "custom_id", "--json")
    assert early.code == 8
    assert early.facts["next"].endswith("run_batch.py r.jsonl --output out.csv --columns custom_id")
    part = run("download", requests, "--partial", "--output", "so-far.csv", "--json")
    assert part.code == 8
    assert part.facts["next"].endswith("--output out.csv --columns custom_id")  # what it runs for, not the glance
