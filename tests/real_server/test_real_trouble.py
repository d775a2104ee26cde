"""On the vendor's own server: requests that fail, batches that are cancelled or get stuck."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from real_server.case import Case, ids, quick
from support.running import FastClock, chat_line, json_lines

pytestmark = pytest.mark.real

REQUESTS, RESULTS, ERRORS = Path("r.jsonl"), Path("r.results.jsonl"), Path("r.errors.jsonl")

# What a marker in the prompt makes of a request in the end: "" is a result.
KINDS = {
    "fine": "",
    "[[400]]": "http_400",
    "[[401]]": "http_401",
    "[[403]]": "http_403",
    "[[404]]": "http_404",
    "[[408]]": "http_408",
    "[[409]]": "http_409",
    "[[413]]": "http_413",
    "[[422]]": "http_422",
    "[[429]]": "http_429",
    "[[500]]": "http_500",
    "[[502]]": "http_502",
    "[[503]]": "http_503",
    "[[html]]": "not_json",
    "[[empty]]": "not_json",
    "[[nonjson]]": "not_json",
    "[[badjson]]": "not_json",
    "[[sse]]": "not_json",
    "[[drop]]": "http_502",  # the proxy in between answers for the model that hung up
    "[[hang]]": "timeout",
    "[[first 2 503]]": "",
    "[[first 4 504]]": "http_504",  # the server tries three times; the next attempt brings its result
}
REFUSED_FOR_GOOD = {"http_401", "http_403", "http_413", "http_422"}  # a 400 is tried once more


def test_every_kind_of_failure_is_told_apart_and_retried_where_that_can_help(real: Case) -> None:
    prompts = {f"row-{n:02}": marker for n, marker in enumerate(KINDS, 1)}
    lines = [chat_line(name, f"{marker} {name} {real.tag}", "mock-any") for name, marker in prompts.items()]
    REQUESTS.write_text("".join(lines))
    done = real.run_batch(REQUESTS, "--json")
    assert done.code == 9, done.err
    got = {line["custom_id"]: "" for line in json_lines(RESULTS)}
    got |= {line["custom_id"]: line["kind"] for line in json_lines(ERRORS)}
    assert got == {name: KINDS[marker] for name, marker in prompts.items()}
    assert (done.facts["results"], done.facts["missing"], done.facts["unexpected"]) == (2, {}, 0)
    texts = {line["custom_id"]: line["text"] for line in json_lines(ERRORS)}
    assert all(texts.values()), texts
    assert "mock upstream says 400" in texts["row-02"]

    planned = real.run("retry_failed", REQUESTS, "--json")

    assert planned.code == 0, planned.err
    assert set(planned.facts["left_out"]) == REFUSED_FOR_GOOD
    assert planned.facts["requests"] == len(KINDS) - 2 - len(REFUSED_FOR_GOOD)
    assert ids(Path("r.job/attempt-2.jsonl")) == [
        name for name in got if got[name] and got[name] not in REFUSED_FOR_GOOD
    ]

    # The plan of which nothing was sent gives way to a smaller one.
    only = real.run(
        "retry_failed", REQUESTS, "--only", "http_504", "--only", "http_400", "--include-permanent", "--json"
    )
    assert only.facts["kinds"] == {"http_504": 1, "http_400": 1}
    again = real.run_batch(REQUESTS, "--json")
    assert again.code == 9, again.err
    assert again.facts["results"] == 3
    assert ids(RESULTS) == [name for name, marker in prompts.items() if marker in ("fine", "[[first 2 503]]",
                                                                                    "[[first 4 504]]")]  # fmt: skip
    assert [batch.total for batch in real.oracle.batches()] == [len(KINDS), 2]


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 5000])
def test_cancelled_right_after_it_was_made_nothing_lives_and_nothing_submits_the_rest(real: Case, count: int) -> None:
    """5,000 requests are still being taken in (`validating`) when the cancel comes."""
    real.write(REQUESTS, count, "[[slow 3000]] {n}")
    batch_id = real.submit(REQUESTS)
    cancelled = real.run("cancel_batch", REQUESTS, "--json")
    assert cancelled.code == 0, cancelled.err
    (told,) = cancelled.facts["batches"]
    assert told["action"] == "is cancelled now"
    assert told["status"] in ("cancelling", "cancelled")
    (batch,) = real.oracle.batches()
    assert (batch.id, batch.cancelled) == (batch_id, True)
    # What is in flight is aborted within 5 s; then nothing more can come in.
    deadline = time.monotonic() + 20
    while set(real.oracle.states(batch_id)) & {"claimed", "processing"}:
        assert time.monotonic() < deadline, real.oracle.states(batch_id)
        time.sleep(0.2)
    again = real.run_batch(REQUESTS, "--json", clock=quick())
    answered = len(real.oracle.answers())
    assert again.code == (9 if answered else 7), again.err
    assert again.facts["missing"] == {"cancelled": count - answered}
    assert len(real.oracle.batches()) == 1


def test_cancelled_while_it_runs_what_was_answered_stays_and_the_rest_is_answered_once(real: Case) -> None:
    """The output grows after the cancel: this takes the half minute that the scripts wait for it."""
    with real.model("four-at-a-time", batch_capacity=4) as model:
        expected = real.write(REQUESTS, 24, "[[slow 900]] {n}", model)
        real.submit(REQUESTS)
        while real.run("poll", REQUESTS, "--once", "--json").facts["completed"] < 4:
            time.sleep(0.1)
        cancelled = real.run("cancel_batch", REQUESTS, "--json")
        at_once = cancelled.facts["batches"][0]["completed"]
        refused = real.run("create_batch", REQUESTS)
        assert refused.code == 0, "nothing is left to be submitted: its one part has a batch"
        partly = real.run("download", REQUESTS, "--json")
        assert partly.code == 9, partly.err
        answered = real.oracle.answers()
        assert at_once <= len(answered) < 24
        assert ids(RESULTS) == sorted(answered)
        assert partly.facts["missing"] == {"cancelled": 24 - len(answered)}
        assert real.run("retry_failed", REQUESTS).code == 0
        done = real.run_batch(REQUESTS)
    assert done.code == 0, done.err
    assert ids(RESULTS) == expected
    assert real.oracle.answered_twice() == []
    assert len(real.oracle.batches()) == 2


def test_a_cancel_of_a_completed_batch_leaves_it_alone(real: Case) -> None:
    real.write(REQUESTS, 2)
    real.submit(REQUESTS)
    assert real.ended(REQUESTS).code == 0
    cancelled = real.run("cancel_batch", REQUESTS)
    assert cancelled.code == 0, cancelled.err
    assert "had ended before (completed): 2 of 2 answered" in cancelled.err
    assert [(batch.live, batch.cancelled) for batch in real.oracle.batches()] == [(True, False)]


# --- stuck ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way_out", ["replace", "cancel"])
def test_a_model_removed_under_a_running_batch_is_named_as_stuck_and_there_is_a_way_out(
    real: Case, way_out: str
) -> None:
    with real.model(f"removed-{way_out}", batch_capacity=1) as model:
        real.write(REQUESTS, 6, "[[slow 100]] {n}", model)
        batch_id = real.submit(REQUESTS)
        while real.run("poll", REQUESTS, "--once", "--json").facts["completed"] < 1:
            time.sleep(0.1)
    time.sleep(1.5)  # one that was claimed may still be answered
    # Its counts stand still: on this clock more than an hour passes in a second or two.
    clock = FastClock(0.05)
    stuck = real.run("poll", REQUESTS, "--interval-seconds", "300", "--timeout-seconds", "9000", "--json", clock=clock)
    assert stuck.code == 8, stuck.err
    assert f"batch {batch_id} is stuck: in_progress for" in stuck.facts["stuck"]
    assert "the model has been removed" in stuck.err
    assert set(real.oracle.states(batch_id)) == {"completed", "pending"}

    if way_out == "replace":
        ended = real.run("create_batch", REQUESTS, "--replace-stuck", clock=clock)
    else:
        ended = real.run("cancel_batch", REQUESTS, clock=clock)
    assert ended.code == 0, ended.err

    assert not real.oracle.live()
    partly = real.run("download", REQUESTS, "--json", clock=clock)
    assert (partly.code, partly.facts["results"]) == (9, len(real.oracle.answers())), partly.err
    # The rest can be planned, but the server takes no request for a model that is gone.
    assert real.run("retry_failed", REQUESTS, clock=clock).code == 0
    refused = real.run_batch(REQUESTS)
    assert refused.code == 3, refused.err
    assert model in refused.err
    assert len(real.oracle.batches()) == 1
