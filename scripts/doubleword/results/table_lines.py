"""The rows of a table as lines: JSONL with values as they are, CSV and TSV as their source is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Protocol

from ..base.failures import BadInput
from ..base.text import safe
from ..request_file.template import encode
from ..rows.cell_to_text import json_text, text
from ..rows.csv_dialect import Dialect
from ..rows.csv_records import Record, line_end, records, split_as_read
from ..rows.left_out import Tally
from ..rows.source import Source
from .answer import parsed_text, split_thinking
from .formula_guard import SIGNS, enclosed, guarded, may_run, sign_in
from .table import Column, Joined, Table
from .table_answers import Answer

LONG = 500  # characters of a text that is looked through in UTF-8, which is several times as fast


@dataclass
class Written:
    """What a table holds. `guarded`: cells that got a leading `'`; `with_nul`: that lost it, which no text has;
    `outside`: rows that are not in the job."""

    rows: int = 0
    guarded: int = 0
    with_nul: int = 0
    outside: int = 0
    sha256: str = ""  # of the file, where it is known


class Cell(Protocol):
    """A text as a cell of the table. `added`: it was no cell of a table before, and is guarded."""

    def __call__(self, text: str, added: bool = False) -> str | bytes: ...


def _together(pieces: list[str | bytes], between: str, end: str, start: str = "") -> str | bytes:
    """The pieces of a line; bytes among them are in UTF-8, and so is all of it then."""
    if bytes not in map(type, pieces):
        return f"{start}{between.join(pieces)}{end}"  # type: ignore[arg-type]
    raw = [each if isinstance(each, bytes) else each.encode("utf-8", "backslashreplace") for each in pieces]
    return b"%b%b%b" % (start.encode(), between.encode().join(raw), end.encode())


# --- JSONL -------------------------------------------------------------------------------------------


def json_lines(table: Table, rows: Iterable[Joined], written: Written) -> Iterator[str | bytes]:
    """An object each."""
    sparse = table.source is not None and table.source.format in ("jsonl", "json")  # a row may lack a key
    columns = [
        (
            f"{encode_basestring(column.name)}: ",
            column.reader(),
            column.key if sparse and column.of == "source" and column.key == column.name else None,
            column.of == "answer" and table.expected is None,
        )
        for column in table.columns
    ]
    for cells, answer, _ in rows:
        if answer is None:
            continue
        members = list[str | bytes]()
        for name, cell_of, needed, free in columns:
            cell = cell_of(cells, answer)
            if needed is None or cell is not None or needed in cells:
                if cell.__class__ is not str or (free and "{" in cell):
                    members.append(name + json_text(_value(cell) if free else cell))
                elif len(cell) < LONG:
                    members.append(name + encode_basestring(cell))
                else:
                    members.append(name.encode() + _json_of_long(cell))
        yield _together(members, ", ", "}\n", "{")
        written.rows += 1


def _json_of_long(text: str) -> bytes:
    try:
        return encode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return encode_basestring(text).encode("utf-8", "backslashreplace")


def _value(cell: Any) -> Any:
    """An answer that is the text of an object is that object: the next stage names what is in it."""
    if not isinstance(cell, str):
        return cell
    bare = split_thinking(cell)[1].strip()
    if not bare.startswith("{") and not (bare.startswith("```") and bare.endswith("```")):
        return cell
    found, value = parsed_text(bare)
    return value if found and isinstance(value, dict) else cell


# --- CSV and TSV -------------------------------------------------------------------------------------


def delimited(table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written) -> Iterator[str | bytes]:
    """The header, then a row each."""
    of = _as_it_stands if table.keeps_form else _anew
    return of(table, rows, dialect, written, _cell_in(dialect, table.guard, written))


def _special(delimiters: str) -> Callable[[str], object]:
    """Finds what may make of a text a formula, under whatever delimiter, or need quotes."""
    return re.compile(f'[{SIGNS}\0\r\n"{re.escape(delimiters)}]').search


def _cell_in(dialect: Dialect, guard: bool, written: Written) -> Cell:
    """Makes of a text a cell as it stands in such a table, in quotes where it needs them."""
    special = _special("\t" + dialect.delimiter)
    delimiter = dialect.delimiter.encode()

    def cell(text: str, added: bool = False) -> str | bytes:
        if len(text) >= LONG and dialect.encoding == "utf-8":
            raw = text.encode("utf-8", "backslashreplace")
            quotes = dialect.quotes_all or any(map(raw.__contains__, (b'"', b"\n", b"\r", delimiter)))
            as_it_is = not guard or not sign_in(raw) or (quotes and not (added and may_run(raw)))
            if as_it_is and b"\0" not in raw:
                return b'"%b"' % raw.replace(b'"', b'""') if quotes else raw
        if special(text) is None:
            return f'"{text}"' if dialect.quotes_all else text
        if "\0" in text:  # a reader of CSV takes the file for none
            text = text.replace("\0", "")
            written.with_nul += 1
        if guard and added:
            safe_text = guarded(text, dialect.delimiter)
            written.guarded += safe_text != text
            text = safe_text
        quoted = dialect.quoted(text)
        return (guard and quoted is text and enclosed(text)) or quoted

    return cell


# What a model wrote in an earlier stage stands in the cells of such a source, and no spreadsheet has shown it yet. A
# telephone number there stays as it is: what does something has one of these.
_STAGES, _DOES = ("jsonl", "json", "parquet"), re.compile("[=@(|!\uff1d\ufe66\uff20\ufe6b]")


def _anew(
    table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written, cell: Cell
) -> Iterator[str | bytes]:
    delimiter, end = dialect.delimiter, dialect.line_end
    yield _row([cell(column.name) for column in table.columns], delimiter, end)
    staged = table.source is not None and table.source.format in _STAGES
    columns = [_text_of(column, table) for column in table.columns]
    added = [column.of != "source" for column in table.columns]
    special = _special("" if delimiter == "\t" else "\t")  # the delimiters of a line are counted
    for cells, answer, _ in rows:
        if answer is None:
            continue
        texts = [of(cells, answer) for of in columns]
        line = delimiter.join(texts)
        if line and line.count(delimiter) == len(texts) - 1 and special(line) is None and not dialect.quotes_all:
            yield line + end
        else:
            made = zip(texts, added, strict=True)
            of_cells = [cell(text, new or (staged and _DOES.search(text) is not None)) for text, new in made]
            yield _row(of_cells, delimiter, end)
        written.rows += 1


def _as_it_stands(
    table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written, cell: Cell
) -> Iterator[str | bytes]:
    """Every cell of the source as it is written there, with its line end; blank lines, too, if no row is left out."""
    if table.source is None:
        raise AssertionError("there is no source to keep the form of")
    before, header = _head(table.source)
    places = {name: place for place, name in enumerate(table.source.columns)}
    own = [(column, places.get(column.key, -1) if column.of == "source" else -1) for column in table.columns]
    if table.all_source:
        own = own[len(places) :]
    width, delimiter = len(header.cells), dialect.delimiter
    at_the_end = table.all_source and width == len(places)
    columns = [(_text_of(column, table), column.of != "source") for column, place in own if place < 0 or at_the_end]

    def line(raw: str | bytes, read: Iterable[str], cells: list[str | bytes]) -> str | bytes:
        """The record, which was read as those cells, with the ones that are not its own."""
        if isinstance(raw, bytes) and at_the_end:
            bare = raw.rstrip(b"\r\n")
            return _together([bare, *cells], delimiter, raw[len(bare) :].decode())
        text = raw if isinstance(raw, str) else raw.decode()
        end = line_end(text)
        stands = text[: len(text) - len(end)]
        if at_the_end:
            return _together([stands, *cells], delimiter, end)
        there, new = split_as_read(stands, delimiter, [*read]), iter(cells)
        first = [*there, *[""] * (width - len(there))] if table.all_source else []
        return _row([*first, *(there[place] if place >= 0 else next(new) for _, place in own)], delimiter, end)

    yield "".join(before)
    yield line(header.raw, header.cells, [cell(column.name) for column, place in own if place < 0 or at_the_end])
    for cells, answer, raw in rows:
        if answer is not None:
            yield line(raw, cells.values(), [cell(of(cells, answer), added) for of, added in columns])
            written.rows += 1
        elif not cells and not table.sampled:
            yield raw


def _row(cells: list[str | bytes], delimiter: str, end: str) -> str | bytes:
    """One empty cell is no blank line."""
    return f'""{end}' if cells == [""] else _together(cells, delimiter, end)


def _head(source: Source) -> tuple[list[str], Record]:
    """What stands before the header, and the header."""
    before: list[str] = []
    for record in records(source, Tally(), keep=True):
        if record.cells:
            return before, record
        before.append(record.raw)
    raise BadInput(f"{safe(source.path)} is empty; a line of headers was expected")


def _text_of(column: Column, table: Table) -> Callable[[dict[str, Any], Answer], str]:
    """Gives a cell of this column as text."""
    cell_of = column.reader()
    with_calls = column.of == "answer" and table.expected is None

    def found(cells: dict[str, Any], answer: Answer) -> str:
        cell = cell_of(cells, answer)
        if cell.__class__ is str:
            return cell
        if with_calls and isinstance(cell, dict):  # a text beside calls of tools
            return f"{cell['text']}\n{text(cell['tool_calls'])}"
        return text(cell)

    return found
