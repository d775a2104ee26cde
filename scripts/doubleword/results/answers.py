"""The answer to every request, read back from the files that a download wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import BadInput
from ..base.text import safe
from ..job.job import Job
from ..request_file.expected import Expected
from ..request_file.lines import request_ids
from . import outcome
from .answer import split_thinking
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
        return self.said.reasoning or split_thinking(self.said.text)[0]


def in_order(job: Job, results: Path, errors: Path, expected: Expected | None) -> Iterator[Answer]:
    """The answer to every request, in the order of the request file: both files are in that order."""
    good, bad = _lines(results), _lines(errors)
    result, error = next(good, None), next(bad, None)
    for custom_id in requested(job):
        if result is not None and result["custom_id"] == custom_id:
            yield _answer(result, expected)
            result = next(good, None)
        elif error is not None and error["custom_id"] == custom_id:
            yield _failure(error)
            error = next(bad, None)
        else:
            raise BadInput(
                f"{safe(results.name)} and {safe(errors.name)} do not fit the job at {safe(custom_id, 64)}",
                "run download.py again",
            )


def by_id(ids: Iterable[str], results: Path, errors: Path, expected: Expected | None) -> Iterator[Answer]:
    """The answer of each id, in the order of the ids. Memory holds where the lines are."""
    places = _places(results)
    failures = {line["custom_id"]: _failure(line) for line in _lines(errors)}
    with results.open("rb") as file:
        for custom_id in ids:
            if custom_id in places:
                file.seek(places[custom_id])
                yield _answer(outcome.loads(file.readline()), expected)
            else:
                yield failures.get(custom_id) or Answer(custom_id, error=NOT_IN_JOB)


def requested(job: Job) -> Iterator[str]:
    """The custom_id of every request of the job."""
    for span in job.requests.sections:
        yield from (custom_id for _, custom_id in request_ids(job.request_file(), span))


def _answer(line: dict[str, Any], expected: Expected | None) -> Answer:
    said, found = outcome.answered(line["response"]["body"], expected)
    return Answer(line["custom_id"], found.value, "", said)


def _failure(line: dict[str, Any]) -> Answer:
    return Answer(line["custom_id"], None, f"{line['kind']}: {line['text']}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():  # no request failed
        return
    with path.open("rb") as file:
        for line in file:
            yield outcome.loads(line)


def _places(path: Path) -> dict[str, int]:
    """Where in a file of results the line of each custom_id begins."""
    found: dict[str, int] = {}
    start = 0
    with path.open("rb") as file:
        for line in file:
            found[outcome.loads(line)["custom_id"]] = start
            start += len(line)
    return found
