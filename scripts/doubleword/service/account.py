"""One table of the account's batches and a folder's jobs, with the next command for each."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ..base.console import say
from ..base.errors import BadInput, Clock, Failure
from ..base.text import next_command, safe, utc
from ..job.job import Job
from ..job.next_step import next_step
from ..job.record import ENDED, Part, metadata_of, seen
from .api import PAGE_LIMIT, Api
from .watch import counts, status_word


def rows(clock: Clock, folder: Path, local: bool, search: str | None, limit: int) -> list[dict[str, Any]]:
    """The jobs of the folder first, then the account's batches that belong to none of them, newest first."""
    if not folder.is_dir():
        raise BadInput(f"there is no folder {safe(folder)}", "check the path")
    jobs = [job for path in sorted(folder.glob("*.job")) if (job := _loaded(path))]
    known = {part.batch.id: (job, part) for job in jobs for part in job.submitted() if part.batch}
    nobody: tuple[Job | None, Part | None] = (None, None)
    found = []
    if not local:
        query = {"search": search} if search else {}
        batches = itertools.islice(Api(clock).batches(-(-limit // PAGE_LIMIT), **query), limit)
        for batch in batches:
            job, part = known.get(batch["id"], nobody)
            if part is not None:
                part.batch = seen(batch, clock, part.batch)  # for the table alone: poll.py writes it down
            if search or job is None:
                found.append(_batch_row(batch, clock, job))
    return ([] if search else [_job_row(job) for job in jobs]) + found


def _loaded(path: Path) -> Job | None:
    try:
        return Job.load(path)
    except Failure as failure:
        say(f"note: {failure.what}")
        return None


def _job_row(job: Job) -> dict[str, Any]:
    requests, completed, failed = counts(job)
    ids = [part.batch.id for part in job.latest.parts if part.batch]
    return {
        "batch_id": ids[0] if len(ids) == 1 else None,
        "status": status_word(job),
        "requests": requests,
        "completed": completed,
        "failed": failed,
        "job": str(job.folder),
        "created_at": job.record.created_at,
        "next": next_step(job),
    }


def _batch_row(batch: dict[str, Any], clock: Clock, job: Job | None) -> dict[str, Any]:
    now = seen(batch, clock)
    script = "download.py" if now.status in ENDED else "poll.py"
    return {
        "batch_id": safe(now.id, 80),
        "status": now.status,
        "requests": now.total,
        "completed": now.completed,
        "failed": now.failed,
        "job": str(job.folder) if job else safe(metadata_of(batch).get("dwb_job", ""), 40) or None,
        "created_at": now.created_at,
        "next": next_step(job) if job else next_command(script, safe(now.id, 80)),
    }


def columns(row: dict[str, Any]) -> list[str]:
    """A row as text: batch id, status, done/requests, failed, job, created, next command."""
    done = f"{row['completed'] + row['failed']}/{row['requests']}"
    plain = (row["batch_id"], row["status"], done, row["failed"], row["job"], utc(row["created_at"]), row["next"])
    return [safe(value) if value is not None else "-" for value in plain]
