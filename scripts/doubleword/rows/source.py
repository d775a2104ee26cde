"""Rows from any source, in order, and which of them have a request under which id."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..base.failures import BadInput
from ..base.files import BLOCK_BYTES, open_regular
from ..base.text import safe
from . import csv_dialect, csv_rows, excel_rows, folder, parquet_rows, readers
from .cell_to_text import Unreadable, is_empty, text, value
from .csv_dialect import Dialect
from .detect import form_of
from .file_kind import Form
from .headers import meant, refuse_near, shown
from .left_out import Tally
from .text_file import inspected


class Row(NamedTuple):
    """A row of the source: its physical line (or number), its cells, and its id, or None if it has no request."""

    line: int
    cells: dict[str, Any]
    custom_id: str | None


@dataclass(frozen=True, kw_only=True)
class Source(Form):
    """Rows, and which of them have a request. The job record keeps it: the same rows and ids can be had again.

    Made by `describe`, or read from a record. It knows its columns once, read once.
    """

    sha256: str  # of the file; of a folder's rows, names and contents
    size: int  # bytes of the same
    id_column: str | None = None  # None: ids by the row's number
    used: tuple[str, ...] = ()  # columns that the templates name
    empty: str = "refuse"  # refuse, keep or skip: what an empty used cell means
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    rows: int | None = None  # how many there are; known with `sample`
    skipped: tuple[int, ...] = ()  # with `empty` skip: numbers of rows whose picture or text could not be read

    def using(self, columns: list[str], id_column: str | None = None) -> Source:
        """The same rows with the columns that the templates name, and perhaps another id column."""
        return self._with(used=tuple(columns), id_column=id_column or self.id_column)

    def skipping(self, numbers: list[int]) -> Source:
        """The same rows; those of these numbers, counted from 1, have no request."""
        return self._with(skipped=tuple(numbers))

    def _with(self, **changes: Any) -> Source:
        made = replace(self, **changes)
        for known in ("columns", "_listing"):  # read once
            if known in self.__dict__:
                made.__dict__[known] = self.__dict__[known]
        return made

    def kept_for(self, beside: Path) -> Source:
        """As the record of a job in the folder `beside` keeps it: a path within that folder is relative to it."""
        own, base = Path(self.path), beside.resolve()
        return self._with(path=str(own.relative_to(base))) if own.is_relative_to(base) else self

    # --- columns ---

    @cached_property
    def columns(self) -> list[str]:
        """The headers, in order; of JSON objects, every key that any row has."""
        if self.is_folder:
            return ["file", "text"] if self.format == "texts" else ["file"]
        return readers.headers(self)

    def column_named(self, name: str, flag: str = "") -> str | None:
        """The column that is meant by a name, as `cells.value` takes it, or None. `a.b` is the key b within column a.

        Raises BadInput, saying which, where a column differs in no more than case, spaces or punctuation, and the
        `flag` that gave the name.
        """
        if self.format in ("jsonl", "json") and name in next(self._rows(Tally(heard=False)), (0, {}))[1]:
            return name
        found = meant(name, self.columns, flag) or self._nested(name)
        if not self.columns:
            raise BadInput(f"{safe(self.path)} holds no rows with a column", "check the path")
        if found is None:
            refuse_near(name, self.columns, flag)
        return found

    def _nested(self, name: str) -> str | None:
        end = len(name)
        while (end := name.rfind(".", 0, end)) > 0:
            column = meant(name[:end], self.columns)
            path = f"{column}.{name[end + 1 :].strip()}"
            if column and any(value(cells, path) is not None for _, cells in self._rows(Tally(heard=False))):
                return path
        return None

    def column_of_flag(self, name: str, flag: str) -> str:
        """The column that a flag names. Raises BadInput, with the headers that exist."""
        found = self.column_named(name, flag)
        if found is None:
            there = ", ".join(shown(header) for header in self.columns[:20])
            raise BadInput(f"there is no column {safe(name, 60)!r} for {flag}; there are: {there}")
        return found

    def headers(self) -> str:
        """The columns as a template names them, for an error; of a workbook, where else one may be, too."""
        there = safe(", ".join(f"{{{shown(header)}}}" for header in self.columns))
        if self.format == "csv" and len(self.columns) == 1:
            there += f" (cells are divided by {self.delimiter!r}; --delimiter names another)"
        return f"{there} {excel_rows.other_sheets(self)}".rstrip() if self.format == "excel" else there

    # --- rows ---

    def read(self, *, requests_only: bool = False, tally: Tally | None = None) -> Iterator[Row]:
        """Every row in order, or only those with a request. The same description and bytes give the same ids.

        `tally` is told what is left out, and why.
        """
        tally = tally or Tally(heard=False)
        return self._read(self._rows(tally), tally, requests_only)

    def read_written(self, unread: bool = False) -> Iterator[tuple[Row | None, str | bytes]]:
        """Of a CSV or TSV: every row of `read`, and its text with its line end as it stands in the file.

        What stands between rows, blank lines, has no row. What stands before the first row is not there. With `unread`
        the cells are not read, if the rows can be told without; the text of some is in bytes then, of UTF-8.
        """
        between: list[str | bytes] = []
        latest: str | bytes = ""

        def rows() -> Iterator[tuple[int, dict[str, Any]]]:
            nonlocal latest
            unread_rows = unread and self._is_told_unread
            for line, cells, latest in (csv_rows.unread_rows if unread_rows else csv_rows.written_rows)(self):
                if cells:
                    yield line, cells
                else:
                    between.append(latest)

        for row in self._read(rows(), Tally(), requests_only=False):
            if between:
                yield from ((None, blank) for blank in between)
                between.clear()
            yield row, latest
        yield from ((None, blank) for blank in between)

    @property
    def _is_told_unread(self) -> bool:
        """Whether neither ids nor which rows have one depend on the cells, and lines are those of a CSV in UTF-8."""
        by_number = self.id_column is None and not (self.used and self.empty == "skip")
        return by_number and self.dialect.encoding == "utf-8" and csv_rows.is_by_lines(self)

    def _read(self, rows: Iterator[tuple[int, dict[str, Any]]], tally: Tally, requests_only: bool) -> Iterator[Row]:
        used, skipped = self.used if self.empty == "skip" else (), frozenset(self.skipped)
        limit, sample, id_column = self.limit, self.sample, self.id_column
        chance, left, needed = random.Random(self.seed), self.rows or 0, self.sample or 0  # noqa: S311
        for number, (line, cells) in enumerate(rows, 1):
            tally.rows = number
            wanted = limit is None or number <= limit
            if sample is not None:  # each row with the chance that fills the sample exactly by the last one
                wanted = chance.random() * left < needed
                left, needed = left - 1, needed - wanted
            elif not wanted and requests_only:
                return
            if wanted and used and any(is_empty(value(cells, name)) for name in used):
                tally.skip("row with an empty cell in a column that is used", self.place_of(line, cells))
                wanted = False
            if skipped and number in skipped:
                cells = {name: None if isinstance(cell, Unreadable) else cell for name, cell in cells.items()}
                wanted = False
            if wanted:
                yield Row(line, cells, f"row-{number:06d}" if id_column is None else text(value(cells, id_column)))
            elif not requests_only:
                yield Row(line, cells, None)

    def place_of(self, line: int, cells: dict[str, Any]) -> str | int:
        """Where a row stands: its line, or of a folder its file."""
        return str(cells["file"]) if self.is_folder else line

    def _rows(self, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
        return folder.rows(self, self._listing, tally) if self.is_folder else readers.rows(self, tally)

    def count(self) -> int:
        """How many rows there are."""
        if self.is_folder:
            return len(self._listing.names)
        return parquet_rows.count(self) if self.format == "parquet" else sum(1 for _ in self._rows(Tally(heard=False)))

    def extent(self) -> tuple[int, int]:
        """(rows, bytes): about how much there is to do."""
        if self.is_folder:
            return len(self._listing.names), self.size
        if self.format in ("parquet", "excel"):
            return max(1, self.count() if self.format == "parquet" else self.size // 50), self.size
        with open_regular(Path(self.path)) as file:
            start = file.read(BLOCK_BYTES)
        return max(1, start.count(b"\n") * self.size // max(1, len(start))), self.size

    # --- the file ---

    @property
    def is_folder(self) -> bool:
        return self.format in ("texts", "images")

    @cached_property
    def _listing(self) -> folder.Listing:
        return folder.listing(self)

    @property
    def folder(self) -> Path:
        """Where the files lie that its cells name."""
        return Path(self.path) if self.is_folder else Path(self.path).parent

    def holds(self, path: Path) -> bool:
        """Whether a file there is, or would be, one of its rows or the source itself."""
        place = Path(os.path.realpath(path))
        if not self.is_folder:
            return place == Path(os.path.realpath(self.path))
        own = Path(os.path.realpath(self.path))
        inside = own in place.parents if self.recursive else own == place.parent
        return inside and folder.matches(self, place.relative_to(own).as_posix())

    def state(self) -> list[int]:
        """Numbers that are cheap to compare: a difference means that the source changed."""
        base = Path(self.path)
        found = [os.stat(base / name) for name in self._listing.names] if self.is_folder else [os.stat(base)]
        return [len(found), sum(each.st_size for each in found), max(each.st_mtime_ns for each in found)]

    @cached_property
    def dialect(self) -> Dialect:
        """Of a CSV or TSV: how it is written."""
        return csv_dialect.dialect_of(self)


def describe(
    path: Path,
    *,
    form: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    match: str | None = None,
    recursive: bool = False,
    tally: Tally | None = None,
    **selection: Any,
) -> Source:
    """The description of a source: what is not said by hand is told from name and bytes, and `tally` told of guesses.

    `selection`: the fields of Source that say which rows have a request.
    """
    found = form_of(path, form, delimiter, encoding, sheet, match, recursive, tally or Tally())
    if path.is_dir():
        listing = folder.listing(found)
        found = replace(found, format=listing.format)
        source = Source(**asdict(found), sha256=listing.sha256, size=listing.size, **selection)
        source.__dict__["_listing"] = listing
    else:
        is_text = found.format in ("csv", "jsonl", "json", "lines")
        sha256 = inspected(path, found.encoding if is_text else None, found.format != "json")
        source = Source(**asdict(found), sha256=sha256, size=path.stat().st_size, **selection)
    return source if source.sample is None else replace(source, rows=source.count())
