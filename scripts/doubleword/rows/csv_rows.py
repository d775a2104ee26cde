"""CSV and TSV: rows by header."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.files import open_regular
from ..base.text import safe
from .csv_records import Record, held_back, line_end, records, split_as_read, whole_on_line
from .file_kind import Form
from .headers import checked
from .left_out import Tally
from .text_file import BadLines, line_ends

UNREAD: dict[str, Any] = {"": None}  # the cells of a row that nobody looked into


def rows(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells by header) of each row. A header line is needed; blank lines are left out."""
    return ((line, cells) for line, cells, _ in _rows(form, tally, keep=False) if cells)


def written_rows(form: Form) -> Iterator[tuple[int, dict[str, Any], str]]:
    """The same, each with its text and line end as it stands in the file. A blank line has no cells."""
    return _rows(form, Tally(), keep=True)


def is_by_lines(form: Form) -> bool:
    """Whether `unread_rows` takes less than `written_rows`: it is a CSV whose records are lines, nearly all."""
    return form.delimiter != "\t" and form.delimiter.isascii() and line_ends(form) == "\n"


def unread_rows(form: Form) -> Iterator[tuple[int, dict[str, Any], str | bytes]]:
    """As `written_rows`, with UNREAD for cells, of a CSV in UTF-8 that was read well before. Most texts are in bytes.

    A row of 3,000 bytes takes 5 microseconds, and 20 where its cells are read.
    """
    line, start, width = 1, 0, 0
    for record in records(form, Tally(), keep=True):
        line, start, width = line + record.raw.count("\n"), start + len(record.raw.encode()), len(record.cells)
        if width:
            break
    is_whole = whole_on_line(form.delimiter, width)
    with open_regular(Path(form.path)) as file:
        marked = codecs.lookup(form.encoding).name == "utf-8-sig" and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        file.seek(start + len(codecs.BOM_UTF8) * marked)
        for written in file:
            if is_whole(written):
                yield line, UNREAD, written
                line += 1
            else:
                cells, text = _next(form, chain([written], file))
                kept = _cut(text, cells, width, form.delimiter) if cells[width:] else text
                yield line, UNREAD if cells else {}, kept
                line += text.count("\n")


def _next(form: Form, lines: Iterator[bytes]) -> tuple[list[str], str]:
    """The cells and the text of the record that begins there; no further line is read."""
    held: list[str] = []
    reader = csv.reader(held_back((line.decode() for line in lines), held), delimiter=form.delimiter, strict=True)
    return next(reader, []), "".join(held)


def _rows(form: Form, tally: Tally, keep: bool) -> Iterator[tuple[int, dict[str, Any], str]]:
    found, bad = records(form, tally, keep), BadLines(form.path)
    at, headers, width = _header(form, found, tally)
    header = [*headers, *[""] * (width - len(headers))]
    for line, cells, raw in found:
        if cells and cells[0][:1] == "\ufeff":  # the mark of a file that was joined there
            cells[0] = cells[0][1:]
        if len(cells) == width:
            if cells[-1] == header[-1] and cells == header:
                tally.doubt("a row is the header once more; were files joined there?", line)
            if len(headers) < width and any(cells[len(headers) :]):
                bad.add(line, *_no_header(len(headers), cells))
            yield line, dict(zip(headers, cells, strict=False)), raw
        elif not cells:
            tally.leave_out("blank line", line)
            yield line, {}, raw
        elif len(headers) <= len(cells) < width:  # the empty columns at the end are not even there
            yield line, dict(zip(headers, cells, strict=False)), raw
        elif len(cells) > width and not any(cells[width:]):  # delimiters at the end of the line
            tally.leave_out("line end with empty cells beyond the header", line)
            yield line, dict(zip(headers, cells, strict=False)), _cut(raw, cells, width, form.delimiter)
        else:
            what = f"{len(cells)} cells where the header (line {at}) has {width}"
            way = f"mend that line (is a cell with {form.delimiter!r} or a line end not quoted?), "
            bad.add(line, what, f"{way}or say --delimiter (now {form.delimiter!r})")
    bad.require_none()


def _cut(raw: str, cells: list[str], width: int, delimiter: str) -> str:
    """The text of a record without the cells beyond the header."""
    end = line_end(raw)
    return delimiter.join(split_as_read(raw[: len(raw) - len(end)], delimiter, cells)[:width]) + end


def headers(form: Form) -> list[str]:
    return _header(form, records(form, Tally(), keep=False), Tally())[1]


def _header(form: Form, found: Iterator[Record], tally: Tally) -> tuple[int, list[str], int]:
    """The line of the headers, they themselves, and how many cells the line had."""
    for line, cells, _ in found:
        if cells:
            names = checked(form.path, line, cells)
            for column in range(len(names), len(cells)):
                tally.leave_out("column without a header and without cells", column + 1)
            return line, names, len(cells)
        tally.leave_out("blank line", line)
    raise BadInput(f"{safe(form.path)} is empty; a line of headers was expected", "check the path")


def _no_header(known: int, cells: list[str]) -> tuple[str, str]:
    """What is wrong, and the next step."""
    column = next(number for number, cell in enumerate(cells, 1) if number > known and cell)
    what = f"{safe(cells[column - 1], 40)!r} stands in column {column}, which has no header"
    return what, "give that column a header, or empty it"
