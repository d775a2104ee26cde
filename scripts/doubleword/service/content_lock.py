"""Is another copy at work on the same content, or the same job, on this machine, whatever name or folder it uses?

A copy of a job, or a second job over the same file, has a lock of its own; started at once both would find no batch
and both would send. One made from a batch id has another content, too, but the id of its home; one made from the id of
a file has that file alone. So locks for each are held over the search and the send. They lie in a folder of this
user's, which nobody else can write to, never beside the user's files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..base.console import say
from ..base.failures import BadInput, Clock
from ..base.lock import lock


@contextlib.contextmanager
def held(clock: Clock, *whats: str) -> Iterator[None]:
    """Holds a lock for each of these (the hash of a content, the id of a job or of a file), on whatever server: one has
    many names. Always in the order content, job, file, so that no two copies wait for each other.

    Raises Temporary if another copy holds one for 10 s.
    """
    folder = _folder(clock)
    if folder is None:
        say("note: no folder for locks; do not start two copies of a job at once")
        yield
        return
    with contextlib.ExitStack() as stack:
        for what in whats:
            stack.enter_context(_held(folder, hashlib.sha256(what.encode()).hexdigest()[:32], clock))
        yield


@contextlib.contextmanager
def _held(folder: Path, name: str, clock: Clock) -> Iterator[None]:
    path = folder / f"{name}.lock"
    with lock(path, clock):
        try:
            yield
        finally:  # whoever waits for it sees that it is gone, and takes the next
            with contextlib.suppress(OSError):
                path.unlink()


def _folder(clock: Clock) -> Path | None:
    user = os.getuid() if hasattr(os, "getuid") else None
    # The temporary folder may be another for each service or shell of the same user.
    state = Path(os.path.expanduser("~/.local/state"))
    for parent in (state, Path(tempfile.gettempdir())):
        folder = parent / f"doubleword-batches-{user if user is not None else 'locks'}"
        if not parent.is_absolute():  # nobody's home
            continue
        with contextlib.suppress(OSError):
            parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            if _is_ours(folder, user) and _can_lock(folder, clock):
                return folder
    return None


def _can_lock(folder: Path, clock: Clock) -> bool:
    """Whether a lock can be made and held there: a home may be read-only, full, or on a mount without locks."""
    try:
        with _held(folder, f"try-{os.getpid()}", clock):
            return True
    except (OSError, BadInput):
        return False


def _is_ours(folder: Path, user: int | None) -> bool:
    """Whether nobody else made this folder, or can put links into it."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return False
    return user is None or (found.st_uid == user and not found.st_mode & 0o077)
