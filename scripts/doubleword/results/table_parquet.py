"""The table as Parquet: the types of a Parquet source are kept, all others are told from the values."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.files import whole_file
from ..base.json_text import fields
from ..base.text import safe
from ..request_file.answer_form import properties, together
from ..rows.cell_to_text import is_empty, text
from .table import Column, Rows, Table

ROWS_AT_ONCE, BYTES_AT_ONCE = 1000, 1_000_000
TEXTS = ("csv", "lines", "texts")  # forms of a source whose cells are all texts
_NAMED = {"boolean": "bool", "integer": "int", "number": "float", "string": "text"}  # the types of JSON Schema


@dataclass
class Kind:
    """What the values of a column are: words for the scalars, and what is in the lists and objects."""

    scalars: set[str] = field(default_factory=set)
    items: Kind | None = None
    members: dict[str, Kind] | None = None

    def see(self, value: Any) -> None:
        if value is None or (isinstance(value, float) and is_empty(value)):
            return
        if isinstance(value, dict):
            self.members = {} if self.members is None else self.members
            for name, member in value.items():
                self.members.setdefault(str(name), Kind()).see(member)
        elif isinstance(value, (list, tuple)):
            self.items = self.items or Kind()
            for item in value:
                self.items.see(item)
        else:
            self.scalars.add(_scalar(value))

    def expect(self, schema: Any, root: dict[str, Any], within: frozenset[int] = frozenset()) -> None:
        """Takes the types that a schema names: next month's file is to have the same, whatever its values are."""
        for part in together(schema, root):
            if id(part) in within:  # it refers to itself
                continue
            inner, kinds, words = within | {id(part)}, part.get("type"), part.get("enum")
            for kind in kinds if isinstance(kinds, list) else [kinds]:
                self.scalars |= {_NAMED[kind]} if isinstance(kind, str) and kind in _NAMED else set()
            for word in words if isinstance(words, list) else [part.get("const")]:
                self.see(word)
            if "items" in part:
                self.items = self.items or Kind()
                self.items.expect(part["items"], root, inner)
            for name, member in fields(part.get("properties")).items():
                self.members = {} if self.members is None else self.members
                self.members.setdefault(name, Kind()).expect(member, root, inner)

    @cached_property
    def name(self) -> str:
        """bool, int, float, list, object, or text for all that is mixed; once all was seen."""
        kinds = {*self.scalars, *(["list"] if self.items else []), *(["object"] if self.members is not None else [])}
        if kinds == {"int", "float"}:
            return "float"
        return kinds.pop() if len(kinds) == 1 and (kinds != {"object"} or self.members) else "text"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(1 << 63) <= value < 1 << 63 else "text"
    return "float" if isinstance(value, (float, Decimal)) else "text"


def write_parquet(table: Table, rows: Rows, path: Path | None, before: Callable[[Path], None]) -> int:
    """Writes the table; returns the number of rows. What can be of several types is read twice: a column has one."""
    import pyarrow
    import pyarrow.parquet

    kinds = _kinds(table, rows)
    own = _types_of_source(table)
    try:
        types = {column.name: own.get(column.name) or _type(kinds[column.name]) for column in table.columns}
        schema = pyarrow.schema(list(types.items()))
        if path is None:
            return sum(batch.num_rows for batch in _batches(table, rows, kinds, schema))
        with whole_file(path, table.made_from, before) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
            count = 0
            for batch in _batches(table, rows, kinds, schema):
                writer.write_batch(batch)
                count += batch.num_rows
        return count
    except (pyarrow.ArrowException, UnicodeEncodeError) as error:  # or a name with half of a surrogate pair
        raise BadInput(
            f"--output {safe(table.path)}: the rows do not fit into Parquet: {safe(error)}", "--output with .jsonl"
        ) from None


def _kinds(table: Table, rows: Rows) -> dict[str, Kind]:
    """What the values of each column are, by its name. Where all cells of the source are texts, it is not read."""
    kinds = {column.name: _asked_for(table, column) for column in table.columns}
    texts = table.source is not None and table.source.format in TEXTS
    if texts and table.of_texts and not table.needs_bodies:
        return {name: Kind({"text"}) for name in kinds}
    columns = [(column.reader(), kinds[column.name]) for column in table.columns]
    for cells, answer, _ in rows(table.answers_alone if texts else table):
        if answer is not None:
            for cell_of, kind in columns:
                kind.see(cell_of(cells, answer))
    return kinds


