"""Files and batches that were submitted by hand: what was sent is seen, and what runs is cancelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests as http

from local_server.app import LocalServer
from support.oracle import LocalOracle
from support.running import chat_line, run, write_requests


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
