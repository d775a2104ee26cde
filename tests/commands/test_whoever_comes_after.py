"""An agent that finds a job in a folder, knowing nothing, is told the one command that finishes it."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.running import run


def begin(*flags: str) -> None:
    """20 rows, submitted and left alone at once."""
    Path("rows.csv").write_text("id,text\n" + "".join(f"k{n},text {n}\n" for n in range(20)), "utf-8")
    made = run("create_batch_file", "r.jsonl", "--input", "rows.csv", "--model", "echo", "--prompt", "{text}")
    assert made.code == 0
    assert run("run_batch", "r.jsonl", *flags, "--timeout-seconds", "0").code == 8


def told(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The next command that list_batches.py --local names, asked without a key."""
    with monkeypatch.context() as without_key:
        without_key.delenv("DOUBLEWORD_API_KEY")
        jobs = run("list_batches", "--local", "--json").facts["batches"]
    assert len(jobs) == 1
    return shlex.split(jobs[0]["next"])


def test_the_command_named_for_a_running_job_brings_its_table(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings.delay = 0.3
    begin("--output", "out.csv", "--columns", "id,answer", "--completion-window", "1h")
    _, script, *arguments = told(server, monkeypatch)
    assert Path(script).name == "run_batch.py"
    assert {"--output", "--columns", "--completion-window"} <= set(arguments)
    assert run("run_batch", *arguments).code == 0
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 21


def test_while_a_trial_runs_the_command_named_pays_for_nothing(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.settings.delay = 0.3
    begin("--trial", "2")
    assert Path(told(server, monkeypatch)[1]).name == "poll.py"
