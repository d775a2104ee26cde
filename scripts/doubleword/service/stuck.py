"""Is a batch stuck? Naming those that will not move by themselves, and tearing them up when the user asks for it."""

from __future__ import annotations

from ..base.console import say
from ..base.failures import Failure, NotAllowed, Temporary
from ..base.text import plural, safe
from ..job.batch import Batch
from ..job.job import Job
from ..job.record import Part
from .api import Api
from .identity import batch_of, require_same_server
from .server_objects import SETTLES_SECONDS

# A batch leaves `validating` within seconds and `cancelling` within a minute, unless the server lost it. Counts may
# stand still for long while the service retries failing requests, which it does for hours; an hour is worth a word.
STUCK_SECONDS = {"validating": 900.0, "cancelling": 900.0, "in_progress": 3600.0}


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
    torn: list[tuple[Part, Batch]] = []
    failure: Failure | None = None
    for part, batch, file_id in _stuck_by_now(api, job):
        try:
            _tear_up(api, job, part, batch, file_id)
        except Failure as error:  # what was deleted before is brought to its end all the same
            failure = error
            break
        torn.append((part, batch))
    if torn:
        api.clock.sleep(SETTLES_SECONDS)  # once for all of them: the lock is held
    for part, batch in torn:
        try:
            _bring_to_its_end(api, job, part, batch)
        except Failure as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _stuck_by_now(api: Api, job: Job) -> list[tuple[Part, Batch, str]]:
    """The stuck batches, each with the file that it runs on; the record may be old: since then they may have moved.

    Also those that this was done to before, up to a kill: a torn one that has answered nothing is not at its end.
    """
    found = []
    for part in job.latest.parts:
        before = part.batch
        if before and (not before.ended or (part.torn and not before.completed + before.failed)):
            told = batch_of(api, part, before)
            part.batch = batch = told.batch
            job.save(part)
            if part.torn or _why(batch):
                found.append((part, batch, told.input_file_id))
    if not found:
        say("no batch is stuck: nothing to replace")
    return found


def _tear_up(api: Api, job: Job, part: Part, batch: Batch, file_id: str) -> None:
    """Deletes the input file of a part's batch."""
    upload = part.upload
    if upload is None or upload.given:
        raise NotAllowed(
            f"batch {safe(batch.id)} runs on a file that this job did not upload; it is not deleted",
            "cancel it instead",
        )
    if file_id not in (upload.file_id, ""):
        raise NotAllowed(
            f"batch {safe(batch.id)} was taken over: it runs on another file than this job uploaded",
            "ask the user; cancel_batch.py ends it",
        )
    upload.tearing = True  # the batch vouches for key and base URL
    job.save(part)
    api.delete_file(upload.file_id or "")


def _bring_to_its_end(api: Api, job: Job, part: Part, before: Batch) -> None:
    """Writes down what became of a batch whose input was deleted."""
    now = batch_of(api, part, before).batch
    if now.running:
        raise Temporary(f"batch {safe(now.id)} is {now.status} although its file was deleted")
    if now.completed or now.failed:
        now.status = now.status if now.ended else "cancelled"
        part.batch = now
        job.save(part)
        say(f"batch {safe(now.id)} was ended; its {plural(now.completed, 'answer')} are kept")
        return
    part.batch, part.other_batches = None, [*part.other_batches, now]
    part.begin_anew()
    job.save(part)
    say(f"batch {safe(now.id)} was torn up; it had answered nothing")
