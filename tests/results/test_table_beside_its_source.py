"""The table and the files it must not replace; and the rows it holds."""

from __future__ import annotations

import csv
from pathlib import Path

from local_server.app import LocalServer
from support.jobs import made_from_rows
from support.running import run


def test_the_csv_never_replaces_its_source_whatever_it_is_called(server: LocalServer) -> None:
    made_from_rows()
    before = Path("rows.csv").read_bytes()
    Path("link.csv").symlink_to("rows.csv")
    assert run("run_batch", "r.jsonl").code == 0
    for name in ("rows.csv", "./rows.csv", "link.csv", "r.jsonl", "r.job/record.json", "answers.txt"):
        refused = run("download", "r.jsonl", "--output", name)
        assert refused.code == 2, name
        assert refused.out == ""
    assert Path("rows.csv").read_bytes() == before
    assert run("download", "r.jsonl", "--output", "out.csv").code == 0


def test_the_csv_of_a_trial_holds_the_rows_of_the_trial(server: LocalServer) -> None:
    made_from_rows("trial.jsonl", "--limit", "3")
    assert run("run_batch", "trial.jsonl", "--output", "trial.csv").code == 0
    with Path("trial.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["k0", "k1", "k2"]