def _batches(table: Table, rows: Rows, kinds: dict[str, Kind], schema: Any) -> Iterator[Any]:
    """The rows in batches of bounded size."""
    import pyarrow

    known = _types_of_source(table)
    texts = table.source is not None and table.source.format in TEXTS
    columns = []
    for column in table.columns:
        # What lies within a cell (`meta.x`) may be anything.
        is_text = texts and column.of == "source" and "." not in column.key
        columns.append((column.reader(), None if column.name in known or is_text else kinds[column.name], list[Any]()))

    def batch() -> Any:
        arrays = [_array(cells, kind) for (_, _, cells), kind in zip(columns, schema.types, strict=True)]
        for _, _, cells in columns:
            cells.clear()
        return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)

    count = size = 0
    for row, answer, _ in rows(table):
        if answer is None:
            continue
        for cell_of, kind, cells in columns:
            cell = cell_of(row, answer)
            cells.append(cell if kind is None else _as(cell, kind))
            size += len(cell) if cell.__class__ is str else 8
        count += 1
        if count >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield batch()
            count = size = 0
    if count:
        yield batch()


def _array(cells: list[Any], kind: Any) -> Any:
    """A column. Texts are put together here: pyarrow would ask pandas first, where that is installed, which takes a
    second and 50 MB to load."""
    import pyarrow

    if pyarrow.types.is_timestamp(kind) and any(cell.__class__ is str for cell in cells):  # to the nanosecond
        return pyarrow.array([None if cell is None else text(cell) for cell in cells], pyarrow.string()).cast(kind)
    if kind != pyarrow.string() or not all(cell is None or cell.__class__ is str for cell in cells):
        return pyarrow.array(cells, kind)
    there = "".join("0" if cell is None else "1" for cell in reversed(cells))
    raw = [(cell or "").encode("utf-8", "replace") for cell in cells]
    places = array("i", accumulate(map(len, raw), initial=0))
    bits = int(there, 2).to_bytes((len(cells) + 7) // 8, "little")
    buffers = [pyarrow.py_buffer(bits), pyarrow.py_buffer(places), pyarrow.py_buffer(b"".join(raw))]
    return pyarrow.Array.from_buffers(kind, len(cells), buffers)


def _types_of_source(table: Table) -> dict[str, Any]:
    """The types of the columns of a Parquet source."""
    if table.source is None or table.source.format != "parquet":
        return {}
    import pyarrow.parquet

    known = pyarrow.parquet.ParquetFile(table.source.path).schema_arrow
    named = {column.name: column.key for column in table.columns if column.of == "source"}
    return {name: known.field(key).type for name, key in named.items() if key in known.names}


def _asked_for(table: Table, column: Column) -> Kind:
    """What the schema says of an answer's column."""
    kind, schema = Kind(), table.expected.schema if table.expected else None
    if schema is not None and column.of == "answer":
        kind.expect(properties(schema).get(column.key) if column.key else schema, schema)
    return kind


def _type(kind: Kind) -> Any:
    import pyarrow

    if kind.name == "list" and kind.items:
        return pyarrow.list_(_type(kind.items))
    if kind.name == "object" and kind.members:
        return pyarrow.struct([(name, _type(member)) for name, member in kind.members.items()])
    plain = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    return plain.get(kind.name, pyarrow.string())


def _as(cell: Any, kind: Kind) -> Any:
    """A value as the type of its column has it."""
    if cell is None or (isinstance(cell, float) and is_empty(cell)):
        return None
    if kind.name == "text":
        return text(cell)
    if kind.name == "list" and kind.items:
        return [_within(item, kind.items) for item in cell]
    if kind.name == "object" and kind.members:
        return {name: _within(cell.get(name), member) for name, member in kind.members.items()}
    return float(cell) if kind.name == "float" else cell


def _within(cell: Any, kind: Kind) -> Any:
    """The same for what stands in a list or an object: pyarrow encodes its texts, and gives up at half of a surrogate
    pair, which is a `?` here as in `_array`."""
    made = _as(cell, kind)
    return made.encode("utf-8", "replace").decode() if made.__class__ is str else made
