"""Planning the next attempt: the requests without a result, in input order, copied from the request file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..base.errors import BadInput, Clock, ExitCode, Failure, NotFound
from ..base.files import whole_file
from ..base.text import next_command, safe
from ..job.job import Job
from ..job.record import attempt_from
from ..request_file import check
from ..request_file.lines import request_lines
from ..service.api import Api
from . import from_batch, merge, spool


class StillOpen(Failure):
    """An attempt has not ended: planning another could pay for the same request twice."""

    code = ExitCode.STILL_RUNNING


class Plan(NamedTuple):
    """The attempt's request file (None: nothing to retry), its requests by kind, and what was left out."""

    path: Path | None
    requests: int
    kinds: dict[str, int]
    left_out: dict[str, int]


def job_of_raw(batch_id: str, clock: Clock) -> Job:
    return from_batch.job_of_batch(Api(clock), batch_id)


def fetch(job: Job, clock: Clock) -> None:
    """Brings what a plan is made from, unless it is here. The job's lock is not held for as long as this takes."""
    if job.ended and not _fetched(job):
        with spool.spool_lock(job, clock):
            spool.fetch(Api(clock), job)


def plan(job: Job, only: list[str] | None, permanent: bool, max_attempts: int) -> Plan:
    """Writes the next attempt's request file and adds the attempt to the record. Fetch first; the lock must be held."""
    _withdraw_unsent(job)
    _require_ended(job)
    if len(job.attempts) >= max_attempts:
        raise BadInput(f"this job has had {len(job.attempts)} attempts", "look at the errors; or raise --max-attempts")
    summary = merge.Summary()
    kinds: dict[str, int] = {}
    left_out: dict[str, int] = {}
    origin: list[list[int]] = []
    path = job.folder / f"attempt-{len(job.attempts) + 1}.jsonl"
    lines = (raw for span in job.requests.sections for _, raw in request_lines(job.request_file(), span))
    with whole_file(path) as file:
        for covered, raw in zip(merge.cover(job, summary), lines, strict=True):
            kind = covered.kind
            if not kind:
                continue
            if (kind in merge.PERMANENT and not permanent) or (only and kind not in only):
                left_out[kind] = left_out.get(kind, 0) + 1
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            file.write(raw if raw.endswith(b"\n") else raw + b"\n")
            if origin and origin[-1][0] == covered.section:
                origin[-1][1] += 1
            else:
                origin.append([covered.section, 1])
    _require_nothing_lost(job, summary, path)
    if not origin:
        job.save()
        path.unlink()
        return Plan(None, 0, kinds, left_out)
    part_requests, part_bytes = job.limits
    report = check.check(path, part_requests=part_requests, part_bytes=part_bytes)
    report.require(path)
    job.attempts.append(attempt_from(len(job.attempts) + 1, "retry", path, report, origin))
    job.save()
    return Plan(path, report.requests, kinds, left_out)


def _require_nothing_lost(job: Job, summary: merge.Summary, path: Path) -> None:
    """Raises BadInput if results that were downloaded once are gone from the spool and the server: never paid again."""
    held = job.record.downloaded.most_results if job.record.downloaded else 0
    if summary.results < held:
        job.save()  # a plan that was withdrawn must not stay in the record without its file
        path.unlink()
        raise BadInput(
            f"{held} results were downloaded before; {held - summary.results} of them are neither in the spool nor on"
            " the server any more, and another attempt would pay for them again",
            f"{job.beside('results.jsonl').name} holds them; make new requests of what is lacking there",
        )


def _withdraw_unsent(job: Job) -> None:
    """A plan of which nothing was sent is made anew: the same command again, after a kill too, answers the same."""
    if len(job.attempts) > 1 and not job.latest.begun:
        job.attempts.pop()


def _require_ended(job: Job) -> None:
    if not job.submitted():
        raise NotFound("nothing of this job has been submitted yet", job.next_step() or "")
    running = [part for part in job.submitted() if not part.ended]
    if running:
        raise StillOpen(
            f"{len(running)} batch(es) of this job have not ended", next_command("poll.py", job.request_file())
        )
    waiting = job.unsubmitted()
    if any(part.submission for part in waiting):
        raise StillOpen(
            "whether a part was submitted is still unclear", next_command("run_batch.py", job.request_file())
        )
    if waiting and job.latest.cancelled_at is None:
        raise StillOpen(
            f"{len(waiting)} part(s) of this job are not submitted yet",
            next_command("run_batch.py", job.request_file()),
        )
    if not job.request_file().exists():
        raise BadInput(f"the request file {safe(job.request_file())} is gone; its requests are needed", "restore it")
    if not job.requests.endpoint:
        raise BadInput("the input of this batch was deleted on the server", "make the requests anew from their source")


def _fetched(job: Job) -> bool:
    others = [batch for part in job.submitted() for batch in part.other_batches if batch.completed]
    return all(spool.is_here(job, batch) for batch in [*(p.batch for p in job.submitted() if p.batch), *others])
