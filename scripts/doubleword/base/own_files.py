"""Files and folders that the job keeps for itself: what was planted under their names is neither read nor written."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .failures import BadInput
from .files import BLOCK_BYTES, PLAIN, permissions, require_plain
from .text import safe


def own_folder(path: Path, mode_of: Path | None = None) -> Path:
    """Makes a folder of the job's own, no more open than `mode_of`. Raises BadInput if a link or a file is there."""
    mode = 0o777
    with suppress(OSError):
        readable = os.stat(mode_of).st_mode & 0o066 if mode_of else 0o066
        mode = 0o700 | readable | (readable & 0o044) >> 2  # who may read may look into the folder
    try:
        os.mkdir(path, mode)
        return path
    except FileExistsError:  # perhaps made by another copy this very moment
        found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise BadInput(f"{safe(path)} is {kind}; the job keeps a folder there", "move it away")
    return path


def open_own(path: Path, mode_of: Path | None = None) -> BinaryIO:
    """Opens a file of the job's own for reading and appending, such as a spool: made if it is not there, never through
    a link or into a pipe. Raises BadInput if something else stands under its name."""
    mode = 0o600 if mode_of is None else permissions(path, mode_of)
    return os.fdopen(own_handle(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode), "ab+")


def reading_own(path: Path) -> BinaryIO:
    """Opens a file of the job's own, under the conditions of `open_own`. Raises FileNotFoundError, too."""
    return os.fdopen(own_handle(path, os.O_RDONLY), "rb", buffering=BLOCK_BYTES)


def own_handle(path: Path, flags: int, mode: int = 0) -> int:
    """The handle of a file of the job's own: a plain one, without another name elsewhere. Raises BadInput otherwise."""
    try:
        handle = os.open(path, flags | PLAIN, mode)
    except OSError:
        require_plain(path)
        raise
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return handle
    os.close(handle)
    what = "has another name, too" if stat.S_ISREG(found.st_mode) else "is no plain file"
    raise BadInput(f"{safe(path)} {what}; the job does not write to it", "move it away")


def read_own(path: Path, at_most: int) -> bytes:
    """All bytes of such a file, if they are not more."""
    with reading_own(path) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise BadInput(f"{safe(path)} is larger than {at_most // 1_000_000} MB; the job's own is not", "move it away")
    return content
