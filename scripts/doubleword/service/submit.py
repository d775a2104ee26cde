"""How is a part sent? One batch for each, paid once: upload, intent, one POST. What if its answer is lost: resend.py.

The caller holds the job's lock.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal

from ..base.console import say
from ..base.failures import Failure, NotAllowed, NotFound, Temporary
from ..base.text import next_command, plural, safe
from ..job.batch import Batch
from ..job.job import Job
from ..job.next_step import command
from ..job.outputs import beside, require_ours
from ..job.record import Part, Submission
from . import content_lock, deleted
from .api import PAGE_LIMIT, Api
from .cost import announce, cost_text, estimated_cost, require_cost
from .identity import batch_of, require_known, require_same_server
from .other_batches import require_not_elsewhere, require_only_copy, require_unused, take_from_elsewhere
from .refusals import Unclear
from .resend import settle
from .upload import TICKETS, upload_part, upload_parts, uploading


def _submit_part(api: Api, job: Job, part: Part, window: str, choice: str | None) -> Batch:
    """Submits a part that has neither batch nor intent; its batch, which is on disk then.

    `choice` says what to do about another job's batch with this content: submit "again", or None: stop.
    Raises Busy for a 429 (nothing was submitted), Temporary when the outcome stays unclear.
    """
    for _ in range(TICKETS):
        if not take_from_elsewhere(api, job, part, choice):
            part.again = part.again or choice == "again"
            _send(api, job, part, window)
            if not part.batch:
                settle(api, job, part)
        if part.batch:
            return part.batch
    raise Temporary(f"part {part.part}: {TICKETS} submissions were lost on the way")


def _send(api: Api, job: Job, part: Part, window: str) -> None:
    """The upload, the intent, then the one POST. Afterwards the part has a batch; or its intent is to be settled."""
    require_ours(job, *beside(job))  # else no answer could be written
    upload = upload_part(api, job, part)
    file_id, endpoint = upload.file_id or "", job.requests.endpoint
    with content_lock.held(api.clock, file_id):
        if not part.again:
            require_unused(api, job, part, upload)
        job.require_not_cancelled()
        part.submission = Submission(uuid.uuid4().hex, api.clock.now(), window)
        job.save(part)
        try:
            found = api.create_batch(file_id, endpoint, window, _tags(job, part, part.submission.id))
        except Unclear as error:
            say(f"part {part.part}: {error.what}; finding out whether it was submitted")
            return
        except Failure:
            part.submission = None  # a definite no: nothing was submitted
            job.save(part)
            raise
        part.batch = found.batch
        job.save(part)


def _tags(job: Job, part: Part, submission: str) -> dict[str, str]:
    """The batch's metadata: enough to find it by, and to rebuild a lost record."""
    return {
        "dwb_submission": submission,
        "dwb_content": part.span.sha256,
        "dwb_file": job.requests.sha256,
        "dwb_job": job.id,
        "dwb_attempt": str(job.latest.attempt),
        "dwb_part": f"{part.part} of {len(job.latest.parts)}",
        "dwb_lines": f"{part.span.first_line}-{part.span.last_line}",
        **({"dwb_again": "yes"} if part.again else {}),
    }


def _require_planned_from_what_is(api: Api, job: Job) -> None:
    """Withdraws a plan if a batch that it was made from has come further since: one that was retried on the server
    answers, and is paid for, what the plan holds. Of one that was sent in part, the rest. Raises Temporary then."""
    plan = job.latest
    for part, now in _earlier_as_they_are(api, job):
        more = now.completed > plan.planned_from.get(now.id, 0)
        if not more and (not now.running or now.status == "finalizing"):
            continue
        part.learn(now)
        if any(one.batches for one in plan.parts):
            plan.withdrawn = True
            done = "the rest of it is not sent"
            then = "retry_failed.py plans the rest"
            if plan.kind == "trial":  # no plan of all that is left comes before the user's yes
                then = f"{command('run_batch.py', job)} shows what was sent"
        else:
            job.attempts.pop()
            done, then = "the plan was withdrawn, nothing was sent", "the same command again"
        job.save()
        raise Temporary(
            f"batch {safe(now.id)} was retried on the server since this attempt was planned"
            f" ({now.status}, {now.completed} of {now.total} answered); {done}",
            f"{next_command('poll.py', job.request_file())} waits for it; then {then}",
        )


