"""The answer to every request, read back from the files that a download wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..base.files import BLOCK_BYTES, read_at
from ..base.json_text import fields, read_again, read_json
from ..job.job import Job
from ..request_file.answer_form import Expected
from ..request_file.lines import request_ids
from . import line_outcome
from .answer import reasoning_of
from .response_body import Said

NOT_IN_JOB = "not in this job"


class Answer(NamedTuple):
    """What a request brought. `value`: a text, a word, a value of JSON, a vector; None with an `error`."""

    custom_id: str
    value: Any = None
    error: str = ""
    said: Said = Said()

    @property
    def reasoning(self) -> str:
        return reasoning_of(self.said)


Find = Callable[[str], Answer | None]  # the answer of a custom_id; None where there is none to be had


def in_order(results: Path, errors: Path, expected: Expected | None, briefs: Iterable[str] = ()) -> Find:
    """The answers, if they are asked for in the order of the request file: both files are in that order.

    `briefs`: what the merge that wrote the results knows of them already; such a line is not looked at with care once
    more. Only where every request is in one of the files.
    """
    good, bad = _lines(results), (read_json(line) for line in _lines(errors))
    of_results = iter(briefs)
    result, brief, error = next(good, b""), next(of_results, ""), next(bad, None)

    def find(custom_id: str) -> Answer | None:
        nonlocal result, brief, error
        if error is not None and error["custom_id"] == custom_id:
            failed, error = _failure(error), next(bad, None)
            return failed
        # After a look at the errors: a body may name any custom_id within itself.
        if brief and f'"custom_id":"{custom_id}"'.encode() in result:
            found = Answer(custom_id, _plain(result) if brief == line_outcome.PLAIN else brief)
        else:
            line = read_json(result) if result else None
            if line is None or line["custom_id"] != custom_id:
                return None
            found = _answer(line, expected)
        result, brief = next(good, b""), next(of_results, "")
        return found

    return find


def _plain(result: bytes) -> Any:
    return read_again(result)["response"]["body"]["choices"][0]["message"]["content"]


def by_id(results: Path, errors: Path, expected: Expected | None) -> Find:
    """The answers, in any order. Memory holds where the lines are."""
    good, bad = _places(results), _places(errors)

    def line(path: Path, start: int, length: int) -> dict[str, Any]:
        with path.open("rb", buffering=0) as file:
            return fields(read_json(read_at(file.fileno(), start, length)))

    def find(custom_id: str) -> Answer | None:
        if custom_id in good:
            return _answer(line(results, *good[custom_id]), expected)
        return _failure(line(errors, *bad[custom_id])) if custom_id in bad else Answer(custom_id, error=NOT_IN_JOB)

    return find


def unanswered(job: Job) -> Find:
    """Of each request, in order, that it has no answer: for a table that is made before there are any."""
    ids = requested(job)
    return lambda custom_id: Answer(custom_id) if next(ids, None) == custom_id else None


def requested(job: Job) -> Iterator[str]:
    """The custom_id of every request of the job."""
    for span in job.requests.sections:
        yield from (custom_id for _, custom_id in request_ids(job.request_file(), span))


def _answer(line: dict[str, Any], expected: Expected | None) -> Answer:
    said, found = line_outcome.answered(line["response"]["body"], expected)
    return Answer(line["custom_id"], found.value, "", said)


def _failure(line: dict[str, Any]) -> Answer:
    return Answer(line["custom_id"], None, f"{line['kind']}: {line['text']}", line_outcome.said_in(line))


def _lines(path: Path) -> Iterator[bytes]:
    if not path.exists():  # no request failed
        return
    with path.open("rb", buffering=BLOCK_BYTES) as file:
        yield from file


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where in a file of results the line of each custom_id begins, and how long it is."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    if not path.exists():
        return found
    with path.open("rb") as file:
        for line in file:
            found[read_json(line)["custom_id"]] = start, len(line)
            start += len(line)
    return found
