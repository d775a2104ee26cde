"""The table as a file: in the encoding of its source, hashed while it is written, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..base.console import say
from ..base.files import BLOCK_BYTES, whole_file
from ..base.text import safe
from ..rows.csv_dialect import Dialect
from .hashed_file import Hashed
from .table import Rows, Table
from .table_lines import Written, delimited, json_lines

MARK = b"\xef\xbb\xbf"


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
        plain = Dialect("utf-8", b"", "", "\n", False)
        return _written(table, path, before, plain, lambda written: json_lines(table, rows(table), written))
    dialect = _dialect(table)
    if path is not None and ending == ".csv" and table.source is not None and table.source.format == "excel":
        say(f"{safe(path)} is in UTF-8 with commas and decimal points: Excel opens it by Data, From Text/CSV")
    try:
        return _written(table, path, before, dialect, lambda made: delimited(table, rows(table), dialect, made))
    except _Unheld:
        pass
    if path is not None:
        what = f"{safe(path)} is in UTF-8 with a mark: {dialect.encoding}, in which its source is, cannot hold"
        say(f"{what} every answer")
    other = Dialect("utf-8", MARK, dialect.delimiter, dialect.line_end, dialect.quotes_all)
    return _written(table, path, before, other, lambda made: delimited(table, rows(table), other, made))


def _written(
    table: Table, path: Path | None, before: Before, dialect: Dialect, made: Callable[[Written], Iterator[str | bytes]]
) -> Written:
    written = Written()
    if path is None:
        for _ in _encoded(made(written), dialect):
            pass
        return written
    with whole_file(path, table.made_from, lambda whole: before(whole, written.sha256)) as file:
        hashed = Hashed(file)
        for block in _encoded(made(written), dialect):
            hashed.write(block)
        written.sha256 = hashed.digest()
    return written


def _encoded(pieces: Iterable[str | bytes], dialect: Dialect) -> Iterator[bytes]:
    """The pieces of lines in blocks of bytes, the mark before the first."""
    held, size, made = list[str](), 0, dialect.mark
    errors = "backslashreplace" if dialect.encoding.startswith("utf") else "strict"

    def encoded() -> bytes:
        try:
            return "".join(held).encode(dialect.encoding, errors)
        except UnicodeEncodeError:
            raise _Unheld from None

    for piece in pieces:
        if isinstance(piece, str):
            held.append(piece)
            size += len(piece)
            if size < BLOCK_BYTES:
                continue
            piece = b""
        yield made + encoded()
        held, size, made = [], 0, piece
    yield made + encoded()


def _dialect(table: Table) -> Dialect:
    delimiter = "\t" if table.path.suffix.lower() == ".tsv" else ","
    if table.source is None or table.source.format != "csv":
        return Dialect("utf-8", b"", delimiter, "\n", False)
    own = table.source.dialect
    if table.keeps_form:
        return own
    return Dialect(own.encoding, own.mark, delimiter, own.line_end, own.quotes_all)
