"""Plain files: read with care, written whole."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import BadInput
from .text import safe


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Writes `path` so that it appears whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    path = Path(os.path.realpath(path))  # a link stays a link, its target is replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove_leftovers(path)
    try:
        with temporary.open("wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(path: Path) -> None:
    """Temporary files of copies that were killed while they wrote `path`: as large as the file, and nobody's."""
    start, end = f".{path.name}.", ".tmp"
    for name in os.listdir(path.parent):
        pid = name[len(start) : -len(end)]
        if name.startswith(start) and name.endswith(end) and pid.isdecimal() and not _runs(int(pid)):
            path.with_name(name).unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name == "nt":  # signal 0 is no question there, it is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut, where the system can (Windows cannot)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# The server takes bodies of 10 MiB once unescaped; \u escapes make a line at most three times as long.
LINE_BYTES = 32 * 1024 * 1024


BLOCK_BYTES = 256 * 1024


def open_regular(path: Path) -> BinaryIO:
    """Opens a plain file for reading. Raises BadInput for anything else, without ever waiting on it."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(f"{safe(path)} is a folder; a file was expected")
        if not stat.S_ISREG(mode):
            raise BadInput(f"{safe(path)} is a device or a pipe; a plain file was expected (it is read more than once)")
        return path.open("rb", buffering=BLOCK_BYTES)
    except FileNotFoundError:
        raise BadInput(f"there is no file {safe(path)}", "check the path") from None
    except (PermissionError, ValueError) as error:
        raise BadInput(f"cannot read {safe(path)}: {safe(error)}") from None


def state_of(path: Path) -> list[int]:
    """[size in bytes, time of change in ns]: cheap to compare; a difference means the file must be hashed again."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise BadInput(f"there is no file {safe(path)}", "check the path") from None
    return [found.st_size, found.st_mtime_ns]


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open_regular(path) as file:
        made = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            made.update(block)
        return made.hexdigest()
