"""What is the next command for a job? Word for word, with the options that were given before."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.text import next_command
from .job import Job

# Which of the remembered options each command takes: a cost limit or a table must not get lost on the way.
_DELIVERY = ("output", "columns", "answer_column", "no_guard")
_OPTIONS = {
    "upload.py": ("completion_window",),
    "create_batch.py": ("max_cost", "completion_window"),
    "run_batch.py": ("max_cost", "completion_window", *_DELIVERY),
    "download.py": _DELIVERY,
}


def command(script: str, job: Job, *more: str) -> str:
    """A command line for this job, with the options that were given before."""
    return next_command(script, job.request_file(), *more, *_remembered(job, _OPTIONS.get(script, ())))


def _remembered(job: Job, names: Sequence[str]) -> list[str]:
    words: list[str] = []
    for name in names:
        value = getattr(job.record.options, name)
        if value and name == "output":
            value = job.table_path
        if value and (name, value) != ("completion_window", "24h"):  # what every command does anyway
            flag = f"--{name.replace('_', '-')}"
            if value is not True and value.startswith("-"):  # it would be taken for a flag
                words.append(f"{flag}={value}")
            else:
                words += [flag, *([] if value is True else [value])]
    return words


def next_step(job: Job, window: str | None = None) -> str | None:
    """The exact next command for this job, or None when it is done. `window`: to go on with, if none is remembered."""
    waiting, submitted = job.unsubmitted(), job.submitted()
    if waiting and job.latest.cancelled_at is None:
        more = () if window in (None, "24h", job.record.options.completion_window) else ("--completion-window", window)
        if job.record.options.output:  # run_batch.py was stopped on its way to a table: it goes on to there
            return command("run_batch.py", job, *more)
        return command("create_batch.py" if all(part.uploaded for part in waiting) else "upload.py", job, *more)
    if not job.ended:
        # Whoever comes after wants the answers; but no rest of a trial may be paid for by the way.
        return command("poll.py" if job.has_rest else "run_batch.py", job)
    cancelled = job.latest.cancelled_at is not None
    if job.has_rest and not cancelled:
        return command("run_batch.py", job)
    done = job.record.downloaded
    if (submitted or job.reused) and (done is None or done.batches != len(submitted) or "unread" in done.missing):
        return command("download.py", job)
    # Not --resume after a cancel: whoever follows `next` word for word would undo it unasked.
    stopped = cancelled and (waiting or job.has_rest)
    return command("retry_failed.py", job) if done and done.retryable and not stopped else None
