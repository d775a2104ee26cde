"""One batch for each part, paid once: upload, intent, one POST, and what to do when its fate is unclear.

An uploaded file is a ticket: it is submitted by one POST, once. The server has no idempotency keys, but
deleting an input file cancels its live batches and makes every later or delayed POST on it a 404, so a
ticket whose fate stays unclear is torn up and a new one is made. The caller holds the job's lock.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from .api import PAGE_LIMIT, Api
from .contract import BadInput, Clock, Failure, NotAllowed, NotFound, Temporary, WrongUsage, next_command, safe, say
from .job import ENDED, Attempt, Batch, Job, Part
from .refusals import Busy, Unclear
from .request_file import PartBody, physical_line

# A batch is listed with the next request; the waits are for a read replica that lags.
LOOK_AGAIN_SECONDS = (0, 2, 5, 15)
# Each ticket that ends unclear costs an upload and half a minute: after three the network is not fit for this.
TICKETS = 3
DEAD = frozenset({"failed", "cancelled", "cancelling", "expired"})
Sent = Callable[[int], None]


def seen(batch: dict[str, Any], clock: Clock, before: Batch | None = None) -> Batch:
    """What the record keeps of a batch object from the server, with when it was last seen to change."""
    counts = batch.get("request_counts") or {}
    found = Batch(
        id=str(batch["id"]),
        status=safe(batch.get("status") or "unknown", 40),
        total=int(counts.get("total") or 0),
        completed=int(counts.get("completed") or 0),
        failed=int(counts.get("failed") or 0),
        created_at=float(batch.get("created_at") or 0),
        cancelled_at=float(batch.get("cancelled_at") or batch.get("cancelling_at") or 0),
        started=bool(batch.get("in_progress_at")),
        output_file_id=batch.get("output_file_id"),
        error_file_id=batch.get("error_file_id"),
        seen_at=clock.now(),
    )
    same = before is not None and all(before.get(k) == found[k] for k in ("id", "status", "completed", "failed"))
    found["changed_at"] = before["changed_at"] if before is not None and same else clock.now()
    if found["status"] in ("cancelled", "cancelling"):
        found["cancel_seen_at"] = (before or {}).get("cancel_seen_at", clock.now())
    if before is not None and "fetched" in before and before.get("id") == found["id"]:
        found["fetched"] = before["fetched"]
    return found


def told_the_same(one: Batch | None, other: Batch | None) -> bool:
    """Whether two sightings of a batch differ in nothing but their time."""
    return {**(one or {}), "seen_at": 0} == {**(other or {}), "seen_at": 0}


def metadata_of(batch: dict[str, Any]) -> dict[str, Any]:
    found = batch.get("metadata")
    return found if isinstance(found, dict) else {}


# --- upload ------------------------------------------------------------------------------------


def upload_part(api: Api, job: Job, attempt: Attempt, part: Part, sent: Sent = lambda _: None) -> None:
    """Uploads a part unless it is there already. Afterwards part["upload"]["file_id"] is set and on disk."""
    known = part["upload"]
    if known and known["file_id"]:
        return
    # A copy of this script may have died while it waited for the answer.
    if known and known["name"] and _take_uploaded(api, job, part):
        return
    path = job.request_file(attempt)
    for last in (False,) * (TICKETS - 1) + (True,):
        name = f"dwb-{job.id[:12]}-a{attempt['attempt']}-p{part['part']}-{uuid.uuid4().hex[:12]}.jsonl"
        job.note(part, upload={"name": name, "file_id": None, "given": False})
        count = _Counter(sent)
        try:
            found = api.upload(name, PartBody(path, part["start"], part["end"], part["sha256"], count.add))
            job.note(part["upload"], file_id=str(found["id"]))
            return
        except (BadInput, NotAllowed, WrongUsage) as error:
            job.note(part, upload=None)  # a definite no: nothing was stored
            raise _with_physical_line(error, job, attempt, part) from None
        except Temporary as error:
            count.take_back()
            if isinstance(error, Unclear) and _take_uploaded(api, job, part):
                return
            pause = error.retry_after if isinstance(error, Busy) and error.retry_after is not None else 5.0
            if last or api.clock.monotonic() + pause > api.deadline:
                raise
            say(f"upload of part {part['part']}: {error.what}; trying again in {pause:.0f} s")
            api.clock.sleep(pause)


def _take_uploaded(api: Api, job: Job, part: Part) -> bool:
    """Takes the file that was uploaded under the part's recorded name, if it is there."""
    assert part["upload"] is not None
    found = api.files_named(part["upload"]["name"])
    if found:
        job.note(part["upload"], file_id=str(found[0]["id"]))
    return bool(found)


class _Counter:
    """Counts what was sent, so that a failed sending can be taken back from the progress."""

    def __init__(self, sent: Sent) -> None:
        self._sent, self._total = sent, 0

    def add(self, amount: int) -> None:
        self._total += amount
        self._sent(amount)

    def take_back(self) -> None:
        self._sent(-self._total)
        self._total = 0


