"""Downloads that are cut, reordered, short, partial or repeated: nothing lost, nothing shown that is not whole."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from support.canned import Body, answer_with
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.kinds import _lines as change_lines
from support.oracle import outcome_of_files
from support.proxy.exchange import Exchange, Fault
from support.running import json_lines, write_requests

ALWAYS = 100_000
FOREVER = 1e9  # seconds of the server's that never pass
RESULTS, ERRORS, PARTIAL = Path("r.results.jsonl"), Path("r.errors.jsonl"), Path("r.partial.jsonl")


def finished(trouble: Trouble, count: int = 30) -> Path:
    requests = write_requests(Path("r.jsonl"), count)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    return requests


def assert_all_there(count: int = 30) -> None:
    ids = [f"row-{n:06}" for n in range(1, count + 1)]
    good, problems = outcome_of_files(Path(), "r", ids)
    assert problems == []
    assert good == ids


@pytest.mark.parametrize(
    "kind",
    ["lost_line", "duplicate_lines", "reordered_lines", "short_content", "torn_line", "cut_answer",
     "cut_chunked_answer", "503_before", "wrong_counts", "garbled_json", "429_plain", "cut_before"],
)  # fmt: skip
def test_trouble_on_the_way_changes_nothing_in_the_end(trouble: Trouble, kind: str) -> None:
    requests = finished(trouble)
    route = "batch" if kind in ("wrong_counts", "garbled_json") else "content"
    trouble.strike(Fault(kind, route, times=2, value=6.0))

    downloaded = trouble.run("download", requests, "--json")

    assert trouble.proxy.hits[kind], "the trouble did not come"
    assert downloaded.code == 0, downloaded.err
    assert downloaded.facts["results"] == 30
    assert_all_there()


@pytest.mark.parametrize("kind", ["cut_answer", "cut_chunked_answer"])
def test_a_cut_body_goes_on_from_the_lines_that_came(trouble: Trouble, kind: str) -> None:
    requests = finished(trouble, 200)
    trouble.strike(Fault(kind, "content", value=5.0))

    assert trouble.run("download", requests).code == 0

    first, second = trouble.proxy.requests("content")[:2]
    assert "skip" not in first.target
    skipped = re.search(r"[?&]skip=(\d+)", second.target)
    assert skipped is not None
    assert 50 <= int(skipped[1]) <= 100
    assert all("limit" not in seen.target for seen in trouble.proxy.requests("content"))
    assert_all_there(200)


def test_lines_that_stay_away_are_reported_missing_and_a_later_download_brings_them(trouble: Trouble) -> None:
    requests = finished(trouble)
    trouble.strike(Fault("short_content", "content", times=ALWAYS))

    short = trouble.run("download", requests)

    assert (short.code, short.out) == (6, "")
    assert "next: " in short.err
    assert "download.py r.jsonl" in short.err
    assert len(json_lines(RESULTS)) == 29
    assert len(trouble.proxy.requests("content")) == 8, "once, and three passes anew, of two files"
    missing = json_lines(ERRORS)
    assert [line["kind"] for line in missing] == ["unread"]
    trouble.strike()
    assert trouble.run("download", requests).code == 0
    assert_all_there()
    assert not ERRORS.exists()


def test_a_results_file_is_never_replaced_by_one_with_fewer(trouble: Trouble) -> None:
    requests = finished(trouble)
    assert trouble.run("download", requests).code == 0
    before = RESULTS.read_bytes()
    for path in Path("r.job/spool").iterdir():
        path.unlink()
    trouble.strike(Fault("short_content", "content", times=ALWAYS))

    again = trouble.run("download", requests)

    assert (again.code, again.out) == (3, "")
    assert "holds 30 results, this download brought 29" in again.err
    assert (RESULTS.read_bytes(), ERRORS.exists()) == (before, False)


def test_while_it_runs_nothing_is_written_but_with_partial_under_its_own_name(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(delay=0.0, claim_size=4, claim_interval=200.0)
    requests = write_requests(Path("r.jsonl"), 40)
    trouble.submit(requests)
    ran = trouble.run("download", requests)
    assert (ran.code, ran.out) == (8, "")
    seen: list[int] = []
    while (partial := trouble.run("download", requests, "--partial", "--json")).code == 8:
        assert not RESULTS.exists()
        assert not ERRORS.exists()
        assert partial.facts["results_file"] == str(PARTIAL)
        assert sum(partial.facts["missing"].values()) == 40 - partial.facts["results"]
        assert partial.facts["missing"].keys() <= {"running"}
        assert len(json_lines(PARTIAL)) == partial.facts["results"]
        seen.append(partial.facts["results"])
        trouble.clock.sleep(30)

    assert partial.code == 0, partial.err
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert not PARTIAL.exists()
    assert_all_there(40)


def test_a_download_soon_after_a_cancel_waits_until_the_output_no_longer_grows(make_trouble: MakeTrouble) -> None:
    # The server aborts what is in flight some seconds after the cancel; until then answers still land.
    trouble = make_trouble(delay=0.8, cancel_poll=FOREVER)
    trouble.clock.speed, trouble.clock.moment = 20.0, 2.0  # so that they land within the wait
    requests = write_requests(Path("r.jsonl"), 20)
    trouble.submit(requests)
    while trouble.run("poll", requests, "--once").out != "in_progress\n":
        pass
    (told,) = trouble.run("cancel_batch", requests, "--json").facts["batches"]
    cancelled_at = trouble.clock.now()

    downloaded = trouble.run("download", requests, "--json")

    assert trouble.clock.now() - cancelled_at >= 30
    (batch,) = trouble.oracle.batches()
    assert batch.cancelled
    assert told["completed"] < batch.completed, "nothing landed after the cancel"
    assert downloaded.facts["results"] == batch.completed
    assert downloaded.facts["missing"] == ({"cancelled": 20 - batch.completed} if batch.completed < 20 else {})
    assert downloaded.code == (0 if batch.completed == 20 else 9)


def test_a_line_of_another_batch_in_the_place_of_one_is_fetched_again_and_named(trouble: Trouble) -> None:
    requests = finished(trouble, 3)

    def stranger(exchange: Exchange) -> None:
        change_lines(exchange, lambda lines: [lines[0].replace(b"row-", b"cow-"), *lines[1:]] if lines else lines)

    trouble.strike(Fault("stranger", "content", times=ALWAYS), stranger=stranger)

    ran = trouble.run("download", requests)

    assert ran.code == 6, "the server counts an answer more than it sent"
    assert "1 line of what it sent are not this batch's" in ran.err
    assert len(json_lines(RESULTS)) == 2
    trouble.strike()
    assert trouble.run("download", requests).code == 0
    assert len(json_lines(RESULTS)) == 3


def test_a_line_too_many_is_counted_left_out_and_exit_9(trouble: Trouble) -> None:
    requests = finished(trouble, 3)

    def stranger(exchange: Exchange) -> None:
        change_lines(exchange, lambda lines: [lines[0].replace(b"row-", b"cow-"), *lines] if lines else lines)

    trouble.strike(Fault("stranger", "content", times=ALWAYS), stranger=stranger)

    ran = trouble.run("download", requests, "--json")

    assert (ran.code, ran.facts["results"], ran.facts["unexpected"]) == (9, 3, 1), ran.err
    trouble.strike()
    again = trouble.run("download", requests, "--json")
    assert (again.code, again.facts["unexpected"]) == (0, 0), "what is not this batch's stayed"


def test_a_line_too_many_of_an_attempt_over_sections_that_are_apart_is_counted_once(trouble: Trouble) -> None:
    requests, sent = write_requests(Path("r.jsonl"), 10), list[str]()

    def failing_at_first(prompt: str) -> str | Body:
        sent.append(prompt)
        fails = prompt.endswith((" 1", " 10")) and sent.count(prompt) == 1
        return {"error": {"message": "busy"}} if fails else "fine"

    answer_with(trouble.server, failing_at_first, "echo")
    trouble.submit(requests, "--part-requests", "4")
    assert trouble.run("poll", requests).code == 0
    assert trouble.run("download", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0

    def stranger(exchange: Exchange) -> None:
        change_lines(exchange, lambda lines: [lines[0].replace(b"row-", b"cow-"), *lines] if lines else lines)

    trouble.strike(Fault("stranger", "content", times=ALWAYS), stranger=stranger)
    ran = trouble.run("download", requests, "--json")
    assert (ran.code, ran.facts["results"], ran.facts["unexpected"]) == (9, 10, 1), ran.err


def test_the_record_is_as_before_when_a_finished_job_is_downloaded_again(trouble: Trouble) -> None:
    requests = finished(trouble, 5)
    assert trouble.run("download", requests).code == 0
    record = json.loads(Path("r.job/record.json").read_text())
    content = len(trouble.proxy.requests("content"))

    assert trouble.run("download", requests).code == 0

    assert json.loads(Path("r.job/record.json").read_text())["attempts"] == record["attempts"]
    assert len(trouble.proxy.requests("content")) == content, "what was fetched whole was fetched again"


def test_a_batch_that_ends_while_a_partial_download_runs_leaves_the_results_themselves(trouble: Trouble) -> None:
    """The first look finds it running; by the time its lines have come it has ended."""
    requests = finished(trouble, 5)

    def still_running(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send(answer.with_body(answer.body.replace(b'"completed", "', b'"in_progress", "')))

    record = Path("r.job/record.json")
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "in_progress"'))
    trouble.strike(Fault("running", "batch"), running=still_running)
    ran = trouble.run("download", requests, "--partial", "--json")
    assert trouble.proxy.hits["running"] == 1
    assert (ran.code, ran.facts["results"]) == (0, 5), ran.err
    assert not PARTIAL.exists()
    assert_all_there(5)


def test_a_failed_batch_says_the_servers_reason(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 2)

    def failed(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        counts = {"total": 2, "completed": 0, "failed": 0}
        reason = {"data": [{"message": "the model is no more", "line": None, "code": None}]}
        found |= {"status": "failed", "request_counts": counts, "errors": reason, "output_file_id": None}
        exchange.send(answer.with_body(json.dumps(found).encode()))

    trouble.submit(requests)
    trouble.strike(Fault("failed", "batch", times=100), failed=failed)
    ran = trouble.run("download", requests)
    assert (ran.code, "failed: the model is no more" in ran.err) == (7, True), ran.err


@pytest.mark.parametrize(
    ("command", "codes", "seconds"),
    [(("download",), (6, 7, 9), 400), (("run_batch", "--timeout-seconds", "60"), (8,), 75)],
)
def test_after_a_cancel_a_server_whose_counts_never_rest_is_not_waited_for_for_ever(
    make_trouble: MakeTrouble, command: tuple[str, ...], codes: tuple[int, ...], seconds: float
) -> None:
    trouble = make_trouble(claim_size=1, claim_interval=1e6)
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    while trouble.run("poll", requests, "--once").out != "in_progress\n":
        pass
    assert trouble.run("cancel_batch", requests).code == 0
    counted = itertools.count()

    def restless(exchange: Exchange) -> None:
        answer = exchange.forward()
        found = json.loads(answer.body)
        found["request_counts"]["completed"] = next(counted) % 2
        exchange.send(answer.with_body(json.dumps(found).encode()))

    trouble.strike(Fault("restless", "batch", times=ALWAYS), restless=restless)
    began = trouble.clock.now()
    ran = trouble.run(command[0], requests, *command[1:])

    assert ran.code in codes, ran.err
    assert trouble.clock.now() - began <= seconds
    assert (ran.out == "cancelled\n") == (ran.code == 8)
