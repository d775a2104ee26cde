"""Readers: the rows of each kind of source, with the line of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..base.errors import BadInput, WrongUsage
from ..base.files import BLOCK_BYTES, LINE_BYTES, open_regular
from ..base.text import safe
from .form import Form


def _files(folder: Path) -> list[Path]:
    found = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    if not found:
        raise BadInput(f"the folder {safe(folder)} holds no files", "check the path")
    return found


def rows(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells) of every row. Raises BadInput, with the line, for what cannot be read."""
    return _READERS[form.format](form)


def headers(form: Form) -> list[str]:
    """The columns, in order; of JSON objects, every key that any row has."""
    if form.format == "csv":
        return next(_csv(form))[1]["header"]  # type: ignore[no-any-return]
    if form.format == "parquet":
        return [str(name) for name in _parquet(Path(form.path)).schema_arrow.names]
    if form.format in ("jsonl", "json"):
        return list(dict.fromkeys(chain.from_iterable(cells for _, cells in rows(form))))
    return {"lines": ["text"], "texts": ["file", "text"], "images": ["file"]}[form.format]


def _csv_rows(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    found = _csv(form)
    next(found)
    return found


def _json_lines(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    path = Path(form.path)
    return ((number, _object(written, path, number)) for number, written in _lines(form))


def _plain_lines(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((number, {"text": written.rstrip("\r\n")}) for number, written in _lines(form))


def _parquet_rows(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    batches = _parquet(Path(form.path)).iter_batches(batch_size=1000)
    return enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)


def _folder(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, file in enumerate(_files(Path(form.path)), 1):
        cells = {"file": file.name}
        if form.format == "texts":
            cells["text"] = _text_of(file, form.encoding)
        yield number, cells


def _text_file(form: Form, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(Path(form.path)), form.encoding, newline=newline)


def _undecodable(form: Form, line: int, error: UnicodeDecodeError) -> BadInput:
    return BadInput(
        f"{safe(form.path)} is not {form.encoding} after line {line}: {safe(error.reason)}",
        "say --encoding, for example --encoding cp1252",
    )


def _lines(form: Form) -> Iterator[tuple[int, str]]:
    """Every line that is not blank."""
    number = 0
    with _text_file(form, "\n") as file:
        try:
            for number, written in enumerate(file, 1):
                if written and not written.isspace():
                    yield number, written
        except UnicodeDecodeError as error:
            raise _undecodable(form, number, error) from None


def _csv(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    """First (line, {"header": names}), then the rows; empty lines are none."""
    csv.field_size_limit(LINE_BYTES)
    with open_regular(Path(form.path)) as raw:
        # Reading lines is a third of the time, and faster where only LF ends one; a few old tables use CR alone.
        newline = "" if b"\r" in raw.read(BLOCK_BYTES).replace(b"\r\n", b"") else "\n"
    with _text_file(form, newline) as file:
        try:
            reader = csv.reader(file, delimiter=form.delimiter, strict=True)
        except TypeError:
            raise WrongUsage("--delimiter is one character", r"for a tab: --delimiter $'\t'") from None
        header: list[str] | None = None
        line = 1
        try:
            for cells in reader:
                if header is None and cells:
                    header = cells
                    if len(set(header)) != len(header):
                        raise BadInput(f"{safe(form.path)} line {line}: two columns have the same header")
                    yield line, {"header": header}
                elif header is not None and len(cells) == len(header):
                    yield line, dict(zip(header, cells, strict=True))
                elif header is not None and cells:
                    raise BadInput(
                        f"{safe(form.path)} line {line}: {len(cells)} cells where the header has {len(header)}",
                        f"mend that line, or say --delimiter (now {form.delimiter!r})",
                    )
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadInput(f"{safe(form.path)} line {line}: {safe(error)}", "mend the quotes there") from None
        except UnicodeDecodeError as error:
            raise _undecodable(form, reader.line_num, error) from None
        if header is None:
            raise BadInput(f"{safe(form.path)} is empty; a line of headers was expected")


def _object(written: str, path: Path, line: int) -> dict[str, Any]:
    try:
        cells = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{safe(path)} line {line}: not JSON: {safe(error)}", "mend that line") from None
    if not isinstance(cells, dict):
        raise BadInput(f"{safe(path)} line {line}: {safe(written, 60)}; expected a JSON object", "mend that line")
    return cells


def _json_array(form: Form) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of one array, read piece by piece: an array may be larger than the memory."""
    path, decoder = Path(form.path), json.JSONDecoder()
    buffer, position, line, more = "", 0, 1, True
    opened = False
    with _text_file(form, "") as file:
        while True:
            # Between objects: white space, commas, and the brackets of the array itself.
            while position < len(buffer) and (
                buffer[position].isspace() or buffer[position] in (",[" if not opened else ",")
            ):
                opened = opened or buffer[position] == "["
                line += buffer[position] == "\n"
                position += 1
            if position < len(buffer) and buffer[position] == "]" and opened:
                return
            try:
                if position < len(buffer) and buffer[position] == "{":
                    cells, end = decoder.raw_decode(buffer, position)
                    yield line, cells
                    line += buffer.count("\n", position, end)
                    position = end
                    continue
                wrong = "a JSON array of objects was expected"
            except json.JSONDecodeError as error:
                wrong = f"not JSON: {error.msg}"
            if not more or len(buffer) - position > LINE_BYTES or (position < len(buffer) and buffer[position] != "{"):
                raise BadInput(f"{safe(path)} line {line}: {wrong}", "for one object a line say --format jsonl")
            try:
                piece = file.read(BLOCK_BYTES)
            except UnicodeDecodeError as error:
                raise _undecodable(form, line, error) from None
            buffer, position, more = buffer[position:] + piece, 0, bool(piece)


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise BadInput("reading Parquet needs the package pyarrow", "pip install pyarrow, or export to CSV") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{safe(path)} is no Parquet file: {safe(error)}") from None


def _text_of(file: Path, encoding: str) -> str:
    try:
        return file.read_text("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise BadInput(f"{safe(file)} is not {encoding}: {safe(error.reason)}", "say --encoding") from None


_READERS = {
    "csv": _csv_rows,
    "jsonl": _json_lines,
    "json": _json_array,
    "lines": _plain_lines,
    "parquet": _parquet_rows,
    "texts": _folder,
    "images": _folder,
}
