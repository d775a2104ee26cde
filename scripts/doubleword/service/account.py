"""Which batches has the account, and which jobs lie below a folder? One table, with the next command for each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..base.console import say
from ..base.failures import BadInput, Clock, Failure
from ..base.text import next_command, safe, utc
from ..job.job import Job
from ..job.next_step import next_step
from .api import PAGE_LIMIT, Api
from .server_objects import Told
from .watch import status_word

HEADER = ("name", "status", "answered/requests", "failed", "created", "batch id", "next")
SERVERS_OWN = {"request_source", "created_by_email", "created_by", "dw_user_agent"}  # metadata of every batch
FOLDERS = 10_000  # looked into, at most: somebody may ask in a home folder


def rows(clock: Clock, folder: Path, local: bool, search: str | None, limit: int) -> list[dict[str, Any]]:
    """The jobs below the folder first, then the account's batches that belong to none of them, newest first.

    With `search` only what holds that text. Each row: name, batch_id, status, requests, completed, failed, job,
    input_file, metadata, created_at, started_at, ended_at (Unix seconds or null), matched (where it was found), next.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {safe(folder)}", "check the path")
    search = search or ""
    jobs = [job for path in _job_folders(folder) if (job := _loaded(path))]
    known = {part.batch.id: (job, part) for job in jobs for part in job.submitted() if part.batch}
    shown = [job for job in jobs if not search or _job_row(job, search)["matched"] is not None]
    others = []
    if not local:
        pages = (limit + PAGE_LIMIT - 1) // PAGE_LIMIT
        for told in itertools.islice(Api(clock).batches(pages, **({"search": search} if search else {})), limit):
            job, part = known.get(told.id, (None, None))
            if part is not None:  # for the table alone: poll.py writes it down
                part.batch = told.batch.after(part.batch)
            if job not in shown:
                others.append(_batch_row(told, job, search))
    mine = [_job_row(job, search) for job in shown]
    if not mine and not others:
        about = f" that hold {safe(search)!r}" if search else ""
        say(f"no jobs in {safe(folder.resolve())} or below" + ("" if local else ", and no batches") + about)
    if any(part.batch and not part.ended for job in jobs for part in job.submitted()) and local:
        say("counts of what still runs are as last seen; poll.py JOB --once asks the server")
    return mine + others


def _job_folders(folder: Path) -> Iterator[Path]:
    """Every job folder below, in order; hidden folders are passed over, links are not followed."""
    for number, (place, folders, _) in enumerate(os.walk(folder)):
        if number >= FOLDERS:
            say(f"note: more than {FOLDERS} folders below {safe(folder)}: the rest was not looked into")
            return
        yield from sorted(Path(place, name) for name in folders if name.endswith(".job"))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".job"))


def _loaded(path: Path) -> Job | None:
    try:
        return Job.load(path)
    except Failure as failure:
        say(f"note: {failure.what}")
        return None


def _matched(search: str, places: dict[str, str]) -> str | None:
    """Where the text was found, as `place: what stands there`."""
    if not search:
        return None
    return next((f"{place}: {text}" for place, text in places.items() if search.lower() in text.lower()), None)


def _job_row(job: Job, search: str) -> dict[str, Any]:
    parts = job.submitted()
    batches = [part.batch for part in parts if part.batch]
    source = job.record.source.path if job.record.source else None
    ids = [batch.id for batch in batches]
    places = {"name": str(job.request_file()), "source": source or "", "job": job.id} | dict.fromkeys(ids, "")
    places |= {f"batch {number}": batch_id for number, batch_id in enumerate(ids, 1)}
    done = job.record.downloaded
    if done is not None and job.ended and done.batches == len(parts):  # those that no attempt after them held, too
        failed = sum(done.errors.values())
    else:
        failed = sum(part.batch.failed for part in job.latest.parts if part.batch)
    return {
        "name": safe(job.request_file(), 200),
        "batch_id": ids[0] if len(ids) == 1 else None,
        "status": status_word(job),
        "requests": job.requests.requests,
        "completed": sum(batch.completed for batch in batches) + job.reused,
        "failed": failed,
        "job": str(job.folder),
        "input_file": source,
        "metadata": None,
        "created_at": job.record.created_at,
        "started_at": min((batch.created_at for batch in batches if batch.created_at), default=None),
        "ended_at": None,
        "matched": _matched(search, places),
        "next": next_step(job),
    }


def _batch_row(told: Told, job: Job | None, search: str) -> dict[str, Any]:
    now = told.batch
    tags = {safe(key, 64): safe(value, 200) for key, value in told.tags.items()}
    places = {"id": now.id, "input file id": told.input_file_id}
    places |= {f"metadata {key}": value for key, value in tags.items()}
    return {
        "name": safe(job.request_file(), 200) if job else _name(tags),
        "batch_id": safe(now.id, 80),
        "status": now.status,
        "requests": now.total,
        "completed": now.completed,
        "failed": now.failed,
        "job": str(job.folder) if job else tags.get("dwb_job"),
        "input_file": told.input_file_id or None,
        "metadata": tags,
        "created_at": now.created_at or None,
        "started_at": told.began_at or None,
        "ended_at": told.ended_at or None,
        "matched": _matched(search, places) or ("the input file's name" if search else None),
        "next": next_step(job) if job else next_command("download.py" if now.ended else "poll.py", safe(now.id, 80)),
    }


def _name(tags: dict[str, str]) -> str:
    """What a batch of nobody here is called: the metadata that somebody gave it, or what this skill gave it."""
    if "dwb_job" in tags:
        return f"part {tags.get('dwb_part', '?')}, attempt {tags.get('dwb_attempt', '?')} of job {tags['dwb_job'][:12]}"
    given = [
        f"{key}={value}" for key, value in tags.items() if key not in SERVERS_OWN and not key.startswith("context_")
    ]
    return ", ".join(given) or "-"


def columns(row: dict[str, Any]) -> list[str]:
    """A row as text, a column for each of HEADER; what a search found stands behind the name."""
    name = f"{row['name']} ({row['matched']})" if row["matched"] else row["name"]
    done = f"{row['completed']}/{row['requests']}"
    plain = (name, row["status"], done, row["failed"], utc(row["created_at"]), row["batch_id"], row["next"])
    return [safe(value) if value is not None else "-" for value in plain]
