"""What a source is, and how its rows are read from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """Where the rows are, and all that a reader must know to read the same rows again."""

    path: str  # absolute
    format: str  # csv (with any delimiter), jsonl, json, lines, parquet, texts, images
    encoding: str  # of a text: a codec of Python's
    delimiter: str  # of csv: one character
