"""Every exchange recorded from the real server, replayed against the local one.

What is compared: status, content type, the headers the contract names, shape and values of the body.
Ids and times are mapped; messages may use own words but must name the same line, fields and numbers.
Numbers that depend on the moment of the look (replay.lives says which) are held to what must hold
between them instead.
"""

from __future__ import annotations

import copy
import dataclasses
import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.replay.arrangements import Earlier, arrangement
from support.replay.local_target import local_target
from support.replay.messages import same_meaning
from support.replay.player import Player, Report
from support.replay.recording import Scenario, exchanges_in_folder, scenarios
from support.replay.run import all_on_local_servers, all_on_real_server, describe

# How many times faster than recorded, at most. The waits of all recordings add up to five minutes.
MOST_SPEED = 5.0

# Exchanges that are not replayed here, each with its reason.
EXCEPTIONS = {
    "files[58] content: HEAD": "the HTTP library of the local server marks a HEAD without a length as chunked",
}
MOST_EXCEPTIONS = 20

# On the real server: where its published crate (8.94.2) answers otherwise than the recorded version (10.13.1).
PUBLISHED_VERSION_DIFFERS = {
    "batch_create": {8, 36, 46},  # window `background`, a reserved metadata key, the fields of the request
    "batch_life": {14, 20},  # analytics without total_list_cost
    "batch_list": {51},
    "error_kinds": {16},
    "endpoints": {5, 7, 8, 12, 13},  # the shape of a /v1/responses answer, streamed direct answers
}
# On the real server: where some milliseconds decide between two outcomes and the recording holds one.
CHANCE = {
    # A cancel just before or after population begins; 32: more than two requests were aborted.
    "cancel": {*range(2, 19), 32, *range(85, 89)},
    "cancel_retry_race": {*range(5, 16)},  # the cancel reaches the requests before or after the retry
    "delete": {*range(26, 36)},  # what is in flight is answered before or after it is aborted
    "model_gone": {*range(7, 12)},  # the model is removed before or after the first claim
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Made once for all processes of a test run: the replay keeps a machine busy for many seconds."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "replayed"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            shared.write_bytes(pickle.dumps(all_on_local_servers(MOST_SPEED, frozenset(EXCEPTIONS))))
    found: dict[str, Report] = pickle.loads(shared.read_bytes())
    return found


@pytest.mark.parametrize("scenario", [scenario.name for scenario in scenarios()])
def test_the_local_server_answers_as_recorded(scenario: str, reports: dict[str, Report]) -> None:
    report = reports[scenario]
    assert report.replayed > 0
    assert not report.differences, describe(report)


def test_every_recorded_exchange_was_replayed(
    reports: dict[str, Report], record_property: Callable[[str, object], None]
) -> None:
    """Fewer than the folder holds, less the named exceptions, is a failure: a checker that skips does not pass."""
    held = exchanges_in_folder()
    replayed = sum(report.replayed for report in reports.values())
    slipped = sum(report.unseen for report in reports.values())
    reworded = sum(len(report.own_words) for report in reports.values())
    record_property(
        "figures",
        f"replayed {replayed} of {held} recorded exchanges ({len(EXCEPTIONS)} named exceptions; "
        f"{slipped} states of a poll slipped by, {reworded} messages in own words)",
    )
    assert held > 800
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    assert replayed == held - len(EXCEPTIONS)


def test_every_exception_names_an_exchange_that_exists() -> None:
    known = {step.where for scenario in scenarios() for step in scenario.steps}
    assert set(EXCEPTIONS) <= known


def _changed(scenario: Scenario, changes: dict[int, Callable[[dict[str, Any]], object]]) -> Scenario:
    """The recording with some answers altered, as if the server had answered otherwise."""
    steps = list(scenario.steps)
    for index, change in changes.items():
        response = copy.deepcopy(steps[index].response)
        change(response)
        steps[index] = dataclasses.replace(steps[index], response=response)
    return dataclasses.replace(scenario, steps=steps)


def _replace(key: str, old: str, new: str) -> Callable[[dict[str, Any]], object]:
    def change(response: dict[str, Any]) -> None:
        assert old in response[key]
        response[key] = response[key].replace(old, new)

    return change


CHANGES: dict[str, dict[int, Callable[[dict[str, Any]], object]]] = {
    "files": {
        7: lambda r: r["body_json"].update(bytes=1),
        8: lambda r: r["body_json"].update(filename="other.jsonl"),
        9: lambda r: r["body_json"].pop("purpose"),
        10: lambda r: r.update(status=404),
        13: _replace("body_text", "000000000001", "000000000002"),
        15: lambda r: r["body_json"].update(has_more=False),
        17: lambda r: r["body_json"]["data"].pop(),
        21: lambda r: r["headers"].update({"content-type": "application/json"}),
        38: lambda r: r.update(body_lines_total=149),
        41: lambda r: r["headers"].update({"x-last-line": "3"}),
        43: lambda r: r["headers"].update({"x-incomplete": "false"}),
        47: lambda r: r["headers"].pop("x-incomplete"),
        52: lambda r: r["body_ndjson"][0].update(custom_id="c0"),
        61: lambda r: r["body_json"].update(total_estimated_cost="0.00050351"),
        69: lambda r: r["body_json"].update(deleted=1),
        77: lambda r: r["body_json"].update(expires_at=r["body_json"]["expires_at"] + 3600),
    },
    "upload_bad": {
        0: _replace("body_text", "on line 1", "on line 2"),
        12: _replace("body_text", "`custom_id`", "`method`"),
        26: _replace("body_text", "got 65", "got 66"),
        33: _replace("body_text", "/v1/embeddings", "/v1/audio"),
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_answer_that_differs_is_seen(name: str, tmp_path: Path) -> None:
    """The replay itself: every kind of change to what was recorded is reported, and nothing else."""
    scenario = next(scenario for scenario in scenarios() if scenario.name == name)
    with local_target(tmp_path / "server", arrangement(name), MOST_SPEED) as target:
        Earlier(target).usual()
        report = Player(_changed(scenario, CHANGES[name]), target, frozenset(EXCEPTIONS)).play()
    assert sorted(step.index for step, _ in report.differences) == sorted(CHANGES[name]), describe(report)


def test_own_words_must_say_the_same() -> None:
    assert same_meaning("Line 3: unknown url '/v1/x'", "The url '/v1/x' of line 3 is not one of ours")
    assert not same_meaning("Line 3: unknown url '/v1/x'", "Line 2: unknown url '/v1/x'")
    assert not same_meaning("Line 3: unknown url '/v1/x'", "Line 3: unknown url")
    assert not same_meaning("at most 64 bytes", "at most 65 bytes")
    assert not same_meaning("something is wrong", "")


@pytest.mark.recorded_again
def test_the_real_server_answers_as_recorded(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The same replay against what it was recorded from: a replay that finds differences there is itself wrong."""
    replayed, unexpected = 0, []
    for report in all_on_real_server(tmp_path):
        replayed += report.replayed
        known = PUBLISHED_VERSION_DIFFERS.get(report.scenario, set()) | CHANCE.get(report.scenario, set())
        report.differences = [(step, found) for step, found in report.differences if step.index not in known]
        if report.differences:
            unexpected.append(describe(report))
    record_property("figures", f"replayed {replayed} recorded exchanges on the real server")
    assert replayed == exchanges_in_folder()
    assert not unexpected, "\n".join(unexpected)
