"""What a job's files say, for a person to look at: read once, in input order, in bounded memory.

Made from the job record, the request file, the results and the errors, without a network. `page` writes it as one
HTML file, `text` as a few lines.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..base.console import Progress
from ..base.failures import BadInput
from ..base.files import open_regular
from ..base.json_text import fields, moment, read_json
from ..base.text import safe, without_key
from ..job.job import Job
from ..job.next_step import command, next_step
from ..job.outputs import files_of
from ..request_file.answer_form import Expected, expected_in
from ..request_file.lines import lines
from ..results import line_outcome
from ..results.answer import split_thinking
from ..results.prompt_template import Template, some_bodies, template_of
from ..results.prompt_text import Cells, asked
from ..results.response_body import Said, as_text
from .counts import Answers, Histogram
from .page_rows import Rows, clean
from .same_prompts import Repeats

# Kinds of the errors file that say that nothing came back; any other kind is a failure.
MISSING = frozenset({"cancelled", "expired", "not_returned", "input_deleted", "unread"})
NOT_SENT = "not_submitted"  # after a trial this is nearly the whole job: no trouble, and not in the table
RUNNING = "running"
EXAMPLES = 3


@dataclass
class Counts:
    """Every request of the job is exactly one of these."""

    answered: int = 0  # whole, with a text
    cut: int = 0  # an answer that ends at the token limit
    empty: int = 0
    failed: int = 0
    missing: int = 0
    running: int = 0  # its batch has not ended
    waiting: int = 0  # not sent yet

    @property
    def requests(self) -> int:
        return sum(vars(self).values())

    @property
    def results(self) -> int:
        return self.answered + self.cut


@dataclass
class ErrorKind:
    """One kind of error: how many, and some of them as (physical line, custom_id, text)."""

    kind: str
    count: int = 0
    examples: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass
class Report:
    """All that is shown of a job. Texts are as they came: whoever shows them makes them safe."""

    job: Job
    made_at: float
    body: dict[str, Any]  # of the first request
    expected: Expected | None  # what the answers are held against
    differing: list[str]  # parameters that are not the same in all requests
    prompt: Template
    before: Template
    cells: Cells
    answers: Answers
    rows: Rows
    counts: Counts = field(default_factory=Counts)
    errors: dict[str, ErrorKind] = field(default_factory=dict)
    repeats: Repeats = field(default_factory=Repeats)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut_for_nothing: int = 0  # cut at the token limit so that no answer was left
    completion: Histogram = field(default_factory=Histogram)  # completion tokens of each answer
    times: Histogram = field(default_factory=Histogram)  # when each answer was made, Unix seconds

    @property
    def errors_ranked(self) -> list[ErrorKind]:
        return sorted(self.errors.values(), key=lambda found: -found.count)


class _Row(NamedTuple):
    """A request in input order, with the server's line, or the line of the errors file, or neither ({})."""

    line: int
    custom_id: str
    request: dict[str, Any]  # everything but the id
    cells: dict[str, Any]  # of its row of the source, where that is still there
    result: dict[str, Any]
    error: dict[str, Any]


def read(job: Job, now: float) -> Report:
    """Reads everything. Raises BadInput, with the command to run, where there are no results yet."""
    requests = job.request_file()
    results, errors = files_of(job, running=False)
    if not results.exists():  # after a trial, or while it runs
        results, errors = files_of(job, running=True)
    if not results.exists():
        after = next_step(job) if job.record.downloaded is None else command("download.py", job)
        raise BadInput(f"{safe(requests.name)}: there are no results here", after or "")
    expected, bodies, cells = expected_in(requests), some_bodies(requests), Cells(job)
    first = bodies[0] if bodies else {}
    prompt, before = template_of(requests, cells, bodies)
    failed = _count(errors, f'"kind": "{NOT_SENT}"'.encode())  # within a text the quotes of such a key would be escaped
    report = Report(
        job=job,
        made_at=now,
        body=first,
        expected=expected,
        differing=sorted(key for key in first if any(body.get(key) != first[key] for body in bodies)),
        prompt=prompt,
        before=before,
        cells=cells,
        answers=Answers(expected),
        rows=Rows(_count(results) + failed, failed),
    )
    with Progress("report", job.requests.requests, "requests") as progress:
        for number, row in enumerate(_in_order(requests, cells, results, errors), 1):
            _take(report, number, row)
            progress.add(1)
    return report


def _count(path: Path, but: bytes | None = None) -> int:
    """How many lines a file has, without those that hold `but`."""
    if not path.exists():
        return 0
    with open_regular(path) as file:
        return sum(but is None or but not in line for line in file)


