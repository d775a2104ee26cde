"""One lock for each content of a request file on this machine, whatever name or folder it is reached by.

A copy of a job, or a second job over the same file, has a lock of its own; started at once both would find no batch
and both would send. So this one is held over the search and the sends, too. It lies in a folder of this user's, which
nobody else can write to, never beside the user's files.
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
from ..base.errors import Clock
from ..base.lock import lock


@contextlib.contextmanager
def held(url: str, sha256: str, clock: Clock) -> Iterator[None]:
    """Holds the lock of a content at a base URL. Raises Temporary if another copy holds it for 10 s."""
    folder = _folder()
    if folder is None:
        say("note: no folder for locks; do not start two copies of a job at once")
        yield
        return
    name = hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()[:32]
    path = folder / f"{name}.lock"
    with lock(path, clock):
        try:
            yield
        finally:  # whoever waits for it sees that it is gone, and takes the next
            with contextlib.suppress(OSError):
                path.unlink()


def _folder() -> Path | None:
    user = os.getuid() if hasattr(os, "getuid") else None
    for parent in (Path(tempfile.gettempdir()), Path(os.path.expanduser("~/.local/state"))):
        folder = parent / f"doubleword-batches-{user if user is not None else 'locks'}"
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            if _is_ours(folder, user):
                return folder
    return None


def _is_ours(folder: Path, user: int | None) -> bool:
    """Whether nobody else made this folder, or can put links into it."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return False
    return user is None or (found.st_uid == user and not found.st_mode & 0o077)
