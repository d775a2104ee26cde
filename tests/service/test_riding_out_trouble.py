"""Polling through trouble: outages, Retry-After, unknown words; and its politeness."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.kinds import busy
from support.proxy.exchange import Effect, Exchange, Fault
from support.proxy.http_message import Request, text
from support.running import json_lines, write_requests

ALWAYS = 100_000
MINUTE = 60.0
FOREVER = 1e9  # seconds of the server's that never pass


def requests_of(count: int = 4) -> Path:
    return write_requests(Path("r.jsonl"), count)


def test_an_outage_shorter_than_the_time_given_is_ridden_out(trouble: Trouble) -> None:
    trouble.submit(requests_of())
    started = trouble.clock.now()
    trouble.strike(Fault("refused", "any", value=20 * MINUTE))

    polled = trouble.run("poll", "r.jsonl")

    assert (polled.code, polled.out) == (0, "completed\n"), polled.err
    assert 20 * MINUTE <= trouble.clock.now() - started <= 1500


@pytest.mark.parametrize("kind", ["503_before", "cut_before", "429_plain", "garbled_json"])
def test_when_no_status_could_be_learnt_in_all_the_time_it_is_exit_6(trouble: Trouble, kind: str) -> None:
    trouble.submit(requests_of())
    started = trouble.clock.now()
    trouble.strike(Fault(kind, "any", times=ALWAYS))

    polled = trouble.run("poll", "r.jsonl")

    assert (polled.code, polled.out) == (6, ""), polled.err
    assert "the same command again later" in polled.err
    waited = trouble.clock.now() - started
    assert 1100 <= waited <= 1501, waited
    # It backs off: thirty-second rounds would have been some fifty.
    assert 4 <= len(trouble.proxy.requests("batch", "list_batches")) - 2 <= 12


def test_a_status_learnt_before_an_outage_counts_and_the_job_is_still_running(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    trouble.submit(requests_of())
    trouble.strike(Fault("503_before", "any", nth=3, times=ALWAYS))

    polled = trouble.run("poll", "r.jsonl", "--timeout-seconds", "800")

    assert (polled.code, polled.out) == (8, "validating\n"), polled.err


@pytest.mark.parametrize("parts", [1, 2, pytest.param(103, marks=pytest.mark.slow)])
def test_a_round_costs_at_most_one_request_and_one_for_each_101_parts(make_trouble: MakeTrouble, parts: int) -> None:
    trouble = make_trouble(population_delay=FOREVER)
    trouble.submit(requests_of(parts), "--part-requests", "1")
    before = len(trouble.proxy.log)

    polled = trouble.run("poll", "r.jsonl", "--timeout-seconds", "200")

    assert polled.code == 8, polled.err
    rounds = in_rounds(trouble.proxy.log[before:])
    assert 4 <= len(rounds) <= 8
    assert max(len(found) for found in rounds) <= 1 + -(-parts // 101)
    pauses = [later[0].at - earlier[-1].at for earlier, later in itertools.pairwise(rounds)]
    assert min(pauses) >= 30
    assert len({round(pause, 3) for pause in pauses}) > 1, "no jitter"


def in_rounds(log: list[Request]) -> list[list[Request]]:
    """Requests with less than 20 s of the script's time between them belong to one round."""
    rounds: list[list[Request]] = []
    for seen in log:
        if rounds and seen.at - rounds[-1][-1].at < 20:
            rounds[-1].append(seen)
        else:
            rounds.append([seen])
    return rounds


@pytest.mark.parametrize("asked", ["7", "100000", "9" * 40])
def test_retry_after_is_waited_for_up_to_five_minutes(trouble: Trouble, asked: str) -> None:
    trouble.strike(
        Fault("asked", "models"),
        asked=lambda exchange: exchange.send(text(503, "draining", retry_after=asked)),
    )

    listed = trouble.run("list_models")

    assert listed.code == 0, listed.err
    assert trouble.clock.slept == [min(float(asked), 300.0)]


