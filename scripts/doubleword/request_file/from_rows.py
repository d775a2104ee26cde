"""A request file from rows: its lines made, held against every rule as they pass, and written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from ..base.console import Progress
from ..base.failures import BadInput
from ..base.problem import Problem
from ..base.text import NO_TEXT, plural, safe
from ..rows.cell_to_text import text
from ..rows.left_out import Tally
from ..rows.source import Row, Source
from .body import Composed
from .check import SHOWN, examine
from .images import BadImage
from .lines import Line
from .parts import Cutter
from .verdict import Verdict


def written(file: BinaryIO, path: Path, how: Composed, cutter: Cutter, tally: Tally) -> tuple[Verdict, Source | None]:
    """Writes the lines of every row to a file that will be `path`. What was found in them, and the source without the
    rows that --empty skip left out. `tally` hears of what is left out.

    Raises BadInput for rows that make no request, or a bad one, and where they change meanwhile.
    """
    verdict = _examined(_kept(request_lines(how, tally), file, how.source), path, how, cutter, tally)
    return verdict, how.source and how.source.skipping(tally.unreadable)


def preview(path: Path, how: Composed, cutter: Cutter, count: int, tally: Tally) -> tuple[Verdict, list[bytes]]:
    """What `written` would find, and the first lines; nothing is written."""
    found = request_lines(how, tally)
    first = list(islice(found, count))
    return _examined(chain(first, found), path, how, cutter, tally), [line.raw for line in first]


def _kept(found: Iterable[Line], file: BinaryIO, source: Source | None) -> Iterator[Line]:
    before = source and source.state()
    for line in found:
        file.write(line.raw)
        yield line
    if source is not None and before != source.state():
        raise BadInput(f"{safe(source.path)} changed while it was read", "wait until whatever writes it is done")


def _examined(found: Iterable[Line], path: Path, how: Composed, cutter: Cutter, tally: Tally) -> Verdict:
    source = how.source
    names_none = source is not None and not how.asked.rewrites and not source.used
    report = examine(found, lambda: request_lines(how, Tally()), cutter, bodies=not names_none)
    if not report.requests:
        raise BadInput("; ".join([f"{_name(source)}: no row to make a request of", *tally.notes()]))
    if source is not None and report.problems:
        # The lines of the request file will not be kept: those of the source are meant.
        wanted = {line for problem in report.problems for line in (problem.line, problem.first_line)}
        rows = {n: row for n, row in enumerate(source.read(requests_only=True), 1) if n in wanted}
        line_of = {number: row.line for number, row in rows.items()}
        file_of = {number: safe(row.cells["file"]) for number, row in rows.items()} if source.is_folder else {}
        report.problems = [problem.at(line_of, file_of) for problem in report.problems]
    report.notes += how.notes + tally.notes()
    if names_none and report.requests > 1:
        report.warnings.append(f"the prompt names no column: all {report.requests} requests ask the same")
    report.require(path if source is None else Path(source.path), rows=source is not None and not how.asked.rewrites)
    return report


def _name(source: Source | None) -> str:
    return "the prompts" if source is None else safe(source.path)


def _rows(how: Composed, tally: Tally) -> Iterator[Row]:
    if how.source is not None:
        return how.source.read(requests_only=True, tally=tally)
    return (Row(n, {"text": prompt}, f"row-{n:06d}") for n, prompt in enumerate(how.asked.prompts, 1))


# What programs write for nothing: also a text.
_NO_VALUE = frozenset({"NULL", "null", "NaN", "nan", "None", "\\N", "#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?"})


def request_lines(how: Composed, tally: Tally) -> Iterator[Line]:
    """The line of every row that has a request. `tally` gets the rows that --empty skip leaves out.

    Raises BadInput at the end if rows made no request: all of them are told.
    """
    start, last, source, wrong = 0, 0, how.source, _BadRows(how.source)
    total = len(how.asked.prompts) if source is None else source.extent()[0]
    policy, used = ("refuse", ()) if source is None else (source.empty, source.used)
    with Progress("build", total, "rows") as progress:
        for number, row in enumerate(_rows(how, tally), 1):
            empty: list[str] = []
            try:
                raw = how.write(row.custom_id or "", row.cells, empty)
            except UnicodeEncodeError:
                wrong.no_text(row)
                continue
            except BadInput as error:
                if policy == "skip":
                    tally.unreadable.append(tally.rows)
                    tally.skip("row whose picture or text cannot be read", f"{wrong.place(row)}: {error.what}")
                else:
                    wrong.unreadable(row, error)
                continue
            if empty and policy != "keep":
                expected = "a picture" if empty[0] in how.asked.image_columns else "a text"
                wrong.add(row, empty[0], "empty_cell", "empty", expected)
                continue
            for name in used:
                cell = row.cells.get(name)
                if cell.__class__ is str and cell in _NO_VALUE:
                    tally.doubt(f"a cell that is used says {cell}, which is sent as any text is", wrong.place(row))
            yield Line(number, start, raw)
            start += len(raw)
            if number % 64 == 0:
                progress.add(row.line - last)
                last = row.line
    wrong.require_none()


class _BadRows:
    """The rows that make no request: the first of them, and how many of each kind."""

    def __init__(self, source: Source | None) -> None:
        self._source, self._name, self._said = source, _name(source), dict[str, tuple[str, str]]()
        self._counts = Counter[str]()
        self._problems: list[Problem] = []

    def place(self, row: Row) -> str:
        return str(row.line) if self._source is None else safe(self._source.place_of(row.line, row.cells))

    def add(self, row: Row, field: str, kind: str, value: str, expected: str, step: str = "", what: str = "") -> None:
        """`what` is said of the first in place of value and expected."""
        file = self.place(row) if self._source is not None and self._source.is_folder else ""
        self._counts[kind] += 1
        where = f"{self._name} {file or f'line {row.line}'}"
        self._said.setdefault(kind, (f"{where}: {what or f'{value}; expected {expected}'}", step))
        if len(self._problems) < SHOWN:
            self._problems.append(Problem(row.line, safe(field, 60), kind, safe(value, 80), expected, file=file))

    def no_text(self, row: Row) -> None:
        """A cell with half of a surrogate pair: of a file name, bytes that are no UTF-8."""
        texts = {name: text(cell) for name, cell in row.cells.items() if isinstance(cell, (str, dict, list))}
        found = next((name for name, written in texts.items() if NO_TEXT.search(written)), "row")
        what, expected = "half of a surrogate pair; expected whole characters", "whole characters"
        step = "mend that cell"
        if found == "file" and self._source is not None and self._source.is_folder:
            what, expected = "its name is not UTF-8, and cannot be sent", "a name in UTF-8"
            step = "rename the file, or leave {file} out of prompt and ids"
        self.add(row, found, "surrogate", repr(texts.get(found, row.custom_id)), expected, step, what)

    def unreadable(self, row: Row, error: BadInput) -> None:
        """A cell that holds no picture, or no text."""
        skip_them = "--empty skip makes no request for such a row"
        step = f"{error.next_step}; {skip_them}" if error.next_step else skip_them
        column, cell, expected = "row", error.what, "a text"
        if isinstance(error, BadImage):
            column, cell, expected = error.column, error.cell, f"a picture ({error.what})"
        self.add(row, column, "unreadable", cell, expected, step, error.what)

    def require_none(self) -> None:
        said, steps = [], []
        for kind, count in self._counts.items():
            what, step = self._said[kind]
            if kind == "empty_cell":
                what = f"{self._name}: {plural(count, 'row')} with an empty cell in a column that the request needs"
                step = "fill them, or say --empty skip (no request for such a row) or --empty keep"
                if self._source is not None and self._source.format == "excel":
                    step += "; faults such as #N/A are empty, and formulas until the workbook is saved in Excel"
            elif count > 1:
                what += f" (and {count - 1} more like it)"
            said.append(what)
            steps.append(step)
        if said:
            raise BadInput("; ".join(said), "; ".join(filter(None, steps)), self._problems)


def require_place(path: Path, how: Composed) -> None:
    """Raises BadInput where the request file would lie among the rows, or will surely not fit."""
    source, folder = how.source, path.parent
    if source is None:
        return
    if source.holds(path):
        raise BadInput(
            f"{safe(path)} would be one of the rows in {safe(source.path)}, or take their place",
            "write the request file somewhere else",
        )
    total, size = source.extent()
    requests = min(total, source.limit or total, source.sample or total)
    growth = 1.4 if source.format == "images" else 1.1
    needed = int(requests * (growth * size / total + len(how.write("", {}, []))))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"{safe(folder)} has {free} bytes free; the request file will take about {needed}",
            "make room, or write it to another disk",
        )
