"""Jobs known only by an id of the server's: their input is fetched, and from then on they are like any other.

The files lie in the current folder: `batch-<id>.jsonl` with its record, results and errors beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .api import Api, bare_id
from .contract import Clock, NotFound, safe, say, whole_file
from .job import Job, Part
from .spool import fetch, spool_files
from .submission import metadata_of, seen

NO_LIMIT = 1 << 62


class Unrecorded(Job):
    """A job in memory alone, for looking at a batch of which nothing shall be written down."""

    def save(self) -> None:
        pass

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:  # noqa: ARG002 - nothing to lock
        yield


def id_in(argument: str) -> str | None:
    """The raw id an argument names, unless it is the path of a file that exists."""
    return None if Path(argument).exists() else bare_id(argument)


def recorded(argument: str, kind: str) -> Path:
    """The request file under which a raw id is kept in this folder; kind is `batch` or `file`."""
    return Path(f"{kind}-{bare_id(argument)}.jsonl")


def watched(api: Api, batch_id: str) -> Job:
    """A job of one batch to look at, with the record if there is one. Raises NotFound for an unknown id."""
    known = Job.load(recorded(batch_id, "batch"))
    if known is not None:
        return known
    found = api.batch(batch_id)
    part: dict[str, Any] = dict.fromkeys(Part.__annotations__)
    batch = seen(found, api.clock)
    part.update(part=1, requests=batch["total"], sha256="", batch=batch, other_batches=[], again=False)
    record = {"job": "", "attempts": [{"attempt": 1, "sha256": "", "parts": [part]}]}
    return Unrecorded(Path(batch_id), record)


def job_of_batch(api: Api, batch_id: str) -> Job:
    """The job of a batch that was submitted elsewhere, with its input fetched so that coverage and order are known."""
    path = recorded(batch_id, "batch")
    known = Job.load(path)
    if known is not None and known.submitted():  # else a copy was killed while it wrote the record
        return known
    found = api.batch(batch_id)
    file_id = found.get("input_file_id")
    if not file_id or not _fetch_input(api, file_id, path):
        return _job_without_input(api, found, path)
    job = _job_of(path, file_id)
    home = metadata_of(found).get("dwb_job")
    if isinstance(home, str) and re.fullmatch("[0-9a-f]{32}", home):
        job.note(job=home)  # a copy of that job: what one of them submits, the other finds
    job.note(job.latest["parts"][0], batch=seen(found, api.clock))
    return job


def job_of_file(api: Api, file_id: str) -> Job:
    """The job of an input file that was uploaded elsewhere; it is the user's own and is never deleted."""
    path = recorded(file_id, "file")
    known = Job.load(path)
    if known is not None:
        return known
    if not _fetch_input(api, file_id, path):
        raise NotFound(f"the server knows no file {safe(file_id)}", "check the id")
    return _job_of(path, file_id)


def _fetch_input(api: Api, file_id: str, path: Path) -> bool:
    try:
        with whole_file(path) as file:
            for block in api.content(file_id, 0):
                file.write(block)
    except NotFound:
        return False
    say(f"fetched the input as {safe(path)}")
    return True


def _job_of(path: Path, file_id: str | None) -> Job:
    """A record over one part, whatever its size. The server took the file, so it is not judged again."""
    from .validation import check

    report = check(path, part_requests=NO_LIMIT, part_bytes=NO_LIMIT)
    job = Job.create(path, report, None, NO_LIMIT, NO_LIMIT)
    job.note(job.latest["parts"][0], upload={"name": "", "file_id": file_id, "given": True} if file_id else None)
    return job


def _job_without_input(api: Api, found: dict[str, Any], path: Path) -> Job:
    """The input was deleted: the requests are those that came back, in the order they came; others have no name."""
    import json

    watching = watched(api, found["id"])
    watching.path = Job.path_of(path)
    fetch(api, watching)
    ids: dict[str, None] = {}
    # As it was fetched just now: what is known to be whole is not waited for a second time.
    (batch,) = [part["batch"] for part in watching.submitted() if part["batch"]]
    for spool in spool_files(watching, batch):
        with spool.open("rb") as lines:
            ids.update(dict.fromkeys(str(json.loads(line)["custom_id"]) for line in lines))
    if not ids:
        raise NotFound(
            f"batch {safe(found['id'])}: its input was deleted and it has no results", "nothing is left of it"
        )
    with whole_file(path) as file:
        for custom_id in ids:
            file.write(json.dumps({"custom_id": custom_id}, ensure_ascii=False).encode() + b"\n")
    if len(ids) < batch["total"]:
        say(f"its input was deleted: {batch['total'] - len(ids)} requests without a result cannot be named")
    job = _job_of(path, None)
    job.note(job.latest["parts"][0], batch=batch, requests=batch["total"])
    return job