def _in_order(requests: Path, cells: Cells, results: Path, errors: Path) -> Iterator[_Row]:
    """Every request with what came of it: both files are in the order of the request file."""
    good, bad = _objects(results), _objects(errors)
    result, error = next(good, {}), next(bad, {})
    for line in lines(requests):
        if line.blank:
            continue
        try:
            request = fields(read_json(line.raw))
        except ValueError:
            raise BadInput(f"{safe(requests)} line {line.number} is no request", "restore the file") from None
        custom_id = str(request.pop("custom_id", ""))
        row = _Row(line.number, custom_id, request, cells.of(custom_id), {}, {})
        if result.get("custom_id") == custom_id:
            row, result = row._replace(result=result), next(good, {})
        elif error.get("custom_id") == custom_id:
            row, error = row._replace(error=error), next(bad, {})
        yield row
    left = result or error
    if left:
        raise BadInput(
            f"{safe(results.name)} and {safe(errors.name)} do not fit {safe(requests.name)} at "
            f"{safe(left.get('custom_id'), 64)}",
            "run download.py again",
        )


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with open_regular(path) as file:
        for number, raw in enumerate(file, 1):
            found: dict[str, Any] = {}
            with suppress(ValueError):
                found = fields(read_json(raw))
            if not found:
                raise BadInput(f"{safe(path)} line {number} is not a line of download.py's", "run download.py again")
            yield found


def _take(report: Report, number: int, row: _Row) -> None:
    """Counts one request, and keeps it for the table if it is one of those shown."""
    body = fields(fields(row.result.get("response")).get("body"))
    said, judged = line_outcome.answered(body, report.expected)
    kind, text = judged.failure or ("", _described(said, judged.value))
    if not row.result:
        kind = str(row.error.get("kind") or ("error" if row.error else NOT_SENT))
        said, text = line_outcome.said_in(row.error), str(row.error.get("text") or "")
    text = without_key(text)  # before anything is cut: half a key is one, too
    if kind == NOT_SENT:
        report.counts.waiting += 1
        return
    prompt, values = hash(marshal.dumps(row.request, 2)), list[str]()  # 2: equal values are equal bytes
    if kind:  # of a result, too: a file of an earlier version, or an edited one
        _count_kind(report, kind, row, text)
        report.cut_for_nothing += said.cut
    else:
        report.counts.cut += said.cut
        report.counts.answered += not said.cut
        values = report.answers.add(judged.value, text, _is_vector(said, judged.value))
        report.repeats.add(prompt, row.line, text, lambda: _shown_prompt(report, row)[0])
        made_at = moment(body.get("created", body.get("created_at")))
        if made_at:
            report.times.add(made_at)
    report.prompt_tokens += said.prompt_tokens
    report.completion_tokens += said.completion_tokens
    if not kind or said.completion_tokens:
        report.completion.add(said.completion_tokens)
    if report.rows.wants(failed=bool(kind)):
        shown, whole = _shown_prompt(report, row)
        facts = {"number": number, "line": row.line, "id": clean(row.custom_id)[:100], "kind": clean(kind)[:60]}
        facts |= {"prompt": shown, "whole": not whole, "answer": text, "cut": said.cut and not kind}
        facts |= {"values": values, "cells": report.cells.texts(row.cells)}
        facts |= {"promptTokens": said.prompt_tokens, "tokens": said.completion_tokens}
        report.rows.add(prompt, facts)


def _is_vector(said: Said, value: Any) -> bool:
    return bool(said.vectors) and isinstance(value, list) and isinstance(said.vectors[0], list)


def _described(said: Said, value: Any) -> str:
    """The text of an answer without its thinking, of choices the word; a vector by its length and beginning."""
    text = value if isinstance(value, str) else as_text(said)
    if not _is_vector(said, value):
        return split_thinking(text)[1].strip("\n")
    return f"a vector of {len(said.vectors[0]):,} numbers: {text[:80]}…" if len(said.vectors) == 1 else text


def _shown_prompt(report: Report, row: _Row) -> tuple[str, bool]:
    text = asked(fields(row.request.get("body"))).prompt
    return report.prompt.cut(report.cells.with_names(without_key(text), row.cells))


def _count_kind(report: Report, kind: str, row: _Row, text: str) -> None:
    name = kind if kind in ("empty", RUNNING) else "missing" if kind in MISSING else "failed"
    setattr(report.counts, name, getattr(report.counts, name) + 1)
    if kind == RUNNING:
        return
    found = report.errors.setdefault(kind, ErrorKind(kind))
    found.count += 1
    if len(found.examples) < EXAMPLES:
        found.examples.append((row.line, row.custom_id, text[:500]))
