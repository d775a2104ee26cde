"""Replays scenarios against the local server, each on a fresh one, or all of them against the real server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from support.replay.arrangements import Earlier, arrangement
from support.replay.local_target import local_target
from support.replay.player import Player, Report
from support.replay.real_target import RealTarget
from support.replay.recording import Scenario, scenarios

# Scenarios wait most of the time; more at once would make the long uploads late for their moments.
AT_ONCE = 6
# How many seconds a scenario may take before it is made faster.
GOOD_TIME = 8.0


def on_local_server(name: str, speed: float, skip: frozenset[str]) -> Report:
    """One scenario on a local server of its own.

    A moment missed on a busy machine looks like a difference: where there is one, it has to show at the recording's own
    speed, too.
    """
    report = _once_on_local_server(name, speed, skip)
    return _once_on_local_server(name, 1.0, skip) if report.differences else report


def _once_on_local_server(name: str, speed: float, skip: frozenset[str]) -> Report:
    arranged = arrangement(name)
    with (
        tempfile.TemporaryDirectory(prefix="replay-") as folder,
        local_target(Path(folder), arranged, speed) as target,
    ):
        if _scenario(name).shows_earlier_business() and not arranged.own_server:
            Earlier(target).usual()
        if name == "batch_list":
            Earlier(target).just_now()
        return Player(_scenario(name), target, skip).play()


def all_on_local_servers(most_speed: float, skip: frozenset[str]) -> dict[str, Report]:
    """Every scenario, several at once in processes of their own, the longest first.

    None is faster than it must be to end in good time: the faster, the more a busy machine disturbs it.
    """
    longest_first = sorted(scenarios(), key=_seconds, reverse=True)
    # Not forked: the test's process may have threads.
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as pool:
        jobs = {s.name: pool.submit(on_local_server, s.name, _speed(s, most_speed), skip) for s in longest_first}
        return {name: job.result() for name, job in jobs.items()}


def all_on_real_server(work: Path, only: frozenset[str] = frozenset()) -> Iterator[Report]:
    """Every scenario (or those named) in turn: usual ones on one server, others on one with their settings."""
    chosen = [s for s in scenarios() if not only or s.name in only]
    with RealTarget.start(work / "usual", arrangement("")) as usual:
        Earlier(usual).usual()
        for scenario in chosen:
            if not arrangement(scenario.name).own_server:
                yield _on_real_server(scenario, usual)
    for scenario in chosen:
        if arrangement(scenario.name).own_server:
            with RealTarget.start(work / scenario.name, arrangement(scenario.name)) as own:
                yield _on_real_server(scenario, own)


def _on_real_server(scenario: Scenario, target: RealTarget) -> Report:
    target.arrange(arrangement(scenario.name))
    try:
        if scenario.name == "batch_list":
            Earlier(target).just_now()
        return Player(scenario, target).play()
    finally:
        target.tidy()


def _seconds(scenario: Scenario) -> float:
    """How long the recording waited, all in all."""
    return sum(step.pause for step in scenario.steps)


def _speed(scenario: Scenario, most_speed: float) -> float:
    allowed = min(most_speed, arrangement(scenario.name).most_speed)
    return min(allowed, max(1.0, _seconds(scenario) / GOOD_TIME))


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in scenarios() if scenario.name == name)


def describe(report: Report) -> str:
    """What a replay found, for people: a line, then two for each exchange that differs."""
    lines = [
        f"{report.scenario}: {report.replayed} replayed in {report.seconds:.1f} s, {len(report.differences)} differ, "
        f"{report.unseen} states slipped by, {len(report.own_words)} messages in own words"
    ]
    for step, found in report.differences:
        lines += [f"  {step.where}", *(f"      {text[:400]}" for text in found[:6])]
    return "\n".join(lines)
