"""Batches that will not move by themselves: naming them, and tearing them up when the user asks for it."""

from __future__ import annotations

from ..base.console import say
from ..base.failures import NotAllowed, Temporary
from ..base.text import plural, safe
from ..job.job import Job
from ..job.record import Batch, Part
from .api import Api
from .identity import batch_of, require_known_file, require_same_server
from .server_objects import seen

# A batch leaves `validating` within seconds and `cancelling` within a minute, unless the server lost it. Counts may
# stand still for long while the service retries failing requests, which it does for hours; an hour is worth a word.
STUCK_SECONDS = {"validating": 900.0, "cancelling": 900.0, "in_progress": 3600.0}


LAST_ANSWERS_SECONDS = 30.0  # after a deletion what is in flight may still land, for some seconds


def why(job: Job) -> str | None:
    """What to tell about the first batch that is stuck, or None."""
    return next((text for part in job.submitted() if (text := _why(part.batch))), None)


def _why(batch: Batch | None) -> str | None:
    if batch is None or batch.status not in STUCK_SECONDS:
        return None
    # Up to when it was last seen: what it did during an outage nobody knows.
    seconds = batch.still_seconds
    if seconds < STUCK_SECONDS[batch.status]:
        return None
    reason = "the service has most likely lost it"
    if batch.status == "in_progress":
        reason = "its counts do not move: the service retries failing requests for hours, or the model has been removed"
    return f"batch {safe(batch.id)} is stuck: {batch.status} for {seconds / 60:.0f} minutes; {reason}"


def replace(api: Api, job: Job) -> None:
    """Tears up the stuck batches: their input files are deleted, which cancels them and fences off late sends.

    A part whose batch answered nothing is free to be submitted anew; otherwise the answers are kept and the part has
    ended, so that retry_failed.py plans what it left. The lock must be held.
    """
    require_same_server(api, job)
    for part in job.latest.parts:
        if part.batch and not part.ended:  # the record may be old: since then it may have moved
            part.batch = seen(batch_of(api, part, part.batch.id), api.clock, part.batch)
            job.save(part)
    found = [part for part in job.latest.parts if _why(part.batch)]
    if not found:
        say("no batch is stuck: nothing to replace")
    for part in found:
        _tear_up(api, job, part)


def _tear_up(api: Api, job: Job, part: Part) -> None:
    batch, upload = part.batch, part.upload
    assert batch is not None
    if upload is None or upload.given:
        raise NotAllowed(
            f"batch {safe(batch.id)} runs on a file that this job did not upload; it is not deleted",
            "cancel it instead",
        )
    found = batch_of(api, part, batch.id)
    if found.get("input_file_id") not in (upload.file_id, ""):
        raise NotAllowed(
            f"batch {safe(batch.id)} was taken over: it runs on another file than this job uploaded",
            "ask the user; cancel_batch.py ends it",
        )
    now = seen(found, api.clock, batch)
    if not now.ended:
        require_known_file(api, job, upload)
        if part.submission:
            part.submission.tearing = True  # from now on the server need not know the file
            job.save(part)
        api.delete_file(upload.file_id or "")
        api.clock.sleep(LAST_ANSWERS_SECONDS)
        now = seen(batch_of(api, part, batch.id), api.clock, now)
        if now.running:
            raise Temporary(
                f"batch {safe(batch.id)} is {now.status} although its file was deleted",
                "the same command again later",
            )
    if now.completed or now.failed:
        now.status = now.status if now.ended else "cancelled"
        part.batch = now
        job.save(part)
        say(f"batch {safe(batch.id)} was ended; its {plural(now.completed, 'answer')} are kept")
        return
    part.batch, part.other_batches = None, [*part.other_batches, now]
    part.submission, part.upload, part.estimates = None, None, {}
    job.save(part)
    say(f"batch {safe(batch.id)} was torn up; it had answered nothing")
