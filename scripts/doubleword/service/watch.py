"""Have the batches of a job ended? Looking at them until they do: politely, through outages, within a bound.

A round costs one listing of up to 101 batches at a time, and at most one more request. Ends are read
from the status alone: `expired_at` is set by the server on batches that finished in time, too.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Any, NamedTuple

from ..base.console import Progress, say
from ..base.failures import NotFound, Temporary
from ..base.text import plural
from ..job.batch import DELETED, ENDED, Batch
from ..job.job import Job
from ..job.record import Attempt, Part
from . import stuck
from .api import PAGE_LIMIT, Api
from .deleted import stop_unless_deleted
from .identity import batch_of, is_of, require_same_server
from .other_batches import cancel_others, resolve_seconds
from .server_objects import Told

INTERVAL_SECONDS = 30.0
OUTAGE_INTERVAL_CAP_SECONDS = 300.0


def look(api: Api, job: Job) -> None:
    """One round: learns the status of every batch that has not ended, and looks for second batches of its content."""
    listed: list[Told] = []
    alone: list[Told] = []
    gone: Gone | None = None
    require_same_server(api, job)
    asked_at = api.clock.now()
    attempt, open_parts = _open(job)
    if open_parts:
        pages = -(-sum(1 for _ in job.parts()) // PAGE_LIMIT)
        sent = open_parts[0][0].submission
        if len(open_parts) > 1 or (sent and not sent.compared):
            # By the hash that the tags of its batches bear; a record by hand or a raw id has its part's alone.
            listed = list(api.batches(pages, search=job.requests.sha256 or attempt.sha256))
        alone, gone = _asked_alone(api, job, open_parts, {told.id: told for told in listed})
    fresh = {told.id: told for told in [*listed, *alone]}
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(job.locked(api.clock))
        except Temporary as error:
            say(f"{error.what}: the statuses are not written down this time")
            _learn(api, job, fresh, asked_at)
            return
        if _learn(api, job, fresh, asked_at):
            job.save()
        if gone:
            _note_gone(job, gone)
        elif fresh.keys() & job.batch_ids:
            job.note_unknown(False)
        if listed:
            resolve_seconds(api, job, listed)
        for part in job.submitted():
            cancel_others(api, job, part)


def _open(job: Job) -> tuple[Attempt, list[tuple[Part, Batch]]]:
    """The first attempt of which batches are to be asked for; those that count as deleted after all others."""
    for is_open in (lambda batch: not batch.ended, lambda batch: batch.status == DELETED):
        for attempt in job.attempts:
            parts = [(part, part.batch) for part in attempt.parts if part.batch and is_open(part.batch)]
            if parts:
                return attempt, parts
    return job.latest, []


class Gone(NamedTuple):
    """A batch that the server does not know, and why that is not taken for a deletion, if so."""

    batch_id: str
    error: NotFound
    stop: NotFound | None


def _asked_alone(
    api: Api, job: Job, open_parts: list[tuple[Part, Batch]], listed: dict[str, Told]
) -> tuple[list[Told], Gone | None]:
    """Asks for the one batch of which a list tells least, if any."""
    # The list says `finalizing` for up to 10 s when the batch itself is done.
    unsure = [(part, batch) for part, batch in open_parts if _is_unsure(part, listed.get(batch.id))]
    if len(open_parts) > 1 and not unsure:
        return [], None
    part, batch = (unsure or open_parts)[0]
    try:
        return [batch_of(api, part, batch)], None
    except NotFound as error:
        if batch.status == DELETED:
            return [], None  # as was known
        return [], Gone(batch.id, error, stop_unless_deleted(api, job, part, batch, error, listed.keys()))


def _is_unsure(part: Part, row: Told | None) -> bool:
    """Whether a list leaves open what became of a part's batch, so that it is asked for alone."""
    return row is None or row.batch.status == "finalizing" or not is_of(part, row)


def _note_gone(job: Job, gone: Gone) -> None:
    """A batch that was deleted on the server has ended. The lock must be held."""
    if gone.stop:
        raise gone.stop
    for part in job.submitted():
        if part.batch and part.batch.id == gone.batch_id:
            say(f"{gone.error.what}: it counts as ended")
            part.batch.status = DELETED
            job.save(part)


