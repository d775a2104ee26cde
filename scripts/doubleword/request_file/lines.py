"""The request file: one request a line, any size. Lines, offsets, hashes, and cutting into parts.

A part is a range of the file's bytes that the API takes as one upload. Nothing is copied: a part is
hashed when the file is checked, and sent from the same bytes later.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..base.failures import BadInput
from ..base.files import LINE_BYTES, open_regular
from ..base.json_text import read_json
from ..base.text import safe

BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One physical line. `raw` holds its bytes with the line end, without a leading BOM; `start` is raw's offset."""

    number: int
    start: int
    raw: bytes

    @property
    def blank(self) -> bool:
        return not self.raw or self.raw.isspace()


@dataclass(frozen=True)
class Span:
    """The lines of one part: physical line numbers (inclusive), byte range [start, end), count, hash."""

    first_line: int
    last_line: int
    start: int
    end: int
    requests: int
    sha256: str


def lines(path: Path, start: int = 0, number: int = 1) -> Iterator[Line]:
    """Every physical line, blank ones too; only LF ends a line, as on the server. From the offset `start` on, if need
    be, where the line `number` begins.

    Raises BadInput for a line of more than LINE_BYTES, and when the file changes while it is read.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        file.seek(start)
        while raw := file.readline(LINE_BYTES + 1):
            if len(raw) > LINE_BYTES:
                raise BadInput(
                    f"{safe(path)} line {number} is longer than {LINE_BYTES} bytes; a request is at most 10 MiB"
                )
            if start == 0 and raw.startswith(BOM):
                raw, start = raw[3:], 3
            yield Line(number, start, raw)
            start, number = start + len(raw), number + 1
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise BadInput(f"{safe(path)} changed while it was read", "wait until whatever writes it is done")


def request_lines(path: Path, span: Span, check: bool = False) -> Iterator[tuple[int, bytes]]:
    """(physical line, bytes) of each request of a part. With `check`, raises BadInput if the bytes changed."""
    digest = hashlib.sha256()
    for line in lines(path, span.start, span.first_line):
        if line.start >= span.end:
            break
        if check:
            digest.update(line.raw)
        if not line.blank:
            yield line.number, line.raw
    if check and digest.hexdigest() != span.sha256:
        raise BadInput(f"{safe(path)} changed since it was uploaded", "restore it: its order and ids are needed")


def request_ids(path: Path, span: Span, check: bool = False) -> Iterator[tuple[int, str]]:
    """(physical line, custom_id) of each request of a part."""
    for number, raw in request_lines(path, span, check):
        custom_id = custom_id_of(raw)
        if custom_id is None:
            raise BadInput(f"{safe(path)} line {number} is not what was uploaded", "restore the file")
        yield number, custom_id


# The key stands first in the lines this skill writes, and no valid line names it twice.
_ID_FIRST = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*"([^"\\]+)"')


def custom_id_of(raw: bytes) -> str | None:
    """The custom_id of a request line, or None if it has none that is a text."""
    try:
        found = _ID_FIRST.match(raw)
        custom_id = found[1].decode() if found else read_json(raw)["custom_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return custom_id if isinstance(custom_id, str) else None
