"""What the server sends, checked and put into shape: one place, so that nothing odd gets any further.

A field that is none of what it is called (a text where a count is expected, a time of the year 9999) becomes empty;
an object without an id is no answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..base.json_text import NotJson, count, fields, moment, read_json, words
from ..base.text import holds_key, safe
from ..job.record import Batch
from .exchange import body_of
from .refusals import Unclear

if TYPE_CHECKING:
    import requests

    from ..base.failures import Clock

JSON_BYTES = 8 * 1024 * 1024  # a page of 101 batches takes a tenth of it

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}")
_WORD = re.compile(r"validating|in_progress|finalizing|completed|failed|expired|cancelling|cancelled")


def _with_id(found: Any, doing: str) -> dict[str, Any]:
    """What the server sent, if it is an object with an id; raises Unclear otherwise.

    An id goes into the record, commands and names of files: one that holds blanks, control characters, slashes, or the
    key, is none.
    """
    found_id = fields(found).get("id")
    if not isinstance(found_id, str) or not _ID.fullmatch(found_id) or holds_key(found_id):
        raise Unclear(f"{doing}: the answer has no id", "the same command again later")
    return dict(found)


def file_of(found: Any, doing: str) -> dict[str, Any]:
    """A file object: {id, filename, ...}."""
    file = _with_id(found, doing)
    return file | {"filename": words(file.get("filename"))}


def batch_of(found: Any, doing: str) -> dict[str, Any]:
    """A batch object whose ids, counts, times and metadata are what they are called: what is none is null, 0 or {}."""
    batch = _with_id(found, doing)
    status = words(batch.get("status"))
    for name in ("output_file_id", "error_file_id", "input_file_id"):
        held = words(batch.get(name))
        sound = _ID.fullmatch(held) and not holds_key(held)
        batch[name] = held if sound else "" if name == "input_file_id" else None  # "" is a deleted input's
    counts = fields(batch.get("request_counts"))
    metadata = fields(batch.get("metadata"))
    return batch | {
        "status": status if _WORD.fullmatch(status) else safe(status, 40),
        "request_counts": {name: count(counts.get(name)) for name in ("total", "completed", "failed")},
        **{name: moment(batch[name]) or None for name in batch if name.endswith("_at")},
        "metadata": {name: value for name, value in metadata.items() if isinstance(value, str)},
    }


def _file_id(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _reason(batch: dict[str, Any]) -> str:
    """Why a batch failed: {"errors": {"data": [{"message", "line", ...}]}}."""
    errors = batch.get("errors")
    found = errors.get("data") if isinstance(errors, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    return safe(first.get("message") or "", 300) if isinstance(first, dict) else ""


def seen(batch: dict[str, Any], clock: Clock, before: Batch | None = None) -> Batch:
    """What the record keeps of a batch object from the server, with when it was last seen to change."""
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    found = Batch(
        id=str(batch["id"]),
        status=safe(batch.get("status") or "unknown", 40),
        total=count(counts.get("total")),
        completed=count(counts.get("completed")),
        failed=count(counts.get("failed")),
        created_at=moment(batch.get("created_at")),
        cancelled_at=moment(batch.get("cancelled_at")) or moment(batch.get("cancelling_at")),
        started=bool(batch.get("in_progress_at")),
        output_file_id=_file_id(batch.get("output_file_id")),
        error_file_id=_file_id(batch.get("error_file_id")),
        reason=_reason(batch),
        seen_at=clock.now(),
        steady_at=clock.monotonic(),
    )
    if found.status in ("cancelled", "cancelling"):
        found.cancelled_seconds = 0.0
    if before is not None and before.id == found.id:
        passed = _passed(before, found)
        if (before.status, before.completed, before.failed) == (found.status, found.completed, found.failed):
            found.still_seconds = before.still_seconds + passed
        if found.cancelled_seconds is not None and before.cancelled_seconds is not None:
            found.cancelled_seconds = before.cancelled_seconds + passed
        found.fetched = before.fetched
    return found


def _passed(before: Batch, now: Batch) -> float:
    """Seconds between two sightings. A clock may have been set in between, and the steady one begins anew with the
    machine: the shorter of the two times is believed."""
    wall, steady = now.seen_at - before.seen_at, now.steady_at - before.steady_at
    return max(0.0, wall if steady < 0 else min(wall, steady))


def metadata_of(batch: dict[str, Any]) -> dict[str, Any]:
    found = batch.get("metadata")
    return found if isinstance(found, dict) else {}


def object_of(response: requests.Response, doing: str) -> dict[str, Any]:
    try:
        found = read_json(body_of(response, JSON_BYTES))
    except NotJson:
        found = None
    if not isinstance(found, dict):
        raise Unclear(f"{doing}: the answer is no JSON object", "the same command again later")
    return found


def model_of(found: Any, doing: str) -> dict[str, Any]:
    """A model: {id, ...}. Its name may hold slashes and blanks; it is shown and compared, nothing else."""
    if not words(fields(found).get("id")):
        raise Unclear(f"{doing}: the answer has no id", "the same command again later")
    return dict(found)


def amount_of(value: Any) -> str:
    """An amount of money as its decimal text; "" for anything that is none, or more than anyone has."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, (int, float)) else ""
    return text if re.fullmatch(r"\d{1,12}(\.\d{1,30})?(e-\d{1,2})?", text, re.IGNORECASE) else ""
