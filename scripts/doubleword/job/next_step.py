"""What is the next command for a job? Word for word, with the options that were given before."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from ..base.failures import NotFound
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
    """A command line for this job, with the options that were given before, but for those in `more`."""
    words = [*(job.unshown_trial if script == "run_batch.py" else ()), *more]
    for name in _OPTIONS.get(script, ()):
        flag = f"--{name.replace('_', '-')}"
        value = None if flag in more else getattr(job.record.options, name)
        if value and name == "output":
            value = table_path(job)
        if value and (name, value) != ("completion_window", "24h"):  # what every command does anyway
            if value is not True and value.startswith("-"):  # it would be taken for a flag
                words.append(f"{flag}={value}")
            else:
                words += [flag, *([] if value is True else [value])]
    return next_command(script, job.request_file(), *words)


def next_step(job: Job, window: str | None = None) -> str | None:
    """The exact next command for this job, or None when it is done. `window`: to go on with, if none is remembered."""
    waiting, submitted = job.unsubmitted(), job.submitted()
    if waiting and job.latest.cancelled_at is None:
        more = () if window in (None, "24h", job.record.options.completion_window) else ("--completion-window", window)
        # run_batch.py was stopped on its way to a table, or to what a trial shows: it goes on to there
        if job.record.options.output or job.unshown_trial:
            return command("run_batch.py", job, *more)
        return command("create_batch.py" if all(part.uploaded for part in waiting) else "upload.py", job, *more)
    if not job.ended:
        # Whoever comes after wants the answers; but no rest of a trial may be paid for by the way.
        return command("poll.py" if job.has_rest or waiting else "run_batch.py", job)
    if job.has_rest and not job.stopped:
        return command("run_batch.py", job)
    done = job.record.downloaded
    if (submitted or job.reused) and (done is None or done.batches != len(submitted) or "unread" in done.missing):
        return command("download.py", job)
    # Not --resume after a cancel: whoever follows `next` word for word would undo it unasked.
    return command("retry_failed.py", job) if done and done.retryable and not job.stopped else None


def require_submitted(job: Job) -> None:
    """Raises NotFound, with the next command, where there is no batch to ask for."""
    if not job.submitted():
        raise NotFound("nothing of this job has been submitted yet", next_step(job) or "")


# --- what was given before -----------------------------------------------------------------------


def remember(job: Job, **flags: Any) -> None:
    """Notes flags for the next command. The lock must be held. Those of a table belong together, and come together:
    its path moves with the job's folder, and the next command may be run in another one than this."""
    if flags.get("output"):
        flags["output"] = _path_kept(job, flags["output"])
    options = dataclasses.replace(job.record.options, **flags)
    if options != job.record.options:
        job.record.options = options
        job.save()


def _path_kept(job: Job, path: str) -> str:
    """A path that was given, as the record has it: a relative one is from the request file's folder on."""
    if os.path.isabs(path):
        return path
    place = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    with contextlib.suppress(ValueError):  # another drive
        return os.path.relpath(place, os.path.realpath(job.folder.parent))
    return os.path.abspath(path)


def table_path(job: Job) -> str | None:
    """The path of the table that was asked for, from the current folder on unless it was given whole."""
    kept = job.record.options.output
    if kept is None or os.path.isabs(kept):
        return kept
    path = os.path.normpath(os.path.join(os.path.realpath(job.folder.parent), kept))
    with contextlib.suppress(ValueError, OSError):  # another drive, no current folder
        return os.path.relpath(path, os.path.realpath(os.curdir))
    return path
