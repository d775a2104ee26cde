"""Batches the server knows no more: of another key, of another server, or deleted there."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import requests as http

from doubleword.job.begin import prepare
from local_server.app import LocalServer
from local_server.settings import FailRule, User
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.trial import KEY
from support.jobs import forget_batch
from support.proxy.exchange import Exchange, Fault
from support.running import run, write_requests

ALWAYS = 100_000


def age() -> None:
    """Makes the job old enough for what the server does not know to be no lag of its own."""
    record = json.loads(Path("r.job/record.json").read_text())
    for part in record["attempts"][0]["parts"]:
        part["submission"]["sent_at"] -= 1000
    Path("r.job/record.json").write_text(json.dumps(record))


def test_a_server_that_knows_nothing_of_the_job_is_exit_5_and_nothing_is_planned(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    assert run("poll", requests).code == 0
    forget_batch(server, batch)
    assert run("download", requests).code == 6, "what was made a moment ago need not be known yet"
    age()
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
    age()
    assert run("cancel_batch", requests).code == 0
    assert run("poll", requests).code == 7
    downloaded = run("download", requests, "--json")
    assert downloaded.code == 9, downloaded.err
    assert downloaded.facts["results"] + sum(downloaded.facts["missing"].values()) == 30


def three_of_four_answered(make_trouble: MakeTrouble) -> tuple[Trouble, Path, str]:
    """A job, and the id of its batch, which ended ten minutes ago and of which nothing was fetched."""
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")], purge_interval=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.clock.ahead += 600
    (batch,) = trouble.oracle.batches()
    return trouble, requests, batch.id


def test_a_retry_after_the_batch_was_deleted_on_the_server_is_planned(make_trouble: MakeTrouble) -> None:
    trouble, requests, batch_id = three_of_four_answered(make_trouble)
    deleted = http.delete(f"{trouble.server.base_url}/batches/{batch_id}", headers={"Authorization": f"Bearer {KEY}"})
    assert deleted.status_code == 204
    assert trouble.run("download", requests).code == 9
    planned = trouble.run("retry_failed", requests)
    assert planned.code == 0, planned.err
    assert len(Path("r.job/attempt-2.jsonl").read_text().splitlines()) == 1


def test_a_job_of_one_part_whose_batch_was_deleted_while_it_ran_goes_on(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests, "--once").code == 8
    trouble.clock.ahead += 600
    (batch,) = trouble.oracle.batches()
    headers = {"Authorization": f"Bearer {KEY}"}
    assert http.delete(f"{trouble.server.base_url}/batches/{batch.id}", headers=headers).status_code == 204
    polled = trouble.run("poll", requests)
    assert (polled.code, polled.out) == (7, "deleted\n"), polled.err
    assert trouble.run("download", requests).code in (7, 9)
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 8
    assert len(trouble.oracle.batches()) == 2
    assert trouble.oracle.answered_twice() == []


def delete_all(trouble: Trouble) -> None:
    """What somebody does who tidies up in the dashboard: the inputs, then the batches."""
    headers = {"Authorization": f"Bearer {KEY}"}
    for batch in trouble.oracle.batches():
        file_id = http.get(f"{trouble.server.base_url}/batches/{batch.id}", headers=headers).json()["input_file_id"]
        assert http.delete(f"{trouble.server.base_url}/files/{file_id}", headers=headers).status_code == 200
        assert http.delete(f"{trouble.server.base_url}/batches/{batch.id}", headers=headers).status_code == 204
    trouble.clock.ahead += 600


def test_answers_that_were_fetched_are_delivered_after_everything_was_deleted_on_the_server(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("download", requests, "--partial").code in (8, 9)
    assert trouble.run("poll", requests).code == 0
    assert trouble.run("download", requests).code == 9
    delete_all(trouble)
    again = trouble.run("download", requests, "--output", "t.csv")
    assert again.code == 9, again.err
    assert len(Path("t.csv").read_text().splitlines()) == 5
    assert trouble.run("retry_failed", requests).code == 0


def test_a_job_whose_batch_and_input_were_deleted_while_it_ran_goes_on_after_a_yes(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests, "--once").code == 8
    delete_all(trouble)
    for command in ("poll", "download", "run_batch"):
        stopped = trouble.run(command, requests)
        assert stopped.code == 5, stopped.err
        assert "--again" in stopped.err
    agreed = trouble.run("create_batch", requests, "--again")
    assert agreed.code == 0, agreed.err
    assert "it counts as ended" in agreed.err
    assert trouble.run("download", requests).code == 7
    planned = trouble.run("retry_failed", requests)
    assert planned.code == 0, planned.err
    assert len(Path("r.job/attempt-2.jsonl").read_text().splitlines()) == 4
    assert trouble.run("run_batch", requests).code == 8
    assert len(trouble.oracle.batches()) == 2


def test_batches_that_were_cancelled_unanswered_are_waited_for_once_and_not_when_it_was_long_ago(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 6)
    assert trouble.run("upload", requests, "--part-requests", "2").code == 0
    assert trouble.run("create_batch", requests).code == 0
    long_ago = False

    def cancelled(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        for row in found["data"]:
            row |= {"status": "cancelled", "in_progress_at": row["created_at"]}
            row["cancelled_at"] = row["created_at"] - (90_000 if long_ago else 0)
            row["request_counts"] = {"total": 2, "completed": 0, "failed": 0}
        exchange.send(answer.with_body(json.dumps(found).encode()))

    trouble.strike(Fault("cancelled", "list_batches", times=ALWAYS), cancelled=cancelled)
    for long_ago in (False, True):
        shutil.rmtree("r.job")
        assert trouble.run("upload", requests, "--part-requests", "2").code == 0
        before = trouble.clock.monotonic()
        assert trouble.run("create_batch", requests).code == 0
        waited = trouble.clock.monotonic() - before
        assert waited < 20 if long_ago else 29 < waited < 55, waited  # of which some is the machine's own


def test_after_a_yes_too_a_young_batch_that_a_replica_does_not_know_yet_is_no_deleted_one(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    forget_batch(server, batch)
    agreed = run("create_batch", requests, "--again")
    assert agreed.code == 6, agreed.err
    assert "deleted" not in Path("r.job/record.json").read_text()


STRANGER = "sk-of-somebody-else"


@pytest.fixture
def of_another_key(make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """Two parts run under one key; the shell has another, and nothing is young any more."""
    trouble = make_trouble(population_delay=1e9, users=[User(KEY), User(STRANGER, email="somebody@example.com")])
    trouble.submit(write_requests(Path("r.jsonl"), 4), "--part-requests", "2")
    trouble.clock.ahead += 600
    monkeypatch.setenv("DOUBLEWORD_API_KEY", STRANGER)
    return trouble


def test_a_yes_that_was_given_for_another_reason_makes_no_running_batch_a_deleted_one(of_another_key: Trouble) -> None:
    refused = of_another_key.run("create_batch", "r.jsonl", "--again")
    assert refused.code == 5, refused.err
    assert "another key or base URL?" in refused.err
    assert '"deleted"' not in Path("r.job/record.json").read_text()


@pytest.mark.parametrize("script", ["poll", "run_batch", "download"])
def test_what_a_yes_alone_made_deleted_is_looked_for_once_more(
    of_another_key: Trouble, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    trouble, requests = of_another_key, "r.jsonl"
    assert trouble.run("poll", requests, "--once").code == 5
    agreed = trouble.run("create_batch", requests, "--again")
    assert (agreed.code, agreed.err.count("it counts as ended")) == (0, 2), agreed.err
    assert trouble.run("poll", requests, "--once").lines == ["deleted"], "still nothing is known of it"

    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    seen = trouble.run(script, requests, *(("--timeout-seconds", "60") if script != "download" else ()))

    assert seen.code == 8, seen.err
    assert '"deleted"' not in Path("r.job/record.json").read_text()
    assert len(trouble.oracle.batches()) == 2


def test_the_yes_to_a_stop_that_is_over_counts_no_more(
    of_another_key: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_another_key.run("poll", "r.jsonl", "--once").code == 5
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    assert of_another_key.run("poll", "r.jsonl", "--once").code == 8
    monkeypatch.setenv("DOUBLEWORD_API_KEY", STRANGER)
    assert of_another_key.run("create_batch", "r.jsonl", "--again").code == 5


def test_a_strangers_batch_of_the_same_file_vouches_for_no_key(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both submitted the same request file; the job took its batches over, so that no file of its own can be asked for.

    The search finds the stranger's batches by the file's hash: they say nothing of ours.
    """
    trouble = make_trouble(population_delay=1e9, users=[User(KEY), User(STRANGER, email="somebody@example.com")])
    requests = write_requests(Path("r.jsonl"), 4)
    for key in (STRANGER, KEY):
        shutil.rmtree("r.job", ignore_errors=True)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", key)
        trouble.submit(requests, "--part-requests", "2")
    shutil.rmtree("r.job")
    prepare(requests, trouble.clock, part_requests=2)
    adopted = trouble.run("create_batch", requests, "--adopt")
    assert adopted.code == 0, adopted.err
    parts = json.loads(Path("r.job/record.json").read_text())["attempts"][0]["parts"]
    assert [bool(part.get("upload") or part.get("submission")) for part in parts] == [False, False]
    trouble.clock.ahead += 600

    monkeypatch.setenv("DOUBLEWORD_API_KEY", STRANGER)
    stopped = trouble.run("poll", requests, "--once")

    assert stopped.code == 5, stopped.err
    assert "another key or base URL?" in stopped.err
    assert '"deleted"' not in Path("r.job/record.json").read_text()
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    assert trouble.run("poll", requests, "--once").code == 8


