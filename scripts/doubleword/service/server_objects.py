"""What does the server say? Checked and put into shape in one place, so that nothing odd gets any further.

A field that is none of what it is called (a text where a count is expected, a time of the year 9999) becomes empty;
an object without an id is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.json_text import NotJson, count, fields, moment, read_json, words
from ..base.text import holds_key, safe
from ..job.batch import Batch
from .network import body_of
from .refusals import Unclear

if TYPE_CHECKING:
    import requests

    from ..base.failures import Clock

# After a cancel, or the deletion of its input, the server aborts what is in flight of a batch within 5 s.
SETTLES_SECONDS = 30.0
JSON_BYTES = 8 * 1024 * 1024  # a page of 101 batches takes a tenth of it

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}")
_WORD = re.compile(r"validating|in_progress|finalizing|completed|failed|expired|cancelling|cancelled")


def _with_id(found: Any, doing: str, asked: str | None) -> dict[str, Any]:
    """What the server sent, if it is an object with an id, the one that was asked for; raises Unclear otherwise.

    An id goes into the record, commands and names of files: one that holds blanks, control characters, slashes, or the
    key, is none.
    """
    found_id = fields(found).get("id")
    if not isinstance(found_id, str) or not _ID.fullmatch(found_id) or holds_key(found_id):
        raise Unclear(f"{doing}: the answer has no id")
    if asked not in (None, found_id):
        raise swapped(doing, found_id)
    return dict(found)


def swapped(doing: str, what: object) -> Unclear:
    return Unclear(f"{doing}: the answer is about another one{f', {safe(what, 80)}' if what else ''}")


class File(NamedTuple):
    """What the server says of an uploaded file."""

    id: str
    name: str
    created_at: float


def file_of(found: Any, doing: str, asked: str | None = None) -> File:
    file = _with_id(found, doing, asked)
    return File(file["id"], words(file.get("filename")), moment(file.get("created_at")))


@dataclass(frozen=True)
class Told:
    """What the server says of a batch. Times are Unix seconds, 0 if there is none."""

    batch: Batch  # what the record keeps of it
    input_file_id: str  # "": it was deleted
    endpoint: str
    tags: dict[str, str]  # its metadata
    began_at: float
    ended_at: float

    @property
    def id(self) -> str:
        return self.batch.id


def told_of(found: Any, doing: str, clock: Clock, asked: str | None = None) -> Told:
    """A batch object, whose every field is what it is called: what is none is "", 0 or None."""
    batch = _with_id(found, doing, asked)
    status = words(batch.get("status"))
    counts = fields(batch.get("request_counts"))
    times = {name: moment(batch[name]) for name in batch if name.endswith("_at")}
    cancelled = status in ("cancelled", "cancelling")
    why = fields(batch.get("errors")).get("data")  # of a failure: [{"message", "line", ...}]
    seen = Batch(
        id=batch["id"],
        status=status if _WORD.fullmatch(status) else safe(status or "unknown", 40),
        total=count(counts.get("total")),
        completed=count(counts.get("completed")),
        failed=count(counts.get("failed")),
        created_at=times.get("created_at", 0.0),
        cancelled_at=times.get("cancelled_at") or times.get("cancelling_at", 0.0),
        started=bool(times.get("in_progress_at")),
        output_file_id=_file_id(batch.get("output_file_id")) or None,
        error_file_id=_file_id(batch.get("error_file_id")) or None,
        reason=safe(fields(why[0] if isinstance(why, list) and why else None).get("message") or "", 300),
        seen_at=clock.now(),
        steady_at=clock.monotonic(),
        cancelled_seconds=0.0 if cancelled else None,
    )
    return Told(
        seen,
        _file_id(batch.get("input_file_id")),
        words(batch.get("endpoint")),
        {name: value for name, value in fields(batch.get("metadata")).items() if isinstance(value, str)},
        times.get("in_progress_at", 0.0),
        max(times.get(name, 0.0) for name in ("completed_at", "failed_at", "cancelled_at")),
    )


def _file_id(value: object) -> str:
    held = words(value)
    return held if _ID.fullmatch(held) and not holds_key(held) else ""


def object_of(response: requests.Response, doing: str) -> dict[str, Any]:
    try:
        found = read_json(body_of(response, JSON_BYTES))
    except NotJson:
        found = None
    if not isinstance(found, dict):
        raise Unclear(f"{doing}: the answer is no JSON object")
    return found


def model_of(found: Any, doing: str) -> dict[str, Any]:
    """A model: {id, ...}. Its name may hold slashes and blanks; it is shown and compared, nothing else."""
    if not words(fields(found).get("id")):
        raise Unclear(f"{doing}: the answer has no id")
    return dict(found)


def amount_of(value: Any) -> str:
    """An amount of money as its decimal text; "" for anything that is none, or more than anyone has."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, (int, float)) else ""
    return text if re.fullmatch(r"\d{1,12}(\.\d{1,30})?(e-\d{1,2})?", text, re.IGNORECASE) else ""
