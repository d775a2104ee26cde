"""Was it deleted on the server? The one place that concludes it, by itself or from the user's yes.

A 404 alone proves nothing: another key or base URL gives the same. And nothing of this is final: whatever counts as
deleted is looked for once more by the looks that follow, and is what the server says if it is there after all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..base.console import say
from ..base.failures import NotFound
from ..base.text import next_command, safe
from ..job.batch import DELETED, Batch
from ..job.job import Job
from ..job.record import Part
from .api import Api
from .identity import another, batch_of, require_known, require_same_server


def stop_unless_deleted(
    api: Api, job: Job, part: Part, batch: Batch, error: NotFound, listed: Collection[str] = ()
) -> NotFound | None:
    """After a 404 on one of a part's batches: None if it was deleted there, else the stop: another key or base URL?

    What vouches for key and URL is the part's file, which this job uploaded and never deleted; where there is none,
    another batch of the job among the `listed` ones, or the batch's own files.
    """
    upload = part.upload
    if upload is not None and upload.file_id is not None and not upload.given and not upload.tearing:
        if api.has_file(upload.file_id):
            return None
        return another(f"the server knows neither batch {safe(batch.id, 80)} nor its file", job)
    if job.batch_ids & set(listed):
        return None
    if any(api.has_file(file_id) for file_id in (batch.output_file_id, batch.error_file_id) if file_id):
        return None
    return another(error.what, job) if job.recorded else error


def count_as_ended(api: Api, job: Job) -> None:
    """The user has said yes (--again) with nothing to send: a batch whose answers were not all fetched, and which the
    server does not know, counts as ended with what is held, so that retry_failed.py plans the rest.

    The yes is one to that only if the stop was told before, or if another batch vouches for key and URL: raises it
    otherwise. What was made a moment ago may be unknown to a lagging replica: that is Temporary.
    """
    agreed = job.told_unknown
    require_same_server(api, job)
    known: set[str] = set()
    gone: list[tuple[Part, Batch, NotFound]] = []
    for part, batch in [(held, batch) for held in job.submitted() for batch in held.batches]:
        if batch.fetched and batch.fetched.whole:
            continue
        try:
            found = batch_of(api, part, batch).batch
        except NotFound as unknown:
            gone.append((part, batch, unknown))
            continue
        known.add(found.id)
        if part.learn(found):
            job.save(part)
    for part, batch, error in gone:
        stop = stop_unless_deleted(api, job, part, batch, error, known)
        if stop and not agreed and not known:
            raise stop
        kept = batch.fetched
        counts = (kept.completed, kept.failed) if kept else (0, 0)
        part.learn(replace(batch, status=DELETED, completed=counts[0], failed=counts[1]))
        job.save(part)
        rest = next_command("retry_failed.py", job.request_file())
        say(f"{error.what}: it counts as ended; {rest} plans what it left")
    job.note_unknown(False)
    if not gone:
        say("every part has a batch that the server knows: nothing was sent")


def bring_anew(api: Api, job: Job, waiting: Sequence[Part]) -> None:
    """The user has said yes (--again) before something is sent: a waiting part's file that the server does not know is
    uploaded anew. Raises the stop where the server knows nothing of the job, and that was not told before."""
    if not job.told_unknown:
        require_known(api, job)
    for part in waiting:
        upload = part.upload
        if upload is None or upload.file_id is None or upload.tearing:
            continue
        if upload.given:
            part.submission = None  # the user has looked: its fate would stay unclear for ever
            job.save(part)
            continue
        if not api.has_file(upload.file_id):
            part.begin_anew()
            job.save(part)
    job.note_unknown(False)
