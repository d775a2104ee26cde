"""Parts: ranges of the request file that the API takes as one upload, cut and hashed as it is read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..base.failures import BadInput
from .lines import BOM, Line, Span

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

# Source: the service's published limits for one batch. The server's own defaults are other numbers (100 MiB,
# no count), and the hosted values cannot be read, so stay at or under the published ones.
PART_REQUESTS = 50_000
PART_BYTES = 200_000_000


class Cutter:
    """Cuts the lines of a file into parts of at most `requests` and `size` bytes, and hashes them as they pass."""

    def __init__(self, requests: int = PART_REQUESTS, size: int = PART_BYTES) -> None:
        self._requests, self._size = requests, size
        self._spans: list[Span] = []
        self._first: Line | None = None
        self._last_line = self._end = self._count = 0
        self._hash = hashlib.sha256()  # of the part
        self._with_blanks: Hash | None = None  # of the part and the blank lines that follow it
        self._whole: Hash | None = None  # of the file; None as long as all of it is the first part: hashed once then

    def add(self, line: Line) -> bool:
        """Takes every line in order; False for a blank one. Raises BadInput if one line is over the size of a part.

        Blank lines inside a part are sent along, those at its edges are not.
        """
        number, start, raw = line
        if number == 1 and start:
            self._whole = hashlib.sha256(BOM)
        if line.blank:
            self._blank(raw)
            return False
        end = start + len(raw)
        if self._first is not None and (self._count >= self._requests or end - self._first.start > self._size):
            self._close(self._first)
        if self._first is None:
            if len(raw) > self._size:
                raise BadInput(
                    f"line {number} alone has {len(raw)} bytes; a part may have {self._size} (--part-bytes)",
                    "make that request smaller, or the limit larger",
                )
            self._first = line._replace(raw=b"")
        elif self._with_blanks is not None:
            self._hash, self._with_blanks = self._with_blanks, None
        self._count += 1
        self._last_line, self._end = number, end
        self._hash.update(raw)
        if self._whole is not None:
            self._whole.update(raw)
        return True

    def _blank(self, raw: bytes) -> None:
        if self._whole is None:
            self._whole = self._hash.copy()
        self._whole.update(raw)
        if self._first is not None:
            self._with_blanks = self._with_blanks or self._hash.copy()
            self._with_blanks.update(raw)

    def _close(self, first: Line) -> None:
        made = self._hash
        self._spans.append(Span(first.number, self._last_line, first.start, self._end, self._count, made.hexdigest()))
        self._whole = self._whole or made.copy()
        self._first, self._with_blanks, self._count, self._hash = None, None, 0, hashlib.sha256()

    def parts(self) -> tuple[list[Span], str]:
        """The parts, and the hash of the whole file, once every line has been added."""
        whole = self._whole or self._hash.copy()
        if self._first is not None:
            self._close(self._first)
        return self._spans, whole.hexdigest()
