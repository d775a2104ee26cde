"""What a job's files say, for a person to look at: read once, in input order, in bounded memory.

Made from the job record, the request file, the results and the errors, without a network. `report_page` writes
it as one HTML file, `report_text` as a few lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import BadInput
from ..base.progress import Progress
from ..base.text import safe
from ..job.job import Job
from ..job.next_step import next_step
from ..request_file.expected import Expected
from ..request_file.lines import lines
from . import asked, outcome, report_prompt
from .answer import split_thinking
from .report_answers import Answers
from .report_counts import Histogram, Repeats
from .report_prompt import Template
from .report_rows import Rows, clean
from .response_body import Said, as_text

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]

# Kinds of the errors file that say that nothing came back; any other kind is a failure.
MISSING = frozenset({"running", "cancelled", "expired", "not_returned", "input_deleted", "unread"})
NOT_SENT = "not_submitted"  # after a trial this is nearly the whole job: no trouble, and not in the table
EXAMPLES = 3


@dataclass
class Counts:
    """Every request of the job is exactly one of these."""

    answered: int = 0  # whole, with a text
    cut: int = 0  # an answer that ends at the token limit
    empty: int = 0
    failed: int = 0
    missing: int = 0
    waiting: int = 0  # not sent yet

    @property
    def requests(self) -> int:
        return sum(vars(self).values())


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
    answers: Answers
    rows: Rows
    counts: Counts = field(default_factory=Counts)
    errors: dict[str, ErrorKind] = field(default_factory=dict)
    repeats: Repeats = field(default_factory=Repeats)
    prompt_tokens: int = 0
    completion: Histogram = field(default_factory=Histogram)  # completion tokens of each answer
    times: Histogram = field(default_factory=Histogram)  # when each answer was made, Unix seconds


class _Row(NamedTuple):
    """A request in input order, with the server's line, or the line of the errors file, or neither."""

    line: int
    custom_id: str
    prompt: int  # a hash of everything but the id
    raw: bytes
    result: dict[str, Any] | None
    error: dict[str, Any] | None


def read(job: Job, now: float) -> Report:
    """Reads everything. Raises BadInput, with the command to run, where there are no results yet."""
    requests = job.request_file()
    results, errors = job.beside("results.jsonl"), job.beside("errors.jsonl")
    if not results.exists():  # after a trial, or while it runs
        results, errors = job.beside("partial.jsonl"), job.folder / "partial.errors.jsonl"
    if not results.exists():
        raise BadInput(f"{safe(requests.name)}: no results have been downloaded yet", next_step(job) or "")
    expected = asked.expected(job)
    bodies = report_prompt.spread(requests)
    texts = [report_prompt.asked(body) for body in bodies]
    first = bodies[0] if bodies else {}
    prompt, before = report_prompt.template_of(requests, job.record.source, texts)
    report = Report(
        job=job,
        made_at=now,
        body=first,
        expected=expected,
        differing=sorted(key for key in first if any(body.get(key) != first[key] for body in bodies)),
        prompt=prompt,
        before=before,
        answers=Answers.of(expected),
        rows=Rows(*_sent_and_failed(results, errors)),
    )
    with Progress("report", job.requests.requests, "requests") as progress:
        for number, row in enumerate(_in_order(requests, results, errors), 1):
            _take(report, number, row)
            progress.add(1)
    return report


def _loads(raw: bytes) -> Any:
    if orjson is not None:
        try:
            return orjson.loads(raw)
        except ValueError:
            pass  # it is stricter than the json module: half of a surrogate pair, NaN, very long numbers
    return json.loads(raw)


def _sent_and_failed(results: Path, errors: Path) -> tuple[int, int]:
    """How many requests were sent, and how many of those have no result."""
    with results.open("rb") as file:
        answered = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    failed = 0
    if errors.exists():
        with errors.open("rb") as file:  # within a text the quotes of such a key would be escaped
            failed = sum(f'"kind": "{NOT_SENT}"'.encode() not in line for line in file)
    return answered + failed, failed


# The key stands first in the lines this skill writes, and no valid line names it twice.
_ID = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*"([^"\\]+)"')


