"""Sends whose answer is lost, late, or a refusal: one batch for each part, whatever the network does."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from doubleword.job.job import Job
from local_server.app import LocalServer
from support.crash.child import Child
from support.jobs import IDS, REQUESTS, RUN_BATCH, SUBMISSIONS, UPLOADS
from support.oracle import LocalOracle
from support.proxy.exchange import At, Drop, First, Instead, Moment, drop
from support.proxy.http_message import Answer, Request, text
from support.proxy.proxy import Proxy
from support.running import FastClock, Ran, run, write_requests


@pytest.fixture(autouse=True)
def _request_file() -> None:
    write_requests(Path("r.jsonl"), REQUESTS)


def through(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, at: At, *command: str, clock: FastClock | None = None
) -> Ran:
    with Proxy(server.port, at) as proxy, monkeypatch.context() as patch:
        patch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
        return run(*command, clock=clock)


@pytest.mark.parametrize("what", [UPLOADS, SUBMISSIONS])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("moment", [Moment.ARRIVED, Moment.ANSWERED, Moment.HALF])
def test_an_answer_lost_on_the_way_is_found_out_and_nothing_is_sent_twice(
    server: LocalServer,
    oracle: LocalOracle,
    monkeypatch: pytest.MonkeyPatch,
    what: tuple[str, str],
    moment: Moment,
    times: int,
) -> None:
    lost = First(moment, what, drop, times)
    done = through(server, monkeypatch, lost, *RUN_BATCH)
    assert lost.done == times
    if done.code == 6:  # three lost sends of one part are too many for one run
        assert times == 3, done
        done = run(*RUN_BATCH)
    assert done.code == 0, done
    assert not oracle.judge(Path.cwd(), IDS, 0)


def test_what_is_about_to_be_sent_is_on_disk_before_the_server_has_it(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of an upload, the intent to submit, and that a ticket is being torn up; and each id once it is known."""
    seen: list[str] = []

    def look(moment: Moment, request: Request) -> None:
        if moment is not Moment.ARRIVED or request.route not in ("upload", "submit", "delete_file", "batch"):
            return
        seen.append(request.route)
        (part,) = asdict(Job.need(Path("r.jsonl")).record)["attempts"][0]["parts"]
        if request.route == "upload":
            assert part["upload"]["name"].encode() in request.body()
            return
        assert part["upload"]["file_id"]
        if request.route == "submit":
            assert json.loads(request.body())["metadata"]["dwb_submission"] == part["submission"]["id"]
            if seen.count("submit") == 1:
                raise Drop  # lost: the ticket is torn up, and another is made
        elif request.route == "delete_file":
            assert part["upload"]["tearing"]
            assert request.path.endswith(part["upload"]["file_id"])
        else:
            assert request.path.endswith(part["batch"]["id"])

    done = through(server, monkeypatch, look, "run_batch", "r.jsonl", "--interval-seconds", "1")
    assert done.code == 0, done
    assert {"upload", "submit", "delete_file", "batch"} == set(seen)
    assert seen.count("submit") == 2


