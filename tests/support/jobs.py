"""Jobs in the states that tests begin with."""

from __future__ import annotations

import csv
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

from local_server.app import LocalServer
from support.running import Ran, run, write_requests

# A job of ten requests in three parts, `r.jsonl`, as `write_requests` makes it, and the calls that make it cost.
REQUESTS = 10
IDS = [f"row-{n:06}" for n in range(1, REQUESTS + 1)]
RUN_BATCH = ("run_batch", "r.jsonl", "--part-requests", "4", "--interval-seconds", "1")
UPLOADS, SUBMISSIONS = ("POST", "/files"), ("POST", "/batches")


def cancelled_half_way(server: LocalServer, requests: Path) -> str:
    """A job of 60 requests, cancelled after some of them and planned anew; the batch id. For `portioned_server`.

    From then on the server answers at once.
    """
    write_requests(requests, 60)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    while run("poll", requests, "--once", "--json").facts["completed"] == 0:
        pass
    assert run("cancel_batch", requests).code == 0
    server.settings.claim_size = 0
    assert run("download", requests).code in (7, 9)
    assert run("retry_failed", requests).code == 0
    return batch


def made_from_rows(name: str = "r.jsonl", *flags: str) -> None:
    """rows.csv with k0 to k19, and the request file of it."""
    with Path("rows.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        rows.writerows([f"k{n}", f"text {n}"] for n in range(20))
    wanted = ["--input", "rows.csv", "--model", "echo", "--prompt", "{text}", "--max-tokens", "50", *flags]
    assert run("create_batch_file", name, *wanted).code == 0


def follow(done: Ran) -> Ran:
    """Runs the `next` command of a --json answer word for word."""
    words = shlex.split(done.facts["next"])
    return run(Path(words[1]).stem, *words[2:], "--json")


def forget_batch(server: LocalServer, batch: str) -> None:
    """As if another key, or another server, were asked: the batch and its files are not known."""
    with closing(sqlite3.connect(server.database)) as database, database:
        (seq,) = database.execute("SELECT seq FROM batches WHERE id = ?", (batch,)).fetchone()
        database.execute("DELETE FROM files WHERE batch = ?", (seq,))
        database.execute("DELETE FROM batches WHERE seq = ?", (seq,))


def forget_answers(server: LocalServer) -> None:
    """As if the result files had expired."""
    with closing(sqlite3.connect(server.database)) as database, database:
        database.execute("DELETE FROM answers")
