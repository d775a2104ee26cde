"""Tickets that are torn up: what died with its file, what it had answered, and what a search finds besides."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from doubleword.service.api import Api
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.proxy.exchange import Exchange, Fault
from support.running import write_requests


def lost_and_hidden(exchange: Exchange) -> None:
    """The batch is made, its id is lost, and no listing knows it."""
    answer = exchange.forward()
    if answer.status == 201:
        exchange.proxy.time.hidden_until[json.loads(answer.body)["id"]] = float("inf")
    exchange.cut()


def test_a_batch_that_died_with_its_file_is_not_taken_over_after_a_kill_in_between(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests).code == 0
    trouble.strike(Fault("lost", "submit"), Fault("cut_after", "delete_file", times=100), lost=lost_and_hidden)
    assert trouble.run("create_batch", requests).code == 6
    part = json.loads(Path("r.job/record.json").read_text())["attempts"][0]["parts"][0]
    assert part["upload"]["tearing"]
    trouble.proxy.heal()

    sent = trouble.run("create_batch", requests)

    assert sent.code == 0, sent.err
    torn, fresh = trouble.oracle.batches()
    assert torn.cancelled
    assert (sent.out, fresh.cancelled) == (f"{fresh.id}\n", False)


def test_a_batch_that_had_worked_before_it_was_torn_up_keeps_what_it_answered(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(claim_size=1, claim_interval=400.0)
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests).code == 0

    def deleted_late(exchange: Exchange) -> None:
        while not trouble.oracle.answers():
            time.sleep(0.02)
        answer = exchange.forward()
        exchange.proxy.time.hidden_until.clear()
        exchange.send(answer)

    trouble.strike(Fault("lost", "submit"), Fault("late", "delete_file"), lost=lost_and_hidden, late=deleted_late)
    patch = pytest.MonkeyPatch()
    patch.setattr("doubleword.service.network.READ_SECONDS", 30)
    assert trouble.run("create_batch", requests).code == 0
    patch.undo()
    trouble.server.settings.claim_size = 0

    (batch,) = trouble.oracle.batches()
    assert batch.cancelled
    assert trouble.run("run_batch", requests).code in (7, 9)
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 0
    assert trouble.oracle.answered_twice() == []


def test_what_a_search_finds_besides_is_never_taken_for_the_jobs_own(trouble: Trouble) -> None:
    """The search is a wildcard match over all metadata, file names and ids."""
    stranger = "7e57ab1e-0000-4000-8000-000000000000"

    def others_first(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        counts = {"total": 4, "completed": 1, "failed": 0}
        row = {"id": stranger, "object": "batch", "status": "in_progress", "created_at": 1, "request_counts": counts}
        row |= {"input_file_id": stranger, "endpoint": "/v1/chat/completions", "metadata": {"note": "dwb"}}
        found["data"].insert(0, row)
        exchange.send(answer.with_body(json.dumps(found).encode()))

    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(
        Fault("others_first", "list_batches", times=1000), Fault("cut_before", "submit"), others_first=others_first
    )
    done = trouble.run("run_batch", requests)
    assert done.code == 0, done.err
    assert stranger not in Path("r.job/record.json").read_text()
    assert len(trouble.oracle.batches()) == 1


def test_a_deletion_that_the_server_did_not_confirm_is_none(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests).code == 0
    portal = Fault("portal_before", "delete_file", times=100, value=1.0)
    trouble.strike(Fault("lost", "submit"), portal, lost=lost_and_hidden)
    refused = trouble.run("create_batch", requests)
    assert (refused.code, refused.out) == (6, ""), refused.err
    trouble.proxy.heal()
    assert trouble.run("create_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1


def test_of_two_batches_of_one_content_the_later_one_is_cancelled(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    upload = json.loads(Path("r.job/record.json").read_text())["attempts"][0]["parts"][0]["upload"]
    (first,) = trouble.oracle.batches()
    api = Api(trouble.clock)
    tags = api.batch(first.id).tags
    time.sleep(1.1)  # the server tells whole seconds
    later = api.create_batch(upload["file_id"], "/v1/chat/completions", "24h", tags)

    looked = trouble.run("poll", requests, "--once")

    assert f"batch {later.id} has the same requests" in looked.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [False, True]


def test_the_users_own_file_is_never_torn_up(trouble: Trouble) -> None:
    """Whether it was sent stays unclear: nothing is sent again before the user has looked."""
    (file_id,) = trouble.run("upload", write_requests(Path("r.jsonl"), 4)).lines
    trouble.strike(Fault("lost", "submit"), lost=lost_and_hidden)
    for code in (6, 6):
        unclear = trouble.run("create_batch", file_id)
        assert (unclear.code, unclear.out) == (code, ""), unclear.err
        assert "list_batches.py --search" in unclear.err
    trouble.clock.ahead += 400
    late = trouble.run("create_batch", file_id)
    assert (late.code, late.out) == (4, ""), late.err
    assert "--again submits it anew" in late.err
    assert trouble.proxy.requests("delete_file") == []
    assert [batch.live for batch in trouble.oracle.batches()] == [True]