def test_a_yes_for_another_reason_sends_no_part_on_another_account(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part 1 runs, part 2 found no room; what is to be sent again is not sent where part 1 is not known."""
    trouble = make_trouble(population_delay=1e9, users=[User(KEY), User(STRANGER, email="somebody@example.com")])
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests, "--part-requests", "2").code == 0
    trouble.strike(Fault("429_absurd", "submit", nth=2, times=ALWAYS, value=2.0))
    assert trouble.run("create_batch", requests).code == 6
    trouble.strike()
    trouble.clock.ahead += 600
    monkeypatch.setenv("DOUBLEWORD_API_KEY", STRANGER)
    refused = trouble.run("create_batch", requests, "--again")
    assert refused.code == 5, refused.err
    assert len(trouble.oracle.batches()) == 1
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    assert trouble.run("create_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 2


def test_after_a_yes_what_a_deleted_batch_had_counted_and_nobody_holds_can_be_planned(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    trouble.strike(
        Fault("wrong_counts", "batch", times=ALWAYS, value=1.0),
        Fault("wrong_counts", "list_batches", times=ALWAYS, value=1.0),
    )
    assert trouble.run("poll", requests, "--once").code == 8
    trouble.strike()
    delete_all(trouble)
    assert trouble.run("poll", requests).code == 5
    assert trouble.run("create_batch", requests, "--again").code == 0
    planned = trouble.run("retry_failed", requests)
    assert planned.code == 0, planned.err
    assert len(Path("r.job/attempt-2.jsonl").read_text().splitlines()) == 4


def test_answers_that_were_purged_with_their_batch_before_they_were_fetched_have_a_way_on(
    make_trouble: MakeTrouble,
) -> None:
    """They never come: what would have them names the command that counts the batch as ended."""
    trouble, requests, batch_id = three_of_four_answered(make_trouble)
    headers = {"Authorization": f"Bearer {KEY}"}
    told = http.get(f"{trouble.server.base_url}/batches/{batch_id}", headers=headers).json()
    assert http.delete(f"{trouble.server.base_url}/batches/{batch_id}", headers=headers).status_code == 204
    with closing(sqlite3.connect(trouble.server.database)) as database, database:
        database.execute("DELETE FROM files WHERE id = ?", (told["output_file_id"],))
    for command in ("download", "run_batch"):
        stopped = trouble.run(command, requests, "--json")
        assert stopped.code == 5, stopped.err
        assert "create_batch.py r.jsonl --again" in json.loads(stopped.err.splitlines()[-1])["error"]["next"]

    assert trouble.run("create_batch", requests, "--again").code == 0
    assert trouble.run("download", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    trouble.server.settings.fail.clear()
    assert trouble.run("run_batch", requests).code == 0