def _learn(api: Api, job: Job, fresh: dict[str, Told], asked_at: float) -> bool:
    """Takes the statuses into the record in memory; whether that changed it.

    What was asked for before the lock was held may be older than what another copy has written down since.
    """
    changed = False
    for part in job.submitted():
        found = fresh.get(part.batch.id) if part.batch else None
        if part.batch and found and is_of(part, found) and not part.batch.newer_than(asked_at, api.clock):
            changed = part.learn(found.batch.after(part.batch)) or changed
    return changed


def wait(api: Api, job: Job, interval: float, deadline: float, last: bool = True) -> None:
    """Looks until every batch has ended, one is stuck, or `deadline` (by clock.monotonic()) has come.

    `last`: nothing is waited for afterwards, so that a wait that stops before its time says why.

    Raises Temporary only if no status could be learnt in all that time.
    """
    patient = api.deadline, api.retries
    api.deadline, api.retries = deadline, 0  # a round is one try: the next round is the retry
    try:
        _wait(api, job, interval, deadline, last)
    finally:
        api.deadline, api.retries = patient


def _wait(api: Api, job: Job, interval: float, deadline: float, last: bool) -> None:
    learnt, failures, shown = False, 0, ""
    with Progress("wait", sum(part.requests for part in job.submitted()), "requests") as progress:
        finished = 0
        while True:
            pause = interval
            try:
                look(api, job)
                learnt, failures = True, 0
            except Temporary as error:
                failures += 1
                pause = min(interval * 2 ** (failures - 1), OUTAGE_INTERVAL_CAP_SECONDS)
                pause = max(pause, error.retry_after or 0.0)
                say(f"{error.what}; looking again in {pause:.0f} s")
                last_error = error
            finished, before = sum(counts(job)[1:]), finished
            # On a terminal the bar tells the counts, and a line only says that a status changed.
            line = str(statuses(job)) if progress.terminal else summary_line(job)
            if learnt and line != shown:
                shown = line
                say(summary_line(job))
            if progress.terminal:
                progress.add(finished - before)
            if job.ended or stuck.why(job):
                return
            pause *= 1 + random.random() / 10  # noqa: S311 - jitter, so that many machines do not ask at once
            if api.clock.monotonic() + pause > deadline:
                if not learnt:
                    raise last_error
                if last and deadline - api.clock.monotonic() >= 1:  # 0 s given is one look, which needs no word
                    say(f"the next look, {pause:.0f} s from now, would come after the time given: stopped waiting")
                return
            api.clock.sleep(pause)


def counts(job: Job) -> tuple[int, int, int]:
    """(requests, completed, failed) of the latest attempt, as the server counts them."""
    batches = [part.batch for part in job.latest.parts if part.batch]
    total = sum(part.requests for part in job.latest.parts)
    return total, sum(batch.completed for batch in batches), sum(batch.failed for batch in batches)


def statuses(job: Job) -> dict[str, int]:
    """How many parts of the latest attempt are in which status; those without a batch are `not_submitted`."""
    return Counter(part.batch.status if part.batch else "not_submitted" for part in job.latest.parts)


def status_word(job: Job) -> str:
    """One word for the latest attempt: its parts' status where they agree, else the least finished one."""
    found = list(statuses(job))
    running = [word for word in found if word not in ENDED]
    return next(iter(running or [word for word in found if word != "completed"] or found))


def summary_line(job: Job) -> str:
    total, completed, failed = counts(job)
    words = ", ".join(f"{count} {word}" for word, count in statuses(job).items())
    failures = f", {failed} failed" if failed else ""
    return f"{completed + failed} of {plural(total, 'request')} done{failures}; batches: {words}"


def facts_of(part: Part) -> dict[str, Any]:
    """What --json tells of a part's batch."""
    batch = part.batch
    facts = {key: getattr(batch, key, None) for key in ("status", "total", "completed", "failed")}
    return {"part": part.part, "batch_id": batch.id if batch else None, **facts}


def polite(api: Api, interval: float) -> float:
    """The interval between looks: never under 30 s, except on this machine's own server."""
    if interval < INTERVAL_SECONDS and not api.is_loopback:
        say(f"looking every {INTERVAL_SECONDS:.0f} s: more often is not polite")
        return INTERVAL_SECONDS
    return max(interval, 0.1)
