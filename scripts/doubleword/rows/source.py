"""Rows from any source, in order, and which of them have a request under which id.

A source is described by a small dict that the job record keeps, so that the same rows and ids can be had
again when the answers are joined to them:
    path (absolute), sha256, format, encoding, delimiter, id_column (null: by row), used (columns the templates
    name), empty (refuse, keep or skip: what an empty used cell means), limit, sample, seed, rows (with sample)
"""

from __future__ import annotations

import codecs
import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import WrongUsage
from ..base.files import BLOCK_BYTES, open_regular
from ..base.files import digest as file_digest
from ..base.text import safe
from .cells import _image_type, _start, is_empty, text, value
from .formats import Source, _csv, _files, _parquet, rows

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


class Row(NamedTuple):
    """A row of the source: its physical line (or number), its cells, and its id, or None if it has no request."""

    line: int
    cells: dict[str, Any]
    custom_id: str | None


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
