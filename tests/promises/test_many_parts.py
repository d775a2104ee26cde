"""Jobs of several parts: cut, interrupted half-way, past the page limit of the API, and every answer with its row."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.running import SCRIPTS, FastClock, json_lines, run, write_requests


def batches_by_content(server: LocalServer) -> dict[str, int]:
    """How many batches the server holds for each part's content, from its own database."""
    with closing(sqlite3.connect(server.database)) as database, database:
        found = [json.loads(row[0])["dwb_content"] for row in database.execute("SELECT metadata FROM batches")]
    return {content: found.count(content) for content in set(found)}


def submitted(record: Path) -> int:
    if not record.exists():
        return 0
    return sum(part["batch"] is not None for part in json.loads(record.read_text())["attempts"][0]["parts"])


@pytest.mark.slow
def test_250_parts_interrupted_at_part_57_and_run_again_are_submitted_once_each(server: LocalServer) -> None:
    requests, record = write_requests(Path("r.jsonl"), 1000), Path("r.job/record.json")
    command = [sys.executable, str(SCRIPTS / "run_batch.py"), str(requests), "--part-requests", "4"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        while submitted(record) < 57:
            assert running.poll() is None
            time.sleep(0.01)  # the other process runs in real time
        running.kill()
    assert 57 <= submitted(record) < 250
    assert run("poll", requests, "--once").code == 8
    assert run("upload", requests).code == 0
    assert run("create_batch", requests).code == 0
    assert submitted(record) == 250
    assert run("poll", requests).code == 0
    assert run("download", requests).code == 0
    counts = batches_by_content(server)
    assert len(counts) == 250
    assert set(counts.values()) == {1}
    assert [line["custom_id"] for line in json_lines(Path("r.results.jsonl"))] == [
        f"row-{n:06}" for n in range(1, 1001)
    ]


@pytest.mark.slow(first=True)
def test_every_answer_of_120000_rows_in_three_parts_stands_beside_its_own_row(server: LocalServer) -> None:
    with Path("rows.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "text"])
        rows.writerows([f"key {n}", f"text of row {n}, with a comma"] for n in range(120_000))
    made = run("create_batch_file", "r.jsonl", "--input", "rows.csv", "--model", "echo", "--prompt", "{key}: {text}")
    assert made.code == 0, made.err
    clock = FastClock(moment=2.0)
    done = run("run_batch", "r.jsonl", "--output", "out.csv", "--timeout-seconds", "100000", "--json", clock=clock)
    assert done.code == 0, done.err
    assert len(json.loads(Path("r.job/record.json").read_text())["attempts"][0]["parts"]) == 3
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 120_000
    for n, row in enumerate(found):
        assert row["key"] == f"key {n}"
        assert row["answer"].startswith("[local echo]")
        assert row["answer"].endswith(f"key {n}: text of row {n}, with a comma")


def test_lines_of_the_servers_complaints_are_those_of_the_request_file(server: LocalServer) -> None:
    """The server counts the lines of a part that are not blank; people count those of the file."""
    requests = write_requests(Path("r.jsonl"), 9)
    lines = requests.read_text().splitlines(keepends=True)
    lines[6] = "\n" + lines[6].replace('"echo"', '"no-such-model"')
    requests.write_text("".join(lines))
    refused = run("upload", requests, "--part-requests", "5")
    assert refused.code == 3
    assert "r.jsonl line 8: " in refused.err
    assert "no-such-model" in refused.err
