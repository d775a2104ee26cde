"""The journal beside a record: what was learnt of single parts since the record was last written whole.

A record of n parts is written n times and more, once for each thing learnt; written whole each time, that is hundreds
of megabytes for hundreds of parts. So a part's news is one line here, and is folded into the record when the lock
is released or the journal has grown as large as the record. The first line names the very record (its hash) that the
journal adds to: beside any other, a newer one or one restored from a backup, it says nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..base.files import sync, sync_folder
from ..base.json_text import read_json, written
from ..base.own_files import open_own, read_own

JOURNAL_BYTES = 1 << 30  # it is folded into the record long before

Entry = dict[str, Any]  # {"attempt": number, "part": number, "is": the part as the record has it}


def hash_of(record: bytes) -> str:
    return hashlib.sha256(record).hexdigest()


def entries(path: Path, record: bytes) -> Iterator[Entry]:
    """What a journal adds to this record, in order; a last line without its end was never relied upon.

    Raises ValueError for a whole line that cannot be read: what it told, and all after it, would be forgotten.
    """
    try:
        lines = read_own(path, JOURNAL_BYTES).split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        try:
            found = read_json(line, JOURNAL_BYTES, halves=True)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
        if number > 1:
            yield found
        elif not isinstance(found, dict) or found.get("record") != hash_of(record):
            return


class Journal:
    """The journal of a record that is locked. `size` is what it holds; it is opened with the first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.size = 0

    def add(self, entry: Entry, record: str) -> None:
        """Appends one entry to the record of that hash; it is on disk when this returns."""
        self._write(self._file or self._begin(record), entry)

    def _begin(self, record: str) -> BinaryIO:
        self._path.unlink(missing_ok=True)  # of another record, or folded into this one: `entries` no longer took it
        self._file = open_own(self._path)
        self._write(self._file, {"record": record})
        sync_folder(self._path.parent)
        return self._file

    def _write(self, file: BinaryIO, value: Entry) -> None:
        handle, line = file.fileno(), written(value) + b"\n"
        left = line
        try:
            while left:
                left = left[os.write(handle, left) :]
            sync(handle)
        except BaseException:  # a full disk, an interruption: half a line would make the next one unreadable
            os.ftruncate(handle, self.size)
            raise
        self.size += len(line)

    def end(self) -> None:
        """Removes it: the record has just been written whole."""
        self.close()
        with contextlib.suppress(OSError):  # what stays names a record that is no more
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self.size = None, 0