def _with_physical_line(error: Failure, job: Job, attempt: Attempt, part: Part) -> Failure:
    """The server counts the lines of the part that are not blank; people count the lines of the file."""
    found = re.search(r"\b[Ll]ine (\d+)", error.what)
    if not found:
        return error
    path = job.request_file(attempt)
    line = physical_line(path, part["start"], part["first_line"], int(found[1]))
    return type(error)(f"{safe(path.name)} line {line}: {error.what}", error.next_step or "mend that line")


# --- submit ------------------------------------------------------------------------------------


def submit_part(api: Api, job: Job, attempt: Attempt, part: Part, window: str, choice: str | None) -> None:
    """Submits a part unless it has a batch. Afterwards part["batch"] is set and on disk.

    `choice` says what to do about another job's batch with this content: "adopt" it, submit "again", or None: stop.
    Raises Busy for a 429 (nothing was submitted), Temporary when the outcome stays unclear.
    """
    if choice == "again" and (part["upload"] or {}).get("given"):
        job.note(part, submission=None)  # the user has looked: its fate would stay unclear for ever
    for _ in range(TICKETS):
        if part["submission"]:
            settle(api, job, part)
        if part["batch"]:
            return
        if choice == "again":
            job.note(part, again=True)
        elif _take_from_elsewhere(api, job, part, adopt=choice == "adopt"):
            return
        upload_part(api, job, attempt, part)
        _send(api, job, attempt, part, window)
        if part["batch"]:
            return
    settle(api, job, part)
    if not part["batch"]:
        raise Temporary(
            f"part {part['part']}: {TICKETS} submissions were lost on the way", "the same command again later"
        )


def _send(api: Api, job: Job, attempt: Attempt, part: Part, window: str) -> None:
    """The intent, then the one POST. Afterwards the part has a batch; or its intent stands, and is to be settled."""
    assert part["upload"] is not None
    if not part["again"]:
        _require_unused(api, job, part)
    submission = uuid.uuid4().hex
    job.note(part, submission={"id": submission, "sent_at": api.clock.now(), "tearing": False})
    tags = _tags(job, attempt, part, submission)
    try:
        found = api.create_batch(part["upload"]["file_id"], attempt["endpoint"], window, tags)
    except Unclear as error:
        say(f"part {part['part']}: {error.what}; finding out whether it was submitted")
        return
    except Failure:
        job.note(part, submission=None)  # a definite no: nothing was submitted
        raise
    job.note(part, batch=seen(found, api.clock))


def _tags(job: Job, attempt: Attempt, part: Part, submission: str) -> dict[str, str]:
    """The batch's metadata: enough to find it by, and to rebuild a lost record."""
    return {
        "dwb_submission": submission,
        "dwb_content": part["sha256"],
        "dwb_file": attempt["sha256"],
        "dwb_job": job.id,
        "dwb_attempt": str(attempt["attempt"]),
        "dwb_part": f"{part['part']} of {len(attempt['parts'])}",
        "dwb_lines": f"{part['first_line']}-{part['last_line']}",
        **({"dwb_again": "yes"} if part["again"] else {}),
    }


def known_batches(job: Job) -> set[str]:
    """The ids of every batch the record knows."""
    return {
        b["id"] for _, part in job.parts() for b in ([part["batch"]] if part["batch"] else []) + part["other_batches"]
    }


