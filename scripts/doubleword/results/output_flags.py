"""What a user asked to get of a job's results: the flags of download.py and run_batch.py, as values."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.failures import WrongUsage
from ..base.text import safe

ANSWER_COLUMN = "answer"


@dataclass(frozen=True)
class Wanted:
    """`columns`: which, in this order; () for the source's and the answer's. `show`: how many pairs to print."""

    output: Path | None = None
    columns: tuple[str, ...] = ()
    answer_column: str = ANSWER_COLUMN
    show: int = 0
    partial: bool = False
    guard: bool = True
    jobs: int = 2  # batches fetched at once

    def __post_init__(self) -> None:
        if not self.answer_column.strip():
            raise WrongUsage("--answer-column is empty", "for example --answer-column label")
        of_table = {
            "--columns": bool(self.columns),
            "--answer-column": self.answer_column != ANSWER_COLUMN,
            "--no-guard": not self.guard,
        }
        flag = next((flag for flag, given in of_table.items() if given), None)
        if self.output is None and flag is not None:
            raise WrongUsage(f"{flag} is about the table, and none is named", f"{flag} with --output, or without both")

    def remembered(self) -> dict[str, Any]:
        """For `remember`: what the next command must ask for again; {} where no table was asked for."""
        if self.output is None:
            return {}
        return {
            "output": str(self.output),
            "columns": columns_text(self.columns) or None,
            "answer_column": None if self.answer_column == ANSWER_COLUMN else self.answer_column,
            "no_guard": not self.guard,
        }


def columns_of(text: str | None) -> tuple[str, ...]:
    """The names in a `--columns a,b,"c, d"`, written as a line of CSV; () for None. Raises WrongUsage for none."""
    if text is None:
        return ()
    try:
        (names,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise WrongUsage(
            f"--columns {safe(text, 80)!r} is no list of names", 'for example --columns id,"a, b"'
        ) from None
    names = [name.strip() for name in names]
    if not names or not all(names):
        raise WrongUsage(f"--columns {safe(text, 80)!r} holds an empty name", "for example --columns id,answer")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WrongUsage(f"--columns names {safe(twice, 80)!r} twice", "name each once")
    return tuple(names)


def columns_text(columns: tuple[str, ...]) -> str:
    """The columns as `columns_of` reads them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns)
    return text.getvalue()
