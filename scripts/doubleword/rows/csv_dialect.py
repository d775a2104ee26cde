"""How a CSV or TSV is written: its rows as they stand in the file, and new cells as it would write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..base.files import open_regular
from .csv_records import ENCLOSED, line_end, records, split_raw
from .file_kind import MARKS
from .form import Form
from .left_out import Tally
from .text_file import is_wide


class RawRow(NamedTuple):
    """A record as it stands in the file. `delimiter.join(cells) + end` is its text; what is no row has no cells.

    The first with cells is the header. Together, encoded and with the mark before them, they are the file's bytes.
    A row may lack cells at its end, where the header is empty.
    """

    line: int
    cells: list[str]  # each with its quotes
    end: str  # \n, \r\n, \r, or nothing at the end of the file; without cells, the whole line


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

    def text(self, cells: list[str]) -> str:
        """A row of cells, quoted already, without its end. One empty cell is no blank line."""
        return '""' if cells == [""] else self.delimiter.join(cells)


def dialect_of(form: Form) -> Dialect:
    """How the table of a source is written."""
    with open_regular(Path(form.path)) as file:
        start = file.read(4)
    mark = next((mark for mark, _ in MARKS if start.startswith(mark) and _goes_with(form.encoding, mark)), b"")
    encoding = form.encoding.lower().replace("_", "-")
    if is_wide(encoding) and not encoding.endswith(("le", "be")):
        encoding += "-be" if mark in (b"\xfe\xff", b"\x00\x00\xfe\xff") else "-le"
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    header = next((row for row in raw_rows(form) if row.cells), RawRow(1, [], "\n"))
    quotes_all = bool(header.cells) and all(ENCLOSED.fullmatch(cell) for cell in header.cells)
    return Dialect(encoding, mark, form.delimiter, header.end or "\n", quotes_all)


def _goes_with(encoding: str, mark: bytes) -> bool:
    name = encoding.lower().replace("_", "-")
    return is_wide(name) if mark != b"\xef\xbb\xbf" else name in ("utf-8", "utf-8-sig")


def raw_rows(form: Form) -> Iterator[RawRow]:
    """Every record of the file, in order: header, rows, and blank lines."""
    for line, cells, raw in records(form, Tally(), keep=True):
        end = line_end(raw) if cells else raw
        text = raw[: len(raw) - len(end)]
        yield RawRow(line, split_raw(text, form.delimiter) if cells else [], end)
