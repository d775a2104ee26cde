"""Which job is meant by an id of the server's? Its input is fetched, and from then on it is like any other.

The files lie in the current folder: `batch-<id>.jsonl` with its record, results and errors beside it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base.console import say
from ..base.failures import BadInput, Clock
from ..base.files import BLOCK_BYTES, put
from ..base.text import safe
from ..job.job import Job
from ..job.record import Options, Part, Record, Requests, Upload
from ..request_file.lines import Span
from ..request_file.parts import PART_BYTES
from .api import Api

NO_LIMIT = 1 << 62


class Unrecorded(Job):
    """A job in memory alone, for looking at a batch of which nothing shall be written down."""

    recorded = False

    def save(self, part: Part | None = None) -> None:
        pass

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:  # noqa: ARG002 - nothing to lock
        yield


def bare_id(text: str) -> str | None:
    """The id that `text` names, or None if it names none.

    The server's ids are bare UUIDs and it refuses prefixed ones (400), but its webhooks and documents write
    `batch_<uuid>` and `file-<uuid>`. A prefixed id that is no UUID is passed on whole: another version may use it.
    """
    prefixed = re.fullmatch(r"(?:file|batch|batch_req)[-_](.+)", text)
    try:
        return str(uuid.UUID(prefixed[1] if prefixed else text))
    except ValueError:
        return text if prefixed and re.fullmatch(r"[A-Za-z0-9_-]+", text) else None


def id_in(argument: str) -> str | None:
    """The raw id an argument names, unless it is the path of a file that exists."""
    return None if Path(argument).exists() else bare_id(argument)


def recorded(argument: str, kind: str) -> Path:
    """The request file under which a raw id is kept in this folder; kind is `batch` or `file`."""
    return Path(f"{kind}-{bare_id(argument)}.jsonl")


def watched(api: Api, batch_id: str) -> Job:
    """A job of one batch to look at, with the record if there is one. Raises NotFound for an unknown id."""
    known = Job.load(recorded(batch_id, "batch"))
    if known is not None and known.submitted():
        return known
    batch = api.batch(batch_id).batch
    span = Span(1, batch.total, 0, 0, batch.total, "")
    requests = Requests(recorded(batch_id, "batch").name, [], "", 0, batch.total, {}, "", 0, [span])
    job = Unrecorded.over(requests, Options(NO_LIMIT, NO_LIMIT), api.clock)
    job.latest.parts[0].batch = batch
    return job


def job_of_file(api: Api, file_id: str) -> Job:
    """The job of an input file that was uploaded elsewhere; it is the user's own and is never deleted."""
    path = recorded(file_id, "file")
    known = Job.load(path)
    if known is not None and known.begun:
        return known
    if not fetch_input(api, file_id, path):
        raise BadInput(f"file {safe(file_id)} holds no request", "name a file of requests")

    def given(record: Record) -> None:
        record.attempts[0].parts[0].upload = Upload("", file_id, given=True)

    return job_of_input(path, api.clock, given)


def fetch_input(api: Api, file_id: str, path: Path) -> int:
    """Fetches a file of requests, and puts it in place unless it is empty; its size. Raises NotFound if it is gone,
    BadInput if another file is in the way, or if it is larger than any that a batch can have."""

    def blocks() -> Iterator[bytes]:
        size = 0
        for block in api.content(file_id, 0):
            size += len(block)
            if size > PART_BYTES + BLOCK_BYTES:
                raise BadInput(f"file {safe(file_id)} has over {PART_BYTES // 1_000_000} MB; a batch's input has not")
            yield block

    size = put(path, blocks())
    if size:
        say(f"fetched the input as {safe(path)}")
    return size


def job_of_input(path: Path, clock: Clock, known: Callable[[Record], None]) -> Job:
    """A record over one part, whatever its size. The server took the file, so it is not judged again.

    `known` adds what is known of it besides, before the record is written: no kill comes between the two.
    """
    from ..job.begin import begin
    from ..request_file.check import check

    report = check(path, part_requests=NO_LIMIT, part_bytes=NO_LIMIT)
    if not report.requests:
        raise BadInput(f"{safe(path)} holds no request", "name a file of requests")
    return begin(Job.to_be(path, clock), path, report, None, Options(NO_LIMIT, NO_LIMIT), clock, known)
