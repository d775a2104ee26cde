"""The files that a job writes for its user: which are its own, and may be replaced, and which are somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base.errors import BadInput, Clock
from ..base.files import digest, state_of
from ..base.text import safe
from .job import Job
from .record import Written


def require_ours(job: Job, *paths: Path) -> None:
    """Raises BadInput if a file is in the way that this job did not write, or that was changed since."""
    for path in paths:
        why = why_not_ours(job, path)
        fresh = Job.load(job.folder) if why and not job.holds_lock else None
        if fresh is not None:  # another copy may have written the file since this record was read
            why = why_not_ours(fresh, path)
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
    return "" if _is_still(path, written) else "was changed since this job wrote it"


@contextmanager
def writing(job: Job, clock: Clock, *paths: Path) -> Iterator[dict[Path, str]]:
    """Notes files as the job's own, before they are written in the block and as they are after it.

    Raises BadInput as `require_ours` does. The lock is not held in between: writing may take long. Who knows the
    SHA-256 of what it wrote puts it into the dictionary.
    """
    with job.locked(clock):
        require_ours(job, *paths)
        job.record.outputs |= {_name(job, path): Written(-1, 0, "") for path in paths}
        job.save()
    hashes: dict[Path, str] = {}
    try:
        yield hashes
    finally:
        with job.locked(clock):
            for path in paths:
                if path.exists():
                    size, changed_ns = state_of(path)
                    job.record.outputs[_name(job, path)] = Written(size, changed_ns, hashes.get(path) or digest(path))
                else:
                    job.record.outputs.pop(_name(job, path), None)
            job.save()


def _name(job: Job, path: Path) -> str:
    return os.path.relpath(path, job.folder.parent)


def _is_still(path: Path, written: Written) -> bool:
    """Whether a file is the one that was written. A copied folder has other times: then its content tells."""
    if path.is_symlink() or not path.is_file():
        return False
    size, changed_ns = state_of(path)
    if written.size < 0 or (size, changed_ns) == (written.size, written.changed_ns):
        return True
    return size == written.size and digest(path) == written.sha256
