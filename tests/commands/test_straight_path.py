"""The main job on the straight path: five steps by hand, and the same in one command."""

from __future__ import annotations

import json
from pathlib import Path

from local_server.app import LocalServer
from support.running import json_lines, run, write_requests


def test_the_five_steps_give_one_result_for_each_request_in_input_order(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 30)
    assert run("upload", requests).code == 0
    created = run("create_batch", requests)
    assert created.code == 0
    assert len(created.lines) == 1
    polled = run("poll", requests)
    assert (polled.code, polled.out) == (0, "completed\n")
    downloaded = run("download", requests)
    assert (downloaded.code, downloaded.lines) == (0, ["r.results.jsonl"])
    results = json_lines(Path("r.results.jsonl"))
    assert [line["custom_id"] for line in results] == [f"row-{n:06}" for n in range(1, 31)]
    for n, line in enumerate(results, 1):
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answer.startswith("[local echo]")
        assert f"prompt number {n}" in answer
    assert not Path("r.errors.jsonl").exists()


def test_run_batch_does_all_of_it_and_again_changes_nothing(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 30)
    first = run("run_batch", requests, "--part-requests", "7", "--json")
    assert first.code == 0, first.err
    assert first.facts["results"] == 30
    record = json.loads(Path("r.job/record.json").read_text())
    assert len(record["attempts"][0]["parts"]) == 5
    again = run("run_batch", requests, "--json")
    assert again.code == 0
    assert json.loads(Path("r.job/record.json").read_text())["attempts"] == record["attempts"]
    assert again.facts | {"next": None} == first.facts | {"next": None}
