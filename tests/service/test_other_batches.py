"""The same requests in another job: a copy of the folder, a job made from an id, a file submitted by its id."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import requests as http

from doubleword.job.job import Job
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.crash.child import Child
from support.faults.fixture import MakeTrouble
from support.faults.fixture import make_trouble as make_trouble
from support.jobs import cancelled_half_way
from support.oracle import LocalOracle
from support.proxy.exchange import Drop, Fault, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import FastClock, json_lines, run, write_requests


def test_a_job_made_from_a_batch_id_elsewhere_does_not_pay_for_what_its_home_has_submitted(
    portioned_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Path("r.jsonl").absolute()
    batch = cancelled_half_way(portioned_server, requests)

    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run("retry_failed", batch).code == 0  # a plan is free

    assert run("run_batch", requests, clock=FastClock(moment=0.1)).code == 0  # at home the second attempt runs
    refused = run("run_batch", f"batch-{batch}.jsonl")
    assert refused.code == 4, refused.err
    assert "another copy of this job submitted an attempt of its own" in refused.err


def test_home_does_not_pay_for_what_a_job_made_from_its_batch_id_has_submitted(
    portioned_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Path("r.jsonl").absolute()
    batch = cancelled_half_way(portioned_server, requests)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run("retry_failed", batch).code == 0
    assert run("run_batch", f"batch-{batch}.jsonl", clock=FastClock(moment=0.1)).code == 0
    refused = run("run_batch", requests)
    assert refused.code == 4, refused.err
    assert len(json_lines(Path(f"batch-{batch}.results.jsonl"))) == 60


@pytest.mark.parametrize("first", ["raw", "job"])
def test_one_uploaded_file_is_not_submitted_by_its_id_and_by_its_job(
    server: LocalServer, oracle: LocalOracle, first: str
) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    (file_id,) = run("upload", requests).lines
    targets: list[str | Path] = [file_id, requests] if first == "raw" else [requests, file_id]
    assert run("create_batch", targets[0]).code == 0
    refused = run("create_batch", targets[1])
    assert refused.code == 4, refused.err
    assert len(oracle.batches()) == 1


def test_a_copy_of_a_cancelled_job_does_not_pay_for_the_part_that_its_original_sent(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("prompt number 2=500")])
    requests = write_requests(Path("r.jsonl"), 8)
    assert trouble.run("upload", requests, "--part-requests", "4").code == 0
    trouble.strike(Fault("402_before", "submit", nth=2))
    assert trouble.run("create_batch", requests).code == 4
    trouble.strike()
    until = time.monotonic() + 60
    while not trouble.oracle.all_ended():  # on a busy machine the cancel would come first
        assert time.monotonic() < until
        time.sleep(0.01)
    assert trouble.run("cancel_batch", requests).code == 0
    shutil.copytree(".", "../copy")
    assert trouble.run("cancel_batch", requests, "--resume").code == 0
    assert trouble.run("run_batch", requests).code == 9
    monkeypatch.chdir("../copy")
    assert trouble.run("download", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    refused = trouble.run("run_batch", requests)
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert "by another copy of this job" in refused.err
    assert trouble.oracle.answered_twice() == []


def test_a_second_job_over_the_same_file_that_was_agreed_to_holds_up_no_retry_of_the_first(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 4).absolute()
    assert trouble.run("run_batch", requests).code == 9
    Path("other").mkdir()
    shutil.copy(requests, "other/s.jsonl")
    with monkeypatch.context() as there:
        there.chdir("other")
        assert trouble.run("run_batch", Path("s.jsonl")).code == 4
        assert trouble.run("create_batch", Path("s.jsonl"), "--again").code == 0, "what is not uploaded is uploaded"
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 9
    assert len(trouble.oracle.batches()) == 3


def test_taking_one_batch_over_cancels_no_other_that_somebody_said_yes_to(
    server: LocalServer, oracle: LocalOracle
) -> None:
    server.settings.population_delay = 1e9
    for name in ("a", "b", "c"):
        write_requests(Path(f"{name}.jsonl"), 3)
    for name, more in (("a", []), ("b", ["--again"])):
        assert run("upload", f"{name}.jsonl").code == 0
        assert run("create_batch", f"{name}.jsonl", *more).code == 0

    taken = run("create_batch", "c.jsonl", "--adopt")

    assert taken.code == 0, taken.err
    assert [batch.cancelled for batch in oracle.batches()] == [False, False]


def test_what_is_taken_over_leaves_no_send_of_ones_own_on_its_way(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy was killed while it sent, and its POST is carried out after another job's batch was taken over."""
    requests = write_requests(Path("r.jsonl"), 3)
    Path("other").mkdir()
    shutil.copy(requests, "other")
    assert run("upload", requests).code == 0
    kept: list[Request] = []
    children: list[Child] = []

    def kill(moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_("POST", "/batches"):
            kept.append(request)
            while not children:
                time.sleep(0.001)
            children[0].kill()
            raise Drop

    with Proxy(server.port, kill) as proxy:
        children.append(Child(Path.cwd(), ("create_batch", "r.jsonl"), base_url=proxy.base_url))
        assert children[0].wait().killed
        with monkeypatch.context() as there:
            there.chdir("other")
            assert run("run_batch", requests).code == 0
        assert run("create_batch", requests, "--adopt").code == 0
        proxy.carry_out(kept[0])

    assert len(oracle.batches()) == 1, "a second one is paid for"
    assert run("run_batch", requests).code == 0


def test_the_batch_that_answered_is_seen_behind_many_that_did_not(server: LocalServer, oracle: LocalOracle) -> None:
    """Of many small parts the first alone was answered, and the record was lost."""
    server.settings.max_retries = 0
    server.settings.fail.append(FailRule.parse("number [2-6]=500"))
    requests = write_requests(Path("r.jsonl"), 6)
    assert run("upload", requests, "--part-requests", "1").code == 0
    assert run("create_batch", requests).code == 0
    assert run("poll", requests).code == 7
    shutil.rmtree("r.job")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("api", "other_batches"):
            patch.setattr(f"doubleword.service.{module}.PAGE_LIMIT", 2)
        refused = run("run_batch", requests)
    assert (refused.code, refused.out) == (4, ""), refused.err
    assert "1 of 1 answered" in refused.err
    assert len(oracle.batches()) == 6


def test_a_restored_record_takes_its_own_batch_over_even_with_again(server: LocalServer, oracle: LocalOracle) -> None:
    """The file that it knows was torn up since; the stop names --again."""
    requests = write_requests(Path("r.jsonl"), 3)
    (file_id,) = run("upload", requests).lines
    shutil.copytree("r.job", "backup")
    headers = {"Authorization": f"Bearer {server.key}"}
    assert http.delete(f"{server.base_url}/files/{file_id}", headers=headers).status_code == 200
    job = Job.need(requests)
    with job.locked(FastClock()):
        job.latest.parts[0].upload = None
        job.save()
    assert run("run_batch", requests).code == 0
    shutil.rmtree("r.job")
    shutil.move("backup", "r.job")

    clock = FastClock()
    clock.ahead += 1000
    assert run("create_batch", requests, clock=clock).code == 5
    again = run("create_batch", requests, "--again", clock=clock)

    assert again.code == 0, again.err
    assert "took over" in again.err
    assert len(oracle.batches()) == 1


def test_a_batch_that_was_paid_for_beside_another_jobs_after_a_yes_is_cancelled_by_neither(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = make_trouble(claim_interval=1e9, population_delay=0.0)
    first = write_requests(Path("r.jsonl"), 3).absolute()
    trouble.submit(first, "--part-requests", "2")
    Path("other").mkdir()
    shutil.copy(first, "other/s.jsonl")
    monkeypatch.chdir("other")
    assert trouble.run("upload", "s.jsonl", "--part-requests", "2").code == 0
    assert trouble.run("create_batch", "s.jsonl").code == 4
    assert trouble.run("create_batch", "s.jsonl", "--again").code == 0
    for requests in (first, "s.jsonl", first):
        assert trouble.run("poll", requests, "--once").code == 8
    assert [batch.live for batch in trouble.oracle.batches()] == [True] * 4
