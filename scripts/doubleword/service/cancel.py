"""Cancelling a job: unclear sends are settled first, ended batches are left alone, the job is marked."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.errors import NotFound
from ..base.text import safe
from ..job.job import Job
from ..job.record import Batch, Part, seen
from .api import Api
from .submit import settle


class Cancelled(NamedTuple):
    """What happened to one batch: a line for people and the --json facts."""

    text: str
    facts: dict[str, Any]


def cancel(api: Api, job: Job) -> list[Cancelled]:
    """Marks the job and cancels its batches that still run. Raises Temporary if another copy holds the lock."""
    with job.locked(api.clock):
        if job.recorded:
            job.latest.cancelled_at = api.clock.now()  # first, so that a crash here submits nothing more
            job.save()
        for part in job.unsubmitted():
            if part.submission:
                settle(api, job, part)
        return [_cancel(api, job, part) for part in job.submitted()]


def _cancel(api: Api, job: Job, part: Part) -> Cancelled:
    assert part.batch is not None
    before = part.batch
    # The server "cancels" a completed batch, too, and then calls it cancelled: look first.
    try:
        batch = seen(api.batch(before.id), api.clock, before)
    except NotFound as error:  # one that was deleted must not keep the others running
        return Cancelled(error.what, _facts(part, before, "is not known any more") | {"status": "unknown"})
    did = "had ended before"
    if not batch.ended:
        batch = seen(api.cancel(before.id), api.clock, batch)
        did = "was cancelled"
    part.batch = batch
    job.save()
    text = (
        f"batch {safe(batch.id)} {did} ({batch.status}): {batch.completed} of {batch.total} answered"
        f", {batch.failed} failed; what was answered can be downloaded"
    )
    if did == "was cancelled":
        text += ", and answers in flight may still come in"
    return Cancelled(text, _facts(part, batch, did))


def _facts(part: Part, batch: Batch, action: str) -> dict[str, Any]:
    counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
    return {"part": part.part, "batch_id": batch.id, "status": batch.status, "action": action} | counts
