"""What is known of a batch, and what does a newer sighting of it say?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..base.failures import Clock

# A status word the server may add later counts as "still running", never as done.
DELETED = "deleted"  # our own word: the server knows the batch no more
ENDED = frozenset({"completed", "failed", "cancelled", "expired", DELETED})
# Ended or about to, without being completed.
DEAD = frozenset({"failed", "cancelled", "cancelling", "expired"})


@dataclass
class Fetched:
    """What of a batch lies in the spool: distinct lines of output and errors, and the sizes of the two files."""

    completed: int
    failed: int
    status: str
    whole: bool  # the lines add up with the counts of a batch that has ended
    bytes: list[int]  # -1: no file


@dataclass
class Batch:
    """One batch as last seen. Times are Unix seconds."""

    id: str
    status: str
    total: int
    completed: int
    failed: int
    created_at: float
    cancelled_at: float  # by the server's clock; 0 if it was not cancelled
    started: bool
    output_file_id: str | None
    error_file_id: str | None
    reason: str  # the server's own word of why it failed, "" if it gave none
    seen_at: float  # when it was last seen, by our clock; a round that changed nothing else is not written down
    steady_at: float  # the same by the clock that is never set
    still_seconds: float = 0.0  # for how long status and counts had not changed by then, as far as was seen
    cancelled_seconds: float | None = None  # for how long it had been cancelled or cancelling by then; None: it is not
    fetched: Fetched | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def after(self, before: Batch | None) -> Batch:
        """This sighting, with what the one before knew: since when nothing has changed, and what was fetched."""
        if before is None or before.id != self.id:
            return self
        passed = self._passed_since(before)
        same = (before.status, before.completed, before.failed) == (self.status, self.completed, self.failed)
        cancelled = self.cancelled_seconds
        if cancelled is not None and before.cancelled_seconds is not None:
            cancelled = before.cancelled_seconds + passed
        still = before.still_seconds + passed if same else 0.0
        return dataclasses.replace(self, still_seconds=still, cancelled_seconds=cancelled, fetched=before.fetched)

    def _passed_since(self, before: Batch) -> float:
        """Seconds between two sightings. A clock may have been set in between, and the steady one begins anew with the
        machine: the shorter of the two times is believed."""
        wall, steady = self.seen_at - before.seen_at, self.steady_at - before.steady_at
        return max(0.0, wall if steady < 0 else min(wall, steady))

    def counts_what_ran(self, requests: int) -> bool:
        """Whether its counts can be those of a batch of so many requests that has ended. A completed one that answered
        nothing, or one that has another number of requests, says nothing: all of it may have run."""
        done = self.completed + self.failed
        if self.status == DELETED or not (self.started or self.status == "completed" or done):
            return True  # as last seen; or it ended before anything was taken up
        return self.total == requests and done <= self.total and (done > 0 or self.status != "completed")

    def newer_than(self, asked_at: float, clock: Clock) -> bool:
        """Whether another copy has seen it since. A time that is still to come is of a clock that was set back."""
        return asked_at < self.seen_at <= clock.now()

    @property
    def changed_at(self) -> float:
        """When its status or counts were last seen to change, by our clock."""
        return self.seen_at - self.still_seconds

    @property
    def running(self) -> bool:
        """Whether it may still take up requests: neither ended nor about to."""
        return self.status not in ENDED | DEAD


def told_the_same(one: Batch, other: Batch) -> bool:
    """Whether two sightings of a batch differ in nothing but their time."""
    times = ("seen_at", "steady_at", "still_seconds", "cancelled_seconds")
    return dataclasses.replace(one, **{name: getattr(other, name) for name in times}) == other
