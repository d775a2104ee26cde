"""Rows from any source, in order, and which of them have a request under which id.

A source is described by a small dict that the job record keeps, so that the same rows and ids can be had
again when the answers are joined to them:
    path (absolute), sha256, format, encoding, delimiter, id_column (null: by row), used (columns the templates
    name), empty (refuse, keep or skip: what an empty used cell means), limit, sample, seed, rows (with sample)
"""

from __future__ import annotations

import base64
import codecs
import csv
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from .contract import BadInput, WrongUsage, safe
from .request_file import BLOCK_BYTES, LINE_BYTES, open_regular
from .request_file import digest as file_digest

Source = dict[str, Any]
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".txt": "lines",
    ".parquet": "parquet",
}
# As base64 in a body of at most 10 MiB, with room for the prompt.
IMAGE_BYTES = 7_500_000
_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"))


class Row(NamedTuple):
    """A row of the source: its physical line (or number), its cells, and its id, or None if it has no request."""

    line: int
    cells: dict[str, Any]
    custom_id: str | None


# --- describing a source -------------------------------------------------------------------------


def describe(path: Path, **options: Any) -> Source:
    """The description of a source. `options`: whatever was set by hand; the rest is told from name and bytes."""
    source: Source = {"path": str(path.resolve()), "sha256": digest(path), "encoding": "utf-8", "delimiter": ","}
    source |= {"format": _format(path), "id_column": None, "used": [], "empty": "refuse"}
    source |= {"limit": None, "sample": None, "seed": 0} | {k: v for k, v in options.items() if v is not None}
    if source["format"] == "unknown":
        raise WrongUsage(
            f"cannot tell the format of {safe(path)} by its name", "say --format csv, tsv, jsonl, json or lines"
        )
    try:
        codecs.lookup(source["encoding"])
    except LookupError:
        raise WrongUsage(f"there is no encoding {safe(source['encoding'])}", "for example --encoding cp1252") from None
    if source["format"] in ("csv", "tsv", "jsonl", "json", "lines"):
        with open_regular(path) as file:
            start = file.read(64 * 1024)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            source |= {"encoding": options.get("encoding") or "utf-16"}
        elif start.startswith(b"\xef\xbb\xbf"):
            source |= {"encoding": "utf-8-sig"}
        if source["format"] == "tsv":
            source |= {"format": "csv", "delimiter": options.get("delimiter") or "\t"}
        header = start.decode(source["encoding"], "replace").splitlines()[:1]
        if header and options.get("delimiter") is None and source["delimiter"] not in header[0]:
            # Spreadsheets of many countries write CSV with semicolons.
            source["delimiter"] = max(",;\t|", key=header[0].count)
    if source["sample"] is not None:
        source["rows"] = sum(1 for _ in rows(source))
    return source


def kept_stdin(folder: Path, stem: str, form: str | None) -> Path:
    """Copies stdin to a file of its own, named by its content: the rows are read again when answers come back."""
    if sys.stdin.isatty():
        raise WrongUsage("--input - reads rows from a pipe, and there is none")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{stem}.", suffix=".tmp") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        copy.seek(0)
        start = copy.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        form = form or {b"{": "jsonl", b"[": "json"}.get(start, "csv")
        ending = next((ending for ending, name in FORMATS.items() if name == form), ".txt")
        kept = folder / f"{stem}.input-{digest(Path(copy.name))[:8]}{ending}"
        shutil.copyfile(copy.name, kept)
    return kept


def _format(path: Path) -> str:
    if not path.is_dir():
        return FORMATS.get(path.suffix.lower(), "unknown")
    found = _files(path)
    return "images" if all(_image_type(_start(file)) for file in found) else "texts"


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder's file names and contents."""
    if not path.is_dir():
        return file_digest(path)
    made = hashlib.sha256()
    for file in _files(path):
        made.update(f"{file_digest(file)} {file.name}\n".encode("utf-8", "surrogateescape"))
    return made.hexdigest()


