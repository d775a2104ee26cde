"""What does a download do, in which order? Batches fetched into the spool, results and errors in the order of the
requests, the table, the note for the next command, the summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ..base.console import say, to_people
from ..base.failures import BadInput, Clock, WrongUsage
from ..base.files import require_writable as writable
from ..base.text import safe
from ..job.job import Job
from ..job.next_step import command, next_step, remember, require_submitted, table_path
from ..job.outputs import beside, files_of, remove, replacing, require_ours
from ..job.record import Downloaded
from ..service import cost, watch
from ..service.api import Api
from . import results_and_errors, sample_pairs, summary_text, table, table_answers, table_file
from .fetch import fetch_answers
from .output_flags import Wanted
from .spool import spool_lock
from .table import Table
from .table_lines import Written


class Delivered(NamedTuple):
    """What a download left: paths written, the job's status, the merge's counts, pairs to show, what it cost."""

    paths: list[Path]
    status: str
    summary: results_and_errors.Summary | None = None
    shown: tuple[dict[str, str], ...] = ()
    files: tuple[Path, Path] | None = None  # results, errors
    output: Path | None = None
    written: Written | None = None
    spent: cost.Spent | None = None
    estimated: Decimal | None = None

    def facts(self, job: Job) -> dict[str, Any]:
        """The --json object but `next`: the same keys every time."""
        found = self.summary or results_and_errors.Summary(requests=job.requests.requests)
        paths = set(self.paths)
        return {
            "job": str(job.folder),
            "status": self.status,
            "requests": found.requests,
            "results": found.results,
            "errors": found.errors,
            "missing": found.missing,
            "unexpected": found.unexpected,
            "cut": found.cut,
            "empty": found.empty,
            "answers": found.briefs.tally(),
            "vectors": {str(numbers): count for numbers, count in found.vectors.items()},
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
            "cost_usd": None if self.spent is None else str(self.spent.usd),
            "estimated_cost_usd": None if self.estimated is None else str(self.estimated),
            "guarded": self.written.guarded if self.written else 0,
            "results_file": str(self.files[0]) if self.files else None,
            "errors_file": str(self.files[1]) if self.files and self.files[1] in paths else None,
            "output_file": str(self.output) if self.output in paths else None,
            "shown": list(self.shown),
        }


def require_writable(job: Job, clock: Clock, wanted: Wanted) -> Table | None:
    """The table to be. Raises WrongUsage or BadInput if it, or another file of the job, cannot be written."""
    if wanted.show < 0:
        raise WrongUsage(f"--show {wanted.show}: a number of answers was expected", "for example --show 5")
    planned = table.planned(job, wanted) if wanted.output else None
    outputs = [*beside(job), *([wanted.output] if wanted.output else [])]
    try:
        require_ours(job, *outputs)
    except BadInput:  # another copy may have written them since the record was read; they are noted before they appear
        with job.locked(clock):
            require_ours(job, *outputs)
    for path in outputs:
        writable(path)
    return planned


def rehearse(job: Job, planned: Table) -> None:
    """Makes all of a table, but for the answers, and writes nothing: what cannot be written is known before they are
    paid. Rows that find their answers by id are of a job that was paid elsewhere."""
    if planned.source is None or planned.prefix is None:
        _write(job, planned.with_errors(), lambda: table_answers.unanswered(job), None, lambda *_: None)


def deliver(api: Api, job: Job, wanted: Wanted) -> Delivered:
    """Fetches and writes; nothing under the final names while a batch still runs."""
    if not job.reused:
        require_submitted(job)
    planned = require_writable(job, api.clock, wanted)  # before the download, which may be long
    if planned and not (wanted.partial and job.record.options.output):  # whoever comes after a look asks for it again
        with job.locked(api.clock):
            remember(job, **wanted.remembered())
    watch.look(api, job)
    if job.under_way and not wanted.partial:
        return _nothing_yet(job)
    written = None
    with spool_lock(job, api.clock):
        fetch_answers(api, job, wanted.jobs)
        running = job.under_way  # as of this moment: a batch may have ended meanwhile, or run again
        if running and not wanted.partial:
            return _nothing_yet(job)
        files = results, errors = files_of(job, running)
        summary = results_and_errors.write(job, results, errors, api.clock)
        if planned:
            written = _write_table(api.clock, job, planned, wanted, files, summary, running)
        if not running:
            remove(job, job.beside("partial.jsonl"))
            _note(api.clock, job, summary, wanted)
    ours = (results, None if running else errors, wanted.output)
    paths = [path for path in ours if path and path.exists()]
    summary_text.tell(job, summary, running)
    spent = cost.spent(api, job)
    estimated = cost.estimated_cost(job.submitted(), job.record.options.completion_window or "24h")
    if spent is not None and spent.known == spent.batches and not running:
        _note_cost(api.clock, job, str(spent.usd))
    summary_text.tell_cost(job, spent, estimated)
    summary_text.tell_files(job, paths, written, running)
    pairs: list[dict[str, str]] = []
    if wanted.show:
        of = summary.results + sum(summary.errors.values()) if running else summary.requests
        pairs = sample_pairs.pairs(job, *files, count=wanted.show, of=of, partial=running)
    for pair in pairs:
        to_people(f"[{pair['custom_id']}] {pair['prompt']}\n  -> {pair['answer'] or pair['error']}")
    status = watch.status_word(job)
    return Delivered(paths, status, summary, tuple(pairs), files, wanted.output, written, spent, estimated)


def _nothing_yet(job: Job) -> Delivered:
    say(watch.summary_line(job))
    why = "the rest of this job is not submitted yet" if job.ended else "still running"
    say(f"{why}: nothing was written (--partial writes what there is); next: {next_step(job)}")
    return Delivered([], watch.status_word(job))


def _write_table(
    clock: Clock,
    job: Job,
    found: Table,
    wanted: Wanted,
    files: tuple[Path, Path],
    summary: results_and_errors.Summary,
    running: bool,
) -> Written:
    outside = 0 if running else found.rows_not_in_job(table_answers.requested(job))
    if not running and not wanted.columns and (summary.errors or summary.missing or outside):
        found = found.with_errors()
    if found.source and found.prefix is not None:
        lonely = table.require_common_ids(found.source, found.prefix, set(table_answers.requested(job)))
        if lonely:
            name = safe(Path(found.source.path).name)
            say(f"{lonely} of the requests have no row in {name}; the table lacks them")
    expected, briefs = found.expected, () if found.needs_bodies or running else summary.briefs
    found = replace(found, of_texts=bool(expected.choices) if expected else summary.briefs.texts)

    def finder() -> table_answers.Find:
        if found.prefix is not None:
            return table_answers.by_id(*files, expected)
        return table_answers.in_order(*files, expected, briefs)

    before: table_file.Before = lambda made, sha256: replacing(job, clock, found.path, made, sha256)  # noqa: E731
    return replace(_write(job, found, finder, found.path, before, running), outside=outside)


def _write(
    job: Job,
    found: Table,
    finder: Callable[[], table_answers.Find],
    path: Path | None,
    before: table_file.Before,
    partial: bool = False,
) -> Written:
    """Writes a table; a reading of its rows begins with a new finder of answers."""
    return table_file.write(
        found, lambda of: table.joined(of, table_answers.requested(job), finder(), partial), path, before
    )


def _note_cost(clock: Clock, job: Job, usd: str) -> None:
    with job.locked(clock):
        if job.record.downloaded is not None and job.record.downloaded.cost_usd != usd:
            job.record.downloaded.cost_usd = usd
            job.save()


def _note(clock: Clock, job: Job, summary: results_and_errors.Summary, wanted: Wanted) -> None:
    """What came of the download, and where the table is, for the next command."""
    with job.locked(clock):
        before = job.record.downloaded
        job.record.downloaded = Downloaded(
            at=clock.now(),
            batches=len(job.submitted()),
            retryable=summary.retryable,
            most_results=max(summary.results, before.most_results if before else 0),
            results=summary.results,
            errors=dict(summary.errors),
            missing=dict(summary.missing),
            cost_usd=before.cost_usd if before and before.batches == len(job.submitted()) else None,
        )
        job.save()
        remember(job, **wanted.remembered())
    earlier = table_path(job)
    if earlier and not wanted.output and Path(earlier).exists():
        say(f"{safe(earlier)} is of an earlier download, which this renews: {command('download.py', job)}")