def _earlier_as_they_are(api: Api, job: Job) -> Iterator[tuple[Part, Batch]]:
    """The batches of earlier attempts as they are now; those that the server knows no more are left out."""
    sent = [attempt for attempt in job.attempts[:-1] if attempt.kind != "reused"]
    earlier = [(part, batch) for attempt in sent for part in attempt.parts for batch in part.batches]
    pages = 1 + len(earlier) // PAGE_LIMIT
    listed = {found.id: found for found in api.batches(pages, search=job.requests.sha256)} if earlier else {}
    for part, before in earlier:
        found = listed.get(before.id)
        if found is None:  # it was submitted by hand, or by another job: it bears other tags, or none
            with contextlib.suppress(NotFound):
                found = batch_of(api, part, before)
        if found is not None:
            yield part, found.batch.after(before)


def _adopt(api: Api, job: Job, waiting: Sequence[Part]) -> None:
    """Takes over what there is, and sends nothing. Raises NotFound if there is nothing."""
    found = [part for part in waiting if take_from_elsewhere(api, job, part, "adopt")]
    if not found:
        try:
            require_not_elsewhere(api, job)
        except NotAllowed as error:
            raise NotFound(f"nothing to adopt: {error.what}", error.next_step) from None
        raise NotFound(
            "nothing to adopt: the server has no batch with these requests; nothing was sent",
            f"check the key and DOUBLEWORD_BASE_URL; {next_command('upload.py', job.request_file())} begins it anew",
        )
    if len(found) < len(waiting):
        say(f"nothing to adopt for {plural(len(waiting) - len(found), 'part')}: not submitted")


def submit_parts(api: Api, job: Job, window: str, choice: str | None, limit: Decimal | None, jobs: int) -> None:
    """Submits every part that has no batch, each as soon as it is uploaded. The lock must be held.

    With a cost limit all is uploaded first, since the estimate needs every file. A 429 is raised as Busy: what was
    submitted goes on, and the same again, once the lock was let go of, submits the rest.
    """
    waiting = job.unsubmitted()
    if not waiting:
        return
    job.require_not_cancelled()
    job.require_unchanged(job.latest)
    require_same_server(api, job)
    with content_lock.held(api.clock, job.requests.sha256, job.id):
        if choice == "again":
            deleted.bring_anew(api, job, waiting)
        elif choice is None:
            require_known(api, job)
        for part in waiting:  # whatever comes then: an intent whose fate is unclear may still become a batch
            if part.submission:
                settle(api, job, part)
        waiting = job.unsubmitted()
        if choice == "adopt" and waiting:
            _adopt(api, job, waiting)
        elif waiting:
            if choice is None:
                _require_unsent(api, job)
            _send_all(api, job, window, choice, limit, jobs)


def _require_unsent(api: Api, job: Job) -> None:
    """Raises Failure if somebody else has sent what waits, or if it was answered since it was planned."""
    if len(job.attempts) > 1:
        require_only_copy(api, job)
        _require_planned_from_what_is(api, job)
    require_not_elsewhere(api, job)


def _send_all(api: Api, job: Job, window: str, choice: str | None, limit: Decimal | None, jobs: int) -> None:
    waiting = job.unsubmitted()
    if limit is not None:
        upload_parts(api, job, window, jobs)
        require_cost(api, job, window, limit)
    announce(job, waiting, window)
    many = len(job.latest.parts)
    with uploading(api, job, window, jobs, priced=limit is not None) as uploads:
        for part, _ in zip(waiting, uploads, strict=True):
            batch = _submit_part(api, job, part, window, choice)
            cost = cost_text(estimated_cost([part], window))
            say(f"part {part.part} of {many}: batch {safe(batch.id)}, {cost}")