@pytest.mark.parametrize("seconds", [0.0, 0.03, 1.0])
def test_a_post_carried_out_after_its_connection_was_dropped_never_makes_a_second_live_batch(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The script's waits pass in hundredths of a second here: one second is after it gave up and sent anew."""
    answers: list[Answer] = []
    late: list[threading.Thread] = []

    def later(request: Request) -> None:
        def send() -> None:
            time.sleep(seconds)
            answers.append(proxy.carry_out(request))

        late.append(threading.Thread(target=send))
        late[-1].start()
        raise Drop

    with Proxy(server.port, First(Moment.ARRIVED, SUBMISSIONS, later)) as proxy, monkeypatch.context() as patch:
        patch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
        done = run(*RUN_BATCH)
        late[0].join()
    assert done.code == 0, done
    assert not oracle.judge(Path.cwd(), IDS, 0)
    if seconds == 1.0:  # the fence: its file was deleted, so it came to nothing
        assert answers[0].status == 404
        assert len(oracle.batches()) == 3


def test_an_upload_carried_out_late_changes_nothing(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Request] = []

    def keep(request: Request) -> None:
        kept.append(request)
        raise Drop

    with Proxy(server.port, First(Moment.ARRIVED, UPLOADS, keep)) as proxy, monkeypatch.context() as patch:
        patch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
        assert run(*RUN_BATCH).code == 0
        assert proxy.carry_out(kept[0]).status == 201
    assert run(*RUN_BATCH).code == 0
    assert not oracle.judge(Path.cwd(), IDS, 0)
    assert len(oracle.batches()) == 3


@pytest.mark.parametrize(("headers", "pause"), [({"retry_after": "77"}, 77.0), ({}, 30.0)])
def test_a_429_is_waited_for_as_long_as_it_asks(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], pause: float
) -> None:
    def full(_: Request) -> None:
        raise Instead(text(429, "Insufficient capacity", **headers))

    assert run("upload", "r.jsonl").code == 0
    clock, busy = FastClock(), First(Moment.ARRIVED, SUBMISSIONS, full, times=3)
    done = through(server, monkeypatch, busy, "create_batch", "r.jsonl", clock=clock)
    assert done.code == 0, done
    assert clock.slept == pytest.approx([pause] * 3, abs=0.5)
    assert len(oracle.batches()) == 1


@pytest.mark.parametrize("headers", [{"retry_after": "77"}, {}])
def test_a_429_without_end_is_exit_6_in_the_servers_words_and_leaves_no_intent(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    def full(_: Request) -> None:
        raise Instead(text(429, "Insufficient capacity for 24h", **headers))

    assert run("upload", "r.jsonl").code == 0
    clock, busy = FastClock(), First(Moment.ARRIVED, SUBMISSIONS, full, times=1000)
    done = through(server, monkeypatch, busy, "create_batch", "r.jsonl", clock=clock)
    assert (done.code, done.out) == (6, ""), done
    assert "Insufficient capacity for 24h" in done.err
    assert 200 < sum(clock.slept) <= 300
    assert '"submission": null' in Path("r.job/record.json").read_text()
    assert len(oracle.batches()) == 0


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("headers", [{"retry_after": "20"}, {}])
def test_a_5xx_before_or_after_the_server_acted_makes_one_batch(
    server: LocalServer,
    oracle: LocalOracle,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    acted: bool,
) -> None:
    def refuse(request: Request) -> None:
        if acted:
            proxy.carry_out(request)
        raise Instead(text(status, "try again", **headers))

    with Proxy(server.port, First(Moment.ARRIVED, SUBMISSIONS, refuse)) as proxy, monkeypatch.context() as patch:
        patch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
        assert run(*RUN_BATCH).code == 0
    assert not oracle.judge(Path.cwd(), IDS, 0)
    assert len(oracle.batches()) == 3


def test_what_was_cancelled_before_it_was_uploaded_costs_nothing_in_the_estimate_of_the_next_attempt(
    server: LocalServer,
    oracle: LocalOracle,
) -> None:
    submitted = threading.Event()

    def kill(moment: Moment, request: Request) -> None:
        if moment is Moment.DELIVERED and request.is_(*SUBMISSIONS):
            submitted.set()
        if moment is Moment.ARRIVED and request.is_(*UPLOADS) and any(r.is_(*UPLOADS) for r in proxy.log[:-1]):
            assert submitted.wait(20)
            time.sleep(0.2)  # until the answer is written down
            child.kill()
            raise Drop

    with Proxy(server.port, kill) as proxy:
        child = Child(Path.cwd(), (*RUN_BATCH, "--jobs", "1"), base_url=proxy.base_url)
        assert child.wait().killed
    assert len(oracle.batches()) == 1
    assert run("cancel_batch", "r.jsonl").code == 0
    assert run("retry_failed", "r.jsonl").code == 0
    assert run(*RUN_BATCH, "--max-cost", "5").code == 0
    assert not oracle.judge(Path.cwd(), IDS, 0)
