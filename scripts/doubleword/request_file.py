"""The request file: one request a line, any size. Lines, offsets, hashes, and cutting into parts.

A part is a range of the file's bytes that the API takes as one upload. Nothing is copied: a part is
hashed when the file is checked, and sent from the same bytes later.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from .contract import BadInput, safe

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Source: the service's published limits for one batch. The server's own defaults are other numbers (100 MiB,
# no count), and the hosted values cannot be read, so stay at or under the published ones.
PART_REQUESTS = 50_000
PART_BYTES = 200_000_000
# The server takes bodies of 10 MiB once unescaped; \u escapes make a line at most three times as long.
LINE_BYTES = 32 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One physical line. `raw` holds its bytes with the line end, without a leading BOM; `start` is raw's offset."""

    number: int
    start: int
    raw: bytes

    @property
    def blank(self) -> bool:
        return not self.raw or self.raw.isspace()


class Span(NamedTuple):
    """The lines of one part: physical line numbers (inclusive), byte range [start, end), count, hash."""

    first_line: int
    last_line: int
    start: int
    end: int
    requests: int
    sha256: str


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


def lines(path: Path) -> Iterator[Line]:
    """Every physical line, blank ones too; only LF ends a line, as on the server.

    Raises BadInput for a line of more than LINE_BYTES, and when the file changes while it is read.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        start, number = 0, 0
        while raw := file.readline(LINE_BYTES + 1):
            number += 1
            if len(raw) > LINE_BYTES:
                raise BadInput(
                    f"{safe(path)} line {number} is longer than {LINE_BYTES} bytes; a request is at most 10 MiB"
                )
            if number == 1 and raw.startswith(BOM):
                raw, start = raw[3:], 3
            yield Line(number, start, raw)
            start += len(raw)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise BadInput(f"{safe(path)} changed while it was read", "wait until whatever writes it is done")


class SideHash:
    """SHA-256 of many small pieces, computed on another core meanwhile; hashlib lets Python run on beside it."""

    # Python changes threads every 5 ms: smaller blocks would wait longer for their turn than they take.
    BLOCK = 4 * 1024 * 1024

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._size = 0
        self._running: Future[None] | None = None

    def update(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= self.BLOCK:
            self._wait()
            self._running = _side().submit(self._hash.update, b"".join(self._pieces))
            self._pieces, self._size = [], 0

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None

    def copy(self) -> SideHash:
        made = SideHash()
        self.hexdigest()
        made._hash = self._hash.copy()
        return made

    def hexdigest(self) -> str:
        self._wait()
        self._hash.update(b"".join(self._pieces))
        self._pieces, self._size = [], 0
        return self._hash.hexdigest()


@cache
def _side() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1)


class Cutter:
    """Cuts a stream of lines into parts of at most `requests` and `size` bytes, hashing each as it goes."""

    def __init__(self, requests: int = PART_REQUESTS, size: int = PART_BYTES) -> None:
        self._requests, self._size = requests, size
        self._done: list[Span] = []
        self._first: Line | None = None
        self._open(None)

    def _open(self, first: Line | None) -> None:
        self._first = first
        self._count, self._bytes, self._last_line = 0, 0, 0
        self._hash = self._ahead = SideHash()
        # Blank lines inside a part are sent along, those at its edges are not: `_ahead` has hashed them already.
        self._blank_bytes = 0

    def add(self, line: Line) -> bool:
        """Takes every line in order; False for a blank one. Raises BadInput if one line is over the size of a part."""
        if line.blank:
            if self._first is not None:
                if not self._blank_bytes:
                    self._ahead = self._hash.copy()
                self._ahead.update(line.raw)
                self._blank_bytes += len(line.raw)
            return False
        grown = self._bytes + self._blank_bytes + len(line.raw)
        if self._first is not None and (self._count >= self._requests or grown > self._size):
            self._close()
        if self._first is None:
            self._open(line)
            if len(line.raw) > self._size:
                raise BadInput(f"line {line.number} alone has {len(line.raw)} bytes; a part may have {self._size}")
        if self._blank_bytes:
            self._hash = self._ahead
        self._hash.update(line.raw)
        self._bytes += self._blank_bytes + len(line.raw)
        self._blank_bytes = 0
        self._count += 1
        self._last_line = line.number
        return True

    def _close(self) -> None:
        assert self._first is not None
        start = self._first.start
        self._done.append(
            Span(self._first.number, self._last_line, start, start + self._bytes, self._count, self._hash.hexdigest())
        )
        self._open(None)

    def parts(self) -> list[Span]:
        """The parts, once every line has been added."""
        if self._first is not None:
            self._close()
        return self._done


class PartBody:
    """The bytes of one part, to be sent: iterated once a sending, hashed as they go.

    Raises BadInput before the last block if the bytes are no longer those that were checked, so that the
    server never sees a changed part whole.
    """

    def __init__(self, path: Path, start: int, end: int, sha256: str, sent: Callable[[int], None]) -> None:
        self._path, self._start, self._end, self._sha256, self._sent = path, start, end, sha256, sent

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), len(self)
        with open_regular(self._path) as file:
            file.seek(self._start)
            while left:
                block = file.read(min(BLOCK_BYTES, left))
                digest.update(block)
                left -= len(block)
                if not block or (not left and digest.hexdigest() != self._sha256):
                    raise BadInput(
                        f"{safe(self._path)} changed since it was checked (bytes {self._start} to {self._end})",
                        "restore the file, or make a new request file under another name",
                    )
                yield block
                self._sent(len(block))


def physical_line(path: Path, start: int, first_line: int, nth: int) -> int:
    """The physical line of the nth request of a part: the server counts only lines that are not blank, per part."""
    with open_regular(path) as file:
        file.seek(start)
        number = first_line - 1
        while raw := file.readline():
            number += 1
            if raw.strip():
                nth -= 1
                if nth == 0:
                    return number
    return number
