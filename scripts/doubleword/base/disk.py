"""What one system does otherwise than another: bringing a file to the disk, locking it, renaming over it."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from .text import is_windows

# What a disk that is full or broken says. Any other refusal of fsync comes from a file system that has none (SMB, FUSE,
# WSL's drives) or from a folder that may be written but not read: the file is then as safe as it can be there.
LOST = {errno.EIO, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

# Windows: a virus scanner looks into each new file for a moment; a spreadsheet holds on to its own.
SHARING_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)


def flock(handle: int) -> bool | None:
    """Takes the lock on an open file: False if another copy has it, None on Windows, which has none of this kind.

    Raises OSError where the file system has none."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(handle: int) -> None:
    """fsync, where the file system has one."""
    try:
        try:
            import fcntl

            # macOS: fsync alone leaves it in the cache of the drive.
            fcntl.fcntl(handle, vars(fcntl)["F_FULLFSYNC"])
        except (ImportError, KeyError, OSError):
            os.fsync(handle)
    except OSError as error:
        if error.errno in LOST:
            raise


def rename(temporary: Path, path: Path) -> None:
    for pause in SHARING_PAUSES if is_windows() else ():
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(temporary, path)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut, where the system can (Windows cannot)."""
    if is_windows():
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        sync(handle)
    finally:
        os.close(handle)
