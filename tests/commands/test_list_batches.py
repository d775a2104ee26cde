"""One table of what there is: jobs below a folder by the names a person knows, and the account's batches."""

from __future__ import annotations

import shutil
from pathlib import Path

from local_server.app import LocalServer
from support.running import run, write_requests


def test_a_folder_without_jobs_says_so_and_prints_nothing() -> None:
    listed = run("list_batches", "--local")
    assert (listed.code, listed.out) == (0, "")
    assert "no jobs in" in listed.err


def test_jobs_in_subfolders_are_listed_by_their_request_file_with_answers_and_the_next_command(
    server: LocalServer,
) -> None:
    Path("deep/er").mkdir(parents=True)
    write_requests(Path("deep/er/reviews.jsonl"), 5)
    assert run("run_batch", "deep/er/reviews.jsonl").code == 0
    write_requests(Path("later.jsonl"), 3)
    assert run("upload", "later.jsonl").code == 0

    header, *lines = run("list_batches", "--local").lines

    assert header.split("\t")[:3] == ["name", "status", "answered/requests"]
    rows = {line.split("\t")[0]: line.split("\t") for line in lines}
    assert rows["deep/er/reviews.jsonl"][1:4] == ["completed", "5/5", "0"]
    assert rows["later.jsonl"][1:4] == ["not_submitted", "0/3", "0"]
    assert rows["later.jsonl"][-1].endswith("create_batch.py later.jsonl")


def test_a_search_finds_local_jobs_by_name_and_batches_by_metadata_and_says_where(server: LocalServer) -> None:
    write_requests(Path("reviews.jsonl"), 2)
    write_requests(Path("other.jsonl"), 2, prompt="another {n}")
    for name in ("reviews.jsonl", "other.jsonl"):
        assert run("run_batch", name).code == 0
    found = run("list_batches", "--local", "--search", "REVIEWS", "--json").facts["batches"]
    assert [(row["name"], row["matched"]) for row in found] == [("reviews.jsonl", "name: reviews.jsonl")]
    batch_id = found[0]["batch_id"]
    (job,) = run("list_batches", "--search", batch_id, "--json").facts["batches"]
    assert (job["name"], job["matched"]) == ("reviews.jsonl", f"batch 1: {batch_id}")
    shutil.rmtree("reviews.job")
    (batch,) = run("list_batches", "--search", batch_id, "--json").facts["batches"]
    assert batch["matched"] == f"id: {batch_id}"


def test_a_batch_of_another_folder_is_named_by_its_metadata_and_has_its_own_times(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 2)
    assert run("run_batch", "r.jsonl").code == 0
    shutil.rmtree("r.job")
    (row,) = run("list_batches", "--json").facts["batches"]
    assert row["name"].startswith("part 1 of 1, attempt 1 of job ")
    assert row["metadata"]["dwb_lines"] == "1-2"
    assert row["created_at"] <= row["started_at"] <= row["ended_at"]
    assert f"download.py {row['batch_id']}" in row["next"]
