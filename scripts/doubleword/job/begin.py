"""How does a job begin? A request file is put in place with its record, or one made elsewhere is taken up."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..base.console import say
from ..base.failures import BadInput, Clock
from ..base.files import digest, state_of, whole_file
from ..base.own_files import own_folder
from ..base.text import safe
from ..request_file import check, from_rows
from ..request_file.body import Asked, composed
from ..request_file.parts import PART_BYTES, PART_REQUESTS, Cutter
from ..request_file.verdict import Verdict
from ..rows.left_out import Tally
from ..rows.source import Source
from .job import Job
from .record import Options, Record, record_over, requests_of


class _Unchanged(Exception):
    """The file that was just made is there already."""


def build(
    path: Path, asked: Asked, source: Source | None, options: Options, clock: Clock, tally: Tally
) -> tuple[Verdict, Job]:
    """Writes the request file and its job record; the same again changes nothing. `tally` hears of rows left out.

    Raises BadInput, and leaves everything as it was, if a row or a request is bad or another file is in the way.
    """
    _require_place(path)
    how, job = composed(asked, source), Job.to_be(path, clock)
    from_rows.require_place(path, how)
    made_from = Path(source.path) if source else None
    with ExitStack() as held:
        try:
            with whole_file(path, made_from) as file:
                cutter = Cutter(options.part_requests, options.part_bytes)
                report, source = from_rows.written(file, path, how, cutter, tally)
                _make_way(path, report)
                # Another copy may be uploading the file that is there: what was allowed is asked again under its lock,
                # which is held until the new file and its record are in place.
                own_folder(job.folder, made_from)
                held.enter_context(job.locked(clock))
                _make_way(path, report)
        except _Unchanged:
            held.enter_context(job.locked(clock))
        source = source and source.kept_for(path.parent)
        begin(job, path, report, source, options, clock)
    return report, job


def begin(
    job: Job,
    path: Path,
    report: Verdict,
    source: Source | None,
    options: Options,
    clock: Clock,
    known: Callable[[Record], None] | None = None,
) -> Job:
    """Makes the record of a checked request file, unless there is one of the same content; `job` is of `Job.to_be`.

    `known` adds what is known of it besides, in the one writing. Raises BadInput if other content was already uploaded
    under this name. Takes the lock: another copy may be uploading at this moment, and its record must not be replaced.
    """
    with job.locked(clock):
        old = Job.load(path)
        begun = old is not None and old.begun
        if old is not None and old.requests.sha256 == report.sha256:
            same_limits = old.limits == (options.part_requests, options.part_bytes)
            if known is None and (begun or (same_limits and old.record.source == source)):
                return job
            if any(part.submission or part.batch for part in old.parts()):
                raise BadInput(
                    f"{safe(path)} has a job of its own, which was submitted",
                    "go on with that, or work in another folder",
                )
        elif begun:
            raise _uploaded_already(path)
        job.record = record_over(requests_of(path, report), options, clock)
        job.record.source = source
        if old is not None:
            job.record.outputs = old.record.outputs
        if known is not None:
            known(job.record)
        job.save()
    return job


def _uploaded_already(path: Path) -> BadInput:
    return BadInput(
        f"{safe(path)} was already uploaded with other content; its job must stay as it is",
        "give the new request file another name",
    )


def _require_place(path: Path) -> None:
    """Raises BadInput where the request file, or what will lie beside it, cannot or must not be."""
    if not path.parent.is_dir():
        raise BadInput(f"{safe(path)}: there is no folder {safe(path.parent)}", "make it first")
    try:
        os.lstat(path.with_name(f"{path.stem}.results.jsonl"))
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            bytes_too_many = f"{len(os.fsencode(path.name))} bytes are too many for the files beside it"
            raise BadInput(f"{safe(path)}: the name is too long, {bytes_too_many}", "give it a shorter name") from None
        raise


def _make_way(path: Path, report: Verdict) -> None:
    """Raises _Unchanged if the same file is there, BadInput if it is not ours to replace."""
    job, here = Job.load(path), digest(path) if os.path.lexists(path) else None
    if here == report.sha256:
        raise _Unchanged
    if job is not None and job.begun:
        raise _uploaded_already(path)
    if here is not None and (job is None or job.requests.sha256 != here):
        raise BadInput(
            f"{safe(path)} exists, and is not as a job's record has it: it may be a source, or edited by hand",
            "give the new request file another name, or move that one away",
        )


def prepare(path: Path, clock: Clock, part_requests: int | None = None, part_bytes: int | None = None) -> Job:
    """The job of a request file, checked: validates and makes the record, unless that was done for these very bytes.

    Raises BadInput for a file that does not pass, or that changed after a part of it was uploaded.
    """
    job = Job.load(path)
    if job is None and path.exists():
        _require_place(path)
    before = job.limits if job else (PART_REQUESTS, PART_BYTES)
    limits = Options(part_requests or before[0], part_bytes or before[1])
    if job is not None:
        attempt = job.latest
        path = job.request_file(attempt)
        begun = attempt.begun
        same = before == (limits.part_requests, limits.part_bytes)
        if not job.unsubmitted() or (attempt.state == state_of(path) and (begun or same)):
            return job
    state = state_of(path)  # from before it is read: what changes it from then on is seen
    report = check.check(path, part_requests=limits.part_requests, part_bytes=limits.part_bytes)
    report.require(path)
    for line in [*report.notes, *report.warnings]:
        say(f"note: {line}")
    if job is None:
        return begin(Job.to_be(path, clock), path, report, None, limits, clock)
    if report.sha256 == attempt.sha256 and (begun or attempt.request_file):  # only its time of change differs
        with job.locked(clock):
            if job.latest.sha256 == report.sha256:  # else another copy has planned another attempt
                job.latest.state = state
                job.save()
        return job
    if begun or len(job.attempts) > 1:
        raise BadInput(
            f"{safe(path)} changed since it was {'uploaded' if begun else 'planned'}",
            "restore it, or make a new request file under another name",
        )
    source = job.record.source if report.sha256 == attempt.sha256 else None
    return begin(Job.to_be(path, clock), path, report, source, limits, clock)
