"""What is the exit code of a command that waited, or delivered? A failure has its own: base/failures.py."""

from __future__ import annotations

from collections.abc import Sequence

from .base.failures import ExitCode
from .job.job import Job
from .results.results_and_errors import Summary
from .service import watch


def exit_code(jobs: Sequence[Job], summary: Summary | None = None) -> ExitCode:
    """What a command that waited, or one that delivered (`summary`), ends with."""
    if any(job.under_way if summary else not job.ended or job.to_submit for job in jobs):
        return ExitCode.STILL_RUNNING
    if summary is None:
        whole = all(watch.status_word(job) == "completed" for job in jobs)
        return ExitCode.DONE if whole else ExitCode.NOT_COMPLETED
    if not summary.results and not summary.errors:
        return ExitCode.NOT_COMPLETED
    return ExitCode.INCOMPLETE if summary.incomplete else ExitCode.DONE
