"""What a source is, and how its rows are read from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Form:
    """Where the rows are, and all that a reader must know to read the same rows again."""

    path: str  # absolute
    format: str  # csv (with any delimiter), jsonl, json, lines, parquet, excel, texts, images
    encoding: str = "utf-8"  # of a text: a codec of Python's
    delimiter: str = ","  # of csv: one character
    sheet: str | None = None  # of excel: its name
    match: str | None = None  # of a folder: a glob that file names must match
    recursive: bool = False  # of a folder: with the files of its subfolders
