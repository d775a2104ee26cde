"""The lock by which only one copy at a time writes a job's record, sends for it, or fills its spool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .disk import flock
from .failures import BadInput, Clock, Temporary
from .own_files import own_handle
from .text import safe

LOCK_WAIT_SECONDS = 10.0
# Windows locks bytes, and a locked one cannot be read by others: this one lies behind the name of the holder.
LOCKED_BYTE = 1 << 30


@contextmanager
def lock(path: Path, clock: Clock) -> Iterator[None]:
    """Holds an exclusive lock on a lock file; the system drops it when the process dies, however it dies."""
    deadline = clock.monotonic() + LOCK_WAIT_SECONDS
    while True:
        handle = own_handle(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _try_lock(handle, path) and _same_file(handle, path):
                with suppress(OSError):  # on a full disk the lock still holds; only its holder has no name
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()}\n".encode())
                yield
                return
            holder = os.read(handle, 100).decode("utf-8", "replace").strip()
        finally:
            os.close(handle)
        if clock.monotonic() >= deadline:
            raise Temporary(
                f"another copy is at work on this job ({safe(holder, 40) or 'just starting'}; {safe(path.name)})",
                "let it finish or stop it, then the same command again",
            )
        clock.sleep(0.2)


def _try_lock(handle: int, path: Path) -> bool:
    try:
        taken = flock(handle)
    except OSError as error:
        raise BadInput(
            f"{safe(path.parent)} cannot lock files ({error.strerror}); without a lock a job could be paid twice",
            "move the job's files to a local disk",
        ) from None
    return _try_lock_byte(handle) if taken is None else taken


def _try_lock_byte(handle: int) -> bool:
    """Windows."""
    import msvcrt

    os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one under this name: somebody may have deleted it in between."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
