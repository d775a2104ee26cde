"""Plays one recorded scenario against a server and compares every answer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from support.replay.answers import Answers
from support.replay.bindings import Bindings, Unbound
from support.replay.exchange import Answer, send
from support.replay.lives import Counts, counts_of, ended
from support.replay.recording import UNTIL_HERE, Scenario, Step
from support.replay.special import summary_differences, summary_request, upload_queue
from support.replay.target import Target

# How long a state that was recorded may take to appear, in seconds of the recording.
APPEAR_SECONDS = 40.0
# Beside that, for a machine that is busy with other things.
SLOW_MACHINE_SECONDS = 10.0
# A read of something that moves is repeated until it fits, for so long.
FIT_SECONDS = 6.0
LOOK_EVERY = 0.02
# The longest `validating` recorded is 2 s, for 50,000 lines.
BEGIN_SECONDS = 10.0
# In the order of a batch's life.
STATUSES = ["validating", "in_progress", "finalizing", "cancelling", "completed", "failed", "cancelled"]


@dataclass
class Report:
    """What a replay of one scenario found."""

    scenario: str
    replayed: int = 0
    unseen: int = 0  # states of a poll series that went by between two looks
    own_words: list[tuple[str, str]] = field(default_factory=list)
    differences: list[tuple[Step, list[str]]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, step: Step, found: list[str]) -> None:
        self.replayed += 1
        if found:
            self.differences.append((step, found))


class Player:
    """One scenario against one target."""

    def __init__(self, scenario: Scenario, target: Target, skip: frozenset[str] = frozenset()) -> None:
        self.scenario = scenario
        self.target = target
        self.skip = skip  # steps that are not sent, by `where`
        host = target.root_url.removeprefix("http://")
        self.bindings = Bindings(key=target.key(None), host=host)
        self.answers = Answers(scenario, self.bindings)
        self.report = Report(scenario.name)
        self._counts: dict[str, Counts] = {}  # of each batch, as last shown

    def play(self) -> Report:
        began = time.monotonic()
        if self.scenario.name == "special_upload_queue":
            upload_queue(self.scenario, self.target, self.bindings, self._compare)
        else:
            for _, group in groupby(self.scenario.steps, key=lambda step: step.series or f"step {step.index}"):
                steps = [step for step in group if step.where not in self.skip]
                self._play(steps)
        self.report.own_words = self.answers.values.own_words
        self.report.seconds = time.monotonic() - began
        return self.report

    def _play(self, steps: list[Step]) -> None:
        if not steps:
            return
        try:
            if steps[0].series:
                self._series(steps)
            else:
                self._single(steps[0])
        except (Unbound, OSError) as error:
            for step in steps:
                self.report.add(step, [f"not answered: {type(error).__name__}: {error}"])

    def _single(self, step: Step) -> None:
        self._wait(step.pause)
        self.target.before(step)
        self._let_it_begin(step)
        request = summary_request(step)
        give_up = time.monotonic() + FIT_SECONDS / self.target.speed
        while True:
            answer = self._send(step, request)
            with self.bindings.trial() as trial:
                found = self._differences(step, answer)
                may_change = step.method == "GET" and (
                    not self.answers.lives.exact(step) or step.path.endswith("/analytics")  # folded a little later
                )
                if not found or not may_change or time.monotonic() > give_up:
                    trial.keep()
                    break
            time.sleep(LOOK_EVERY)
        self.report.add(step, found)

    def _let_it_begin(self, step: Step) -> None:
        """A cancel sticks where the batch has not begun, and some milliseconds decide: wait where it had begun."""
        batch = step.batch()
        if not step.path.endswith("/cancel") or batch is None or "in_progress_at" not in batch:
            return
        look = {"method": "GET", "path": f"/batches/{batch['id']}", "headers": {}}
        give_up = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < give_up:
            if json.loads(self._send(step, look).body).get("status") != "validating":
                return
            time.sleep(LOOK_EVERY)

    def _differences(self, step: Step, answer: Answer) -> list[str]:
        found = self.answers.differences(step, answer)
        if "summary" in step.response and not found:
            found = summary_differences(step, answer, self.bindings)
        return found + self._shrunk(step, answer)

    def _shrunk(self, step: Step, answer: Answer) -> list[str]:
        """What has its result keeps it: only a retry takes a failure back."""
        if step.batch() is None or answer.status >= 300:
            return []
        batch = json.loads(answer.body)
        total, completed, failed = counts_of(batch)
        before = self._counts.get(batch["id"], (total, 0, 0))
        self._counts[batch["id"]] = (total, completed, failed)
        retried = "/retry" in step.path
        if total != before[0] or completed < before[1] or (failed < before[2] and not retried):
            return [f"counts went from {before} to {(total, completed, failed)}"]
        return []

    def _compare(self, step: Step, answer: Answer) -> None:
        self.report.add(step, self._differences(step, answer))

    def _send(self, step: Step, request: dict[str, Any] | None = None) -> Answer:
        if "authorization" in step.request:
            raw = step.request["authorization"]
            authorization = None if raw is None else self.bindings.fill(raw)
        else:
            authorization = f"Bearer {self.target.key(step.request.get('key'))}"
        return send(self.target.root_url, request or step.request, self.bindings, authorization)

    def _wait(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds / self.target.speed)

    def _series(self, steps: list[Step]) -> None:
        """Poll until every recorded state was seen, in order; the last must appear, others may slip by.

        One slips by only where its status and its fields were seen: what changed in it were counts.
        """
        self.target.before(steps[0])
        at, seen = 0, set(self._kinds_before(steps[0]))
        passed: list[Step] = []
        trouble: list[str] = []
        give_up = time.monotonic() + APPEAR_SECONDS / self.target.speed + SLOW_MACHINE_SECONDS
        while at < len(steps):
            answer = self._send(steps[at])
            reached = self._reached(steps[at:], answer)
            if not trouble:
                trouble = self._shrunk(steps[at], answer)
            if reached is not None:
                passed += steps[at : at + reached]
                seen.add(_kind(steps[at + reached]))
                at += reached + 1
            elif not trouble and steps[at].name != UNTIL_HERE:
                trouble = self._between(steps, at, answer)
            if time.monotonic() > give_up:
                break
            if at < len(steps):
                time.sleep(LOOK_EVERY)
        for step in steps[:at]:
            slipped = step in passed and _kind(step) not in seen
            self.report.add(step, trouble or (["this state was never seen"] if slipped else []))
            trouble = []
        self.report.unseen += len(passed)
        for step in steps[at:]:
            self.report.add(step, [f"did not appear; last seen: {answer.status} {answer.text()[:500]}", *trouble])

    def _reached(self, steps: list[Step], answer: Answer) -> int | None:
        """Which of the states to come this answer is."""
        for index, step in enumerate(steps):
            with self.bindings.trial() as trial:
                if self._is_there(step, answer):
                    trial.keep()
                    return index
        return None

    def _is_there(self, step: Step, answer: Answer) -> bool:
        if not self.answers.differences(step, answer):
            return True
        recorded = step.batch()
        if step.name != UNTIL_HERE or recorded is None or ended(counts_of(recorded)):
            return False
        # The recording waited for so many lines to be done; more are as good.
        actual = json.loads(answer.body) if answer.status == 200 else {"status": None}
        if actual["status"] != recorded["status"]:
            return False
        return all(new >= old for new, old in zip(counts_of(actual), counts_of(recorded), strict=True))

    def _between(self, steps: list[Step], at: int, answer: Answer) -> list[str]:
        """What is wrong with an answer that is none of the recorded states: it must lie between two of them."""
        if answer.status != 200:
            return [f"while polling: {answer.status} {answer.text()[:200]}"]
        actual, final = json.loads(answer.body), steps[-1].batch()
        if final is None:
            return []
        before = steps[at - 1].batch() if at else None
        first = STATUSES.index(before["status"]) if before else 0
        allowed = STATUSES[first : STATUSES.index((steps[at].batch() or {})["status"]) + 1]
        if actual["status"] not in allowed:
            return [f"while polling: status {actual['status']}, expected one of {', '.join(allowed)}"]
        if any(new > old for new, old in zip(counts_of(actual), counts_of(final), strict=True)):
            return [f"while polling: counts {counts_of(actual)} beyond the last recorded {counts_of(final)}"]
        return []

    def _kinds_before(self, first: Step) -> list[tuple[object, frozenset[str]]]:
        """The state shown last before a series begins: the answer to the create, cancel or retry."""
        batch = first.batch()
        before = [
            step for step in self.scenario.steps[: first.index]
            if (shown := step.batch()) is not None and batch is not None and shown["id"] == batch["id"]
        ]  # fmt: skip
        return [_kind(before[-1])] if before else []


def _kind(step: Step) -> tuple[object, frozenset[str]]:
    """Status and fields of the batch shown: what must be seen of a state."""
    batch = step.batch() or {}
    return batch.get("status"), frozenset(batch)
