"""The readers: one for each kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from . import csv_rows, excel_rows, json_rows, parquet_rows
from .file_kind import Form
from .left_out import Tally
from .text_file import lines

# Endings of names, and the format that each says. A file's first bytes may say another; see detect.py.
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".txt": "lines",
    ".parquet": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
}


def format_named(name: str) -> str | None:
    """The format that a file's name says by its ending, or by the one before: rows.csv.txt, rows.jsonl.bak."""
    *before, last = ["", *Path(name.strip().lower()).suffixes]
    said = FORMATS.get(last)
    earlier = FORMATS.get(before[-1]) if before else None
    return earlier if said in (None, "lines") and earlier in ("csv", "tsv", "jsonl", "json") else said


def _plain_lines(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, written in lines(form):
        if written.isspace():
            tally.leave_out("blank line", number)
        else:
            yield number, {"text": written.removeprefix("\ufeff").rstrip("\r\n")}  # the mark of a joined file


_ROWS = {
    "csv": csv_rows.rows,
    "jsonl": json_rows.json_lines,
    "json": json_rows.json_arrays,
    "lines": _plain_lines,
    "parquet": parquet_rows.rows,
    "excel": excel_rows.rows,
}


def rows(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells) of every row of a file. Raises BadInput, with the line, for what cannot be read."""
    return _ROWS[form.format](form, tally)


def headers(form: Form) -> list[str]:
    """The columns of a file, in order; of JSON objects, every key that any row has."""
    if form.format in ("jsonl", "json"):
        return list(dict.fromkeys(chain.from_iterable(cells for _, cells in rows(form, Tally()))))
    if form.format == "lines":
        return ["text"]
    return {"csv": csv_rows.headers, "parquet": parquet_rows.headers, "excel": excel_rows.headers}[form.format](form)
