"""Plain files: read with care, written whole.

Everything a script writes goes through `whole_file` (what it appends to, through `own_files`): no name that somebody
could guess is opened for writing, no link is followed and no pipe is waited on, and nobody else can read what is not
finished.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .disk import LOST, flock, rename, sync, sync_folder
from .failures import BadInput
from .text import is_windows, safe

# Flags that a system does not have are 0: Windows has neither links under O_NOFOLLOW nor pipes in folders.
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_UMASK = os.umask(0o077)
os.umask(_UMASK)

# Short, whatever the file is called: a name that the file system just takes must not fail for being made longer.
_TEMPORARY = re.compile(r"\.dwb-[0-9a-f]{16}\.tmp")


@contextmanager
def whole_file(
    path: Path, mode_of: Path | None = None, before: Callable[[Path], None] | None = None
) -> Iterator[BinaryIO]:
    """Writes `path` so that it appears whole or not at all: temporary name, fsync, rename, fsync of the folder.

    `before` is called with the whole file under its temporary name, just before the rename.

    Its permissions are those of the file it replaces; for a new one those of `mode_of`, the file or folder that it was
    made from, so that what is private stays so (never more than the umask gives). Raises BadInput where it is plain
    at the start that it cannot be written, OSError with its path for what the disk says later.
    """
    mode = permissions(path, mode_of)
    file, temporary = _temporary(path)
    try:
        with file:
            yield file
            _settle(file, path, mode)
            if before is not None:
                before(temporary)
            if not is_windows():  # while it is locked: another copy would take it for a leftover
                rename(temporary, path)
        if is_windows():  # a file that is open cannot be renamed there
            rename(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in LOST and error.filename is None:
            error.filename = str(path)
        raise


class _There(Exception):
    """The very file that was to be made is there already."""


def put(path: Path, blocks: Iterable[bytes]) -> int:
    """Writes a file whole under a name that nobody chose, such as one made of an id; its size. An empty one is not
    written. One that is there stays as it is: raises BadInput unless it has the very bytes."""
    made, size = hashlib.sha256(), 0
    with suppress(_There), whole_file(path) as file:
        for block in blocks:
            file.write(block)
            made.update(block)
            size += len(block)
        if os.path.lexists(path) and size and digest(path) != made.hexdigest():
            raise BadInput(
                f"{safe(path)} is in the way: another file than this is to be kept under that name, and it is never"
                " replaced",
                f"move it away (mv {safe(path.name)} elsewhere), then the same command again",
            )
        if not size or os.path.lexists(path):
            raise _There
    return size


def permissions(path: Path, mode_of: Path | None) -> int:
    """The permissions that `path` will have. Raises BadInput if it cannot be written at all."""
    try:
        found = os.lstat(path)  # also the first to hear that a name is too long
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise BadInput(
                f"{safe(path)}: there is no folder {safe(path.parent)}", "make it, or name another"
            ) from None
    else:
        require_plain(path, found)
        return stat.S_IMODE(found.st_mode) & 0o777
    mode = 0o666 & ~_UMASK
    if mode_of is not None:
        with suppress(OSError):  # it may lie elsewhere by now
            mode &= os.stat(mode_of).st_mode
    return mode | stat.S_IRUSR | stat.S_IWUSR


def require_plain(path: Path, found: os.stat_result | None = None) -> None:
    """Raises BadInput if something stands under this name that is not to be written: a link, a pipe, a folder."""
    if found is None:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return
    if stat.S_ISREG(found.st_mode):
        return
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "a pipe or a device")
    raise BadInput(f"{safe(path)} is {kind}; a plain file is written there", "move it away, or name another file")


def require_writable(path: Path) -> None:
    """Raises what writing `path` would raise, as far as that can be found out without touching it."""
    permissions(path, None)
    file, temporary = _temporary(path)
    file.close()
    temporary.unlink()


def _temporary(path: Path) -> tuple[BinaryIO, Path]:
    """A new file in the folder of `path`, open and locked for as long as it is."""
    _remove_leftovers(path.parent)
    while True:
        temporary = path.with_name(f".dwb-{secrets.token_hex(8)}.tmp")
        try:
            file = open(temporary, "wb", buffering=1 << 20, opener=_create)  # noqa: SIM115
        except OSError as error:  # the name that people know is that of the file
            raise type(error)(error.errno, error.strerror, str(path)) from None
        taken = None
        with suppress(OSError):  # no locks here
            taken = flock(file.fileno())  # by which other copies know a file that is being written
        if taken is not False and os.path.lexists(temporary):
            return file, temporary
        file.close()  # another copy took it for a leftover in this very moment


def _create(path: str, flags: int) -> int:  # noqa: ARG001 - as open() calls it
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of copies that were killed: as large as what they wrote, and nobody's."""
    try:
        names = [name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)]
    except OSError:  # a folder may be writable and not readable
        return
    for name in names:
        with suppress(OSError):
            _remove_leftover(folder / name)


def _remove_leftover(path: Path) -> None:
    if is_windows():
        path.unlink()
        return
    handle = os.open(path, os.O_RDONLY | PLAIN)
    try:
        found = os.fstat(handle)
        # Ours, a plain file with this one name: else it was planted.
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid() and flock(handle):
            path.unlink()
    finally:
        os.close(handle)


def _settle(file: BinaryIO, path: Path, mode: int) -> None:
    """Brings what was written to the disk, with the owner and the permissions it is to have."""
    file.flush()
    if not is_windows():
        with suppress(OSError):  # root who replaces somebody's file does not take it over
            found = os.lstat(path)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
        with suppress(OSError):  # FAT and some mounts have no permissions
            os.fchmod(file.fileno(), mode)
    sync(file.fileno())


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


def unused(path: Path | str) -> Path:
    """This path, or one beside it under which there is nothing yet: rows.csv, rows-2.csv, ... For a command that is
    named: what is there may be the very file that it reads."""
    path, number = Path(path), 1
    made = path
    while os.path.lexists(made):
        number += 1
        made = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return made


def state_of(path: Path) -> list[int]:
    """[size in bytes, time of change in ns]: cheap to compare; a difference means the file must be hashed again."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise BadInput(f"there is no file {safe(path)}", "check the path") from None
    return [found.st_size, found.st_mtime_ns]


def read_at(handle: int, start: int, length: int) -> bytes:
    """So many bytes of an open file, from there on."""
    if hasattr(os, "pread"):
        return os.pread(handle, length, start)
    os.lseek(handle, start, os.SEEK_SET)  # Windows
    return os.read(handle, length)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open_regular(path) as file:
        made = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            made.update(block)
        return made.hexdigest()
