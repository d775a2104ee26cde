"""Parquet, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.text import safe
from .file_kind import Form
from .left_out import Tally


def _opened(form: Form) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise BadInput("reading Parquet needs the package pyarrow", "pip install pyarrow, or export to CSV") from None
    try:
        file = pyarrow.parquet.ParquetFile(Path(form.path))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{safe(form.path)} is no Parquet file: {safe(error)}", "check the path") from None
    names = file.schema_arrow.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{safe(form.path)}: two columns are called {safe(twice, 60)!r}", "rename one")
    return file


def headers(form: Form) -> list[str]:
    return [str(name) for name in _opened(form).schema_arrow.names]


def count(form: Form) -> int:
    return int(_opened(form).metadata.num_rows)


def rows(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:  # noqa: ARG001 - nothing is left out
    """(number, cells) of each row. Cells are Python's values; times to the nanosecond are texts, in ISO 8601."""
    import pyarrow

    number = 0
    try:
        for batch in _opened(form).iter_batches(batch_size=1000):
            columns = [_values(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(batch.schema.names, cells, strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadInput(
            f"{safe(form.path)} after row {number}: {safe(error)}", "write the file anew, or export it to CSV"
        ) from None


def _values(column: Any) -> list[Any]:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_nested(kind) and any(inner in str(kind) for inner in (": float", "map<")):
        return _nested(column)
    if kind == pyarrow.float32():  # as it would be written, 0.1, not as 64 bits hold it
        slices = (column.slice(at, 10_000).cast(pyarrow.string()) for at in range(0, len(column), 10_000))  # of vectors
        return [None if number is None else float(number) for each in slices for number in each.to_pylist()]
    try:
        if getattr(kind, "unit", None) != "ns":
            return column.to_pylist()  # type: ignore[no-any-return]
        # Python's times end at the microsecond.
        coarse = column.cast(_in_microseconds(pyarrow, kind), safe=False).to_pylist()
    except _BEYOND_PYTHON:
        return [_value(cell) for cell in column]
    fine = column.cast(pyarrow.int64()).to_pylist()
    return [
        value if ns is None or ns % 1000 == 0 else _finer(value, ns % 1000)
        for value, ns in zip(coarse, fine, strict=True)
    ]


def _nested(column: Any) -> list[Any]:
    """Lists and structs of cells as they would be alone; a map is an object where its keys are texts, each once."""
    import pyarrow

    kind, is_a = column.type, pyarrow.types
    if is_a.is_map(kind):
        pairs = column.cast(pyarrow.list_(pyarrow.struct([("key", kind.key_type), ("value", kind.item_type)])))
        return [None if cell is None else _object([(p["key"], p["value"]) for p in cell]) for cell in _nested(pairs)]
    if is_a.is_struct(kind):
        names, members = [field.name for field in kind], zip(*map(_values, column.flatten()), strict=True)
        there = column.is_valid().to_pylist()
        return [dict(zip(names, cell, strict=True)) if ok else None for cell, ok in zip(members, there, strict=True)]
    if not hasattr(column, "value_lengths"):
        return column.to_pylist()  # type: ignore[no-any-return]
    inner = iter(_values(column.flatten()))
    return [None if length is None else list(islice(inner, length)) for length in column.value_lengths().to_pylist()]


def _object(pairs: list[tuple[Any, Any]]) -> Any:
    made = dict(pairs)
    return made if len(made) == len(pairs) and all(isinstance(key, str) for key in made) else pairs


# A year that Python's times do not have; a zone that is not known here (zoneinfo's error and pytz's are KeyErrors).
_BEYOND_PYTHON = (OverflowError, ValueError, KeyError)


def _value(cell: Any) -> Any:
    """A cell; of a time beyond Python's years its text, as of other times, or at least its number."""

    try:
        return cell.as_py()
    except _BEYOND_PYTHON:
        written = _written(cell)
        return getattr(cell, "value", None) if written is None or written.startswith("<") else written


def _written(cell: Any) -> str | None:
    """As Arrow writes it; a time with a zone that is not known here as that of UTC."""
    import pyarrow

    zoned = pyarrow.types.is_timestamp(cell.type) and cell.type.tz
    for kind in (cell.type, *([pyarrow.timestamp(cell.type.unit, "UTC")] if zoned else [])):
        try:
            return str(cell.cast(kind).cast(pyarrow.string()).as_py()).replace(" ", "T", 1)
        except (pyarrow.ArrowException, ValueError, KeyError):
            continue
    return None


def _in_microseconds(pyarrow: Any, kind: Any) -> Any:
    if pyarrow.types.is_timestamp(kind):
        return pyarrow.timestamp("us", tz=kind.tz)
    return pyarrow.time64("us") if pyarrow.types.is_time(kind) else pyarrow.duration("us")


def _finer(value: Any, nanoseconds: int) -> Any:
    """A time as text with nine digits of a second; a duration stays at the microsecond."""
    if not hasattr(value, "microsecond"):
        return value
    written = value.isoformat()
    before, point, after = written.partition(".")
    if not point:  # no microseconds: the digits go before what follows the seconds, a zone
        end = next((at for at, c in enumerate(written) if at > 8 and c in "+-Z" and "T" in written[:at]), len(written))
        return f"{written[:end]}.000000{nanoseconds:03d}{written[end:]}"
    return f"{before}.{after[:6]}{nanoseconds:03d}{after[6:]}"
