"""Has somebody else sent the same requests? A lost record, another machine, another job, or at the same moment."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ..base.console import say
from ..base.failures import Clock, NotAllowed, NotFound, Temporary
from ..base.text import next_command, safe
from ..job.batch import DEAD, Batch
from ..job.job import Job
from ..job.record import Part, Upload
from .api import PAGE_LIMIT, Api
from .server_objects import SETTLES_SECONDS, Told

SEARCHED_PAGES = 20  # of 101 batches, beside the job's own
GIVEN_FILE_BATCHES = SEARCHED_PAGES * PAGE_LIMIT  # so many are looked through for those of a user's own file
LONG_AGO_SECONDS = 24 * 3600.0  # more than the clocks of two machines differ by


def require_only_copy(api: Api, job: Job) -> None:
    """Raises NotAllowed if another copy of this job has submitted a later attempt of its own.

    A copy of the folder, or a job made from one of its batch ids, plans from the same first attempt: its second attempt
    holds the same requests in other bytes, so that no content hash tells.
    """
    own = {part.span.sha256 for part in job.parts()} | {p.submission.id for p in job.parts() if p.submission}
    for told in _paid_elsewhere(api, job, "dwb_job", job.id):
        tags, found = told.tags, told.batch
        of_this_attempt = {tags.get("dwb_content"), tags.get("dwb_submission")} & own  # it is found by its content
        if tags.get("dwb_attempt", "1") != "1" and not of_this_attempt:
            raise NotAllowed(
                f"another copy of this job submitted an attempt of its own: batch {safe(found.id)}, {found.status}",
                f"ask the user: go on with that copy of the job; or {job.pay_again} pays for these requests, too",
            )


def _paid_elsewhere(api: Api, job: Job, tag: str, text: str) -> list[Told]:
    """The batches that the record does not know, whose tag is this text (the search is a wildcard match), and for which
    the money is spent: they live, are whole, or are dead but have answers. To the end of the list, within a bound:
    those that answered may be the oldest. Where one was cancelled before it answered anything, they are listed once
    more, when what was in flight has landed: it is paid."""
    known, may_be_own = job.batch_ids, sum(len(attempt.parts) for attempt in job.attempts)
    while True:
        listed = api.batches(SEARCHED_PAGES + 2 * may_be_own // PAGE_LIMIT, search=text)
        found = [told for told in listed if told.tags.get(tag) == text and told.id not in known]
        doubtful = [told.id for told in found if _may_answer(told.batch, api.clock)]
        pause = max((SETTLES_SECONDS - api.seconds_since_seen(f"cancelled {i}") for i in doubtful), default=0.0)
        if pause <= 0:
            return [told for told in found if _was_paid(told.batch)]
        if api.clock.monotonic() + pause > api.deadline:
            raise Temporary("a batch with these requests was cancelled a moment ago")
        say("a batch with these requests was cancelled: waiting until what was in flight has landed")
        api.clock.sleep(pause)


def _may_answer(batch: Batch, clock: Clock) -> bool:
    began = batch.status in ("cancelling", "cancelled") and batch.started
    long_ago = 0 < batch.cancelled_at < clock.now() - LONG_AGO_SECONDS
    return began and not long_ago and not batch.completed and batch.failed < batch.total


def _was_paid(batch: Batch) -> bool:
    """Whether a batch lives, is whole, or is dead but has answers: for these the money is spent."""
    return batch.status not in DEAD or batch.completed > 0


def require_not_elsewhere(api: Api, job: Job) -> None:
    """Raises NotAllowed if a batch that the record does not know carries the hash of this job's file.

    It is of a record that was lost or restored, of another cut into parts, of a trial, or of another job. What has the
    content of a part that waits is left out: it is found, and taken over, by that.
    """
    contents = {part.span.sha256 for part in job.parts() if part.again} | {p.span.sha256 for p in job.unsubmitted()}
    answered = {part.span.sha256 for part in job.parts() if part.batch}
    for told in _paid_elsewhere(api, job, "dwb_file", job.requests.sha256):
        tags, found = told.tags, told.batch
        if tags.get("dwb_content") in contents:
            continue
        beside = "dwb_again" in tags and job.latest.kind == "retry"
        if tags.get("dwb_job") != job.id and (beside or tags.get("dwb_content") in answered):
            continue  # another job's, sent beside what this one has: somebody said yes to that
        raise NotAllowed(
            f"requests of this file were already submitted, in other parts or by another copy of this job: batch"
            f" {safe(found.id)}, {found.status},"
            f" {found.completed} of {found.total} answered (part {safe(tags.get('dwb_part'), 40)}, lines"
            f" {safe(tags.get('dwb_lines'), 40)}, attempt {safe(tags.get('dwb_attempt'), 10)})",
            # Not --adopt: these are other lines than any part has.
            _fetch_or_pay(job, found.id),
        )
    for told in _fetched_for(api, job):
        raise NotAllowed(
            f"{safe(job.requests.name)} is by its name the input of batch {safe(told.id)}, {told.batch.status},"
            f" {told.batch.completed} of {told.batch.total} answered",
            _fetch_or_pay(job, told.id),
        )


def _fetch_or_pay(job: Job, batch_id: str) -> str:
    fetch = next_command("download.py", batch_id)
    return f"ask the user: {fetch} fetches what that batch answered; {job.pay_again} pays for these requests once more"


def _fetched_for(api: Api, job: Job) -> Iterator[Told]:
    """The paid batches on the input that a request file was fetched from, as its name says: where its record was
    deleted, and they were made by hand, nothing else does."""
    named = re.fullmatch(r"(batch|file)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl", job.requests.name)
    with contextlib.suppress(NotFound):
        if named and named[1] == "batch":
            told = api.batch(named[2])
            if told.id not in job.batch_ids and _was_paid(told.batch):
                yield told
        elif named and not any(part.upload and part.upload.given for part in job.parts()):  # else see require_unused
            yield from _on_file(api, job, named[2], "")


def take_from_elsewhere(api: Api, job: Job, part: Part, choice: str | None) -> bool:
    """Looks for a batch with this part's content: from a lost record, another machine, or another job.

    One of this job's own is taken, whatever the `choice`: its record was restored or copied. Another job's is with
    "adopt"; with "again" it is passed over. Raises NotAllowed for another job's otherwise.
    """
    found = _paid_elsewhere(api, job, "dwb_content", part.span.sha256)
    own = [told for told in found if told.tags.get("dwb_job") == job.id]
    if not own and found and choice is None:
        other = _furthest_first(found)[0].batch
        raise NotAllowed(
            f"part {part.part} was already submitted by another job: batch {safe(other.id)}, {other.status},"
            f" {other.completed} of {other.total} answered",
            f"ask the user: {job.take_over} takes over what there is; {job.pay_again} pays for a second one",
        )
    # Of other jobs' batches one is taken over; the others are somebody's, who may have said yes to them.
    taken = own or (_furthest_first(found)[:1] if choice == "adopt" else [])
    if taken:
        adopt_batches(api, job, part, taken)
    return bool(taken)


def _on_file(api: Api, job: Job, file_id: str, name: str) -> Iterator[Told]:
    """The paid batches on an uploaded file that the record does not know. A `name` of ours is the file's alone; that of
    a user's own file ("") may be that of many, or none that can be searched for: then all that are not older are looked
    at. Raises NotAllowed where these are too many."""
    known, since = job.batch_ids, 0.0
    if not name:
        file = api.file(file_id)
        since = file.created_at
        # Else it holds what the search takes for itself, or for a wildcard.
        name = file.name if re.fullmatch(r"[\w .()-]+", file.name) else ""
    listed = api.batches(SEARCHED_PAGES + 1, **({"search": name} if name else {}))
    for number, told in enumerate(listed):
        if 0 < told.batch.created_at < since:  # newest first, by one clock
            return
        if number >= GIVEN_FILE_BATCHES:
            raise NotAllowed(
                f"whether file {safe(file_id)} was submitted before cannot be told: {GIVEN_FILE_BATCHES} batches are"
                " newer than it",
                f"ask the user: list_batches.py shows them; {job.pay_again} submits it all the same",
            )
        if told.input_file_id == file_id and told.id not in known and _was_paid(told.batch):
            yield told


def require_unused(api: Api, job: Job, part: Part, upload: Upload) -> None:
    """Raises NotAllowed if the part's uploaded file was submitted by its raw id: that job's content hash is another."""
    for told in _on_file(api, job, upload.file_id or "", upload.name):
        raise NotAllowed(
            f"part {part.part}: its file was submitted already, as batch {safe(told.id)}, {told.batch.status}",
            _fetch_or_pay(job, told.id),
        )


def adopt_batches(api: Api, job: Job, part: Part, found: list[Told]) -> None:
    """Takes the batch furthest on as the part's own and cancels the others that still run."""
    best, *others = (told.batch for told in _furthest_first(found))
    # In one writing: a kill or a cancel that fails leaves none of them unknown.
    part.batch, part.other_batches = best, [*part.other_batches, *others]
    job.save(part)
    say(f"part {part.part}: took over batch {safe(best.id)} ({best.status})")
    cancel_others(api, job, part)


