"""What the record holds: attempts, parts and batches, and what of a batch is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..base.errors import Clock
from ..base.files import state_of
from ..base.text import safe
from ..rows.source import Source

if TYPE_CHECKING:
    from ..request_file.check import Report


RECORD_VERSION = 1


# A status word the server may add later counts as "still running", never as done.
# "deleted" is ours: the server knows a batch no more while it knows others of the job.
ENDED = frozenset({"completed", "failed", "cancelled", "expired", "deleted"})


class Batch(TypedDict, total=False):
    """One batch as last seen. Times are Unix seconds."""

    id: str
    status: str
    total: int
    completed: int
    failed: int
    created_at: float
    cancelled_at: float  # by the server's clock; 0 if it was not cancelled
    started: bool
    output_file_id: str | None
    error_file_id: str | None
    seen_at: float  # when it was last seen, by our clock; a round that changed nothing else is not written down
    changed_at: float  # when status or counts were last seen to change, by our clock
    cancel_seen_at: float  # when it was first seen cancelled or cancelling, by our clock
    fetched: dict[str, Any]  # what of it lies in the spool; see results.py


class Part(TypedDict):
    """A range of lines of the request file, and what became of it."""

    part: int
    first_line: int
    last_line: int
    start: int
    end: int
    requests: int
    sha256: str
    upload: dict[str, Any] | None  # {name, file_id or null, given: the user's own file id}
    estimates: dict[str, str]  # completion window -> USD, as the server guessed it
    submission: dict[str, Any] | None  # {id, sent_at, tearing}: an intent, written before the POST
    batch: Batch | None
    other_batches: list[Batch]  # of the same content: later ones that were cancelled; their results count
    again: bool  # the user asked for a second batch although another job has one


class Attempt(TypedDict):
    """One request file of the job. The first holds every request, later ones what needs another try."""

    attempt: int
    request_file: str
    state: list[int]
    sha256: str
    size: int
    requests: int
    models: dict[str, int]
    endpoint: str
    input_tokens: int
    cancelled_at: float | None
    origin: list[list[int]]  # runs [part of attempt 1, count], in order; empty for attempt 1
    parts: list[Part]


def ended(part: Part) -> bool:
    """Whether the part's batch has reached an end."""
    return part["batch"] is not None and part["batch"].get("status") in ENDED


def new_attempt(number: int, request_file: Path, report: Report, origin: list[list[int]] | None = None) -> Attempt:
    """An attempt's entry for a request file that was just checked."""
    parts = [
        Part(
            part=index,
            first_line=span.first_line,
            last_line=span.last_line,
            start=span.start,
            end=span.end,
            requests=span.requests,
            sha256=span.sha256,
            upload=None,
            estimates={},
            submission=None,
            batch=None,
            other_batches=[],
            again=False,
        )
        for index, span in enumerate(report.spans, 1)
    ]
    return Attempt(
        attempt=number,
        request_file=request_file.name,
        state=state_of(request_file),
        sha256=report.sha256,
        size=report.size,
        requests=report.requests,
        models=report.models,
        endpoint=report.endpoint,
        input_tokens=report.input_tokens,
        cancelled_at=None,
        origin=origin or [],
        parts=parts,
    )


def _check_shape(record: Any) -> None:
    """Raises KeyError, TypeError or ValueError if a hand-edited record lacks what the scripts rely on."""
    if not (isinstance(record["job"], str) and re.fullmatch(r"[0-9a-f]{32}", record["job"])):
        raise ValueError("job is not an id")
    if not record["attempts"]:
        raise ValueError("no attempts")
    if record["source"] is not None:
        Source.from_dict(record["source"])
    record["options"]["part_requests"], record["options"]["part_bytes"], record["downloaded"]
    for attempt in record["attempts"]:
        for key in Attempt.__annotations__:
            attempt[key]
        if Path(attempt["request_file"]).name != attempt["request_file"]:
            raise ValueError("request_file is not a plain name")
        for part in attempt["parts"]:
            _check_part(part)


def _check_part(part: Any) -> None:
    for key in Part.__annotations__:
        part[key]
    if not 0 <= int(part["start"]) < int(part["end"]) or len(part["sha256"]) != 64:
        raise ValueError(f"part {part['part']} has no sound byte range or hash")
    for batch in [*([part["batch"]] if part["batch"] is not None else []), *part["other_batches"]]:
        if not isinstance(batch["id"], str):
            raise ValueError(f"part {part['part']} has a batch without an id")
    upload, submission = part["upload"], part["submission"]
    if upload is not None:
        upload["name"], upload["file_id"], upload["given"]
    if submission is not None:
        submission["tearing"]
        if not isinstance(submission["id"], str) or upload is None or not isinstance(upload["file_id"], str):
            raise ValueError(f"part {part['part']} was sent without an uploaded file")


DEAD = frozenset({"failed", "cancelled", "cancelling", "expired"})


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


def _id(part: Part) -> str:
    assert part["batch"] is not None
    return part["batch"]["id"]
