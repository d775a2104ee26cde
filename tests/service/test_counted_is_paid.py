"""What the server counts as answered or in flight is paid: found, waited for or kept, and never asked for again."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests as http

from doubleword.job.job import Job
from doubleword.service.api import Api
from doubleword.service.submit import submit_parts
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.kinds import _lines as change_lines
from support.faults.kinds import busy
from support.faults.trial import KEY
from support.oracle import LocalOracle
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import text
from support.running import SCRIPTS, FastClock, Ran, json_lines, run, write_requests

ALWAYS = 100_000
FOREVER = 1e9  # seconds of the server's that never pass
RECORD = Path("r.job/record.json")


def batches(server: LocalServer) -> list[tuple[str, bool]]:
    """(id, whether it was cancelled) of each batch, in order."""
    with closing(sqlite3.connect(server.database)) as database, database:
        found = database.execute("SELECT id, cancelling_at IS NOT NULL FROM batches ORDER BY seq").fetchall()
    return [(str(batch), bool(cancelled)) for batch, cancelled in found]


def nothing(exchange: Exchange) -> None:
    change_lines(exchange, lambda lines: [])


def not_there(exchange: Exchange) -> None:
    exchange.send(text(404, "File with ID not found"))


@pytest.mark.parametrize("missing", [nothing, not_there])
@pytest.mark.parametrize("command", ["download", "retry_failed", "run_batch"])
def test_answers_that_are_counted_and_not_handed_out_yet_are_later_not_retried(
    trouble: Trouble, missing: Callable[[Exchange], None], command: str
) -> None:
    requests = write_requests(Path("r.jsonl"), 10)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("missing", "content", times=ALWAYS), missing=missing)

    for _ in range(2):
        later = trouble.run(command, requests)
        assert (later.code, later.out) == (6, ""), later.err
        assert "download.py r.jsonl" in later.err.split("next: ")[-1]
    assert trouble.run("retry_failed", requests).code == 6

    assert len(json.loads(RECORD.read_text())["attempts"]) == 1
    trouble.strike()
    assert trouble.run("download", requests).code == 0
    assert len(json_lines(Path("r.results.jsonl"))) == 10
    assert len(trouble.oracle.batches()) == 1


def test_what_is_in_flight_at_a_cancel_is_waited_for_whatever_the_clocks_say(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(rate=60.0, delay=0.2, cancel_poll=FOREVER)
    trouble.clock.speed, trouble.clock.moment = 50.0, 1.0
    requests = write_requests(Path("r.jsonl"), 20)
    trouble.submit(requests)
    while trouble.run("poll", requests, "--once").out != "in_progress\n":
        pass
    (told,) = trouble.run("cancel_batch", requests, "--json").facts["batches"]
    trouble.clock.now = lambda: FastClock.now(trouble.clock) + 600.0  # type: ignore[method-assign]

    planned = trouble.run("retry_failed", requests, "--json")

    (batch,) = trouble.oracle.batches()
    assert told["completed"] < batch.completed or batch.completed == 20, "nothing landed after the cancel"
    assert planned.facts["requests"] == 20 - batch.completed, planned.err


def test_a_clock_that_is_set_while_a_job_runs_makes_it_not_stuck(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("poll", requests, "--once").code == 8
    trouble.clock.now = lambda: FastClock.now(trouble.clock) + 7200.0  # type: ignore[method-assign]

    looked = trouble.run("poll", requests, "--once", "--json")

    assert (looked.code, looked.facts["stuck"]) == (8, None)


def test_a_record_that_was_lost_is_seen_by_the_files_hash_however_it_is_cut(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 12)
    assert run("run_batch", requests, "--part-requests", "6").code == 0
    shutil.rmtree("r.job")
    Path("r.results.jsonl").unlink()

    refused = run("run_batch", requests, "--part-requests", "4")

    assert (refused.code, refused.out) == (4, "")
    assert batches(server)[-1][0] in refused.err
    assert "--adopt" not in refused.err, "it would find nothing"
    assert "--again" in refused.err
    assert len(batches(server)) == 2
    (named,) = [batch for batch, *_ in batches(server) if f"download.py {batch}" in refused.err]
    assert run("download", named).code == 0


@pytest.mark.parametrize("how", [("--part-requests", "4"), ("--trial", "2")])
def test_a_batch_that_was_sent_again_after_a_yes_is_seen_by_whoever_has_sent_nothing(
    server: LocalServer, oracle: LocalOracle, how: tuple[str, str]
) -> None:
    """As after the file of the first had expired; then the record was lost."""
    requests = write_requests(Path("r.jsonl"), 12)
    assert run("upload", requests).code == 0
    assert run("create_batch", requests, "--again").code == 0
    shutil.rmtree("r.job")

    refused = run("run_batch", requests, *how)

    assert (refused.code, refused.out) == (4, ""), refused.err
    assert len(oracle.batches()) == 1


@pytest.mark.parametrize("lost", ["record", "restored"])
def test_a_dead_batch_with_answers_is_seen_before_the_first_send(make_trouble: MakeTrouble, lost: str) -> None:
    trouble = make_trouble(rate=100.0, delay=0.01)
    requests = write_requests(Path("r.jsonl"), 40)
    assert trouble.run("upload", requests).code == 0
    backup = RECORD.read_bytes()
    assert trouble.run("create_batch", requests).code == 0
    while trouble.run("poll", requests, "--once", "--json").facts["completed"] == 0:
        pass
    assert trouble.run("cancel_batch", requests).code == 0
    if lost == "record":
        shutil.rmtree("r.job")
        assert trouble.run("upload", requests).code == 0
        refused = trouble.run("create_batch", requests)
        assert (refused.code, refused.out) == (4, "")
        assert "--adopt" in refused.err
        assert trouble.run("create_batch", requests, "--adopt").code == 0
    else:
        RECORD.write_bytes(backup)
        assert trouble.run("create_batch", requests).code == 0

    assert len(trouble.oracle.batches()) == 1, "its answers are paid for a second time"
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 0
    assert trouble.oracle.answered_twice() == []


@pytest.mark.parametrize("cut", ["12", "4"])
def test_adopt_never_sends(server: LocalServer, cut: str) -> None:
    requests = write_requests(Path("r.jsonl"), 12)
    other = Path("other.jsonl")
    if cut == "4":
        assert run("run_batch", requests, "--part-requests", "6").code == 0
        requests.rename(other)
    else:
        requests.rename(other)
    assert run("upload", other, "--part-requests", cut).code == 0
    before = len(batches(server))

    refused = run("create_batch", other, "--adopt")

    assert (refused.code, refused.out) == (5, "")
    assert "nothing to adopt" in refused.err
    assert len(batches(server)) == before


def test_a_request_file_that_was_edited_after_its_upload_is_not_submitted(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("upload", requests).code == 0
    text_before = requests.read_text()
    requests.write_text(text_before.replace("number 2", "number 7"))

    refused = run("create_batch", requests)

    assert (refused.code, refused.out) == (3, "")
    assert "changed since" in refused.err
    assert batches(server) == []
    requests.write_text(text_before)
    assert run("create_batch", requests).code == 0, "only touched"


# --- another command at the same time ---


def test_a_retry_beside_a_cancel_plans_from_what_was_fetched_after_it(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision not to fetch is of the record before the lock; the batch ends while the lock is waited for."""
    from doubleword.job.job import Job

    trouble = make_trouble(rate=100.0, delay=0.01)
    requests = write_requests(Path("r.jsonl"), 31)
    trouble.submit(requests)
    locked = Job.locked
    done: list[bool] = []

    def meanwhile(job: Job, clock: FastClock) -> object:
        if not done:
            done.append(True)
            while trouble.run("poll", requests, "--once", "--json").facts["completed"] < 20:
                pass
            assert trouble.run("cancel_batch", requests).code == 0
            while trouble.run("poll", requests, "--once").code == 8:
                pass
        return locked(job, clock)

    monkeypatch.setattr(Job, "locked", meanwhile)
    planned = trouble.run("retry_failed", requests)

    (batch,) = trouble.oracle.batches()
    assert planned.code == 0, planned.err
    plan = Path("r.job/attempt-2.jsonl")  # a busy machine may have answered all of them before the cancel
    assert (len(json_lines(plan)) if plan.exists() else 0) == 31 - batch.completed, planned.err


