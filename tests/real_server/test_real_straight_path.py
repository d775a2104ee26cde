"""On the vendor's own server: from rows to answers, by hand and in one, in every way a job can be named."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from real_server.case import LOOK, Case, ids
from support.crash.child import Child
from support.proxy.exchange import Drop, Moment
from support.proxy.http_message import Request
from support.running import json_lines, run_process

pytestmark = pytest.mark.real

REVIEWS = Path(__file__).parent.parent / "data" / "reviews.csv"
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
        ("download", "r.jsonl", "--output", "labelled.csv", "--show", "2"),
    ]  # fmt: skip
    printed = []
    for command, *arguments in steps:
        ran = run_process(command, *arguments)
        assert ran.code == 0, (command, ran.err)
        printed.append(ran.lines)
    made, uploaded, created, polled, downloaded = printed
    assert (made, polled) == (["r.jsonl"], ["completed"])
    assert downloaded == ["r.results.jsonl", "labelled.csv"]
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
    with real.model("fifteen-at-a-time", batch_capacity=15) as model:  # it lasts ten claims, one a second
        resumed_and_whole(real, model)


def resumed_and_whole(real: Case, model: str) -> None:
    expected = real.write(REQUESTS, 150, "[[rand 5 900]] {n}", model)
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
        reads = [request.target for request in proxy.requests("content")]
    assert any("skip=" in path for path in reads), f"what had come was fetched again: {reads}"
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
    done = real.run_batch(REQUESTS, "--output", "out.csv", "--json")
    assert done.code == 0, done.err
    assert done.facts["results"] == 3
    assert done.facts["empty"] == 0
    assert done.facts["prompt_tokens"] > 0
    with Path("out.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["answer"]]
    assert len(rows) == 3
    begins = "[0." if endpoint == "/v1/embeddings" else "echo: " + rows[0]["text"][:20]
    assert rows[0]["answer"].startswith(begins), rows[0]
