"""Answers for people: the source's rows with the answers beside them, and pairs of prompt and answer.

What a model wrote is data: in a spreadsheet it must not become a formula, on a terminal not a command.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import BadInput, WrongUsage
from ..base.files import whole_file
from ..base.progress import Progress
from ..base.text import safe
from ..job.job import Job
from ..rows.cells import text
from ..rows.source import Source, located
from .response_body import text_of

# A spreadsheet takes these for the start of a formula; the last four are their full-width forms.
_FORMULA = re.compile("[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


SHOWN_CHARACTERS = 300


class Answer(NamedTuple):
    """What a request brought: its text, or why there is none."""

    custom_id: str
    text: str
    error: str


def guarded(cell: str) -> str:
    """The cell, with a leading `'` if a spreadsheet would run it as a formula; plain numbers stay as they are."""
    return "'" + cell if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def in_order(job: Job, results: Path, errors: Path) -> Iterator[Answer]:
    """The answer to every request, in input order: both files are in that order, and the errors know their line."""
    from ..request_file.lines import request_ids

    good, bad = _lines(results), _lines(errors)
    result, error = next(good, None), next(bad, None)
    for span in job.requests.sections:
        for _, custom_id in request_ids(job.request_file(), span):
            if result is not None and result["custom_id"] == custom_id:
                yield Answer(custom_id, text_of(result["response"]["body"]), "")
                result = next(good, None)
            elif error is not None and error["custom_id"] == custom_id:
                yield Answer(custom_id, "", f"{error['kind']}: {error['text']}")
                error = next(bad, None)
            else:
                raise BadInput(
                    f"{safe(results.name)} and {safe(errors.name)} do not fit the job at {safe(custom_id, 64)}",
                    "run download.py again",
                )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():  # no request failed
        return
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def check_csv(job: Job, out: Path) -> None:
    """Raises WrongUsage for an output that is no .csv or .tsv, or would replace the source or a file of the job."""
    if out.suffix not in (".csv", ".tsv"):
        raise WrongUsage(f"--output {safe(out)}: the name must end in .csv or .tsv")
    taken = [job.path, *(job.request_file(attempt) for attempt in job.attempts), *_source_path(job)]
    if any(out.exists() and path.exists() and out.samefile(path) for path in taken):
        raise WrongUsage(f"--output {safe(out)} would replace the source or a file of the job", "give it another name")


def _source_path(job: Job) -> list[Path]:
    return [] if job.record.source is None else [job.request_file().parent / job.record.source.path]


def check_source(job: Job, answer_column: str) -> Source | None:
    """The job's source, found to be what it was. Raises BadInput if it changed, or already has an answer column."""
    if job.record.source is None:
        return None
    source = located(job.record.source, job.request_file().parent)
    for column in (answer_column, f"{answer_column}_error"):
        if column in source.columns:
            raise BadInput(f"the source already has a column {safe(column)!r}", "choose another with --answer-column")
    return source


def write_csv(job: Job, out: Path, answer_column: str, results: Path, errors: Path) -> int:
    """Writes the source's rows, in order, with two columns added; returns the number of rows.

    A job without a source (prompts from the command line, a file made elsewhere) has custom_id as its only column.
    """
    source = check_source(job, answer_column)
    answers = in_order(job, results, errors)
    columns = source.columns if source else ["custom_id"]
    count = 0
    with whole_file(out, job.request_file()) as raw, Progress("csv", job.requests.requests, "rows") as progress:
        if source and source.encoding.lower().replace("_", "-") == "utf-8-sig":
            raw.write(b"\xef\xbb\xbf")  # spreadsheets know UTF-8 by it
        writer = csv.writer(_Text(raw), delimiter="\t" if out.suffix == ".tsv" else ",", lineterminator=_Text.ROW_END)
        writer.writerow([*columns, answer_column, f"{answer_column}_error"])
        for cells, answer in _joined(source, answers):
            row = [_cell(cells.get(column)) for column in columns]
            writer.writerow([*row, guarded(answer.text), guarded(answer.error)])
            count += 1
            progress.add(1)
    return count


def _joined(source: Source | None, answers: Iterator[Answer]) -> Iterator[tuple[dict[str, Any], Answer]]:
    if source is None:
        for answer in answers:
            yield {"custom_id": answer.custom_id}, answer
        return
    for row in source.read():
        if row.custom_id is None:
            if not (source.limit or source.sample):  # a trial's CSV holds the rows of the trial
                yield row.cells, Answer("", "", "not in this job")
            continue
        found = next(answers, None)
        if found is None or found.custom_id != row.custom_id:
            raise BadInput(
                f"row {row.line} of the source has no request in this job", "the source or the request file changed"
            )
        yield row.cells, found


def _cell(value: Any) -> str:
    return text(value)


class _Text:
    """A text file over a binary one, for csv.writer: whole_file syncs bytes. Takes a row a time, ends it with "\\n"."""

    # Python before 3.13 quotes a lone carriage return only where the rows' end holds one: unquoted it splits the row.
    ROW_END = "\r\n"

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, text: str) -> int:
        row = text[: -len(self.ROW_END)] + "\n"
        return int(self._raw.write(row.encode("utf-8", "replace")))


def pairs(job: Job, results: Path, errors: Path, count: int) -> list[dict[str, str]]:
    """The first so many {custom_id, prompt, answer, error}, cleaned and cut to 300 characters each."""
    found: list[dict[str, str]] = []
    with job.request_file().open("rb") as file:
        file.seek(job.requests.sections[0].start)
        requests = (json.loads(line) for line in file if line.strip())
        for request, answer in zip(requests, in_order(job, results, errors), strict=False):
            if len(found) == count:
                break
            if answer.error.startswith(("not_submitted:", "running:")):  # still to come
                continue
            shown = {
                "custom_id": answer.custom_id,
                "prompt": prompt_of(request.get("body", {})),
                "answer": answer.text,
                "error": answer.error,
            }
            found.append({key: safe(value, SHOWN_CHARACTERS) for key, value in shown.items()})
    return found


def prompt_of(body: dict[str, Any]) -> str:
    """The last message of a request, or its input or prompt, as text."""
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else body.get("input", body.get("prompt", ""))
    content = last.get("content") if isinstance(last, dict) else last
    if isinstance(content, list):
        texts = [part.get("text", "(an image)") if isinstance(part, dict) else str(part) for part in content]
        return " ".join(str(text) for text in texts)
    return str(content)
