"""Parts: ranges of the request file that the API takes as one upload, cut, hashed and sent from the same bytes."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import BadInput
from ..base.files import BLOCK_BYTES, open_regular
from ..base.text import safe
from .lines import Line, Span

if TYPE_CHECKING:
    from concurrent.futures import Future
    from hashlib import _Hash as Hash


# Source: the service's published limits for one batch. The server's own defaults are other numbers (100 MiB,
# no count), and the hosted values cannot be read, so stay at or under the published ones.
PART_REQUESTS = 50_000


PART_BYTES = 200_000_000


class Cutter:
    """Cuts the lines of a file into parts of at most `requests` and `size` bytes; use it in a `with`.

    The bytes are hashed from the file, on another core, while the caller looks at the lines: hashlib and reading
    let Python run on beside them.
    """

    # Python changes threads every 5 ms; a smaller block would wait longer for its turn than it takes.
    BLOCK = 8 * 1024 * 1024

    def __init__(self, path: Path, requests: int = PART_REQUESTS, size: int = PART_BYTES) -> None:
        self._path, self._requests, self._size = path, requests, size
        self._cut: list[tuple[Line, int, int, int, Hash]] = []  # first line, last line, end, requests, hash
        self._first: Line | None = None
        self._last_line = self._end = self._count = self._asked = 0
        self._hash: Hash = hashlib.sha256()
        self._whole: Hash | None = None  # None as long as the first part is all there is
        self._at = 0
        self._tasks: deque[Future[None]] = deque()

    def __enter__(self) -> Cutter:
        from concurrent.futures import ThreadPoolExecutor

        self._file = open_regular(self._path)
        self._side = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._side.shutdown(cancel_futures=True)
        self._file.close()

    def add(self, line: Line) -> bool:
        """Takes every line in order; False for a blank one. Raises BadInput if one line is over the size of a part.

        Blank lines inside a part are sent along, those at its edges are not.
        """
        if line.blank:
            return False
        number, start, raw = line
        end = start + len(raw)
        if self._first is not None and (self._count >= self._requests or end - self._first.start > self._size):
            self._close()
        if self._first is None:
            if len(raw) > self._size:
                raise BadInput(f"line {number} alone has {len(raw)} bytes; a part may have {self._size}")
            self._open(line)
        self._count += 1
        self._last_line, self._end = number, end
        if end - self._asked >= self.BLOCK:
            self._ask(end, self._hash)
        return True

    def _open(self, line: Line) -> None:
        if self._cut or line.start:
            self._ask(line.start, None)
        self._first, self._count, self._hash = line._replace(raw=b""), 0, hashlib.sha256()

    def _close(self) -> None:
        assert self._first is not None
        self._ask(self._end, self._hash)
        self._cut.append((self._first, self._last_line, self._end, self._count, self._hash))
        self._first = None

    def _ask(self, end: int, part: Hash | None) -> None:
        self._asked = end
        while self._tasks and self._tasks[0].done():
            self._tasks.popleft().result()  # raises what went wrong there
        self._tasks.append(self._side.submit(self._feed, end, part))

    def _feed(self, end: int, part: Hash | None) -> None:
        """Hashes on to `end`, for the part and for the file. Only ever runs on the side."""
        if part is None and self._whole is None:  # the file is more than its first part
            self._whole = self._cut[0][4].copy() if self._cut else hashlib.sha256()
        while self._at < end:
            block = self._file.read(min(self.BLOCK, end - self._at))
            if not block:
                raise BadInput(f"{safe(self._path)} changed while it was read", "wait until whatever writes it is done")
            self._at += len(block)
            for made in (part, self._whole):
                if made is not None:
                    made.update(block)

    def parts(self, size: int) -> tuple[list[Span], str]:
        """The parts, and the hash of the whole file, once every line of its `size` bytes has been added."""
        if self._first is not None:
            self._close()
        if size > self._end or not self._cut:
            self._ask(size, None)
        for task in self._tasks:
            task.result()
        spans = [
            Span(first.number, last, first.start, end, count, made.hexdigest())
            for first, last, end, count, made in self._cut
        ]
        return spans, self._whole.hexdigest() if self._whole else spans[0].sha256


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
