"""Is a part sent again? What became of a POST whose answer was lost, found out before there is another.

An uploaded file is a ticket: it is submitted by one POST, once. The server has no idempotency keys, but
deleting an input file cancels its live batches and makes every later or delayed POST on it a 404, so a
ticket whose fate stays unclear is torn up and a new one is made. The caller holds the job's lock.
"""

from __future__ import annotations

from ..base.console import say
from ..base.failures import BadInput, Failure, NotAllowed, Temporary
from ..base.text import next_command, utc
from ..job.batch import DEAD
from ..job.job import Job
from ..job.record import Part, Submission, Upload
from .api import Api
from .bounded_calls import YOUNG_SECONDS
from .identity import is_of, require_known_file
from .other_batches import adopt_batches
from .server_objects import Told

# A batch is listed with the next request; the waits are for a read replica that lags.
LOOK_AGAIN_SECONDS = (0, 2, 5, 15)


def settle(api: Api, job: Job, part: Part) -> None:
    """Finds out what became of a recorded intent: afterwards the part has a batch, or neither intent nor file."""
    submission, upload = part.submission, part.upload
    if submission is None or upload is None:
        raise BadInput(f"part {part.part}: the record says no more what was sent of it", "restore the record")
    for pause in (0,) if upload.tearing else LOOK_AGAIN_SECONDS:
        if pause and api.clock.monotonic() + pause > api.deadline:
            raise Temporary(
                f"part {part.part}: whether it was submitted is not known yet, and the time is over",
                "the same command again finds out",
            )
        api.clock.sleep(pause)
        found = _submitted_as(api, part, submission, upload)
        if upload.tearing:
            found = [told for told in found if told.batch.status not in DEAD]
        if found:
            adopt_batches(api, job, part, found)
            say(f"part {part.part}: it had arrived; nothing is sent twice")
            return
    if not upload.tearing:
        require_known_file(api, job, upload)
        if upload.given:
            raise _unclear_for_ever(api, job, submission)
        upload.tearing = True
        job.save(part)
    api.delete_file(upload.file_id or "")
    # What shows up now was cancelled by the deletion. If it had begun, it may have answered, and been paid for,
    # some requests: it stays the part's batch, and retry_failed.py plans what it left.
    worked = [
        told for told in _submitted_as(api, part, submission, upload) if told.batch.started or told.batch.completed
    ]
    if worked:
        adopt_batches(api, job, part, worked)
    else:
        part.begin_anew()
        job.save(part)
        say(f"part {part.part}: it was not submitted; its file was deleted and is uploaded anew")


def _unclear_for_ever(api: Api, job: Job, submission: Submission) -> Failure:
    """A user's own file is not deleted, so that nothing ends the doubt but the user's own look."""
    late = abs(api.clock.now() - submission.sent_at) > YOUNG_SECONDS
    return (NotAllowed if late else Temporary)(
        f"whether the user's own file was submitted at {utc(submission.sent_at)} is unclear; no batch of it is listed",
        f"{next_command('list_batches.py')} --search {submission.id} shows the batch if there is one"
        + (f"; if there is none, ask the user: {job.pay_again} submits it anew" if late else ""),
    )


def _submitted_as(api: Api, part: Part, submission: Submission, upload: Upload) -> list[Told]:
    """The batches that came of the part's recorded intent. The search is a wildcard match: compare what comes back."""
    found = {}
    for text in filter(None, (submission.id, upload.name)):  # the user's own file has no name of ours
        for told in api.batches(1, search=text):
            sent = told.tags.get("dwb_submission") == submission.id and is_of(part, told)
            if sent or (told.input_file_id == upload.file_id and not upload.given):
                found[told.id] = told
    return list(found.values())
