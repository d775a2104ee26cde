"""How a CSV or TSV is written, and new cells as it would write them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from ..base.files import open_regular
from .csv_records import ENCLOSED, line_end, records, split_raw
from .file_kind import MARKS, Form
from .left_out import Tally
from .text_file import is_wide


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    encoding: str  # with its byte order named, and writing no mark
    mark: bytes  # at the start of the file; may be empty
    delimiter: str
    line_end: str  # of the header
    quotes_all: bool  # each cell of the header is quoted

    def quoted(self, cell: str) -> str:
        """A new cell as this table would write it."""
        if self.quotes_all or self.delimiter in cell or '"' in cell or "\n" in cell or "\r" in cell:
            return '"' + cell.replace('"', '""') + '"'
        return cell


def dialect_of(form: Form) -> Dialect:
    """How the table of a source is written."""
    with open_regular(Path(form.path)) as file:
        start = file.read(4)
    encoding = form.encoding.lower().replace("_", "-")
    mark = next((mark for mark, _ in MARKS if start.startswith(mark) and _goes_with(encoding, mark)), b"")
    if is_wide(encoding) and not encoding.endswith(("le", "be")):
        encoding += "-be" if mark in (b"\xfe\xff", b"\x00\x00\xfe\xff") else "-le"
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    header = next((record.raw for record in records(form, Tally(), keep=True) if record.cells), "")
    end = line_end(header)
    cells = split_raw(header[: len(header) - len(end)], form.delimiter)
    return Dialect(encoding, mark, form.delimiter, end or "\n", all(ENCLOSED.fullmatch(cell) for cell in cells))


def _goes_with(encoding: str, mark: bytes) -> bool:
    return is_wide(encoding) if mark != codecs.BOM_UTF8 else encoding in ("utf-8", "utf-8-sig")
