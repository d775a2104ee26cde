"""Rows from any source, in order, and which of them have a request under which id."""

from __future__ import annotations

import codecs
import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import WrongUsage
from ..base.files import BLOCK_BYTES, open_regular
from ..base.files import digest as file_digest
from ..base.text import safe
from .cells import _image_type, _start, is_empty, text, value
from .form import Form
from .formats import _files, headers, rows

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


@dataclass(frozen=True)
class Source(Form):
    """Rows, and which of them have a request. The job record keeps it: the same rows and ids can be had again.

    Made by `describe`, or from a record by `from_dict`. It knows its columns once, read once.
    """

    sha256: str
    id_column: str | None = None  # None: ids by the row's number
    used: tuple[str, ...] = ()  # columns that the templates name
    empty: str = "refuse"  # refuse, keep or skip: what an empty used cell means
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    rows: int | None = None  # how many there are; known with `sample`

    @classmethod
    def from_dict(cls, record: Any) -> Source:
        """A source from a job record. Raises ValueError, with the key, for one that is damaged."""
        if not isinstance(record, dict):
            raise ValueError("source is no object")
        known = {field.name: str(field.type) for field in fields(cls)}
        for key in known.keys() ^ record.keys():
            raise ValueError(f"source has {'no' if key in known else 'an unknown'} key {key!r}")
        for key, kind in known.items():
            found = record[key]
            if kind.startswith("tuple"):
                fits = isinstance(found, list) and all(isinstance(name, str) for name in found)
            else:
                fits = (found is None and "None" in kind) or found.__class__.__name__ in kind.split(" | ")
            if not fits:
                raise ValueError(f"source has a wrong {key!r}")
        return cls(**record | {"used": tuple(record["used"])})

    def to_dict(self) -> dict[str, Any]:
        """For a job record: the same keys every time, JSON values."""
        return asdict(self) | {"used": list(self.used)}

    def using(self, columns: list[str], id_column: str | None = None) -> Source:
        """The same rows with the columns that the templates name, and perhaps another id column."""
        made = replace(self, used=tuple(columns), id_column=id_column or self.id_column)
        if "columns" in self.__dict__:
            made.__dict__["columns"] = self.columns
        return made

    @cached_property
    def columns(self) -> list[str]:
        """The headers, in order; of JSON objects, every key that any row has."""
        return headers(self)

    def has_column(self, name: str) -> bool:
        """Whether a template may name it: a header, or in JSON a key (`a.b`: b within a) that any row has."""
        if self.format in ("jsonl", "json", "parquet"):
            return any(name in cells or value(cells, name) is not None for _, cells in rows(self))
        return name in self.columns

    def read(self, *, requests_only: bool = False) -> Iterator[Row]:
        """Every row in order, or only those with a request. The same description and bytes give the same ids."""
        used = self.used if self.empty == "skip" else ()
        chance, left, needed = random.Random(self.seed), self.rows or 0, self.sample or 0  # noqa: S311
        for number, (line, cells) in enumerate(rows(self), 1):
            wanted = self.limit is None or number <= self.limit
            if self.sample is not None:  # each row with the chance that fills the sample exactly by the last one
                wanted = chance.random() * left < needed
                left, needed = left - 1, needed - wanted
            elif not wanted and requests_only:
                return
            if wanted and any(is_empty(value(cells, name)) for name in used):
                wanted = False
            if wanted:
                by_row = self.id_column is None
                yield Row(line, cells, f"row-{number:06d}" if by_row else text(value(cells, self.id_column or "")))
            elif not requests_only:
                yield Row(line, cells, None)


def describe(
    path: Path,
    *,
    form: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    **selection: Any,
) -> Source:
    """The description of a source: what is not said by hand is told from name and bytes.

    `selection`: the fields of Source that say which rows have a request.
    """
    found = _form(path, form, delimiter, encoding)
    source = Source(**asdict(found), sha256=digest(path), **selection)
    return source if source.sample is None else replace(source, rows=sum(1 for _ in rows(found)))


def _form(path: Path, form: str | None, delimiter: str | None, encoding: str | None) -> Form:
    form = form or _format(path)
    if form == "unknown":
        raise WrongUsage(
            f"cannot tell the format of {safe(path)} by its name", "say --format csv, tsv, jsonl, json or lines"
        )
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise WrongUsage(f"there is no encoding {safe(encoding)}", "for example --encoding cp1252") from None
    known = Form(str(path.resolve()), form, encoding or "utf-8", delimiter or ",")
    if form not in ("csv", "tsv", "jsonl", "json", "lines"):
        return known
    with open_regular(path) as file:
        start = file.read(64 * 1024)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        known = replace(known, encoding=encoding or "utf-16")
    elif start.startswith(b"\xef\xbb\xbf"):
        known = replace(known, encoding="utf-8-sig")
    if form == "tsv":
        known = replace(known, format="csv", delimiter=delimiter or "\t")
    header = start.decode(known.encoding, "replace").splitlines()[:1]
    if header and delimiter is None and known.delimiter not in header[0]:
        # Spreadsheets of many countries write CSV with semicolons.
        known = replace(known, delimiter=max(",;\t|", key=header[0].count))
    return known


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


def extent(path: Path) -> tuple[int, int]:
    """(lines, bytes) of a file, or files and bytes of a folder: about how much there is to do."""
    if path.is_dir():
        return len(_files(path)), sum(file.stat().st_size for file in _files(path))
    with open_regular(path) as file:
        start, size = file.read(BLOCK_BYTES), os.fstat(file.fileno()).st_size
        return max(1, start.count(b"\n") * size // max(1, len(start))), size
