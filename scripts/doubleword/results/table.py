"""The table that was asked for: which columns it has, and each row of the source with its answer, in order."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from unicodedata import normalize

from ..base.console import say
from ..base.failures import BadInput, WrongUsage
from ..base.text import safe
from ..job.job import Job
from ..request_file.answer_form import Expected, expected_in
from ..rows.cell_to_text import value
from ..rows.headers import folded
from ..rows.source import Row, Source
from ..rows.source_moved import located
from .output_flags import ANSWER_COLUMN, Wanted, columns_text
from .table_answers import NOT_IN_JOB, Answer, Find

FORMS = (".csv", ".tsv", ".jsonl", ".parquet")
ON_REQUEST: dict[str, Callable[[Answer], Any]] = {
    "custom_id": lambda answer: answer.custom_id or None,
    "error": lambda answer: answer.error or None,
    "finish_reason": lambda answer: answer.said.finish or None,
    "prompt_tokens": lambda answer: answer.said.prompt_tokens or None,
    "completion_tokens": lambda answer: answer.said.completion_tokens or None,
    "reasoning": lambda answer: answer.reasoning or None,
}


@dataclass(frozen=True)
class Column:
    """`of`: where its cells come from: "source", "answer", or "request" for what is there on request."""

    name: str
    of: str
    key: str  # the source's column, the property of the answer ("" for all of it), or the name in ON_REQUEST

    def reader(self) -> Callable[[dict[str, Any], Answer], Any]:
        """Gives its cell of a row."""
        key = self.key
        if self.of == "source":
            return lambda cells, _: cells.get(key) if "." not in key else value(cells, key)
        if self.of == "request":
            return lambda _, answer: ON_REQUEST[key](answer)
        if not key:
            return lambda _, answer: answer.value
        return lambda _, answer: answer.value.get(key) if isinstance(answer.value, dict) else None


# A row of the source with its answer, without which it is not in the table; and its text with its line end, where the
# table keeps the form of the source: a blank line has no cells.
Joined = tuple[dict[str, Any], Answer | None, str | bytes]


@dataclass(frozen=True)
class Table:
    """`all_source`: the source's columns are all there, first and in their order."""

    path: Path
    source: Source | None
    columns: tuple[Column, ...]
    all_source: bool
    expected: Expected | None
    guard: bool
    prefix: str | None  # rows find their answers by id: this and the id column; None: by their order
    made_from: Path  # what is private there is private here
    of_texts: bool = False  # whether it is known that each answer is a text

    def with_errors(self) -> Table:
        """The same with a column for errors, unless it has one."""
        if any((column.of, column.key) == ("request", "error") for column in self.columns):
            return self
        name = _free("error", [column.name for column in self.columns])
        return replace(self, columns=(*self.columns, Column(name, "request", "error")))

    @property
    def answers_alone(self) -> Table:
        """The same with a row for each request and no source: its cells are empty."""
        return replace(self, source=None)

    @property
    def needs_bodies(self) -> bool:
        """Whether a column holds what a result says besides its answer."""
        return any(column.of == "request" and column.key not in ("custom_id", "error") for column in self.columns)

    @property
    def keeps_form(self) -> bool:
        """Whether it is written as its source is: a TSV from a TSV, a CSV from a table without tabs."""
        ending = self.path.suffix.lower()
        if self.source is None or self.source.format != "csv" or ending not in (".csv", ".tsv"):
            return False
        same_name = Path(self.source.path).suffix.lower() == ending  # some name a table with tabs .csv
        return same_name or (self.source.delimiter == "\t") == (ending == ".tsv")

    @property
    def unread(self) -> bool:
        """Whether the cells of the source are wanted as they are written, and none for what is in it."""
        own = [column.key for column in self.columns if column.of == "source"]
        named = set(self.source.columns) if self.source and self.keeps_form else set[str]()
        return len(own) == len(named.intersection(own))

    @property
    def sampled(self) -> bool:
        """Whether rows without a request are left out: the table of a sample holds the rows of the sample."""
        return self.source is not None and bool(self.source.limit or self.source.sample)

    def rows_not_in_job(self, requested: Iterable[str]) -> int:
        """How many of its rows have no request, which their error says."""
        if self.source is None:
            return 0
        if self.prefix is not None:
            ids = set(requested)
            return sum(self.prefix + (row.custom_id or "") not in ids for row in self.source.read())
        may_skip = self.source.empty == "skip" or self.source.skipped
        return sum(row.custom_id is None for row in self.source.read()) if may_skip and not self.sampled else 0


