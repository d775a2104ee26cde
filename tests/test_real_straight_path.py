"""On the vendor's own server: from rows to answers, by hand and in one, in every way a job can be named."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
import requests

from crash.child import Child
from crash.proxy import Drop, Moment, Request
from real_server.case import LOOK, Case, ids, quick
from running import json_lines, run_process

pytestmark = pytest.mark.real

REVIEWS = Path(__file__).parent / "data" / "reviews.csv"
REQUESTS, RESULTS = Path("r.jsonl"), Path("r.results.jsonl")
MODEL = "mock-chat"


def test_five_steps_by_hand_bring_every_row_its_answer(real: Case) -> None:
    """Each step is a process of its own, with real time, as it is typed."""
    steps = [
        ("create_batch_file", "r.jsonl", "--input", str(REVIEWS), "--model", MODEL, "--prompt", "Label: {text}",
         "--id-column", "id", "--max-tokens", "20", "--limit", "24"),
        ("upload", "r.jsonl"),
        ("create_batch", "r.jsonl"),
        ("poll", "r.jsonl", *LOOK),
        ("download", "r.jsonl", "--csv", "labelled.csv", "--show", "2"),
    ]  # fmt: skip
    printed = []
    for command, *arguments in steps:
        ran = run_process(command, *arguments)
        assert ran.code == 0, (command, ran.err)
        printed.append(ran.lines)
    made, uploaded, created, polled, downloaded = printed
    assert (made, polled) == (["r.jsonl"], ["completed"])
    assert downloaded == ["r.results.jsonl", "r.errors.jsonl", "labelled.csv"]
    assert [batch.id for batch in real.oracle.live()] == created
    assert real.oracle.file_is_there(uploaded[0])
    with REVIEWS.open(newline="", encoding="utf-8") as source, Path("labelled.csv").open(newline="") as labelled:
        rows = list(csv.DictReader(source))[:24]
        answers = [row for row in csv.DictReader(labelled) if row["answer"]]
    assert [row["id"] for row in answers] == [row["id"] for row in rows]
    assert [row["answer"][:200] for row in answers] == [f"echo: Label: {row['text']}"[:200] for row in rows]


def test_run_batch_cuts_into_parts_and_keeps_the_order_of_the_requests(real: Case) -> None:
    expected = real.write(REQUESTS, 50, "[[rand 1 400]] number {n}")
    done = real.run_batch(REQUESTS, "--part-requests", "20")
    assert done.code == 0, done.err
    assert sorted(batch.total for batch in real.oracle.live()) == [10, 20, 20]
    assert ids(RESULTS) == expected
    contents = [line["response"]["body"]["choices"][0]["message"]["content"] for line in json_lines(RESULTS)]
    assert contents == [f"echo: [[rand 1 400]] number {n} {real.tag}" for n in range(1, 51)]
    again = real.run_batch(REQUESTS)
    assert (again.code, again.out) == (0, done.out)
    assert len(real.oracle.batches()) == 3


class KillInTheMiddle:
    """For a proxy: kills the child when it has half of a results file."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.killed = False

    def __call__(self, moment: Moment, request: Request) -> None:
        if moment is Moment.HALF and "/content" in request.path and not self.killed:
            self.killed = True
            assert self.child is not None
            self.child.kill()
            raise Drop


def test_a_download_begun_while_the_batch_runs_then_killed_is_resumed_and_whole(real: Case) -> None:
    expected = real.write(REQUESTS, 150, "[[rand 5 3000]] {n}")
    batch_id = real.submit(REQUESTS)
    grown: list[int] = []
    while len([count for count in grown if count]) < 3:
        partial = real.run("download", REQUESTS, "--partial", "--json")
        assert partial.code == 8, partial.err
        grown.append(partial.facts["results"])
        time.sleep(0.2)
    kill = KillInTheMiddle()
    with real.through(kill) as proxy:
        kill.child = Child(Path.cwd(), ("download", "r.jsonl", "--partial"), base_url=proxy.base_url, fast=False)
        assert kill.child.wait().killed
    while real.run("poll", REQUESTS, "--once").lines != ["completed"]:
        partial = real.run("download", REQUESTS, "--partial", "--json")
        grown.append(partial.facts["results"])
    assert grown == sorted(grown), "a later look held fewer results"
    assert len(set(grown)) > 2, f"the output never grew under the download: {grown}"

    done = real.run("download", REQUESTS)

    assert done.code == 0, done.err
    assert ids(RESULTS) == expected
    assert real.oracle.states(batch_id) == {"completed": 150}
    assert not Path("r.partial.jsonl").exists()


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [
        ("/v1/embeddings", "mock-embed"),
        ("/v1/responses", "mock-chat"),
        ("/v1/responses", "mock-native"),
        ("/v1/completions", "mock-chat"),
        ("/v1/messages", "mock-chat"),
    ],
)
def test_every_endpoint_goes_all_the_way(real: Case, endpoint: str, model: str) -> None:
    flags = [] if endpoint == "/v1/embeddings" else ["--max-tokens", "20"]
    made = real.run(
        "create_batch_file", REQUESTS, "--input", REVIEWS, "--limit", "3", "--id-column", "id", "--model", model,
        "--endpoint", endpoint, "--prompt", "{text}", *flags,
    )  # fmt: skip
    assert made.code == 0, made.err
    done = real.run_batch(REQUESTS, "--csv", "out.csv", "--json")
    assert done.code == 0, done.err
    assert done.facts["results"] == 3
    assert done.facts["empty"] == 0
    assert done.facts["prompt_tokens"] > 0
    with Path("out.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["answer"]]
    assert len(rows) == 3
    begins = "[0." if endpoint == "/v1/embeddings" else "echo: " + rows[0]["text"][:20]
    assert rows[0]["answer"].startswith(begins), rows[0]


# --- named by an id, or found in a list ----------------------------------------------------------


def elsewhere(real: Case, count: int, prompt: str = "prompt number {n}", model: str = MODEL) -> str:
    """A batch of which this folder has no record."""
    real.write(REQUESTS, count, prompt, model)
    batch_id = real.submit(REQUESTS)
    for path in Path().iterdir():
        path.unlink()
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
    for path in Path().iterdir():
        path.unlink()
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
    for path in Path().iterdir():
        path.unlink()
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
        for path in Path().iterdir():
            path.unlink()
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
    assert (job["job"], newest["batch_id"]) == ("r.job.json", other)
    assert mine not in [row["batch_id"] for row in listed.facts["batches"]], "it is listed as the job's already"
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
    assert requests.get(real.server.root_url, timeout=10).status_code == 200
