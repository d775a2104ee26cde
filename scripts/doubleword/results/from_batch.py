"""What job is a batch that was submitted elsewhere? Its requests from its input, its rows where they are named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..base.console import say
from ..base.failures import BadInput, Clock, Failure, NotFound, WrongUsage
from ..base.files import put
from ..base.text import safe
from ..job.job import Job
from ..job.record import Record, Upload
from ..rows.source import describe
from ..service.api import Api
from ..service.raw_id import fetch_input, job_of_input, recorded, watched
from ..service.server_objects import Told
from .deliver import require_writable
from .fetch import fetch_answers
from .line_outcome import read
from .output_flags import Wanted
from .spool import spool_files
from .table import require_common_ids
from .table_answers import requested


def job_of_batch(api: Api, batch_id: str) -> Job:
    """The job of a batch that was submitted elsewhere, with its input fetched so that coverage and order are known."""
    path = recorded(batch_id, "batch")
    known = Job.load(path)
    if known is not None and known.submitted():  # else a copy was killed while it wrote the record
        return known
    found = api.batch(batch_id)
    file_id = found.input_file_id
    try:
        size = fetch_input(api, file_id, path) if file_id else 0
    except NotFound:
        size = 0
    if not size and not _is_input(path, found.batch.total):
        return _job_without_input(api, found, path)
    home = found.tags.get("dwb_job", "")

    def known_of(record: Record) -> None:
        if re.fullmatch("[0-9a-f]{32}", home):
            record.job = home  # a copy of that job: what one of them submits, the other finds
        part = record.attempts[0].parts[0]
        part.upload, part.batch = Upload("", file_id, given=True), found.batch

    return job_of_input(path, api.clock, known_of)


def _is_input(path: Path, requests: int) -> bool:
    """Whether what lies under a batch's name is its input, fetched before it was deleted."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return requests == sum(b'"body"' in line for line in file)


def _job_without_input(api: Api, found: Told, path: Path) -> Job:
    """The input was deleted: the requests are those that came back, in the order they came; others have no name."""
    import json

    watching = watched(api, found.id)
    fetch_answers(api, watching)
    ids: dict[str, None] = {}
    # As it was fetched just now: what is known to be whole is not waited for a second time.
    (batch,) = [part.batch for part in watching.submitted() if part.batch]
    for spool in spool_files(watching, batch):
        ids.update(dict.fromkeys(found.custom_id for found in read(spool, None) if found.custom_id))
    if not ids:
        raise NotFound(
            f"batch {safe(found.id)}: its input was deleted, or was empty, and it has no results",
            "nothing is left of it",
        )
    put(path, (json.dumps({"custom_id": custom_id}, ensure_ascii=False).encode() + b"\n" for custom_id in ids))
    if len(ids) < batch.total:
        say(f"its input was deleted: {batch.total - len(ids)} requests without a result cannot be named")

    def known_of(record: Record) -> None:
        attempt = record.attempts[0]
        part, named = attempt.parts[0], attempt.requests
        part.batch, part.span = batch, replace(part.span, requests=max(named, batch.total))
        attempt.requests, attempt.origin = part.requests, [[1, part.requests]]
        record.requests.sections[0] = part.span

    return job_of_input(path, api.clock, known_of)


def join_source(job: Job, clock: Clock, path: Path, id_column: str, id_prefix: str, wanted: Wanted) -> None:
    """Names the rows that a job of an id was made from: each finds its answer by the prefix and its id.

    Raises WrongUsage where the job knows its rows, or they have no such column, and whatever speaks against the table
    that is wanted of them: the job keeps what it knew then.
    """
    if job.record.source is not None and job.record.options.id_prefix is None:
        raise WrongUsage(
            "--source: this job knows the rows it was made from",
            "leave out --source and --id-column; rows that were moved are found if put beside the request file",
        )
    source = describe(path)
    try:
        column = source.column_named(id_column, "--id-column")
    except BadInput as error:
        raise WrongUsage(error.what, error.next_step) from None
    if column is None:
        there = ", ".join(safe(name, 60) for name in source.columns[:40])
        raise WrongUsage(f"--id-column {safe(id_column, 80)}: no column of --source; there are {there}")
    source = source.using([], column)
    require_common_ids(source, id_prefix, set(requested(job)))
    with job.locked(clock):
        before = job.record.source, job.record.options.id_prefix
        job.record.source, job.record.options.id_prefix = source.kept_for(job.folder.parent), id_prefix
        try:
            require_writable(job, clock, wanted)
        except Failure:
            job.record.source, job.record.options.id_prefix = before
            raise
        job.save()