def test_a_batch_that_runs_again_is_not_planned_from(trouble: Trouble) -> None:
    """Retried on the server, by hand or by its own page, after it was downloaded."""
    requests = Path("r.jsonl")
    write_requests(requests, 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("short_content", "content", times=ALWAYS))
    assert trouble.run("download", requests).code == 6
    trouble.strike(Fault("again", "batch", times=ALWAYS), again=runs_again)

    refused = trouble.run("retry_failed", requests)

    assert (refused.code, refused.out) == (8, ""), refused.err
    assert len(json.loads(RECORD.read_text())["attempts"]) == 1


def runs_again(exchange: Exchange) -> None:
    answer = exchange.forward()
    found = json.loads(answer.body)
    found["status"] = "in_progress"
    exchange.send(answer.with_body(json.dumps(found).encode()))


def test_a_batch_that_runs_again_between_the_look_and_the_fetch_gives_no_final_files(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("again", "batch", times=ALWAYS), again=runs_again)

    downloaded = trouble.run("download", requests)

    assert downloaded.code == 8, downloaded.err
    assert not Path("r.results.jsonl").exists()
    assert not Path("r.errors.jsonl").exists()


# --- cancelling ---


def test_a_cancel_that_fails_keeps_none_of_the_others_running(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 9)
    trouble.submit(requests, "--part-requests", "3")
    trouble.strike(Fault("500_before", "batch", times=6))

    cancelled = trouble.run("cancel_batch", requests)

    assert (cancelled.code, cancelled.out) == (6, ""), cancelled.err
    assert "may still run" in cancelled.err
    assert [bool(batch.cancelling_at) for batch in trouble.oracle.batches()] == [False, True, True]
    trouble.strike()
    assert trouble.run("cancel_batch", requests).code == 0
    assert all(batch.cancelling_at for batch in trouble.oracle.batches())


