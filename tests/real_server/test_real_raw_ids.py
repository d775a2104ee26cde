"""On the vendor's own server: jobs without a record, known by an id alone, and how a list shows what there is."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from real_server.case import Case, ids, quick

pytestmark = pytest.mark.real

REQUESTS = Path("r.jsonl")
MODEL = "mock-chat"


def forget_everything() -> None:
    """An empty folder: nothing is known but ids."""
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def elsewhere(real: Case, count: int, prompt: str = "prompt number {n}", model: str = MODEL) -> str:
    """A batch of which this folder has no record."""
    real.write(REQUESTS, count, prompt, model)
    batch_id = real.submit(REQUESTS)
    forget_everything()
    return batch_id


@pytest.mark.parametrize("prefix", ["", "batch-", "batch_"])
def test_a_raw_batch_id_is_polled_downloaded_and_retried(real: Case, prefix: str) -> None:
    batch_id = elsewhere(real, 3, "[[first 4 503]] {n}", "mock-any")
    assert real.ended(prefix + batch_id).facts["failed"] == 3  # the server tries three times
    downloaded = real.run("download", prefix + batch_id)
    assert downloaded.code == 9, downloaded.err
    assert real.run("retry_failed", prefix + batch_id).code == 0
    done = real.run_batch(Path(f"batch-{batch_id}.jsonl"))
    assert done.code == 0, done.err
    assert ids(Path(f"batch-{batch_id}.results.jsonl")) == ["row-000001", "row-000002", "row-000003"]
    assert real.oracle.answered_twice() == []


@pytest.mark.parametrize("prefix", ["", "file-", "file_"])
def test_a_raw_file_id_is_submitted_and_never_deleted(real: Case, prefix: str) -> None:
    real.write(REQUESTS, 3)
    (file_id,) = real.run("upload", REQUESTS).lines
    forget_everything()
    created = real.run("create_batch", prefix + file_id)
    assert created.code == 0, created.err
    assert [batch.id for batch in real.oracle.live()] == created.lines
    again = real.run("create_batch", prefix + file_id)
    assert (again.code, again.lines) == (0, created.lines)
    assert real.ended(created.lines[0]).code == 0
    assert real.oracle.file_is_there(file_id)
    assert len(real.oracle.batches()) == 1


def test_a_raw_batch_id_is_cancelled(real: Case) -> None:
    raw = elsewhere(real, 3, "[[slow 3000]] {n}")
    cancelled = real.run("cancel_batch", f"batch_{raw}", "--json")
    assert cancelled.code == 0, cancelled.err
    assert not real.oracle.live()
    assert list(Path().iterdir()) == []


def test_answers_outlive_the_deletion_of_their_input_file(real: Case) -> None:
    expected = real.write(REQUESTS, 4)
    batch_id = real.submit(REQUESTS)
    assert real.ended(REQUESTS).code == 0
    input_file = real.api("GET", f"/batches/{batch_id}").json()["input_file_id"]
    forget_everything()
    assert real.api("DELETE", f"/files/{input_file}").status_code == 200
    downloaded = real.run("download", f"batch-{batch_id}")
    assert downloaded.code == 0, downloaded.err
    assert sorted(ids(Path(f"batch-{batch_id}.results.jsonl"))) == expected


def test_an_input_file_deleted_under_a_running_batch_leaves_what_was_answered(real: Case) -> None:
    with real.model("one-at-a-time", batch_capacity=1) as model:
        real.write(REQUESTS, 8, "[[slow 100]] {n}", model)
        batch_id = real.submit(REQUESTS)
        while real.run("poll", REQUESTS, "--once", "--json").facts["completed"] < 2:
            time.sleep(0.1)
        forget_everything()
        input_file = real.api("GET", f"/batches/{batch_id}").json()["input_file_id"]
        assert real.api("DELETE", f"/files/{input_file}").status_code == 200
        assert real.ended(batch_id).facts["status"] == "cancelled"
        time.sleep(1)  # the one in flight
        downloaded = real.run("download", batch_id, "--json", clock=quick())
    assert downloaded.code == 9, downloaded.err
    answered = real.oracle.answers()
    assert 2 <= len(answered) < 8
    assert sorted(ids(Path(f"batch-{batch_id}.results.jsonl"))) == sorted(answered)
    assert "cannot be named" in downloaded.err
    assert downloaded.facts["missing"] == {"input_deleted": 8 - len(answered)}
    assert downloaded.facts["next"] is None


def test_batches_are_listed_and_searched(real: Case) -> None:
    real.write(REQUESTS, 2)
    mine = real.submit(REQUESTS)
    Path("other").mkdir()
    real.write(Path("other/o.jsonl"), 1, "another job {n}")
    other = real.submit(Path("other/o.jsonl"))
    listed = real.run("list_batches", "--json", "--limit", "5")
    assert listed.code == 0, listed.err
    job, newest = listed.facts["batches"][0], listed.facts["batches"][1]
    assert (job["job"], newest["batch_id"]) == ("r.job", other)
    assert [row["batch_id"] for row in listed.facts["batches"]].count(mine) == 1, "it is listed as the job's already"
    assert job["batch_id"] == mine
    content = next(batch.content for batch in real.oracle.batches() if batch.id == mine)
    for text in (mine, str(content)):
        found = real.run("list_batches", "--json", "--search", text).facts["batches"]
        assert [row["batch_id"] for row in found] == [mine], text
    assert real.run("list_batches", "--json", "--search", "nothing-has-this").facts["batches"] == []


def test_the_models_are_listed_and_a_wrong_key_or_url_is_told_apart(
    real: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = real.run("list_models")
    assert (listed.code, MODEL in listed.lines, "mock-embed" in listed.lines) == (0, True, True)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", real.server.root_url)
    assert real.run("list_models").code == 2
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"{real.server.root_url}/ai")
    assert real.run("list_models").code == 2
    real.use_key("sk-unknown")
    assert real.run("list_models").code == 4
    real.write(REQUESTS, 1)
    refused = real.run("upload", REQUESTS)
    assert (refused.code, refused.out) == (4, ""), refused


def test_another_users_batch_is_unknown(real: Case) -> None:
    batch_id = elsewhere(real, 1)
    real.use_key(real.server.second_key)
    assert [real.run(command, batch_id).code for command in ("poll", "download", "cancel_batch")] == [5, 5, 5]
    assert [batch.id for batch in real.oracle.live()] == [batch_id]
