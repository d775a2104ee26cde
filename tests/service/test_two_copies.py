"""Several copies of a script started at once on one job, and the same job on two machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from doubleword.base.failures import BadInput
from doubleword.job.job import Job
from doubleword.results.deliver import require_writable
from doubleword.results.output_flags import Wanted
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.crash.child import Child
from support.jobs import IDS, REQUESTS, cancelled_half_way
from support.oracle import LocalOracle
from support.proxy.exchange import First, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import SCRIPTS, FastClock, Ran, run, write_requests

RUN_BATCH = ("run_batch", "r.jsonl", "--part-requests", "4", "--interval-seconds", "0.2")


def at_once(copies: int, *command: str, base_url: str | None = None) -> list[Ran]:
    """Starts so many processes at the same moment, in real time, and waits for all."""
    script, *arguments = command
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPTS / f"{script}.py"), *arguments],
            env={**os.environ, **({"DOUBLEWORD_BASE_URL": base_url} if base_url else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(copies)
    ]
    outputs = [process.communicate(timeout=60) for process in started]
    return [Ran(p.returncode, out, err) for p, (out, err) in zip(started, outputs, strict=True)]


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_run_batch_started_at_once_submit_each_part_once(
    server: LocalServer, oracle: LocalOracle, copies: int
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    done = at_once(copies, *RUN_BATCH)
    assert {ran.code for ran in done} <= {0, 6}, done
    assert 0 in {ran.code for ran in done}, done
    assert [len(batches) for batches in oracle.by_content().values()] == [1, 1, 1]
    assert not oracle.judge(Path.cwd(), IDS, 0)


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_create_batch_started_at_once_print_the_same_ids(
    server: LocalServer, oracle: LocalOracle, copies: int
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    done = at_once(copies, "create_batch", "r.jsonl")
    assert {ran.code for ran in done} <= {0, 6}, done
    assert len({ran.out for ran in done if ran.code == 0}) == 1, done
    assert len(oracle.batches()) == 3
    assert run(*RUN_BATCH).code == 0
    assert not oracle.judge(Path.cwd(), IDS, 0)


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_of_download_started_at_once_leave_whole_files(
    server: LocalServer, oracle: LocalOracle, copies: int
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    assert run("create_batch", "r.jsonl").code == 0
    assert run("poll", "r.jsonl").code == 0
    done = at_once(copies, "download", "r.jsonl")
    assert {ran.code for ran in done} <= {0, 6}, done
    assert 0 in {ran.code for ran in done}, done
    assert not oracle.judge(Path.cwd(), IDS, 0)


def test_a_copy_that_finds_the_lock_taken_says_so_and_ends_with_6(server: LocalServer, oracle: LocalOracle) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl").code == 0
    arrived, over = threading.Event(), threading.Event()

    def hold(moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_("POST", "/batches"):
            arrived.set()
            assert over.wait(30)

    with Proxy(server.port, hold) as proxy:
        first: list[Ran] = []
        command = ("create_batch", "r.jsonl")
        sender = threading.Thread(target=lambda: first.extend(at_once(1, *command, base_url=proxy.base_url)))
        sender.start()
        assert arrived.wait(30)
        second = run("create_batch", "r.jsonl")
        over.set()
        sender.join()
    assert (second.code, second.out) == (6, ""), second
    assert "another copy is at work" in second.err
    assert first[0].code == 0, first
    assert len(oracle.batches()) == 1


def test_a_retry_is_not_planned_from_a_spool_that_a_download_is_writing(
    server: LocalServer, oracle: LocalOracle
) -> None:
    server.settings.fail[:] = [FailRule(re.compile("number 3"), 422)]
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl").code == 0
    assert run("create_batch", "r.jsonl").code == 0
    assert run("poll", "r.jsonl").code == 0
    arrived, over = threading.Event(), threading.Event()

    def hold(moment: Moment, request: Request) -> None:
        if moment is Moment.HALF and request.is_("GET", "/content"):
            arrived.set()
            assert over.wait(30)

    with Proxy(server.port, hold) as proxy:
        download = Child(Path.cwd(), ("download", "r.jsonl"), base_url=proxy.base_url)
        assert arrived.wait(30)
        second = run("retry_failed", "r.jsonl")
        over.set()
        first = download.wait()
    assert (second.code, second.out) == (6, ""), second
    assert first.code == 9, first
    assert not oracle.judge(Path.cwd(), IDS, 9)
    planned = run("retry_failed", "r.jsonl", "--include-permanent")
    assert planned.code == 0, planned
    assert len(Path("r.job/attempt-2.jsonl").read_text().splitlines()) == 1


def test_a_look_that_was_overtaken_by_another_copys_changes_nothing(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other copy polls to the end while the answer to this one's look, all still running, is on its way."""
    server.settings.delay = 0.5
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    assert run("create_batch", "r.jsonl").code == 0
    other: list[Ran] = []

    def meanwhile(_: Request) -> None:
        other.extend(at_once(1, "poll", "r.jsonl", "--interval-seconds", "0.2", base_url=server.base_url))

    with Proxy(server.port, First(Moment.ANSWERED, ("GET", "/batches"), meanwhile)) as proxy:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
        looked = run("poll", "r.jsonl", "--once")
    assert [ran.code for ran in other] == [0], other
    assert (looked.code, looked.out) == (0, "completed\n"), looked


