"""The table as a file: CSV and TSV as their source is written, JSONL with values as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.console import say
from ..base.failures import BadInput
from ..base.files import whole_file
from ..base.text import safe
from ..rows.cell_text import text
from ..rows.csv_dialect import Dialect
from ..rows.csv_records import Record, line_end, records, split_raw
from ..rows.left_out import Tally
from ..rows.source import Source
from .answer import parsed_text, split_thinking
from .formula_guard import enclosed, guarded
from .hashed import Hashed
from .table import Column, Joined, Rows, Table

MARK = b"\xef\xbb\xbf"


@dataclass
class Written:
    """What a table holds. `guarded`: cells that got a leading `'`."""

    rows: int = 0
    guarded: int = 0
    encoding: str = ""  # "utf-8", where that of the source could not hold an answer
    sha256: str = ""  # of the file, where it is known


class _Unheld(Exception):
    """An answer that the encoding of the source cannot hold."""


Before = Callable[[Path, str], None]  # is told of the whole file before its rename, and its SHA-256 if that is known


def write(table: Table, rows: Rows, path: Path | None, before: Before) -> Written:
    """Writes the table whole; without a path all is done but the writing, to find what would fail."""
    ending = table.path.suffix.lower()
    if ending == ".parquet":
        from .table_parquet import write_parquet

        return Written(rows=write_parquet(table, rows, path, lambda made: before(made, "")))
    if ending == ".jsonl":
        return _written(table, path, before, lambda written: _json_lines(table, rows(table), written))
    dialect = _dialect(table)
    try:
        return _written(table, path, before, lambda written: _delimited(table, rows(table), dialect, written))
    except _Unheld:
        pass
    if path is not None:
        what = f"{safe(path)} is in UTF-8 with a mark: {dialect.encoding}, in which its source is, cannot hold"
        say(f"{what} every answer")
    other = Dialect("utf-8", MARK, dialect.delimiter, dialect.line_end, dialect.quotes_all)
    written = _written(table, path, before, lambda written: _delimited(table, rows(table), other, written))
    written.encoding = "utf-8"
    return written


def _written(table: Table, path: Path | None, before: Before, made: Callable[[Written], Iterator[bytes]]) -> Written:
    written = Written()
    if path is None:
        for _ in made(written):
            pass
        return written
    with whole_file(path, table.made_from, lambda whole: before(whole, written.sha256)) as file:
        hashed = Hashed(file)
        for line in made(written):
            hashed.write(line)
        written.sha256 = hashed.digest()
    return written


# --- JSONL -------------------------------------------------------------------------------------------


def _json_lines(table: Table, rows: Iterable[Joined], written: Written) -> Iterator[bytes]:
    sparse = table.source is not None and table.source.format in ("jsonl", "json")  # a row may lack a key
    for cells, answer, _ in rows:
        if answer is None:
            continue
        found: dict[str, Any] = {}
        for column in table.columns:
            if sparse and column.of == "source" and column.key == column.name and column.key not in cells:
                continue
            found[column.name] = _value(column, column.cell(cells, answer), table)
        yield text(found).encode("utf-8", "backslashreplace") + b"\n"
        written.rows += 1


def _value(column: Column, cell: Any, table: Table) -> Any:
    """An answer that is the text of an object is that object: the next stage names what is in it."""
    if column.of != "answer" or table.expected is not None or not isinstance(cell, str):
        return cell
    bare = split_thinking(cell)[1].strip()
    if not bare.startswith("{") and not (bare.startswith("```") and bare.endswith("```")):
        return cell
    found, value = parsed_text(bare)
    return value if found and isinstance(value, dict) else cell


# --- CSV and TSV -------------------------------------------------------------------------------------


def _dialect(table: Table) -> Dialect:
    delimiter = "\t" if table.path.suffix.lower() == ".tsv" else ","
    if table.source is None or table.source.format != "csv":
        return Dialect("utf-8", b"", delimiter, "\n", False)
    own = table.source.dialect
    if table.keeps_form:
        return own
    return Dialect(own.encoding, own.mark, delimiter, own.line_end, own.quotes_all)


def _delimited(table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written) -> Iterator[bytes]:
    """The header, then a row each; the first begins with the mark."""
    made = _as_it_stands(table, rows, dialect, written) if table.keeps_form else _anew(table, rows, dialect, written)
    held = dialect.encoding.startswith("utf")
    mark = dialect.mark
    for line in made:
        try:
            yield mark + line.encode(dialect.encoding, "backslashreplace" if held else "strict")
        except UnicodeEncodeError:
            raise _Unheld from None
        mark = b""


def _anew(table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return dialect.text([_quoted(cell, table, dialect) for cell in cells]) + dialect.line_end

    yield line(column.name for column in table.columns)
    for cells, answer, _ in rows:
        if answer is not None:
            yield line(_text(c, c.cell(cells, answer), table, dialect, written) for c in table.columns)
            written.rows += 1


def _as_it_stands(table: Table, rows: Iterable[Joined], dialect: Dialect, written: Written) -> Iterator[str]:
    """Every cell of the source as it is written there, with its line end; blank lines, too, if no row is left out."""
    if table.source is None:
        raise AssertionError("there is no source to keep the form of")
    before, header = _head(table.source)
    places = {name: place for place, name in enumerate(table.source.columns)}
    own = [(column, places.get(column.key, -1) if column.of == "source" else -1) for column in table.columns]
    if table.all_source:
        own = own[len(places) :]
    width, delimiter = len(header.cells), dialect.delimiter

    def line(raw: str, cells: list[str]) -> str:
        """The record with the cells that are not its own."""
        end = line_end(raw)
        stands = raw[: len(raw) - len(end)]
        if table.all_source and width == len(places):
            return delimiter.join((stands, *cells)) + end
        there = split_raw(stands, delimiter)
        first = [*there, *[""] * (width - len(there))] if table.all_source else []
        rest = [there[place] if place >= 0 else cell for (_, place), cell in zip(own, cells, strict=True)]
        return dialect.text([*first, *rest]) + end

    yield "".join(before) + line(header.raw, [dialect.quoted(column.name) for column, _ in own])
    for cells, answer, raw in rows:
        if answer is not None:
            made = (_text(c, c.cell(cells, answer), table, dialect, written) for c, _ in own)
            yield line(raw, [_quoted(cell, table, dialect) for cell in made])
            written.rows += 1
        elif not cells and not table.sampled:
            yield raw


def _quoted(cell: str, table: Table, dialect: Dialect) -> str:
    return (table.guard and enclosed(cell)) or dialect.quoted(cell)


def _head(source: Source) -> tuple[list[str], Record]:
    """What stands before the header, and the header."""
    before: list[str] = []
    for record in records(source, Tally(), keep=True):
        if record.cells:
            return before, record
        before.append(record.raw)
    raise BadInput(f"{safe(source.path)} is empty; a line of headers was expected")


def _text(column: Column, cell: Any, table: Table, dialect: Dialect, written: Written) -> str:
    """A cell as text. What the server sent is guarded; the source's cells stay as they are."""
    if column.of == "source":
        return text(cell)
    if isinstance(cell, dict) and column.of == "answer" and table.expected is None:  # a text beside calls of tools
        cell = f"{cell['text']}\n{text(cell['tool_calls'])}"
    shown = text(cell)
    safe_cell = guarded(shown, dialect.delimiter) if table.guard else shown
    written.guarded += safe_cell is not shown and safe_cell != shown
    return safe_cell
