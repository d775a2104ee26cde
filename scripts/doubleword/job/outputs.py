"""Whose is a file that lies where a job writes for its user? Its own may be replaced, somebody else's never."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

from ..base.failures import BadInput, Clock
from ..base.files import digest, state_of
from ..base.text import safe
from .job import Job
from .record import Written


def beside(job: Job) -> list[Path]:
    """What a job writes beside its request file, whatever is asked for."""
    return [job.beside(f"{name}.jsonl") for name in ("results", "errors", "partial")]


def files_of(job: Job, running: bool) -> tuple[Path, Path]:
    """(results, errors) of a download; those of an unfinished job have other names."""
    if running:
        return job.beside("partial.jsonl"), job.folder / "partial.errors.jsonl"
    return job.beside("results.jsonl"), job.beside("errors.jsonl")


def require_ours(job: Job, *paths: Path) -> None:
    """Raises BadInput if a file is in the way that this job, as its record was read, did not write, or that was changed
    since."""
    for path in paths:
        why = why_not_ours(job, path)
        if why:
            raise BadInput(
                f"{safe(path)} is in the way: it {why}, and is never replaced",
                f"move it away (mv {safe(path.name)} elsewhere), then the same command again",
            )


def why_not_ours(job: Job, path: Path) -> str:
    """Why a file must stay as it is; "" if it is the job's own, or not there."""
    if not os.path.lexists(path):
        return ""
    written = job.record.outputs.get(_name(job, path))
    if written is None:
        return "was not written by this job"
    return "" if any(_is_still(path, one) for one in written) else "was changed since this job wrote it"


def replacing(job: Job, clock: Clock, path: Path, made: Path, sha256: str = "") -> None:
    """Notes that `made`, a whole file under another name, is about to be renamed to `path`, and is the job's own.

    Raises BadInput as `require_ours` does. Killed before the rename or after it: each time it is known what lies there,
    and what anybody else makes of it is not taken for the job's. `sha256`: where it is known.
    """
    size, changed_ns = state_of(made)
    new = Written(size, changed_ns, sha256 or digest(made))
    with job.locked(clock):
        require_ours(job, path)
        known = job.record.outputs.get(_name(job, path), [])
        there = [one for one in known if one.sha256 != new.sha256 and _is_still(path, one)]
        job.record.outputs[_name(job, path)] = [*there, new]
        job.save()


def remove(job: Job, *paths: Path) -> None:
    """Removes files of the job's own, where they are there. Raises BadInput as `require_ours` does."""
    require_ours(job, *paths)
    for path in paths:
        path.unlink(missing_ok=True)


def _name(job: Job, path: Path) -> str:
    return normalize("NFC", os.path.relpath(path, job.folder.parent))  # the form of accents may change on the way


def _is_still(path: Path, written: Written) -> bool:
    """Whether a file is the one that was written. A copied folder has other times: then its content tells."""
    if path.is_symlink() or not path.is_file():
        return False
    size, changed_ns = state_of(path)
    if (size, changed_ns) == (written.size, written.changed_ns):
        return True
    return size == written.size and digest(path) == written.sha256
