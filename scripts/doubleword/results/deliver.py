"""Delivering a job: fetch, merge, write the files, and say in few lines what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ..base.console import say, to_people
from ..base.errors import BadInput, NotFound
from ..base.text import plural, safe
from ..job.job import Job
from ..job.next_step import next_step
from ..job.record import Downloaded
from ..service import watch
from ..service.api import Api
from . import merge, spool, table
from .wanted import Wanted as Wanted

KINDS_SHOWN = 10  # with three lines of counts and five of examples the summary stays under 40 lines


class Delivered(NamedTuple):
    """What a download left: paths written, the job's status, the merge's counts, pairs to show."""

    paths: list[Path]
    status: str
    summary: merge.Summary | None = None
    shown: tuple[dict[str, str], ...] = ()

    def facts(self, job: Job) -> dict[str, Any]:
        """The --json object: the same keys every time."""
        found = self.summary or merge.Summary(requests=job.requests.requests)
        files = {path.name.rsplit(".", 2)[-2] if path.suffix == ".jsonl" else "csv": str(path) for path in self.paths}
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
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
            "results_file": files.get("results") or files.get("partial"),
            "errors_file": files.get("errors"),
            "output_file": files.get("csv"),
            "shown": list(self.shown),
            "next": next_step(job),
        }


def require_writable(job: Job, wanted: Wanted) -> None:
    """Raises WrongUsage or BadInput for everything about the outputs that could fail after the answers are paid."""
    outputs = [job.beside(f"{name}.jsonl") for name in ("results", "errors", "partial")]
    if wanted.output:
        table.check_csv(job, wanted.output)
        table.check_source(job, wanted.answer_column)
        folder = wanted.output.parent
        if not folder.is_dir():
            raise BadInput(f"--output {safe(wanted.output)}: there is no folder {safe(folder)}", "make it first")
        outputs.append(wanted.output)
    job.require_ours(*outputs)


def deliver(api: Api, job: Job, wanted: Wanted) -> Delivered:
    """Fetches and writes; nothing under the final names while a batch still runs."""
    if not job.submitted() and not job.reused:
        raise NotFound("nothing of this job has been submitted yet", next_step(job) or "")
    require_writable(job, wanted)  # before the download, which may be long
    csv, column, show, partial = wanted.output, wanted.answer_column, wanted.show, wanted.partial
    watch.look(api, job)
    running = not job.ended or job.has_rest  # something is still to come
    if running and not partial:
        say(watch.summary_line(job))
        why = "the rest of this job is not submitted yet" if job.ended else "still running"
        say(f"{why}: nothing was written (--partial writes what there is); next: {next_step(job)}")
        return Delivered([], watch.status_word(job))
    if csv and running:
        say(f"{safe(csv)} is not written while the job runs")
    results_file, errors_file, partial_file = (job.beside(f"{name}.jsonl") for name in ("results", "errors", "partial"))
    ours = [partial_file] if running else [results_file, errors_file, partial_file, *([csv] if csv else [])]
    with spool.spool_lock(job, api.clock):
        spool.require_space(job)
        spool.fetch(api, job)
        with job.writing(api.clock, *ours):
            if running:
                errors_file = job.folder / "partial.errors.jsonl"
                summary = merge.write(job, partial_file, errors_file)
            else:
                summary = merge.write(job, results_file, errors_file)
                if csv:
                    table.write_csv(job, csv, column, results_file, errors_file)
                partial_file.unlink(missing_ok=True)
    paths = [path for path in ours if path.exists()]
    if not running:
        _note(api, job, summary, wanted)
    _tell(job, summary, paths)
    shown = tuple(table.pairs(job, partial_file if running else results_file, errors_file, show)) if show else ()
    for pair in shown:
        to_people(f"[{pair['custom_id']}] {pair['prompt']}\n  -> {pair['answer'] or pair['error']}")
    return Delivered(paths, watch.status_word(job), summary, shown)


def _note(api: Api, job: Job, summary: merge.Summary, wanted: Wanted) -> None:
    """What came of the download, and where the CSV is, for the next command."""
    with job.locked(api.clock):
        before = job.record.downloaded
        job.record.downloaded = Downloaded(
            at=api.clock.now(),
            batches=len(job.submitted()),
            retryable=summary.retryable,
            most_results=max(summary.results, before.most_results if before else 0),
            results=summary.results,
            errors=summary.errors,
            missing=summary.missing,
        )
        job.save()
        job.remember(**wanted.remembered())
    remembered = job.remembered("output")
    if remembered and not wanted.output and Path(remembered[1]).exists():
        say(f"{safe(remembered[1])} is of an earlier download: {' '.join(remembered)} renews it")


def _tell(job: Job, summary: merge.Summary, paths: list[Path]) -> None:
    """The summary: at most 40 lines."""
    failed, missing = sum(summary.errors.values()), sum(summary.missing.values())
    say(f"{summary.results} of {plural(summary.requests, 'request')} answered, {failed} failed, {missing} missing")
    for kinds in (summary.errors, summary.missing):
        for kind, count in sorted(kinds.items(), key=lambda item: -item[1])[:KINDS_SHOWN]:
            example = f" (e.g. {summary.examples[kind]})" if kind in summary.examples else ""
            say(f"  {count} {kind}{safe(example, 250) and ' ' + safe(example, 250)}")
    if summary.unexpected:
        say(f"  {summary.unexpected} ids came back that are not in this job; they are left out")
    for what, count in (("cut short at the token limit", summary.cut), ("empty", summary.empty)):
        if count:
            say(f"  {count} of the answers {what} (e.g. {summary.examples[what.split()[0]]})")
    say(f"tokens: {summary.prompt_tokens} prompt, {summary.completion_tokens} completion")
    for path in paths:
        say(f"wrote {safe(path)}{'' if path.stat().st_size else ' (empty)'}")
    if summary.retryable and next_step(job):
        say(f"next: {next_step(job)}")
