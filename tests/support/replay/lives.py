"""Which numbers of the recording a second run must show exactly, and which depend on the moment of the look.

A batch's life is cut into stretches, at create, cancel, retry and the deletes. While work goes on, and
after a cancel in mid-work, another run sees other numbers; there only what holds between
numbers is compared (they grow, they agree with each other). Everywhere else they are compared exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from support.replay.recording import Scenario, Step

ACTION = re.compile(r"/batches/(\{\{batch_\d+\}\})(?:/(cancel|retry|retry-requests))?$")
RESOURCE = re.compile(r"\{\{(?:batch|output|error)_\d+\}\}")

Counts = tuple[int, int, int]


def counts_of(batch: dict[str, Any]) -> Counts:
    """(total, completed, failed)."""
    given = batch["request_counts"]
    return given["total"], given["completed"], given["failed"]


def ended(counts: Counts) -> bool:
    """Whether every request has its result or its error."""
    return counts[1] + counts[2] == counts[0] > 0


@dataclass
class _Stretch:
    """One stretch of one batch's life; `seen` holds (step, counts) of every answer that showed it."""

    first: int
    unknown_start: bool = False  # began while work went on
    interrupted: bool = False  # by a cancel or a delete: how much got done is chance
    seen: list[tuple[int, Counts]] = field(default_factory=list)
    status: str = ""  # as last shown

    @property
    def moving(self) -> bool:
        return self.unknown_start or len({counts for _, counts in self.seen}) > 1

    def last(self, index: int | None = None) -> Counts | None:
        """The counts last shown, at or before a step."""
        known = [counts for step, counts in self.seen if index is None or step <= index]
        return known[-1] if known else None

    def exact_at(self, index: int) -> bool:
        counts = self.last(index)
        if self.interrupted:
            return False
        if not self.moving or (counts is not None and ended(counts)):
            return True
        # The answer to the action itself: no time for work has passed.
        return index == self.first and not self.unknown_start


class Lives:
    """Of every batch of one scenario, as recorded."""

    def __init__(self, scenario: Scenario) -> None:
        self.of_file: dict[str, str] = {}  # output, error and input file -> the batch
        self._stretches: dict[str, list[_Stretch]] = {}
        for step in scenario.steps:
            self._take(step)

    def _take(self, step: Step) -> None:
        acted_on = self._acted_on(step)
        if acted_on in self._stretches and step.response["status"] < 300:
            self._begin(acted_on, step)
        batch = step.batch()
        if batch is None:
            return
        for role in ("output_file_id", "error_file_id", "input_file_id"):
            if batch.get(role):
                self.of_file[batch[role]] = batch["id"]
        stretches = self._stretches.setdefault(batch["id"], [_Stretch(step.index)])
        stretches[-1].seen.append((step.index, counts_of(batch)))
        stretches[-1].status = batch["status"]

    def _begin(self, batch: str, step: Step) -> None:
        before = self._stretches[batch][-1]
        counts = before.last()
        shown = step.batch() or {}
        begun = before.status == "in_progress" or before.moving or "in_progress_at" in shown
        unknown = begun and counts is not None and not ended(counts)
        interrupts = unknown and not step.path.endswith(("/retry", "/retry-requests"))
        self._stretches[batch].append(_Stretch(step.index, unknown_start=unknown, interrupted=interrupts))

    def _acted_on(self, step: Step) -> str:
        found = ACTION.search(step.path)
        if step.method in ("POST", "DELETE") and found:
            return found[1]
        if step.method == "DELETE":
            return self.of_file.get(step.path.removeprefix("/files/"), "")
        return ""

    def batches_of(self, step: Step) -> set[str]:
        """The batches whose state shows in this step's answer."""
        named = set(RESOURCE.findall(step.path))
        batch = step.batch()
        if batch is not None:
            named.add(batch["id"])
        return {self.of_file.get(name, name) for name in named} & set(self._stretches)

    def exact(self, step: Step) -> bool:
        """Whether the numbers in this step's answer must be the recorded ones."""
        return all(self.exact_batch(batch, step.index) for batch in self.batches_of(step))

    def exact_batch(self, batch: str, index: int) -> bool:
        """The same for one batch, wherever it is shown at that step."""
        begun = [stretch for stretch in self._stretches.get(batch, []) if stretch.first <= index]
        return not begun or begun[-1].exact_at(index)