def test_files_that_another_copy_wrote_meanwhile_are_the_jobs_own(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl").code == 0
    read_before = Job.load(Path("r.jsonl"))
    assert read_before is not None
    assert run(*RUN_BATCH).code == 0
    require_writable(read_before, FastClock(), Wanted())
    Path("r.results.jsonl").write_text("notes of mine\n")
    with pytest.raises(BadInput, match="was changed since this job wrote it"):
        require_writable(read_before, FastClock(), Wanted())


def machine_of(folder: Path) -> Path:
    made = folder.with_name(f"{folder.name}.machine")
    made.mkdir()
    return made


def copied(name: str) -> Path:
    """The job's folder as another machine has it."""
    other = Path.cwd().parent / name
    shutil.copytree(Path.cwd(), other)
    return other


def test_a_copied_job_run_later_on_another_machine_takes_the_batches_over(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    other = copied("other")
    assert run(*RUN_BATCH).code == 0
    monkeypatch.chdir(other)
    again = run(*RUN_BATCH)
    assert again.code == 0, again
    assert "took over batch" in again.err
    assert [len(batches) for batches in oracle.by_content().values()] == [1, 1, 1]
    assert not oracle.judge(Path.cwd(), IDS, 0)


def test_two_machines_that_submit_at_the_same_moment_end_with_one_batch_and_say_so(
    server: LocalServer, oracle: LocalOracle
) -> None:
    """Both have looked, both send: nothing can prevent it. The later batch is cancelled, and both have all results."""
    server.settings.delay = 1.0  # so that both are seen while they run
    write_requests(Path("r.jsonl"), REQUESTS)
    assert run("upload", "r.jsonl").code == 0
    folders = [Path.cwd(), copied("other")]
    both = threading.Barrier(2, timeout=30)

    def meet(moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_("POST", "/batches"):
            both.wait()

    with Proxy(server.port, meet) as proxy:
        command = ("run_batch", "r.jsonl", "--interval-seconds", "1")
        machines = [Child(folder, command, base_url=proxy.base_url, machine=machine_of(folder)) for folder in folders]
        done = [machine.wait() for machine in machines]
    assert (len(oracle.batches()), len(oracle.live())) == (2, 1), oracle.batches()
    assert [ran.code for ran in done] == [0, 0], done
    assert any("has the same requests; it is now cancel" in ran.err for ran in done), done
    for folder in folders:
        assert not oracle.judge_files(folder, IDS, 0)
        record = json.loads((folder / "r.job/record.json").read_text())
        assert record["attempts"][0]["parts"][0]["batch"]["id"] == oracle.live()[0].id


def sent_by_one_of(server: LocalServer, jobs: list[tuple[Path, str]], hosts: tuple[str, ...] = ("127.0.0.1",)) -> None:
    """Starts run_batch.py on each of these at once: the first POST is held up until there is a second, or for 3 s.

    `hosts`: what each in turn calls the server.
    """
    second = threading.Event()
    posts: list[Request] = []

    def meet(moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_("POST", "/batches"):
            posts.append(request)
            if len(posts) > 1:
                second.set()
            second.wait(3)

    with Proxy(server.port, meet) as proxy:
        started = [
            Child(
                folder,
                ("run_batch", name, "--interval-seconds", "1"),
                base_url=proxy.base_url.replace("127.0.0.1", hosts[number % len(hosts)]),
            )
            for number, (folder, name) in enumerate(jobs)
        ]
        done = [child.wait() for child in started]
    assert posts
    assert not second.is_set(), "both were sent at the same moment"
    assert sorted(ran.code for ran in done) in ([0, 4], [0, 6]), done


@pytest.mark.parametrize("hosts", [("127.0.0.1",), ("127.0.0.1", "localhost")])
def test_one_file_in_two_folders_started_at_once_on_one_machine_makes_one_batch(
    server: LocalServer, oracle: LocalOracle, hosts: tuple[str, ...]
) -> None:
    write_requests(Path("r.jsonl"), REQUESTS)
    folders = [Path.cwd(), copied("other")]
    (folders[1] / "r.jsonl").rename(folders[1] / "another name.jsonl")
    sent_by_one_of(server, list(zip(folders, ("r.jsonl", "another name.jsonl"), strict=True)), hosts)
    assert len(oracle.batches()) == 1


def test_an_uploaded_file_by_its_job_and_by_its_id_at_once_on_one_machine_is_sent_once(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.cwd()
    (file_id,) = run("upload", write_requests(Path("r.jsonl"), 3)).lines
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run("upload", file_id).code == 0
    sent_by_one_of(server, [(home, "r.jsonl"), (elsewhere, f"file-{file_id}.jsonl")])
    assert len(oracle.batches()) == 1


def test_a_retry_by_its_file_and_by_its_batch_id_at_once_on_one_machine_is_sent_once(
    portioned_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = LocalOracle(portioned_server.database)
    home = Path.cwd()
    batch = cancelled_half_way(portioned_server, Path("r.jsonl").absolute())
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run("retry_failed", batch).code == 0
    sent_by_one_of(portioned_server, [(home, "r.jsonl"), (elsewhere, f"batch-{batch}.jsonl")])
    assert not oracle.answered_twice()