@pytest.mark.parametrize("nonsense", ["-5", "nan", "soon", "1e400", "inf", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_that_means_nothing_gives_an_ordinary_retry(trouble: Trouble, nonsense: str) -> None:
    trouble.strike(Fault("asked", "models"), asked=with_retry_after(nonsense))

    listed = trouble.run("list_models")

    assert listed.code == 0, listed.err
    assert len(trouble.clock.slept) == 1
    assert 0 <= trouble.clock.slept[0] <= 2


def test_reads_are_tried_six_times_and_no_longer_than_two_minutes_by_themselves(trouble: Trouble) -> None:
    trouble.strike(Fault("503_before", "models", times=ALWAYS))

    listed = trouble.run("list_models")

    assert (listed.code, listed.out) == (6, "")
    assert "temporarily unavailable" in listed.err
    assert len(trouble.proxy.requests("models")) == 6
    assert sum(trouble.clock.slept) <= 120


def test_polling_waits_as_long_as_the_server_asks(trouble: Trouble) -> None:
    trouble.submit(requests_of())
    trouble.strike(
        Fault("asked", "any"), asked=lambda exchange: exchange.send(text(503, "draining", retry_after="250"))
    )
    trouble.clock.slept.clear()

    assert trouble.run("poll", "r.jsonl").code == 0
    assert 250 <= trouble.clock.slept[0] <= 300


def test_a_status_word_nobody_knows_is_still_running(trouble: Trouble) -> None:
    trouble.submit(requests_of())
    trouble.strike(Fault("unknown_status", "any", times=ALWAYS))

    polled = trouble.run("poll", "r.jsonl")
    downloaded = trouble.run("download", "r.jsonl")

    assert (polled.code, polled.out) == (8, "reticulating\n")
    assert downloaded.code == 8
    assert not Path("r.results.jsonl").exists()


def test_expired_at_on_a_finished_batch_means_nothing(trouble: Trouble) -> None:
    trouble.submit(requests_of())
    trouble.strike(Fault("expired_at", "any", times=ALWAYS))

    assert trouble.run("poll", "r.jsonl").code == 0
    assert trouble.run("download", "r.jsonl").code == 0
    assert len(json_lines(Path("r.results.jsonl"))) == 4


def test_a_young_batch_that_the_replica_does_not_know_yet_is_waited_for(trouble: Trouble) -> None:
    requests = requests_of()
    assert trouble.run("upload", requests).code == 0
    trouble.strike(Fault("hidden", "submit"), hidden=hidden_for(120))
    assert trouble.run("create_batch", requests).code == 0

    polled = trouble.run("poll", requests)

    assert (polled.code, polled.out) == (0, "completed\n"), polled.err


@pytest.mark.parametrize(("seconds", "code"), [(2, 0), (70, 6)])
def test_a_young_file_whose_estimate_the_replica_does_not_know_yet_is_no_unknown_id(
    trouble: Trouble, seconds: float, code: int
) -> None:
    trouble.strike(Fault("hidden", "upload"), hidden=hidden_for(seconds))

    uploaded = trouble.run("upload", requests_of(), "--json")

    assert uploaded.code == code, uploaded.err
    trouble.clock.ahead += 60
    assert trouble.run("run_batch", "r.jsonl").code == 0
    assert len(trouble.oracle.batches()) == 1


def test_an_old_batch_that_the_server_does_not_know_is_exit_5(trouble: Trouble) -> None:
    trouble.submit(requests_of())
    trouble.clock.ahead += 10 * MINUTE
    trouble.strike(Fault("gone", "any", times=ALWAYS), gone=lambda exchange: exchange.send(text(404, "not found")))

    polled = trouble.run("poll", "r.jsonl", "--once")

    assert (polled.code, polled.out) == (5, "")


def hidden_for(seconds: float) -> Any:
    def effect(exchange: Exchange) -> None:
        answer = exchange.forward()
        until = exchange.proxy.clock.monotonic() + seconds
        exchange.proxy.time.hidden_until[json.loads(answer.body)["id"]] = until
        exchange.send(answer)

    return effect


def test_a_service_without_room_is_asked_again_no_sooner_than_it_says(trouble: Trouble) -> None:
    trouble.strike(
        Fault("asked", "submit", times=2), Fault("429_plain", "submit", nth=3, times=2), asked=with_retry_after("70")
    )

    ran = trouble.run("run_batch", requests_of())

    assert ran.code == 0, ran.err
    times = [seen.at for seen in trouble.proxy.requests("submit")]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [int(pause) for pause in pauses] == [70, 70, 30, 30]


def test_a_service_that_stays_without_room_is_exit_6_in_its_own_words_and_nothing_is_submitted(
    trouble: Trouble,
) -> None:
    trouble.strike(Fault("429_plain", "submit", times=ALWAYS))
    started = trouble.clock.now()

    ran = trouble.run("run_batch", requests_of())

    assert (ran.code, ran.out) == (6, ""), ran.err
    assert "Insufficient capacity" in ran.err
    assert 1400 <= trouble.clock.now() - started <= 1501
    assert trouble.oracle.batches() == []


def with_retry_after(asked: str) -> Effect:
    return lambda exchange: exchange.send(busy(retry_after=asked))
