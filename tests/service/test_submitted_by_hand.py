"""Files and batches that were submitted by hand: what was sent is seen, and what runs is cancelled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests as http

from local_server.app import LocalServer
from local_server.settings import FailRule
from support.oracle import LocalOracle
from support.running import chat_line, json_lines, run, write_requests


def headers(server: LocalServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.key}"}


def uploaded(server: LocalServer, text: str, name: str = "batch.jsonl") -> str:
    form: Any = {"file": (name, text)}
    made = http.post(f"{server.base_url}/files", headers=headers(server), files=form, data={"purpose": "batch"})
    return str(made.json()["id"])


def submitted(server: LocalServer, file_id: str) -> str:
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return str(http.post(f"{server.base_url}/batches", headers=headers(server), json=wanted).json()["id"])


@pytest.mark.parametrize("name", ["batch.jsonl", "100%_a\\b.jsonl"])
def test_a_file_submitted_by_hand_is_seen_behind_many_batches_of_the_same_name(server: LocalServer, name: str) -> None:
    mine = uploaded(server, chat_line("a", "mine"), name)
    submitted(server, mine)
    for number in range(102):
        submitted(server, uploaded(server, chat_line("a", f"other {number}"), name))
    oracle = LocalOracle(server.database)
    refused = run("create_batch", mine)
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert "was submitted already" in refused.err
    assert oracle.batches() == []


def test_more_batches_than_are_looked_through_stop_a_send(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = uploaded(server, chat_line("a", "mine"))
    for number in range(8):
        submitted(server, uploaded(server, chat_line("a", f"other {number}")))
    monkeypatch.setattr("doubleword.service.other_batches.GIVEN_FILE_BATCHES", 5)
    refused = run("create_batch", mine)
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert "cannot be told" in refused.err
    assert run("create_batch", mine, "--again").code == 0


@pytest.mark.parametrize("kind", ["batch", "file"])
def test_a_fetched_input_whose_record_was_deleted_is_known_by_its_name(
    server: LocalServer, oracle: LocalOracle, kind: str
) -> None:
    """A batch made by hand bears no tags, and its input as it is fetched has other bytes."""
    file_id = uploaded(server, chat_line("a", "mine") + chat_line("b", "too"))
    batch = submitted(server, file_id)
    assert run("poll", batch).code == 0
    name = f"batch-{batch}" if kind == "batch" else f"file-{file_id}"
    assert run("download", batch).code == 0 if kind == "batch" else run("create_batch", file_id).code == 4
    shutil.rmtree(f"{name}.job")
    Path(f"{name}.results.jsonl").unlink(missing_ok=True)

    refused = run("run_batch", f"{name}.jsonl")

    assert (refused.code, refused.out) == (4, ""), refused.err
    assert f"download.py {batch}" in refused.err
    assert len(oracle.batches()) == 1
    assert run("create_batch", f"{name}.jsonl", "--again").code == 0
    assert len(oracle.batches()) == 2


def test_a_file_of_the_users_that_is_called_like_a_fetched_one_is_sent(server: LocalServer) -> None:
    names = ["batch-7e57ab1e-0000-4000-8000-000000000000.jsonl", "file-7e57ab1e-0000-4000-8000-000000000000.jsonl"]
    for number, name in enumerate([*names, "batch-2026.jsonl"]):
        assert run("run_batch", write_requests(Path(name), 1, f"text {number}")).code == 0


def test_a_cancel_of_several_goes_on_after_one_that_fails(server: LocalServer) -> None:
    server.settings.population_delay = 1e9
    write_requests(Path("x.jsonl"), 3)
    assert run("upload", "x.jsonl").code == 0
    assert run("create_batch", "x.jsonl").code == 0
    write_requests(Path("bad.jsonl"), 1)
    unknown = "7e57ab1e-0000-4000-8000-000000000000"
    cancelled = run("cancel_batch", "bad.jsonl", unknown, "x.jsonl")
    assert (cancelled.code, cancelled.out) == (5, ""), cancelled.err
    assert "bad.jsonl has no job record" in cancelled.err
    assert unknown in cancelled.err
    assert [batch.cancelled for batch in LocalOracle(server.database, since=0).batches()] == [True]


def test_a_plan_over_a_batch_made_by_hand_is_withdrawn_when_that_was_retried_on_the_server(server: LocalServer) -> None:
    server.settings.max_retries = 0
    server.settings.fail.append(FailRule.parse("number 2=500"))
    batch = submitted(server, uploaded(server, "".join(chat_line(f"r{n}", f"number {n}") for n in range(4))))
    oracle = LocalOracle(server.database)
    assert run("poll", batch).code == 0
    assert run("download", batch).code == 9
    assert run("retry_failed", batch).code == 0
    server.settings.fail.clear()
    assert http.post(f"{server.base_url}/batches/{batch}/retry", headers=headers(server)).status_code == 200

    stopped = run("run_batch", f"batch-{batch}.jsonl")

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    assert "was retried on the server" in stopped.err
    assert run("run_batch", f"batch-{batch}.jsonl").code == 0
    assert oracle.batches() == []  # none of ours
    assert len(json_lines(Path(f"batch-{batch}.results.jsonl"))) == 4
