"""Cancelling a job: unclear sends are settled first, ended batches are left alone, the job is marked."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.errors import NotFound
from ..base.text import safe
from ..job.job import Job
from ..job.record import ENDED, Part, seen
from .api import Api
from .submit import settle


class Cancelled(NamedTuple):
    """What happened to one batch: a line for people and the --json facts."""

    text: str
    facts: dict[str, Any]


def cancel(api: Api, job: Job) -> list[Cancelled]:
    """Marks the job and cancels its batches that still run. Raises Temporary if another copy holds the lock."""
    lines = []
    with job.locked(api.clock):
        if job.id:
            job.note(job.latest, cancelled_at=api.clock.now())  # first, so that a crash here submits nothing more
        for part in job.unsubmitted():
            if part["submission"]:
                settle(api, job, part)
        for part in job.submitted():
            lines.append(_cancel(api, job, part))
    return lines


def _cancel(api: Api, job: Job, part: Part) -> Cancelled:
    before = part["batch"]
    assert before is not None
    # The server "cancels" a completed batch, too, and then calls it cancelled: look first.
    try:
        batch = seen(api.batch(before["id"]), api.clock, before)
    except NotFound as error:  # one that was deleted must not keep the others running
        facts = {"part": part["part"], "batch_id": before["id"], "status": "unknown", "action": "is not known any more"}
        return Cancelled(error.what, facts | {key: before.get(key) for key in ("total", "completed", "failed")})
    did = "had ended before"
    if batch["status"] not in ENDED:
        batch = seen(api.cancel(before["id"]), api.clock, batch)
        did = "was cancelled"
    job.note(part, batch=batch)
    text = (
        f"batch {safe(batch['id'])} {did} ({batch['status']}): {batch['completed']} of {batch['total']} answered"
        f", {batch['failed']} failed; what was answered can be downloaded"
    )
    if did == "was cancelled":
        text += ", and answers in flight may still come in"
    facts = {"part": part["part"], "batch_id": batch["id"], "status": batch["status"], "action": did}
    return Cancelled(text, facts | {key: batch[key] for key in ("total", "completed", "failed")})