Rows = Callable[[Table], Iterable[Joined]]  # those of a table from the first on, each time it is called


# --- planning ----------------------------------------------------------------------------------------


def planned(job: Job, wanted: Wanted) -> Table:
    """The table. Raises WrongUsage or BadInput, naming the flag, for one that cannot be had."""
    if wanted.output is None:
        raise AssertionError("there is no table without an output")
    _require_form(wanted.output)
    expected = expected_in(job.request_file())
    source = _source(job, wanted, expected)
    _require_free(job, wanted.output, source)
    own, chosen = _source_columns(source), wanted.columns
    answer = _answer_columns(own, expected, wanted.answer_column, chosen)
    columns = (*own, *answer)
    if chosen:
        whole = Column(wanted.answer_column, "answer", "")
        columns = tuple(_column(name, source, columns, whole) for name in chosen)
    every = bool(source) and columns[: len(own)] == tuple(own)
    made_from = Path(source.path) if source else job.request_file()
    prefix = job.record.options.id_prefix
    return Table(wanted.output, source, columns, every, expected, wanted.guard, prefix, made_from)


def _source(job: Job, wanted: Wanted, expected: Expected | None) -> Source | None:
    """The rows as they were when the requests were made; None where there are none, or none are asked for any more."""
    if job.record.source is None:
        return None
    try:
        return located(job.record.source, job.folder.parent)
    except BadInput as error:
        others = {wanted.answer_column, *ON_REQUEST, *(expected.columns if expected else ())}
        if not wanted.columns or not others.issuperset(wanted.columns):
            columns = f"--columns {columns_text(('custom_id', wanted.answer_column))}"
            raise BadInput(error.what, f"{error.next_step}; or, for the answers alone, {columns}") from None
        say(f"note: {error.what.partition(';')[0]}: the table has a row for each request")
        return None


def _require_form(out: Path) -> None:
    if out.suffix.lower() not in FORMS:
        raise WrongUsage(f"--output {safe(out)}: the name must end in {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    if out.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise BadInput(
                f"--output {safe(out)}: writing Parquet needs the package pyarrow",
                "pip install pyarrow, or --output with a name in .csv or .jsonl",
            ) from None


def _require_free(job: Job, out: Path, source: Source | None) -> None:
    place = _spelled(out)
    taken = [job.request_file(), *(job.beside(f"{name}.jsonl") for name in ("results", "errors", "partial"))]
    ours = _spelled(job.folder) in place.parents or any(_spelled(path) == place for path in taken)
    if ours or (source is not None and source.holds(out)):
        raise WrongUsage(f"--output {safe(out)} would replace the source or a file of the job", "give it another name")
    if not out.parent.is_dir():
        raise BadInput(f"--output {safe(out)}: there is no folder {safe(out.parent)}", f"mkdir -p {safe(out.parent)}")


def _spelled(path: Path) -> Path:
    """A path as it is where large and small letters, or forms of accents, are the same: what is one there is refused
    everywhere, since it would be found out only after the answers are paid."""
    return Path(normalize("NFC", str(path.resolve())).casefold())


def _source_columns(source: Source | None) -> list[Column]:
    if source is None:
        return [Column("custom_id", "request", "custom_id")]
    return [Column(name, "source", name) for name in source.columns]


