"""The table as Parquet: the types of a Parquet source are kept, all others are told from the values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..base.files import whole_file
from ..base.text import safe
from ..rows.cells import is_empty, text
from .table import Column, Rows, Table

ROWS_AT_ONCE = 1000


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

    @property
    def nothing(self) -> bool:
        return not self.scalars and self.items is None and self.members is None

    @property
    def name(self) -> str:
        """bool, int, float, list, object, or text for all that is mixed."""
        kinds = {*self.scalars, *(["list"] if self.items else []), *(["object"] if self.members is not None else [])}
        if kinds == {"int", "float"}:
            return "float"
        return kinds.pop() if len(kinds) == 1 and (kinds != {"object"} or self.members) else "text"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(1 << 63) <= value < 1 << 63 else "text"
    return "float" if isinstance(value, float) else "text"


def write_parquet(table: Table, rows: Rows, path: Path | None) -> int:
    """Writes the table; returns the number of rows. Reads the rows twice: a column has one type."""
    import pyarrow
    import pyarrow.parquet

    kinds = {column.name: Kind() for column in table.columns}
    for cells, answer, _ in rows():
        if answer is not None:
            for column in table.columns:
                kinds[column.name].see(column.cell(cells, answer))
    own = _types_of_source(table)
    for column in table.columns:
        if kinds[column.name].nothing and column.of == "answer":
            kinds[column.name].scalars |= _asked_for(table, column)
    types = {column.name: own.get(column.name) or _type(kinds[column.name]) for column in table.columns}
    schema = pyarrow.schema(list(types.items()))
    found = (
        {column.name: _fitted(column, column.cell(cells, answer), own, kinds) for column in table.columns}
        for cells, answer, _ in rows()
        if answer is not None
    )
    try:
        if path is None:
            return sum(batch.num_rows for batch in _batches(found, schema))
        with whole_file(path, table.made_from) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
            count = 0
            for batch in _batches(found, schema):
                writer.write_batch(batch)
                count += batch.num_rows
        return count
    except pyarrow.ArrowException as error:
        raise BadInput(
            f"--output {safe(table.path)}: the rows do not fit into Parquet: {safe(error)}", "--output with .jsonl"
        ) from None


def _batches(rows: Iterable[dict[str, Any]], schema: Any) -> Iterable[Any]:
    import pyarrow

    following = iter(rows)
    while some := list(islice(following, ROWS_AT_ONCE)):
        yield pyarrow.RecordBatch.from_pylist(some, schema=schema)


def _types_of_source(table: Table) -> dict[str, Any]:
    """The types of the columns of a Parquet source."""
    if table.source is None or table.source.format != "parquet":
        return {}
    import pyarrow.parquet

    known = pyarrow.parquet.ParquetFile(table.source.path).schema_arrow
    named = {column.name: column.key for column in table.columns if column.of == "source"}
    return {name: known.field(key).type for name, key in named.items() if key in known.names}


def _asked_for(table: Table, column: Column) -> set[str]:
    """What the schema says of a property that no answer has: next month's file is to have the same type."""
    schema = table.expected.schema if table.expected else None
    properties = schema.get("properties") if schema else None
    named = properties.get(column.key) if isinstance(properties, dict) else None
    kinds = named.get("type") if isinstance(named, dict) else None
    words = {"boolean": "bool", "integer": "int", "number": "float"}
    return {words[kind] for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind in words}


def _type(kind: Kind) -> Any:
    import pyarrow

    if kind.name == "list" and kind.items:
        return pyarrow.list_(_type(kind.items))
    if kind.name == "object" and kind.members:
        return pyarrow.struct([(name, _type(member)) for name, member in kind.members.items()])
    plain = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    return plain.get(kind.name, pyarrow.string())


def _fitted(column: Column, cell: Any, own: dict[str, Any], kinds: dict[str, Kind]) -> Any:
    return cell if column.name in own else _as(cell, kinds[column.name])


def _as(cell: Any, kind: Kind) -> Any:
    """A value as the type of its column has it."""
    if cell is None or (isinstance(cell, float) and is_empty(cell)):
        return None
    if kind.name == "text":
        return text(cell).encode("utf-8", "replace").decode()
    if kind.name == "list" and kind.items:
        return [_as(item, kind.items) for item in cell]
    if kind.name == "object" and kind.members:
        return {name: _as(cell.get(name), member) for name, member in kind.members.items()}
    return float(cell) if kind.name == "float" else cell
