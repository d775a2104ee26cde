"""Every exchange recorded from the real server, replayed against the local one.

What is compared: status, content type, the headers the contract names, shape and values of the body.
Ids and times are mapped; messages may use own words but must name the same line, fields and numbers.
Numbers that depend on the moment of the look (replay.lives says which) are held to what must hold
between them instead.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.player import Report
from replay.recording import exchanges_in_folder, scenarios
from replay.run import all_on_local_servers, all_on_real_server, describe

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
    "cancel": {*range(2, 19), *range(85, 89)},  # a cancel just before or after population begins
    "cancel_retry_race": {*range(8, 16)},  # the cancel reaches the requests before or after the retry
    "delete": {*range(26, 36)},  # what is in flight is answered before or after it is aborted
    "model_gone": {*range(7, 12)},  # the model is removed before or after the first claim
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return all_on_local_servers(MOST_SPEED, frozenset(EXCEPTIONS))


@pytest.mark.parametrize("scenario", [scenario.name for scenario in scenarios()])
def test_the_local_server_answers_as_recorded(scenario: str, reports: dict[str, Report]) -> None:
    report = reports[scenario]
    assert report.replayed > 0
    assert not report.differences, describe(report)


def test_every_recorded_exchange_was_replayed(reports: dict[str, Report], capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer than the folder holds, less the named exceptions, is a failure: a checker that skips does not pass."""
    held = exchanges_in_folder()
    replayed = sum(report.replayed for report in reports.values())
    slipped = sum(report.unseen for report in reports.values())
    reworded = sum(len(report.own_words) for report in reports.values())
    with capsys.disabled():
        print(
            f"\nreplayed {replayed} of {held} recorded exchanges ({len(EXCEPTIONS)} named exceptions; "
            f"{slipped} states of a poll slipped by, {reworded} messages in own words)"
        )
    assert held > 800
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    assert replayed == held - len(EXCEPTIONS)


def test_every_exception_names_an_exchange_that_exists() -> None:
    known = {step.where for scenario in scenarios() for step in scenario.steps}
    assert set(EXCEPTIONS) <= known


@pytest.mark.real
def test_the_real_server_answers_as_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same replay against what it was recorded from: a replay that finds differences there is itself wrong."""
    replayed, unexpected = 0, []
    for report in all_on_real_server(tmp_path):
        replayed += report.replayed
        known = PUBLISHED_VERSION_DIFFERS.get(report.scenario, set()) | CHANCE.get(report.scenario, set())
        report.differences = [(step, found) for step, found in report.differences if step.index not in known]
        if report.differences:
            unexpected.append(describe(report))
    with capsys.disabled():
        print(f"\nreplayed {replayed} recorded exchanges on the real server")
    assert replayed == exchanges_in_folder()
    assert not unexpected, "\n".join(unexpected)
