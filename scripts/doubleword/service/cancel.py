"""How is a job cancelled? All that runs is cancelled first, then unclear sends are settled, then it is reported."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from ..base.failures import BadInput, Failure, NotFound, Temporary
from ..base.text import safe
from ..job.batch import Batch
from ..job.job import Job
from ..job.record import Part
from .api import Api
from .deleted import stop_unless_deleted
from .identity import batch_of, require_same_server, tell_what_is_young
from .resend import settle
from .server_objects import SETTLES_SECONDS


class Cancelled(NamedTuple):
    """What happened to one batch: a line for people, the --json facts, and why it could not be cancelled, if so."""

    text: str
    facts: dict[str, Any]
    failure: Failure | None = None


def cancel(api: Api, job: Job) -> list[Cancelled]:
    """Marks the job and cancels its batches that still run, second ones too.

    One that cannot be cancelled or settled keeps none of the others running: its line has the failure. Nor does another
    copy that holds the lock, or a full disk: what the record knows is cancelled, and that copy is told to send nothing
    more.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(job.locked(api.clock))
            require_same_server(api, job)
            if job.recorded:
                job.latest.cancelled_at = api.clock.now()  # first, so that a crash here submits nothing more
                job.save()
        except (Temporary, OSError) as error:
            failure = _failure(error)
            with contextlib.suppress(OSError):
                job.tell_to_stop()
            job = Job.load(job.folder) or job  # another copy may have sent something since this one read the record
            tell_what_is_young(api, job)
            lines = [_cancelled(api, job, part, b, noted=False) for part in job.submitted() for b in _to_cancel(part)]
            text = f"{failure.what}; a copy at work is told to send nothing more"
            return [*lines, Cancelled(text, _facts("is told to send nothing more"), failure)]
        lines = [_cancelled(api, job, part, batch) for part in job.submitted() for batch in _to_cancel(part)]
        for part in job.unsubmitted():
            if part.submission:
                lines += _settled(api, job, part)
        return lines


def _to_cancel(part: Part) -> list[Batch]:
    return [batch for batch in part.batches if batch is part.batch or batch.running]


def _settled(api: Api, job: Job, part: Part) -> list[Cancelled]:
    """Finds out what became of an unclear send, and cancels what came of it."""
    try:
        settle(api, job, part)
    except (Failure, OSError) as error:
        failure = _failure(error)
        text = f"part {part.part}: whether it was submitted is not known: {failure.what}"
        return [Cancelled(text, _facts("is not known", part), failure)]
    return [_cancelled(api, job, part, batch) for batch in _to_cancel(part)]


def _cancelled(api: Api, job: Job, part: Part, before: Batch, noted: bool = True) -> Cancelled:
    batch, did, unwritten = before, "was cancelled before", None
    try:
        # The server "cancels" a completed batch, too, and then calls it cancelled: look first.
        batch = batch_of(api, part, before).batch
        if batch.running:
            batch, did = api.cancel(batch.id).batch.after(batch), "is cancelled now"
        elif batch.status not in ("cancelled", "cancelling"):
            did = "had ended before"
    except NotFound as error:  # one that was deleted does not run any more
        facts = _facts("is not known any more", part, before) | {"status": "unknown"}
        return Cancelled(error.what, facts, _unless_deleted(api, job, part, before, error))
    except Failure as failure:
        text = f"batch {safe(before.id)} could not be cancelled, and may still run: {failure.what}"
        return Cancelled(text, _facts("could not be cancelled", part, batch), failure)
    if noted:
        part.learn(batch)
        try:
            job.save(part)
        except OSError as error:
            unwritten = _failure(error)
    final = "the counts are final" if _is_final(batch) else "answers in flight may still come in: not final yet"
    text = (
        f"batch {safe(batch.id)} {did} ({batch.status}): {batch.completed} of {batch.total} answered"
        f", {batch.failed} failed ({final}); what was answered can be downloaded"
    )
    return Cancelled(text, _facts(did, part, batch) | {"final": _is_final(batch)}, unwritten)


def _failure(error: Failure | OSError) -> Failure:
    if isinstance(error, Failure):
        return error
    return BadInput(f"the job's record: {error.strerror or safe(error)}", "mend that, then the same command again")


def _unless_deleted(api: Api, job: Job, part: Part, batch: Batch, error: NotFound) -> Failure | None:
    try:
        return stop_unless_deleted(api, job, part, batch, error)
    except Failure as stop:
        return stop


def _is_final(batch: Batch) -> bool:
    """Whether the counts can grow no more: after a cancel they do for some seconds."""
    whole, since = batch.completed + batch.failed == batch.total, batch.cancelled_seconds or 0.0
    return batch.ended and (batch.status != "cancelled" or whole or since >= SETTLES_SECONDS)


def _facts(action: str, part: Part | None = None, batch: Batch | None = None) -> dict[str, Any]:
    told = {"part": part and part.part, "batch_id": batch and batch.id, "status": batch.status if batch else "unknown"}
    counts = {name: getattr(batch, name, 0) for name in ("total", "completed", "failed")}
    return told | {"action": action} | counts | {"final": False}
