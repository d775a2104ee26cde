"""A request file from rows: its lines written and checked, and the rules for putting it in place."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..base.errors import BadInput
from ..base.progress import Progress
from ..base.text import plural, safe
from ..rows.headers import shown
from ..rows.source import Row, Source
from ..rows.tally import Tally
from . import check
from .body import Write, composed


def preview(args: Namespace, source: Source | None, count: int) -> list[dict[str, Any]]:
    """The first requests, held against every rule, without writing anything."""
    write, source = composed(args, source)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "preview.jsonl")
        with made.open("wb") as file:
            tally = Tally()
            _write_lines(file, "the rows", count, islice(_rows(args, source, tally), count), write, source, tally)
        check.check(made, part_requests=count, part_bytes=args.part_bytes).require(Path("the preview"))
        return [json.loads(line) for line in made.read_bytes().splitlines()]


def _require_id_column(source: Source) -> Source:
    """The source with its id column as the header has it."""
    if source.id_column is None:
        return source
    column = source.column_named(source.id_column, "--id-column")
    if column is None:
        there = ", ".join(shown(name) for name in source.columns[:20])
        raise BadInput(f"there is no column {safe(source.id_column, 60)!r} for --id-column; there are: {there}")
    return source.using(list(source.used), column)


def _rows(args: Namespace, source: Source | None, tally: Tally) -> Iterator[Row]:
    if source is not None:
        return source.read(requests_only=True, tally=tally)
    return (Row(n, {"text": prompt}, f"row-{n:06d}") for n, prompt in enumerate(args.prompt, 1))


def _write_lines(
    file: BinaryIO, name: str, total: int, rows: Iterable[Row], write: Write, source: Source | None, tally: Tally
) -> list[int]:
    """Writes the line of each row. Returns the numbers of rows that --empty skip leaves out, since nothing
    can be made of their picture or text; otherwise they are problems, named together."""
    problems, last, lines, skipped, ways = [], 0, list[bytes](), list[int](), list[str]()
    refuse_empty, skip = source is None or source.empty == "refuse", source is not None and source.empty == "skip"
    with Progress("build", total, "rows") as progress:
        for row in rows:
            empty: list[str] = []
            try:
                line = write(row.custom_id or "", row.cells, empty)
            except UnicodeEncodeError:
                raise BadInput(f"{name} line {row.line}: half of a surrogate pair; expected whole characters") from None
            except BadInput as error:
                if skip:
                    skipped.append(tally.rows)
                    tally.skip("row whose picture or text cannot be read", f"{row.line}: {error.what}")
                else:
                    problems.append(_unreadable(row.line, error.what))
                    ways.append(error.next_step)
                continue
            if empty and refuse_empty:
                problems.append(_empty_cell(row.line, empty[0]))
            lines.append(line)
            if len(lines) == 64:  # few writes, little memory
                file.write(b"".join(lines))
                lines.clear()
                progress.add(row.line - last)
                last = row.line
    file.write(b"".join(lines))
    if ways:
        skip_them = "--empty skip makes no request for such a row"
        raise BadInput(
            f"{name}: {plural(len(problems), 'row')} that no request can be made of",
            f"{ways[0]}; {skip_them}",
            problems,
        )
    if problems:
        raise BadInput(
            f"{name}: {plural(len(problems), 'row')} with an empty cell in a column that the request needs",
            "fill them, or say --empty skip (no request for such a row) or --empty keep",
            problems,
        )
    return skipped


def _unreadable(line: int, what: str) -> dict[str, Any]:
    found = {"line": line, "field": "", "kind": "unreadable", "value": "", "expected": "a picture or a text"}
    return found | {"text": f"line {line}: {what}"}


def _empty_cell(line: int, column: str) -> dict[str, Any]:
    found = {"line": line, "field": safe(column, 60), "kind": "empty_cell", "value": "", "expected": "a text"}
    return found | {"text": f"line {line}: {found['field']}: empty; expected a text"}


_LINE = re.compile(r"^line \d+|(?<=\(first on )line \d+(?=\)$)")


def _name_rows(report: check.Report, source: Source) -> None:
    """Turns the lines of the request file, which will not be kept, into those of the source."""
    wanted = {int(found[0][5:]) for p in report.problems for found in _LINE.finditer(p["text"])}
    rows = enumerate(source.read(requests_only=True), 1)
    line_of = {number: row.line for number, row in rows if number in wanted}
    for problem in report.problems:
        problem["line"] = line_of.get(problem["line"], problem["line"])
        problem["text"] = _LINE.sub(lambda f: f"line {line_of.get(int(f[0][5:]), 0)}", problem["text"])


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"{safe(folder)} has {free} bytes free; the request file will take about {needed}",
            "make room, or write it to another disk",
        )
