"""Interruptions, locks that do not work, and a download killed in the middle of a line."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.crash.child import Child
from support.jobs import IDS, REQUESTS, RUN_BATCH, SUBMISSIONS, UPLOADS
from support.oracle import LocalOracle
from support.proxy.exchange import Drop, First, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import run, write_requests


@pytest.fixture(autouse=True)
def _request_file() -> None:
    write_requests(Path("r.jsonl"), REQUESTS)


@pytest.mark.parametrize("command", [RUN_BATCH, ("upload", "r.jsonl")])
def test_without_working_locks_nothing_is_sent(
    server: LocalServer, oracle: LocalOracle, command: tuple[str, ...]
) -> None:
    """An audit hook makes flock fail as the system does on a network file system that has no locks."""
    done = Child(Path.cwd(), command, locks=False).wait()
    assert (done.code, done.out) == (3, ""), done
    assert "cannot lock files" in done.err
    assert "local disk" in done.err
    assert any("fcntl.flock" in step for step in done.steps)
    assert not any("socket.connect" in step for step in done.steps)
    assert not oracle.rows("SELECT 1 FROM files")


INTERRUPTIONS = [
    (UPLOADS, Moment.ARRIVED),
    (UPLOADS, Moment.ANSWERED),
    (SUBMISSIONS, Moment.ARRIVED),
    (SUBMISSIONS, Moment.ANSWERED),
    (("GET", "/batches"), Moment.ARRIVED),
    (("GET", "/content"), Moment.HALF),
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("what", "moment"), INTERRUPTIONS)
def test_an_interruption_is_exit_130_and_the_same_command_goes_on(
    server: LocalServer, oracle: LocalOracle, number: signal.Signals, what: tuple[str, str], moment: Moment
) -> None:
    def interrupt(_: Request) -> None:
        child.signal(number)
        time.sleep(0.2)  # it is to find the script at this moment, not after it

    interruption = First(moment, what, interrupt)
    with Proxy(server.port, interruption) as proxy:
        child = Child(Path.cwd(), RUN_BATCH, base_url=proxy.base_url)
        ended = child.wait(20)
    assert interruption.done == 1
    assert (ended.code, ended.out) == (130, ""), ended
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    done = run(*RUN_BATCH)
    assert done.code == 0, done
    assert not oracle.judge(Path.cwd(), IDS, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_does_not_wait_for_the_answer_to_an_upload(
    server: LocalServer, oracle: LocalOracle, number: signal.Signals
) -> None:
    over = threading.Event()

    def stall(moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_(*UPLOADS):
            if not stalled.is_set():
                stalled.set()
                child.signal(number)
            over.wait(30)

    stalled = threading.Event()
    with Proxy(server.port, stall) as proxy:
        child = Child(Path.cwd(), RUN_BATCH, base_url=proxy.base_url)
        try:
            assert stalled.wait(60)  # on a busy machine it takes a while to begin
            ended = child.wait(10)
        finally:
            over.set()
    assert ended.code == 130, ended
    assert run(*RUN_BATCH).code == 0
    assert not oracle.judge(Path.cwd(), IDS, 0)


def test_an_interruption_while_waiting_is_exit_130(server: LocalServer, oracle: LocalOracle) -> None:
    server.settings.delay = 20.0
    child = Child(Path.cwd(), ("run_batch", "r.jsonl"), fast=False)
    deadline = time.monotonic() + 20
    while not oracle.rows("SELECT 1 FROM requests WHERE state = 'in_progress'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    child.signal(signal.SIGTERM)
    ended = child.wait(10)
    assert (ended.code, ended.out) == (130, ""), ended
    assert len(oracle.batches()) == 1


def test_a_download_killed_within_a_line_goes_on_behind_the_last_whole_one(
    server: LocalServer, oracle: LocalOracle
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS, prompt="word " * 4000 + "{n}")  # lines larger than any buffer
    text = Path("r.jsonl").read_text().replace('"max_tokens": 50', '"max_tokens": 50000')
    Path("r.jsonl").write_text(text)
    assert run("upload", "r.jsonl").code == 0
    assert run("create_batch", "r.jsonl").code == 0
    assert run("poll", "r.jsonl").code == 0

    def kill(moment: Moment, request: Request) -> None:
        if moment is Moment.HALF and request.is_("GET", "/content"):
            time.sleep(0.5)  # until what has come is in the spool
            child.kill()
            raise Drop

    with Proxy(server.port, kill) as proxy:
        child = Child(Path.cwd(), ("download", "r.jsonl"), base_url=proxy.base_url)
        assert child.wait().killed
    (spool,) = Path("r.job/spool").glob("*.output.jsonl")
    left = spool.read_bytes()
    lines = left.count(b"\n")
    assert 0 < lines < REQUESTS
    assert left.endswith(b"\n")
    spool.write_bytes(left + left[:5000])  # the machine itself went down while it was written
    with Proxy(server.port) as proxy:
        ended = Child(Path.cwd(), ("download", "r.jsonl"), base_url=proxy.base_url).wait()
        contents = [request.target for request in proxy.log if request.is_("GET", "/content")]
    assert ended.code == 0, ended
    assert f"skip={lines}" in contents[0]
    assert not oracle.judge(Path.cwd(), IDS, 0)