def require_only_copy(api: Api, job: Job) -> None:
    """Raises NotAllowed if another copy of this job has submitted a later attempt of its own.

    A copy of the folder, or a job made from one of its batch ids, plans from the same first attempt: its second attempt
    holds the same requests in other bytes, so that no content hash tells.
    """
    known, parts = known_batches(job), list(job.parts())
    own = {part["sha256"] for _, part in parts} | {(part["submission"] or {}).get("id") for _, part in parts}
    for batch in api.batches(2 + len(parts) // PAGE_LIMIT, search=job.id):
        tags, counts = metadata_of(batch), batch.get("request_counts") or {}
        if tags.get("dwb_job") != job.id or str(tags.get("dwb_attempt", "1")) == "1" or batch["id"] in known:
            continue
        if tags.get("dwb_content") in own or tags.get("dwb_submission") in own:
            continue  # of this very attempt: it is found, and taken over, by its content
        if batch.get("status") not in DEAD or counts.get("completed"):
            raise NotAllowed(
                f"another copy of this job submitted an attempt of its own: batch {safe(batch['id'])},"
                f" {safe(batch.get('status'))}",
                "ask the user: go on with that copy of the job; or"
                f" {next_command('create_batch.py', job.request_file())} --again pays for these requests, too",
            )


def _take_from_elsewhere(api: Api, job: Job, part: Part, adopt: bool) -> bool:
    """Looks for a batch with this part's content: from a lost record, another machine, or another job.

    One of this job's own is taken; another job's only if `adopt`. Raises NotAllowed for another job's otherwise.
    """
    known = known_batches(job)
    found = [
        batch
        for batch in api.batches(1, search=part["sha256"])
        if metadata_of(batch).get("dwb_content") == part["sha256"]
        and batch["id"] not in known
        and batch.get("status") not in DEAD
    ]
    own = [batch for batch in found if metadata_of(batch).get("dwb_job") == job.id]
    if not own and found and not adopt:
        other = found[0]
        again = next_command("create_batch.py", job.request_file())
        raise NotAllowed(
            f"part {part['part']} was already submitted by another job:"
            f" batch {safe(other['id'])}, {safe(other['status'])}",
            f"ask the user: {again} --adopt takes that batch over; {again} --again pays for a second one",
        )
    if not found:
        return False
    _adopt(api, job, part, own or found)
    return True


def _require_unused(api: Api, job: Job, part: Part) -> None:
    """Raises NotAllowed if the part's uploaded file was submitted by its raw id: that job's content hash is another."""
    upload = part["upload"]
    assert upload is not None
    name = upload["name"] or str(api.file(upload["file_id"]).get("filename") or "")
    known = known_batches(job)
    for batch in api.batches(1, search=name) if name else ():
        own = batch.get("input_file_id") == upload["file_id"] and batch["id"] not in known
        if own and batch.get("status") not in DEAD:
            again = next_command("create_batch.py", job.request_file(), "--again")
            raise NotAllowed(
                f"part {part['part']}: its file was submitted already, as batch {safe(batch['id'])},"
                f" {safe(batch.get('status'))}",
                f"ask the user: download.py {safe(batch['id'])} fetches that batch; {again} pays for a second one",
            )


def _adopt(api: Api, job: Job, part: Part, found: list[dict[str, Any]]) -> None:
    """Takes the batch furthest on as the part's own and cancels the others that still run."""
    order = {"completed": 0, "finalizing": 1, "in_progress": 2, "validating": 3}

    def furthest(batch: dict[str, Any]) -> tuple[int, int, float]:
        kept = seen(batch, api.clock)
        return order.get(kept["status"], 4), -kept["completed"], kept["created_at"]

    best, *others = sorted(found, key=furthest)
    job.note(part, batch=seen(best, api.clock))
    say(f"part {part['part']}: took over batch {safe(best['id'])} ({safe(best.get('status'))})")
    for other in others:
        drop(api, job, part, other)


def drop(api: Api, job: Job, part: Part, batch: dict[str, Any]) -> None:
    """Cancels a second batch of the same content, unless it has ended; what it answered is kept."""
    job.note(part, other_batches=[*part["other_batches"], seen(batch, api.clock)])
    cancel_others(api, job, part)


def cancel_others(api: Api, job: Job, part: Part) -> None:
    """Cancels the second batches of a part that still run: also where a cancel failed before, or a kill came first."""
    for other in part["other_batches"]:
        if other["status"] not in ENDED | DEAD:
            job.note(other, **seen(api.cancel(other["id"]), api.clock, other))
            say(f"part {part['part']}: batch {safe(other['id'])} has the same requests; it is now {other['status']}")


def settle(api: Api, job: Job, part: Part) -> None:
    """Finds out what became of a recorded intent: afterwards the part has a batch, or neither intent nor file."""
    submission, upload = part["submission"], part["upload"]
    assert submission is not None
    assert upload is not None
    for pause in (0,) if submission["tearing"] else LOOK_AGAIN_SECONDS:
        api.clock.sleep(pause)
        found = _submitted_as(api, part)
        if submission["tearing"]:
            found = [batch for batch in found if batch.get("status") not in DEAD]
        if found:
            _adopt(api, job, part, found)
            return
    if upload["given"]:
        if not api.has_file(upload["file_id"]):
            job.note(part, submission=None)
            raise NotFound(f"the server knows no file {safe(upload['file_id'])}", "check the id")
        raise Temporary(
            f"whether file {safe(upload['file_id'])} was submitted is unclear; it is the user's own file, so it stays",
            f"{next_command('list_batches.py')} --search {submission['id']} shows the batch if there is one;"
            " if there is none, create_batch.py --again submits it anew",
        )
    job.note(submission, tearing=True)
    api.delete_file(upload["file_id"])
    # What shows up now was cancelled by the deletion. If it had begun, it may have answered, and been paid for,
    # some requests: it stays the part's batch, and retry_failed.py plans what it left.
    worked = [b for b in _submitted_as(api, part) if seen(b, api.clock)["started"] or seen(b, api.clock)["completed"]]
    if worked:
        _adopt(api, job, part, worked)
    else:
        # Not upload=None, as before upload.py ran: create_batch.py, killed here and run again, brings the new ticket.
        job.note(part, submission=None, upload={"name": "", "file_id": None, "given": False}, estimates={})
        say(f"part {part['part']}: it was not submitted; its file was deleted and is uploaded anew")


def _submitted_as(api: Api, part: Part) -> list[dict[str, Any]]:
    """The batches that came of the part's recorded intent. The search is a wildcard match: compare what comes back."""
    submission, upload = part["submission"], part["upload"]
    assert submission is not None
    assert upload is not None
    found = {}
    for text in filter(None, (submission["id"], upload["name"])):  # the user's own file has no name of ours
        for batch in api.batches(1, search=text):
            if metadata_of(batch).get("dwb_submission") == submission["id"] or (
                batch.get("input_file_id") == upload["file_id"] and not upload["given"]
            ):
                found[batch["id"]] = batch
    return list(found.values())
