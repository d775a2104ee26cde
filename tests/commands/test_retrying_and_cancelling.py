"""Another attempt for what failed, was cancelled or is missing; and what a cancel leaves and forbids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from local_server.replies import Reply
from local_server.settings import REHEARSAL_PRICE, FailRule, ModelSpec
from support.canned import chat_body
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.kinds import _lines as change_lines
from support.proxy.exchange import Exchange, Fault
from support.running import chat_line, json_lines, write_requests

RESULTS, ERRORS = Path("r.results.jsonl"), Path("r.errors.jsonl")
FOREVER = 1e9
ALWAYS = 100_000


@pytest.fixture
def trouble(make_trouble: MakeTrouble) -> Trouble:
    rules = {"refuse": 400, "odd": 418, "down": 500}
    return make_trouble(max_retries=0, fail=[FailRule.parse(f"{word}={status}") for word, status in rules.items()])


def request_file(*prompts: str) -> Path:
    path = Path("r.jsonl")
    path.write_text("".join(chat_line(f"id-{n}", prompt) for n, prompt in enumerate(prompts)))
    return path


def ids(path: Path) -> list[str]:
    return [str(line["custom_id"]) for line in json_lines(path)]


def mend(trouble: Trouble) -> None:
    """From now on the models answer everything."""
    trouble.server.settings.fail.clear()


def test_only_what_failed_is_tried_again_and_the_results_are_merged_in_order(trouble: Trouble) -> None:
    requests = request_file("a", "down", "b", "odd", "refuse", "c")
    assert trouble.run("run_batch", requests, "--part-requests", "2").code == 9
    assert {line["kind"] for line in json_lines(ERRORS)} == {"http_500", "http_418", "http_400"}
    mend(trouble)

    planned = trouble.run("retry_failed", requests, "--json")

    assert planned.code == 0, planned.err
    assert planned.facts["kinds"] == {"http_500": 1, "http_418": 1, "http_400": 1}
    assert planned.facts["left_out"] == {}
    assert ids(Path("r.job/attempt-2.jsonl")) == ["id-1", "id-3", "id-4"]
    assert trouble.run("run_batch", requests).code == 0
    assert ids(RESULTS) == [f"id-{n}" for n in range(6)]
    # A result is never asked for again: those that failed were answered a second time, the others once.
    assert trouble.oracle.done() == {"id-0": 1, "id-1": 2, "id-2": 1, "id-3": 2, "id-4": 2, "id-5": 1}
    assert trouble.run("retry_failed", requests, "--json").facts["request_file"] is None


def test_what_was_refused_for_good_before_the_latest_attempt_is_listed_as_failed(trouble: Trouble) -> None:
    requests = request_file("a", "refuse", "down")
    assert trouble.run("run_batch", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 9
    trouble.server.settings.fail[:] = [FailRule.parse("refuse=400")]
    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 9
    _, listed = trouble.run("list_batches", "--local").lines
    assert listed.split("\t")[1:4] == ["completed", "2/3", "1"]


def test_a_400_of_the_models_service_is_tried_once_more_and_then_only_when_asked(trouble: Trouble) -> None:
    requests = request_file("a", "refuse", "refuse too")
    assert trouble.run("run_batch", requests).code == 9
    once_more = trouble.run("retry_failed", requests)
    assert (once_more.code, once_more.lines) == (0, ["r.job/attempt-2.jsonl"])
    assert trouble.run("run_batch", requests).code == 9

    nothing = trouble.run("retry_failed", requests)

    assert (nothing.code, nothing.out) == (9, "")
    assert "left out: 2 requests (http_400), refused for good" in nothing.err
    assert "retry_failed.py r.jsonl --include-permanent" in nothing.err
    assert not Path("r.job/attempt-3.jsonl").exists()
    mend(trouble)
    assert trouble.run("retry_failed", requests, "--include-permanent").code == 0
    assert trouble.run("run_batch", requests).code == 0
    assert ids(RESULTS) == ["id-0", "id-1", "id-2"]


def test_answers_that_were_cut_are_asked_for_again_with_a_longer_limit_when_one_is_named(
    make_trouble: MakeTrouble,
) -> None:
    trouble = make_trouble()
    Path("r.jsonl").write_text(
        chat_line("long", "one two three four five six seven eight", max_tokens=4)
        + chat_line("short", "x", max_tokens=40)
    )
    cut = trouble.run("run_batch", Path("r.jsonl"), "--json")
    assert (cut.code, cut.facts["cut"]) == (0, 1)
    left = trouble.run("retry_failed", Path("r.jsonl"))
    assert (left.code, left.out) == (0, "")
    assert "--max-tokens N" in left.err

    planned = trouble.run("retry_failed", Path("r.jsonl"), "--max-tokens", "60", "--json")

    assert planned.facts["kinds"] == {"cut": 1}
    (request,) = json_lines(Path("r.job/attempt-2.jsonl"))
    (before, _) = json_lines(Path("r.jsonl"))
    assert request == before | {"body": before["body"] | {"max_tokens": 60}}
    whole = trouble.run("run_batch", Path("r.jsonl"), "--json")
    assert (whole.code, whole.facts["cut"], whole.facts["results"]) == (0, 0, 2)
    again = trouble.run("retry_failed", Path("r.jsonl"), "--max-tokens", "60")
    assert again.code == 2, "the same limit would bring the same answer"


class Short:
    """Cuts every answer but those under a limit of 100 and more; of these it answers none, or all."""

    def __init__(self) -> None:
        self.spec = ModelSpec("CHAT", price=REHEARSAL_PRICE)
        self.limits: list[int] = []
        self.down = False

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        del path
        self.limits.append(request["max_tokens"])
        if request["max_tokens"] < 100:
            return Reply(200, chat_body('{"answ', "length"))
        return Reply(500, {"error": {"message": "no"}}) if self.down else Reply(200, chat_body("x"))


def test_what_was_cut_is_never_asked_for_again_under_the_limit_of_then(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(max_retries=0)
    model = Short()
    trouble.server.app.registry.add("short", model)
    Path("t.txt").write_text("a\nb\n")
    flags = ["--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "short", "--max-tokens", "5"]
    assert trouble.run("create_batch_file", "r.jsonl", *flags, "--choices", "x,y").code == 0
    assert trouble.run("run_batch", "r.jsonl").code == 9
    model.down = True
    assert trouble.run("retry_failed", "r.jsonl", "--max-tokens", "100").code == 0
    assert trouble.run("run_batch", "r.jsonl").code == 9
    model.down = False

    assert trouble.run("retry_failed", "r.jsonl").code == 0
    assert trouble.run("run_batch", "r.jsonl").code == 0
    assert set(model.limits[2:]) == {100}


def test_only_the_kinds_that_were_named_are_tried_again(trouble: Trouble) -> None:
    requests = request_file("a", "down", "odd")
    assert trouble.run("run_batch", requests).code == 9

    planned = trouble.run("retry_failed", requests, "--only", "http_418", "--json")

    assert (planned.facts["kinds"], planned.facts["left_out"]) == ({"http_418": 1}, {"http_500": 1})
    assert ids(Path("r.job/attempt-2.jsonl")) == ["id-2"]


def test_no_more_attempts_than_allowed_are_planned(trouble: Trouble) -> None:
    requests = request_file("a", "down")
    assert trouble.run("run_batch", requests).code == 9
    assert trouble.run("retry_failed", requests, "--max-attempts", "2").code == 0
    assert trouble.run("run_batch", requests).code == 9

    refused = trouble.run("retry_failed", requests, "--max-attempts", "2")

    assert (refused.code, refused.out) == (3, "")
    assert "--max-attempts" in refused.err


def test_while_an_attempt_is_open_no_other_is_planned(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = request_file("a", "b")
    trouble.submit(requests)

    refused = trouble.run("retry_failed", requests)

    assert (refused.code, refused.out) == (8, "")
    assert len(json.loads(Path("r.job/record.json").read_text())["attempts"]) == 1


def test_a_job_of_which_everything_failed_is_whole_after_another_attempt(trouble: Trouble) -> None:
    requests = request_file("down", "down too")
    first = trouble.run("run_batch", requests, "--json")
    assert first.code == 9, "there is an error for each: not nothing at all"
    assert first.facts["status"] == "failed"
    assert trouble.run("poll", requests).code == 7
    mend(trouble)

    assert trouble.run("retry_failed", requests).code == 0
    assert trouble.run("run_batch", requests).code == 0
    assert ids(RESULTS) == ["id-0", "id-1"]


def test_lines_that_the_server_counts_and_did_not_send_are_never_paid_for_again(trouble: Trouble) -> None:
    requests = request_file("a", "b", "c")
    trouble.strike(Fault("first_only", "content", times=ALWAYS), first_only=first_line_only)
    assert trouble.run("run_batch", requests).code == 6
    assert [line["kind"] for line in json_lines(ERRORS)] == ["unread"] * 2

    planned = trouble.run("retry_failed", requests)

    assert (planned.code, planned.out) == (6, ""), planned.err
    assert "download.py r.jsonl" in planned.err
    assert len(trouble.oracle.batches()) == 1
    trouble.strike()
    assert trouble.run("download", requests).code == 0
    assert ids(RESULTS) == ["id-0", "id-1", "id-2"]


def first_line_only(exchange: Exchange) -> None:
    change_lines(exchange, lambda lines: lines[:1])


# --- cancelling ---


def test_a_cancel_marks_the_job_and_only_resume_lets_the_rest_be_submitted(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(Fault("402_before", "submit", nth=2))
    assert trouble.run("run_batch", requests, "--part-requests", "2").code == 4
    assert len(trouble.oracle.batches()) == 1

    cancelled = trouble.run("cancel_batch", requests, "--json")

    assert cancelled.code == 0, cancelled.err
    assert cancelled.facts["not_submitted"] == 1
    for command in ("create_batch", "run_batch"):
        refused = trouble.run(command, requests)
        assert (refused.code, refused.out) == (4, ""), refused.err
        assert "--resume" in refused.err
    assert len(trouble.oracle.batches()) == 1
    assert trouble.run("cancel_batch", requests, "--resume").code == 0
    assert trouble.run("create_batch", requests).code == 0
    first, second = trouble.oracle.batches()
    assert first.cancelled
    assert not second.cancelled


def test_cancelled_requests_are_named_and_another_attempt_brings_exactly_them(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(delay=0.0, claim_size=3, claim_interval=500.0)  # three answers each half second
    requests = write_requests(Path("r.jsonl"), 30)
    trouble.submit(requests)
    while trouble.run("poll", requests, "--once", "--json").facts["completed"] < 3:
        pass
    cancelled = trouble.run("cancel_batch", requests, "--json")
    trouble.server.settings.claim_size = 0
    (told,) = cancelled.facts["batches"]
    assert (told["status"], told["total"]) == ("cancelled", 30)
    assert told["completed"] >= 3
    partly = trouble.run("download", requests, "--json")
    assert partly.code == 9, partly.err
    assert partly.facts["missing"] == {"cancelled": 30 - partly.facts["results"]}

    assert trouble.run("retry_failed", requests).code == 0
    finished = trouble.run("run_batch", requests)

    assert finished.code == 0, finished.err
    assert len(ids(RESULTS)) == 30
    assert trouble.oracle.answered_twice() == []


def test_a_batch_that_has_ended_is_left_alone(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble()
    requests = write_requests(Path("r.jsonl"), 3)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0

    cancelled = trouble.run("cancel_batch", requests)

    assert cancelled.code == 0
    assert "had ended before (completed): 3 of 3 answered" in cancelled.err
    assert trouble.proxy.requests("cancel") == []
    assert [batch.cancelled for batch in trouble.oracle.batches()] == [False]


@pytest.mark.parametrize("kind", ["cut_after", "500_after", "503_before", "late"])
def test_a_cancel_finds_out_first_what_became_of_a_lost_submission(make_trouble: MakeTrouble, kind: str) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    requests = write_requests(Path("r.jsonl"), 3)
    assert trouble.run("upload", requests).code == 0
    # The submission is lost, and then everything else is, too: the intent stays on record.
    trouble.strike(Fault(kind, "submit", value=500.0), Fault("503_before", "list_batches", nth=2, times=ALWAYS))
    assert trouble.run("create_batch", requests).code == 6
    trouble.strike()

    cancelled = trouble.run("cancel_batch", requests)
    trouble.proxy.release_all()

    assert cancelled.code == 0, cancelled.err
    assert trouble.oracle.all_ended(), "something runs on after the cancel"
    assert trouble.run("create_batch", requests).code in (0, 4)
    assert trouble.oracle.all_ended()


# --- a job known only by its batch id ---


def batch_made_elsewhere(trouble: Trouble, *prompts: str) -> str:
    """A batch of which this folder has no record."""
    requests = request_file(*prompts)
    trouble.submit(requests)
    batch_id = str(trouble.oracle.batches()[0].id)
    shutil.rmtree("r.job")
    for path in Path().iterdir():
        path.unlink()
    return batch_id


@pytest.mark.parametrize("prefix", ["", "batch-", "batch_"])
def test_a_raw_batch_id_is_polled_downloaded_and_retried_without_any_record(trouble: Trouble, prefix: str) -> None:
    raw = prefix + (batch_id := batch_made_elsewhere(trouble, "a", "down", "b"))
    assert trouble.run("poll", raw).code == 0
    downloaded = trouble.run("download", raw)
    assert downloaded.code == 9, downloaded.err
    mend(trouble)

    assert trouble.run("retry_failed", raw).code == 0
    finished = trouble.run("run_batch", f"batch-{batch_id}.jsonl")

    assert finished.code == 0, finished.err
    assert ids(Path(f"batch-{batch_id}.results.jsonl")) == ["id-0", "id-1", "id-2"]


def test_a_raw_batch_id_is_cancelled_without_any_record(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    raw = batch_made_elsewhere(trouble, "a")

    assert trouble.run("cancel_batch", raw).code == 0

    assert trouble.oracle.all_ended()
    assert list(Path().iterdir()) == []


def test_an_id_that_the_server_does_not_know_is_exit_5(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble()
    unknown: dict[str, Any] = {}
    for command in ("poll", "download", "retry_failed", "cancel_batch"):
        ran = trouble.run(command, "3f2b4c1a-0000-4000-8000-000000000000")
        unknown[command] = (ran.code, ran.out)
    assert unknown == dict.fromkeys(unknown, (5, ""))
