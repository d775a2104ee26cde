"""Ways to pay twice or to lose the way that a reader of the code found, each as it would happen."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from support.running import run, write_requests


def batches(server: LocalServer) -> int:
    with sqlite3.connect(server.database) as database:
        return int(database.execute("SELECT count(*) FROM batches").fetchone()[0])


def forget_batch(server: LocalServer, batch: str) -> None:
    """As if another key, or another server, were asked: the batch and its files are not known."""
    with sqlite3.connect(server.database) as database:
        (seq,) = database.execute("SELECT seq FROM batches WHERE id = ?", (batch,)).fetchone()
        database.execute("DELETE FROM files WHERE batch = ?", (seq,))
        database.execute("DELETE FROM batches WHERE seq = ?", (seq,))


def test_a_server_that_knows_nothing_of_the_job_is_exit_5_and_nothing_is_planned(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    assert run("poll", requests).code == 0
    forget_batch(server, batch)
    for command in ("download", "retry_failed"):
        refused = run(command, requests)
        assert refused.code == 5, refused.err
        assert refused.out == ""
    assert not Path("r.job/attempt-2.jsonl").exists()
    assert not Path("r.results.jsonl").exists()


def test_one_deleted_batch_holds_up_neither_the_others_nor_their_cancelling(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 30)
    assert run("upload", requests, "--part-requests", "10").code == 0
    first, *_ = run("create_batch", requests).lines
    forget_batch(server, first)
    record = json.loads(Path("r.job/record.json").read_text())
    for part in record["attempts"][0]["parts"]:
        part["batch"]["created_at"] -= 1000  # old enough not to be a lag of the server's
    Path("r.job/record.json").write_text(json.dumps(record))
    assert run("cancel_batch", requests).code == 0
    assert run("poll", requests).code == 7
    downloaded = run("download", requests, "--json")
    assert downloaded.code == 9, downloaded.err
    assert downloaded.facts["results"] + sum(downloaded.facts["missing"].values()) == 30


def test_results_that_were_moved_away_are_not_paid_for_again(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 5)
    assert run("run_batch", requests).code == 0
    shutil.rmtree("r.job/spool")
    Path("r.results.jsonl").rename("safe.jsonl")
    with sqlite3.connect(server.database) as database:
        database.execute("DELETE FROM answers")
    assert run("download", requests).code in (7, 9)
    refused = run("retry_failed", requests)
    assert refused.code == 3
    assert "5 results were downloaded before" in refused.err
    assert batches(server) == 1


@pytest.mark.parametrize("first", ["raw", "job"])
def test_one_uploaded_file_is_not_submitted_by_its_id_and_by_its_job(server: LocalServer, first: str) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    (file_id,) = run("upload", requests).lines
    targets: list[str | Path] = [file_id, requests] if first == "raw" else [requests, file_id]
    assert run("create_batch", targets[0]).code == 0
    refused = run("create_batch", targets[1])
    assert refused.code == 4, refused.err
    assert batches(server) == 1


def test_a_raw_batch_id_whose_record_was_half_written_is_not_submitted_again(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    assert run("poll", requests).code == 0
    Path("elsewhere").mkdir()
    assert run("download", batch).code == 0
    record_path = Path(f"batch-{batch}.job/record.json")
    record: dict[str, Any] = json.loads(record_path.read_text())
    record["attempts"][0]["parts"][0]["batch"] = None
    record_path.write_text(json.dumps(record))
    assert run("download", batch).code == 0
    assert batches(server) == 1


def test_next_keeps_the_completion_window_and_a_csv_is_checked_before_anything_is_paid(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    uploaded = run("upload", requests, "--completion-window", "1h", "--json")
    assert uploaded.facts["next"].endswith("r.jsonl --completion-window 1h")
    assert run("run_batch", requests, "--output", "out.xlsx").code == 2
    assert batches(server) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload", "r.jsonl", "--jobs", "0"),
        ("run_batch", "r.jsonl", "--part-requests", "-1"),
        ("run_batch", "r.jsonl", "--timeout-seconds", "nan"),
        ("list_batches", "--limit", "-1"),
    ],
)
def test_a_number_out_of_range_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    write_requests(Path("r.jsonl"), 1)
    assert run(*arguments).code == 2


def test_a_base_url_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "some-key")
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://[abc")
    assert run("list_models").code == 2