def _answer_columns(own: list[Column], expected: Expected | None, name: str, chosen: tuple[str, ...]) -> list[Column]:
    taken = [column.name for column in own]
    if expected is not None and expected.columns:
        if name not in (ANSWER_COLUMN, *chosen):
            there = columns_text(tuple(safe(key, 60) for key in expected.columns[:40]))
            raise WrongUsage(
                f"--answer-column {safe(name, 80)}: the answers' columns are the properties of their schema: {there}",
                "leave it out; or name it in --columns, for all of the answer in one column",
            )
        found: list[Column] = []
        for key in expected.columns:
            found.append(Column(_free(key, taken), "answer", key))
            taken.append(found[-1].name)
        return found
    if folded(name) in map(folded, taken) and (not chosen or name in chosen):
        free = _free(f"new_{name}", taken)
        columns = tuple(free if column == name else column for column in chosen)
        raise BadInput(
            f"--answer-column {safe(name, 80)}: the source has a column of that name",
            f"the same command with --answer-column {shlex.quote(safe(free))}"
            + (f" --columns {shlex.quote(columns_text(columns))}" if chosen else ""),
        )
    if chosen and name not in (ANSWER_COLUMN, *chosen):
        raise WrongUsage(
            f"--columns names no {safe(name, 80)}, which --answer-column gives to the answers: they would be left out",
            f"name it there: --columns {shlex.quote(columns_text((*chosen, name)))}",
        )
    return [Column(name, "answer", "")]


def _free(name: str, taken: list[str]) -> str:
    while folded(name) in map(folded, taken):
        name = f"answer_{name}"
    return name


def _column(name: str, source: Source | None, usual: Iterable[Column], whole: Column) -> Column:
    """The column that is meant by a name in --columns."""
    usual = list(usual)
    for column in (*usual, whole):
        if column.name == name:
            return column
    for key in ON_REQUEST:
        if name in (key, f"answer_{key}"):
            return Column(name, "request", key)
    try:
        key = (source.column_named(name, "--columns") if source else None) or ""
    except BadInput as error:
        raise WrongUsage(error.what, error.next_step) from None
    if not key:
        there = columns_text(tuple(safe(column.name, 60) for column in usual[:40]))
        raise WrongUsage(
            f"--columns: {safe(name, 80)!r} is no column; there are {there}; on request {','.join(ON_REQUEST)}",
            "name those that are there, as they stand here",
        )
    return next(
        (column for column in usual if column.key == key and column.of == "source"), Column(name, "source", key)
    )


def require_common_ids(source: Source, prefix: str, requested: set[str]) -> int:
    """For rows that find their answers by id: how many requests have no row. Raises BadInput if none has one."""
    ids = {prefix + row.custom_id for row in source.read() if row.custom_id}
    lonely = len(requested - ids)
    if lonely == len(requested):
        one = safe(next(iter(sorted(requested)), ""), 60)
        rows = f"rows such as {safe(min(ids), 60)!r}" if ids else "no row has one there"
        raise BadInput(
            f"--id-column {safe(source.id_column, 60)}: no row has the id of a request; requests have ids such as"
            f" {one!r}, {rows}",
            "name another --id-column, or what stands before the ids: --id-prefix",
        )
    return lonely


# --- rows --------------------------------------------------------------------------------------------


def joined(table: Table, requested: Iterable[str], find: Find, partial: bool = False) -> Iterator[Joined]:
    """Every row of the source, in order, with its answer; `partial`: only those that have one are in the table.

    A job without a source (prompts from the command line, a file made elsewhere) has its requests as rows, which
    `requested` names.
    """
    if table.source is None:
        for custom_id in requested:
            answer = find(custom_id) or _refuse(custom_id)
            yield {}, None if partial and answer.value is None else answer, ""
        return
    prefix, sampled = table.prefix or "", table.sampled
    for row, raw in _rows(table, table.source):
        if row is None:
            yield {}, None, raw
        elif row.custom_id is None:
            yield row.cells, None if sampled or partial else Answer("", error=NOT_IN_JOB), raw
        else:
            answer = find(prefix + row.custom_id) or _refuse(f"row {row.line} of the source")
            yield row.cells, None if partial and answer.value is None else answer, raw


def _refuse(what: str) -> NoReturn:
    raise BadInput(
        f"{safe(what, 80)} has no request in this job, or not in this order", "the rows or the request file changed"
    )


def _rows(table: Table, source: Source) -> Iterator[tuple[Row | None, str | bytes]]:
    return source.read_written(table.unread) if table.keeps_form else ((row, "") for row in source.read())
