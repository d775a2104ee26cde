"""How a job begins: a request file put in place with its record, or one made elsewhere taken up."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..base.console import say
from ..base.errors import BadInput, Clock
from ..base.files import digest, state_of, whole_file
from ..base.text import safe
from ..request_file import check
from ..request_file.body import composed
from ..request_file.parts import PART_BYTES, PART_REQUESTS
from ..request_file.write import _name_rows, _require_id_column, _require_space, _rows, _write_lines
from ..rows.source import Source
from ..rows.tally import Tally
from .job import Job
from .record import Options


class _Unchanged(Exception):
    """The file that was just made is there already."""


def build(
    path: Path, args: Namespace, source: Source | None, clock: Clock, tally: Tally | None = None
) -> tuple[check.Report, Job]:
    """Writes the request file and its job record; the same again changes nothing. `tally` hears of rows left out.

    Raises BadInput, and leaves everything as it was, if a row or a request is bad or another file is in the way.
    """
    write, source = composed(args, source)
    tally = tally or Tally()
    name, total, before = "the prompts", len(args.prompt or ()), None
    if source is not None:
        source = _require_id_column(source)
        if source.holds(path):
            raise BadInput(f"{safe(path)} would be one of the rows in {safe(source.path)}", "write it elsewhere")
        before = source.state()
        name = safe(source.path)
        total, size = source.extent()
        requests = min(total, source.limit or total, source.sample or total)
        growth = 1.4 if source.format == "images" else 1.1
        _require_space(path.parent, int(requests * (growth * size / total + len(write("", {}, [])))))
    try:
        with whole_file(path, Path(source.path) if source else None) as file:
            skipped = _write_lines(file, name, total, _rows(args, source, tally), write, source, tally)
            source = source and source.skipping(skipped)
            if source is not None and before != source.state():
                raise BadInput(f"{name} changed while it was read", "wait until whatever writes it is done")
            file.flush()
            report = check.check(Path(file.name), part_requests=args.part_requests, part_bytes=args.part_bytes)
            report.notes += tally.notes()
            if not report.requests:
                raise BadInput("; ".join([f"{name}: no row to make a request of", *tally.notes()]))
            if source is not None and report.problems:
                _name_rows(report, source)
            report.require(path if source is None else Path(source.path))
            _make_way(path, report)
            if source is not None and (args.prompt or args.template) and not source.used and report.requests > 1:
                report.warnings.append(f"the prompt names no column: all {report.requests} requests ask the same")
    except _Unchanged:
        job = Job.load(path)
        if (
            job is not None
            and job.record.source == _kept(source, path)
            and job.limits == (args.part_requests, args.part_bytes)
        ):
            return report, job
    return report, Job.create(path, report, _kept(source, path), Options(args.part_requests, args.part_bytes), clock)


def _kept(source: Source | None, path: Path) -> Source | None:
    return None if source is None else source.kept_for(path.parent)


def _make_way(path: Path, report: check.Report) -> None:
    """Raises _Unchanged if the same file is there, BadInput if it is not ours to replace."""
    job, here = Job.load(path), digest(path) if path.exists() else None
    if here == report.sha256:
        raise _Unchanged
    if job is not None and any(part.upload for part in job.parts()):
        raise BadInput(
            f"{safe(path)} was already uploaded with other content; its job must stay as it is",
            "give the new request file another name",
        )
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
    before = job.limits if job else (PART_REQUESTS, PART_BYTES)
    limits = Options(part_requests or before[0], part_bytes or before[1])
    if job is not None:
        attempt = job.latest
        path = job.request_file(attempt)
        begun = any(part.upload for part in attempt.parts)
        same = before == (limits.part_requests, limits.part_bytes)
        if not job.unsubmitted() or (attempt.state == state_of(path) and (begun or same)):
            return job
    report = check.check(path, part_requests=limits.part_requests, part_bytes=limits.part_bytes)
    report.require(path)
    for line in [*report.notes, *report.warnings]:
        say(f"note: {line}")
    if job is None:
        return Job.create(path, report, None, limits, clock)
    if report.sha256 == attempt.sha256 and begun:  # only its time of change differs
        with job.locked(clock):
            job.latest.state = state_of(path)
            job.save()
        return job
    if begun or len(job.attempts) > 1:
        raise BadInput(
            f"{safe(path)} changed since it was {'uploaded' if begun else 'planned'}",
            "restore it, or make a new request file under another name",
        )
    source = job.record.source if report.sha256 == attempt.sha256 else None
    return Job.create(path, report, source, limits, clock)