def _in_order(requests: Path, results: Path, errors: Path) -> Iterator[_Row]:
    """Every request with what came of it: both files are in the order of the request file."""
    good, bad = _objects(results), _objects(errors)
    result, error = next(good, None), next(bad, None)
    for line in lines(requests):
        if line.blank:
            continue
        found = _ID.match(line.raw)
        custom_id = found[1].decode() if found else str(_loads(line.raw)["custom_id"])
        known = line.number, custom_id, hash(line.raw[found.end() :] if found else line.raw), line.raw
        if result is not None and result.get("custom_id") == custom_id:
            yield _Row(*known, result, None)
            result = next(good, None)
        elif error is not None and error.get("custom_id") == custom_id:
            yield _Row(*known, None, error)
            error = next(bad, None)
        else:
            yield _Row(*known, None, None)
    left = result or error
    if left is not None:
        raise BadInput(
            f"{safe(results.name)} and {safe(errors.name)} do not fit {safe(requests.name)} at "
            f"{safe(left.get('custom_id'), 64)}",
            "run download.py again",
        )


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb", buffering=1 << 20) as file:
        for number, raw in enumerate(file, 1):
            try:
                found = _loads(raw)
            except ValueError:
                found = None
            if not isinstance(found, dict):
                raise BadInput(f"{safe(path)} line {number} is not a line of download.py's", "run download.py again")
            yield found


def _take(report: Report, number: int, row: _Row) -> None:
    """Counts one request, and keeps it for the table if it is one of those shown."""
    response = row.result.get("response") if row.result else None
    found = response.get("body") if isinstance(response, dict) else None
    body: dict[str, Any] = found if isinstance(found, dict) else {}
    said, judged = outcome.answered(body, report.expected)
    answer = _described(said, judged.value)
    cut, kind = bool(row.result) and said.cut, ""
    values: list[str] = []
    if row.result is None:
        kind = _count_failed(report, row)
        if kind == NOT_SENT:
            return
    elif judged.failure:  # a results file of an earlier version, or edited
        kind, answer = judged.failure
        _count_kind(report, kind, row, answer)
    else:
        report.counts.cut += cut
        report.counts.answered += not cut
        values = report.answers.add(judged.value, answer)
        if report.repeats.add(row.prompt, row.line, answer):
            report.repeats.name(row.prompt, _shown_prompt(report, row)[0])
    if row.result is not None:
        report.prompt_tokens += said.prompt_tokens
        report.completion.add(said.completion_tokens)
        created = body.get("created", body.get("created_at"))
        if isinstance(created, int | float):
            report.times.add(created)
    if report.rows.wants(failed=bool(kind)):
        prompt, whole = _shown_prompt(report, row)
        facts = {"number": number, "line": row.line, "id": clean(row.custom_id)[:100], "kind": clean(kind)[:60]}
        facts |= {"prompt": prompt, "whole": not whole, "answer": answer or str((row.error or {}).get("text") or "")}
        facts |= {
            "values": [clean(value) for value in values],
            "promptTokens": said.prompt_tokens,
            "tokens": said.completion_tokens,
        }
        report.rows.add(row.prompt, facts | {"cut": cut, "attempt": (row.error or {}).get("attempt")})


def _described(said: Said, value: Any) -> str:
    """The text of an answer without its thinking, of choices the word; a vector by its length and beginning."""
    text = value if isinstance(value, str) else as_text(said)
    if not said.vectors:
        return split_thinking(text)[1].strip("\n")
    return f"a vector of {len(said.vectors[0]):,} numbers: {text[:80]}…" if len(said.vectors) == 1 else text


def _shown_prompt(report: Report, row: _Row) -> tuple[str, bool]:
    body = _loads(row.raw).get("body")
    return report.prompt.cut(report_prompt.asked(body).prompt if isinstance(body, dict) else "")


def _count_failed(report: Report, row: _Row) -> str:
    """Counts a request without a result; returns its kind."""
    kind = str(row.error.get("kind") or "error") if row.error else NOT_SENT
    if kind == NOT_SENT:
        report.counts.waiting += 1
        return kind
    _count_kind(report, kind, row, str((row.error or {}).get("text") or ""))
    return kind


def _count_kind(report: Report, kind: str, row: _Row, text: str) -> None:
    name = "empty" if kind == "empty" else "missing" if kind in MISSING else "failed"
    setattr(report.counts, name, getattr(report.counts, name) + 1)
    found = report.errors.setdefault(kind, ErrorKind(kind))
    found.count += 1
    if len(found.examples) < EXAMPLES:
        found.examples.append((row.line, row.custom_id, text[:500]))