def _furthest_first(found: list[Told]) -> list[Told]:
    order = {"completed": 0, "finalizing": 1, "in_progress": 2, "validating": 3}

    def place(told: Told) -> tuple[int, int, float]:
        now = told.batch
        return order.get(now.status, 4), -now.completed, now.created_at

    return sorted(found, key=place)


def cancel_others(api: Api, job: Job, part: Part) -> None:
    """Cancels the second batches of a part that still run: also where a cancel failed before, or a kill came first."""
    for place, other in enumerate(part.other_batches):
        if other.running:
            part.other_batches[place] = now = api.cancel(other.id).batch.after(other)
            job.save(part)
            say(f"part {part.part}: batch {safe(now.id)} has the same requests; it is now {now.status}")


def resolve_seconds(api: Api, job: Job, listed: list[Told]) -> None:
    """Two machines that submitted at the same moment: the later batch of a content is cancelled on both."""
    known = job.batch_ids
    by_content: dict[str | None, list[Batch]] = {}
    for told in listed:
        if told.id not in known and told.batch.status not in DEAD and "dwb_again" not in told.tags:
            by_content.setdefault(told.tags.get("dwb_content"), []).append(told.batch)
    for part in job.submitted():
        own = next((told.batch for told in listed if part.batch and told.id == part.batch.id), None)
        others = by_content.get(part.span.sha256, [])
        if others and own is not None and not part.again and own.status not in DEAD:
            both = [own.after(part.batch), *others]
            # On both machines the same: one that is done, else the earlier.
            part.batch, *later = sorted(both, key=lambda batch: (batch.running, batch.created_at, batch.id))
            part.other_batches = [*part.other_batches, *later]
            job.save(part)
            cancel_others(api, job, part)
        if part.submission and not part.submission.compared and own is not None:
            part.submission.compared = True
            job.save(part)
