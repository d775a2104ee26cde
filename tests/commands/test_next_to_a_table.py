"""Whoever comes after a run_batch.py that was stopped before it submitted finds the command that ends in its table."""

from __future__ import annotations

from pathlib import Path

from local_server.app import LocalServer
from support.running import run, write_requests


def test_a_run_that_was_over_its_limit_is_continued_by_the_same_run(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    done = run("run_batch", requests, "--max-cost", "0.000001", "--output", "out.csv")
    assert done.code == 4
    listed = run("list_batches", "--local", "--folder", ".").out
    assert "run_batch.py r.jsonl --max-cost 0.000001" in listed
    assert "--output out.csv" in listed