def _files(folder: Path) -> list[Path]:
    found = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    if not found:
        raise BadInput(f"the folder {safe(folder)} holds no files", "check the path")
    return found


def columns(source: Source) -> list[str]:
    """The headers, in order; of JSON objects, every key that any row has."""
    form, path = source["format"], Path(source["path"])
    if form == "csv":
        return next(_csv(source))[1]["header"]  # type: ignore[no-any-return]
    if form == "parquet":
        return [str(name) for name in _parquet(path).schema_arrow.names]
    if form in ("jsonl", "json"):
        return list(dict.fromkeys(chain.from_iterable(cells for _, cells in rows(source))))
    return {"lines": ["text"], "texts": ["file", "text"], "images": ["file"]}[form]


def has_column(source: Source, name: str) -> bool:
    """Whether a template may name it: a header, or in JSON a key (`a.b`: b within a) that any row has."""
    if source["format"] in ("jsonl", "json", "parquet"):
        return any(name in cells or value(cells, name) is not None for _, cells in rows(source))
    return name in columns(source)


def extent(path: Path) -> tuple[int, int]:
    """(lines, bytes) of a file, or files and bytes of a folder: about how much there is to do."""
    if path.is_dir():
        return len(_files(path)), sum(file.stat().st_size for file in _files(path))
    with open_regular(path) as file:
        start, size = file.read(BLOCK_BYTES), os.fstat(file.fileno()).st_size
        return max(1, start.count(b"\n") * size // max(1, len(start))), size


# --- the rows ------------------------------------------------------------------------------------


def read(source: Source, *, requests_only: bool = False) -> Iterator[Row]:
    """Every row in order, or only those with a request. The same description and bytes give the same ids."""
    limit, sample, id_column = source["limit"], source["sample"], source["id_column"]
    used = source["used"] if source["empty"] == "skip" else []
    chance, left, needed = random.Random(source["seed"]), source.get("rows", 0), sample or 0  # noqa: S311
    for number, (line, cells) in enumerate(rows(source), 1):
        wanted = limit is None or number <= limit
        if sample is not None:  # each row with the chance that fills the sample exactly by the last one
            wanted = chance.random() * left < needed
            left, needed = left - 1, needed - wanted
        elif not wanted and requests_only:
            return
        if wanted and any(is_empty(value(cells, name)) for name in used):
            wanted = False
        if wanted:
            custom_id = f"row-{number:06d}" if id_column is None else text(value(cells, id_column))
            yield Row(line, cells, custom_id)
        elif not requests_only:
            yield Row(line, cells, None)


def rows(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells) of every row. Raises BadInput, with the line, for what cannot be read."""
    return _READERS[source["format"]](source)


def _csv_rows(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    found = _csv(source)
    next(found)
    return found


def _json_lines(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    path = Path(source["path"])
    return ((number, _object(written, path, number)) for number, written in _lines(source))


def _plain_lines(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((number, {"text": written.rstrip("\r\n")}) for number, written in _lines(source))


def _parquet_rows(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    batches = _parquet(Path(source["path"])).iter_batches(batch_size=1000)
    return enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1)


def _folder(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, file in enumerate(_files(Path(source["path"])), 1):
        cells = {"file": file.name}
        if source["format"] == "texts":
            cells["text"] = _text_of(file, source["encoding"])
        yield number, cells


def _text_file(source: Source, newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(Path(source["path"])), source["encoding"], newline=newline)


def _undecodable(source: Source, line: int, error: UnicodeDecodeError) -> BadInput:
    return BadInput(
        f"{safe(source['path'])} is not {source['encoding']} after line {line}: {safe(error.reason)}",
        "say --encoding, for example --encoding cp1252",
    )


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    """Every line that is not blank."""
    number = 0
    with _text_file(source, "\n") as file:
        try:
            for number, written in enumerate(file, 1):
                if written and not written.isspace():
                    yield number, written
        except UnicodeDecodeError as error:
            raise _undecodable(source, number, error) from None


def _csv(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """First (line, {"header": names}), then the rows; empty lines are none."""
    csv.field_size_limit(LINE_BYTES)
    with open_regular(Path(source["path"])) as raw:
        # Reading lines is a third of the time, and faster where only LF ends one; a few old tables use CR alone.
        newline = "" if b"\r" in raw.read(BLOCK_BYTES).replace(b"\r\n", b"") else "\n"
    with _text_file(source, newline) as file:
        try:
            reader = csv.reader(file, delimiter=source["delimiter"], strict=True)
        except TypeError:
            raise WrongUsage("--delimiter is one character", r"for a tab: --delimiter $'\t'") from None
        header: list[str] | None = None
        line = 1
        try:
            for cells in reader:
                if header is None and cells:
                    header = cells
                    if len(set(header)) != len(header):
                        raise BadInput(f"{safe(source['path'])} line {line}: two columns have the same header")
                    yield line, {"header": header}
                elif header is not None and len(cells) == len(header):
                    yield line, dict(zip(header, cells, strict=True))
                elif header is not None and cells:
                    raise BadInput(
                        f"{safe(source['path'])} line {line}: {len(cells)} cells where the header has {len(header)}",
                        f"mend that line, or say --delimiter (now {source['delimiter']!r})",
                    )
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadInput(f"{safe(source['path'])} line {line}: {safe(error)}", "mend the quotes there") from None
        except UnicodeDecodeError as error:
            raise _undecodable(source, reader.line_num, error) from None
        if header is None:
            raise BadInput(f"{safe(source['path'])} is empty; a line of headers was expected")


def _object(written: str, path: Path, line: int) -> dict[str, Any]:
    try:
        cells = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{safe(path)} line {line}: not JSON: {safe(error)}", "mend that line") from None
    if not isinstance(cells, dict):
        raise BadInput(f"{safe(path)} line {line}: {safe(written, 60)}; expected a JSON object", "mend that line")
    return cells


def _json_array(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of one array, read piece by piece: an array may be larger than the memory."""
    path, decoder = Path(source["path"]), json.JSONDecoder()
    buffer, position, line, more = "", 0, 1, True
    opened = False
    with _text_file(source, "") as file:
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
                raise _undecodable(source, line, error) from None
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


# --- cells and images ----------------------------------------------------------------------------


def value(cells: dict[str, Any], name: str) -> Any:
    """The cell of that name; `a.b` is also b within a."""
    found: Any = cells.get(name)
    if found is None and "." in name:
        found = cells
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
    return found


def text(cell: Any) -> str:
    """A cell as text: what is no text already is written as JSON, nothing as an empty text."""
    if isinstance(cell, str):
        return cell
    return "" if cell is None else json.dumps(cell, ensure_ascii=False, default=str)


def is_empty(cell: Any) -> bool:
    return cell is None or (cell.__class__ is str and (not cell or cell.isspace()))


def _start(file: Path) -> bytes:
    with open_regular(file) as opened:
        return opened.read(16)


def _image_type(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    return next((kind for sign, kind in _IMAGES if start.startswith(sign)), None)


def image_address(cell: str, folder: Path) -> str:
    """An address a model can read: web and data addresses as they are, a file (relative to `folder`) as data."""
    if cell.startswith(("https://", "http://", "data:image/")):
        return cell
    path = folder / cell
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > IMAGE_BYTES:
            raise BadInput(f"{safe(path)} has more than {IMAGE_BYTES} bytes; a request takes 10 MiB", "make it smaller")
        content = file.read()
    kind = _image_type(content)
    if kind is None:
        raise BadInput(f"{safe(path)} is no PNG, JPEG, GIF or WebP (by its bytes)", "convert it, or leave it out")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
