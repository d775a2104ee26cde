"""On the vendor's own server: nothing is paid twice, whatever happens between the scripts and it.

What the server did is read from its database. The scripts' waits for a lagging server are cut short where they do
not matter; the server's own times are real.
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from real_server.case import LOOK, Case, ids, quick, record
from support.crash.child import Child
from support.proxy.exchange import Drop, First, Moment, drop
from support.proxy.http_message import Answer, Request
from support.running import json_lines

pytestmark = pytest.mark.real

REQUESTS, RESULTS = Path("r.jsonl"), Path("r.results.jsonl")
RUN_BATCH = ("run_batch", "r.jsonl", "--part-requests", "4", *LOOK)
UPLOADS, SUBMISSIONS, CONTENTS = ("POST", "/files"), ("POST", "/batches"), ("GET", "/content")


def require_sound(real: Case, expected: list[str], parts: int) -> None:
    """Each part has one live batch, each request one answer, and the results are those answers in order."""
    assert real.oracle.live_twice() == []
    assert len(real.oracle.live()) == parts
    assert real.oracle.answers() == dict.fromkeys(expected, 1)
    assert ids(RESULTS) == expected


# --- answers that are lost -----------------------------------------------------------------------


def test_an_answer_lost_after_the_server_made_the_batch_has_it_adopted(real: Case) -> None:
    expected = real.write(REQUESTS, 4)
    lost = First(Moment.ANSWERED, SUBMISSIONS, drop)
    with real.through(lost):
        done = real.run_batch(REQUESTS, clock=quick())
    assert (lost.done, done.code) == (1, 0), done.err
    assert "finding out whether it was submitted" in done.err
    assert "took over batch" in done.err
    assert len(real.oracle.batches()) == 1
    require_sound(real, expected, parts=1)


def test_a_send_lost_before_the_server_had_it_tears_up_the_ticket_and_sends_a_new_one(real: Case) -> None:
    expected = real.write(REQUESTS, 4)
    assert real.run("upload", REQUESTS).code == 0
    (ticket,) = [part["upload"]["file_id"] for part in record(REQUESTS)["attempts"][0]["parts"]]
    lost = First(Moment.ARRIVED, SUBMISSIONS, drop)
    with real.through(lost) as proxy:
        done = real.run_batch(REQUESTS, clock=quick())
        deleted = [request.path.rsplit("/", 1)[1] for request in proxy.log if request.method == "DELETE"]
    assert (lost.done, done.code) == (1, 0), done.err
    assert "it was not submitted; its file was deleted" in done.err
    assert deleted == [ticket]
    assert not real.oracle.file_is_there(ticket)
    assert len(real.oracle.batches()) == 1
    require_sound(real, expected, parts=1)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4, 4.0])
def test_a_send_carried_out_late_never_makes_a_second_live_batch(real: Case, seconds: float) -> None:
    """The scripts give up on it after about a second here, so 4 s is long after the ticket was torn up."""
    expected = real.write(REQUESTS, 4)
    answers: list[Answer] = []
    senders: list[threading.Thread] = []

    def later(request: Request) -> None:
        def send() -> None:
            time.sleep(seconds)
            answers.append(proxy.carry_out(request))

        senders.append(threading.Thread(target=send))
        senders[0].start()
        raise Drop

    with real.through(First(Moment.ARRIVED, SUBMISSIONS, later)) as proxy:
        done = real.run_batch(REQUESTS, clock=quick())
        senders[0].join()
    assert done.code == 0, done.err
    if seconds == 4.0:
        assert answers[0].status == 404, answers
        assert len(real.oracle.batches()) == 1
    require_sound(real, expected, parts=1)


def test_an_upload_whose_answer_is_lost_is_found_by_its_name(real: Case) -> None:
    expected = real.write(REQUESTS, 4)
    lost = First(Moment.ANSWERED, UPLOADS, drop)
    with real.through(lost) as proxy:
        done = real.run_batch(REQUESTS, clock=quick())
        uploads = [request for request in proxy.log if request.is_(*UPLOADS)]
    assert (lost.done, done.code, len(uploads)) == (1, 0, 1), done.err
    require_sound(real, expected, parts=1)


def test_an_outage_of_the_server_is_ridden_out(real: Case) -> None:
    """It goes away while the batch runs, and comes back; what it was at goes on where it was."""
    expected = real.write(REQUESTS, 6, "[[slow 1500]] {n}")
    real.submit(REQUESTS)
    real.server.stop_server()
    threading.Timer(1.0, real.server.start).start()
    done = real.run_batch(REQUESTS)
    assert done.code == 0, done.err
    assert "cannot reach" in done.err
    assert ids(RESULTS) == expected
    assert len(real.oracle.batches()) == 1


# --- kill -9 -------------------------------------------------------------------------------------

MOMENTS = [
    (Moment.ARRIVED, UPLOADS),
    (Moment.ANSWERED, UPLOADS),
    (Moment.DELIVERED, UPLOADS),
    (Moment.ARRIVED, SUBMISSIONS),
    (Moment.SENT, SUBMISSIONS),
    (Moment.ANSWERED, SUBMISSIONS),
    (Moment.DELIVERED, SUBMISSIONS),
    (Moment.HALF, CONTENTS),
]


@pytest.mark.parametrize(("moment", "what"), MOMENTS)
def test_killed_at_this_moment_and_run_again_it_is_whole_and_paid_once(
    real: Case, moment: Moment, what: tuple[str, str]
) -> None:
    expected = real.write(REQUESTS, 7)
    real.killed_at(moment, what, RUN_BATCH)
    command, *arguments = RUN_BATCH
    done = real.run(command, *arguments, clock=quick())
    assert done.code == 0, done.err
    require_sound(real, expected, parts=2)
    again = real.run(command, *arguments)
    assert (again.code, again.out) == (0, done.out)
    assert len(real.oracle.live()) == 2


def test_killed_again_and_again_it_still_comes_to_the_end(real: Case) -> None:
    """Kills at no moment in particular: each copy lives a little longer than the one before."""
    expected = real.write(REQUESTS, 12, "[[slow 2500]] {n}")  # no copy of the first three lives to see an answer
    kills = 0
    for tenths in (3, 7, 11, 15, 19, 23):
        child = Child(Path.cwd(), RUN_BATCH, fast=False)
        time.sleep(tenths / 10)
        child.kill()
        kills += child.wait().killed
        if RESULTS.exists():
            break
    assert kills >= 3
    command, *arguments = RUN_BATCH
    done = real.run(command, *arguments, clock=quick())
    assert done.code == 0, done.err
    require_sound(real, expected, parts=3)


# --- two copies ----------------------------------------------------------------------------------


def test_two_copies_started_at_once_submit_each_part_once(real: Case) -> None:
    expected = real.write(REQUESTS, 12, "[[rand 5 500]] {n}")
    copies = [Child(Path.cwd(), RUN_BATCH, fast=False) for _ in range(2)]
    ended = [copy.wait() for copy in copies]
    assert {copy.code for copy in ended} <= {0, 6}, ended
    assert 0 in {copy.code for copy in ended}
    assert len(real.oracle.batches()) == 3
    require_sound(real, expected, parts=3)


def test_two_machines_that_submit_the_same_file_end_with_one_live_batch_for_each_part(real: Case) -> None:
    """Two folders stand for two machines: no lock is shared, only the account."""
    expected = real.write(REQUESTS, 8, "[[slow 2500]] {n}")
    folders = [Path.cwd(), Path("../other")]
    folders[1].mkdir()
    shutil.copy(REQUESTS, folders[1])
    ended = [copy.wait() for copy in [Child(folder, RUN_BATCH, fast=False) for folder in folders]]
    codes = sorted(copy.code for copy in ended)
    assert codes[0] == 0, ended
    assert codes[1] in (0, 4), ended  # the slower one is told of the other's batch, or both have it
    assert real.oracle.live_twice() == []
    assert len(real.oracle.live()) == 2
    for folder, copy in zip(folders, ended, strict=True):
        if copy.code == 0:
            assert [line["custom_id"] for line in json_lines(folder / RESULTS)] == expected


def test_another_jobs_batch_is_named_adopted_or_paid_again_as_the_user_says(real: Case) -> None:
    expected = real.write(REQUESTS, 3)
    first = real.submit(REQUESTS)
    for name in ("adopt", "again"):
        Path(name).mkdir()
        shutil.copy(REQUESTS, name)
        refused = real.run_batch(Path(name, "r.jsonl"))
        assert (refused.code, refused.out) == (4, ""), refused
        assert f"batch {first}" in refused.err
        created = real.run("create_batch", Path(name, "r.jsonl"), f"--{name}")
        assert created.code == 0, created.err
        assert (created.lines == [first]) is (name == "adopt")
        assert real.run_batch(Path(name, "r.jsonl")).code == 0
        assert ids(Path(name, "r.results.jsonl")) == expected
    assert len(real.oracle.live()) == 2


def test_a_lost_record_is_made_anew_from_the_batch_the_server_still_has(real: Case) -> None:
    expected = real.write(REQUESTS, 3)
    first = real.submit(REQUESTS)
    Path("r.job/record.json").unlink()
    refused = real.run_batch(REQUESTS)
    assert (refused.code, first in refused.err) == (4, True), refused
    adopted = real.run("create_batch", REQUESTS, "--adopt")
    assert (adopted.code, adopted.lines) == (0, [first]), adopted.err
    assert real.run_batch(REQUESTS).code == 0
    assert ids(RESULTS) == expected
    assert len(real.oracle.batches()) == 1
