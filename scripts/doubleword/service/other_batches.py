"""Batches that hold the same requests: from a lost record, another machine, another job, or the same moment."""

from __future__ import annotations

from typing import Any

from ..base.console import say
from ..base.errors import NotAllowed
from ..base.text import next_command, safe
from ..job.job import Job
from ..job.record import DEAD, ENDED, Part, _id, metadata_of, seen
from .api import PAGE_LIMIT, Api


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


def _resolve_seconds(api: Api, job: Job, listed: list[dict[str, Any]]) -> None:
    """Two machines that submitted at the same moment: the later batch of a content is cancelled on both."""
    known = known_batches(job)
    by_content: dict[str, list[dict[str, Any]]] = {}
    for batch in listed:
        tags = metadata_of(batch)
        if batch["id"] not in known and batch.get("status") not in DEAD and "dwb_again" not in tags:
            by_content.setdefault(str(tags.get("dwb_content")), []).append(batch)
    for part in job.submitted():
        own = next((batch for batch in listed if batch["id"] == _id(part)), None)
        others = by_content.get(part["sha256"], [])
        if others and own is not None and not part["again"] and own.get("status") not in DEAD:
            first, *later = sorted([own, *others], key=lambda b: (b.get("created_at") or 0, b["id"]))
            kept = [*part["other_batches"], *(seen(batch, api.clock) for batch in later)]
            # In one writing: a kill or a cancel that fails leaves none of them unknown.
            job.note(part, batch=seen(first, api.clock, part["batch"]), other_batches=kept)
            cancel_others(api, job, part)
        if part["submission"] and not part["submission"].get("compared") and own is not None:
            job.note(part["submission"], compared=True)