def test_a_part_that_cannot_be_settled_keeps_none_of_the_others_running(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 6)
    trouble.strike(
        Fault("cut_before", "submit", nth=2),
        Fault("503_before", "list_batches", nth=6, times=200),
    )
    assert trouble.run("run_batch", requests, "--part-requests", "3").code == 6
    trouble.strike(Fault("503_before", "list_batches", times=ALWAYS))

    cancelled = trouble.run("cancel_batch", requests)

    assert cancelled.code == 6, cancelled.err
    assert [bool(batch.cancelling_at) for batch in trouble.oracle.batches()] == [True]


def test_a_second_batch_is_cancelled_too(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("create_batch", requests, "--again").code == 0
    shutil.copytree("r.job", "copy.job")
    record = json.loads(RECORD.read_text())
    part = record["attempts"][0]["parts"][0]
    second = run_second(trouble, part["upload"]["file_id"])
    part["other_batches"] = [part["batch"] | {"id": second, "output_file_id": None, "error_file_id": None}]
    RECORD.write_text(json.dumps(record))

    assert trouble.run("cancel_batch", requests).code == 0

    assert [bool(batch.cancelling_at) for batch in trouble.oracle.batches()] == [True, True]


def run_second(trouble: Trouble, file_id: str) -> str:
    from doubleword.service.api import Api

    return Api(trouble.clock).create_batch(file_id, "/v1/chat/completions", "24h", {}).id


def test_a_cancel_says_whether_it_was_now_and_whether_the_counts_are_final(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=0.0)
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    (ended,) = trouble.run("cancel_batch", requests, "--json").facts["batches"]
    assert (ended["action"], ended["final"]) == ("had ended before", True)

    trouble.server.settings.population_delay = FOREVER
    other = write_requests(Path("q.jsonl"), 4)
    trouble.submit(other)
    (now,) = trouble.run("cancel_batch", other, "--json").facts["batches"]
    assert (now["action"], now["final"]) == ("is cancelled now", False)
    (before,) = trouble.run("cancel_batch", other, "--json").facts["batches"]
    assert before["action"] == "was cancelled before"


def test_an_answer_of_a_retry_that_is_not_handed_out_yet_is_not_hidden_by_the_error_before_it(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 3)
    assert trouble.run("run_batch", requests).code == 9
    trouble.server.settings.fail.clear()
    assert trouble.run("retry_failed", requests).code == 0
    gone = text(404, "File not found")
    trouble.strike(Fault("gone", "content", times=100_000), gone=lambda exchange: exchange.send(gone))

    assert trouble.run("run_batch", requests).code == 6
    planned = trouble.run("retry_failed", requests)

    assert planned.code == 6, planned
    assert trouble.oracle.answers()["row-000002"] == 1, "paid for once"


def test_a_plan_is_withdrawn_when_its_batch_was_retried_on_the_server_since(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("run_batch", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    trouble.server.settings.fail.clear()
    (batch,) = trouble.oracle.batches()
    headers = {"Authorization": f"Bearer {KEY}"}
    assert http.post(f"{trouble.server.base_url}/batches/{batch.id}/retry", headers=headers).status_code == 200

    stopped = trouble.run("run_batch", requests)

    assert (stopped.code, stopped.out) == (6, ""), stopped.err
    assert "was retried on the server" in stopped.err
    assert trouble.run("run_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1
    assert len(json_lines(Path("r.results.jsonl"))) == 4


def test_a_record_lost_right_after_a_cancel_waits_for_what_was_in_flight(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble()
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    shutil.rmtree("r.job")
    reads: list[int] = []

    def landing(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        for row in found["data"]:
            reads.append(1)
            done = 4 if len(reads) > 1 else 0
            row |= {"status": "cancelled", "cancelled_at": row["created_at"] + 1}
            row["request_counts"] = {"total": 4, "completed": done, "failed": 0}
        exchange.send(answer.with_body(json.dumps(found).encode()))

    trouble.strike(Fault("landing", "list_batches", times=ALWAYS), landing=landing)
    refused = trouble.run("run_batch", requests)
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert "waiting until what was in flight has landed" in refused.err
    assert len(trouble.oracle.batches()) == 1


def test_a_cancel_stops_a_copy_that_holds_the_lock(make_trouble: MakeTrouble) -> None:
    """It waits for room, for minutes, between two parts."""
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 6)
    assert trouble.run("upload", requests, "--part-requests", "3").code == 0
    cancelled: list[Ran] = []

    def meanwhile(exchange: Exchange) -> None:
        if not cancelled:
            cancelled.append(trouble.run("cancel_batch", requests))
        exchange.send(busy(retry_after="120"))

    monkey = pytest.MonkeyPatch()
    monkey.setattr("doubleword.service.network.READ_SECONDS", 30)
    trouble.strike(Fault("room", "submit", nth=2, times=1), room=meanwhile)
    stopped = trouble.run("create_batch", requests)
    monkey.undo()

    assert cancelled[0].code == 6, cancelled
    assert "told to send nothing more" in cancelled[0].err
    assert (stopped.code, stopped.out) == (4, ""), stopped.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [True]
    assert trouble.run("run_batch", requests).code == 4
    assert not Path("r.job/stop").exists()
    assert trouble.run("cancel_batch", requests, "--resume").code == 0


def test_a_cancel_that_waits_for_a_copy_cancels_what_that_has_sent_meanwhile(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 3)
    assert trouble.run("upload", requests).code == 0
    copy, sent = Job.need(requests), list[None]()

    def meanwhile() -> None:
        if not sent:
            sent.append(None)
            submit_parts(Api(trouble.clock), copy, "24h", None, None, 1)

    with copy.locked(trouble.clock):
        trouble.clock.on_sleep.append(meanwhile)
        cancelled = trouble.run("cancel_batch", requests)
        trouble.clock.on_sleep.remove(meanwhile)

    assert (cancelled.code, len(sent)) == (6, 1), cancelled.err
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_cancel_on_a_full_disk_cancels_all_that_runs(server: LocalServer, oracle: LocalOracle) -> None:
    import resource

    server.settings.delay = 20.0
    requests = write_requests(Path("r.jsonl"), 4)
    assert run("upload", requests, "--part-requests", "2").code == 0
    assert run("create_batch", requests).code == 0

    full = subprocess.run(
        [sys.executable, SCRIPTS / "cancel_batch.py", requests],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
    )

    assert full.returncode == 3, full.stderr
    assert [batch.cancelled for batch in oracle.batches()] == [True, True]
    assert run("cancel_batch", requests).code == 0


def test_an_error_that_the_server_does_not_count_any_more_is_no_error(make_trouble: MakeTrouble) -> None:
    """Retried on the server, with success; but neither of its files is handed out just now."""
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("run_batch", requests).code == 9
    trouble.server.settings.fail.clear()
    (batch,) = trouble.oracle.batches()
    headers = {"Authorization": f"Bearer {KEY}"}
    assert http.post(f"{trouble.server.base_url}/batches/{batch.id}/retry", headers=headers).status_code == 200
    while not trouble.oracle.all_ended() or trouble.oracle.batches()[0].completed < 4:
        time.sleep(0.02)
    trouble.clock.ahead += 1000
    gone = text(404, "File not found")
    trouble.strike(Fault("gone", "content", times=ALWAYS), gone=lambda exchange: exchange.send(gone))

    planned = trouble.run("retry_failed", requests)

    assert (planned.code, planned.out) == (6, ""), planned.err
    trouble.strike()
    assert trouble.run("run_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1


UNCOUNTED: list[Any] = [
    None,
    "none",
    {},
    {"total": "3", "completed": "3", "failed": None},
    {"total": 0, "completed": 0, "failed": 0},
    {"total": 3, "completed": 0, "failed": 0},
    {"total": 1, "completed": 1, "failed": 0},
]


@pytest.mark.parametrize("counts", UNCOUNTED)
@pytest.mark.parametrize("ended", ["completed", "cancelled"])
def test_counts_that_cannot_be_say_nothing_so_nothing_is_paid_again(trouble: Trouble, counts: Any, ended: str) -> None:
    if ended == "cancelled" and counts == UNCOUNTED[5]:
        return  # so a batch looks that was cancelled in time
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)

    def odd(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        for batch in found.get("data", [found]):
            batch |= {"request_counts": counts, "status": ended} if batch["status"] == "completed" else {}
        exchange.send(answer.with_body(json.dumps(found).encode()))

    always = [Fault("odd", route, times=ALWAYS) for route in ("batch", "list_batches")]
    trouble.strike(*always, Fault("nothing", "content", times=ALWAYS), odd=odd, nothing=nothing)

    assert trouble.run("poll", requests).code in (0, 7)
    for command in ("download", "retry_failed", "run_batch"):
        later = trouble.run(command, requests)
        assert later.code == 6, later.err
        assert "download.py r.jsonl" in later.err.split("next: ")[-1]
    trouble.strike()
    trouble.clock.ahead += 600

    assert trouble.run("run_batch", requests).code == 0
    assert set(trouble.oracle.answers().values()) == {1}
