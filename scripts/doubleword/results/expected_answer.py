"""What every answer of a job must be, as its requests ask for it; so it is known of jobs made elsewhere, too."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..base.console import say
from ..base.files import state_of
from ..base.json_text import read_json
from ..job.job import Job
from ..request_file.answer_form import Expected, expected_of
from ..request_file.lines import lines

_KEYS = (b'"response_format"', b'"format"')  # of chat completions, of responses


def expected(job: Job) -> Expected | None:
    """What the job's answers are held against; None for any text. One object for as long as the file stays as it is."""
    return expected_in(job.request_file())


def expected_in(path: Path) -> Expected | None:
    """The same for a request file."""
    return _expected(path, *state_of(path)) if path.exists() else None


@functools.lru_cache(maxsize=4)
def _expected(path: Path, size: int, changed_ns: int) -> Expected | None:  # noqa: ARG001 - what the file was then
    requests = (line.raw for line in lines(path) if not line.blank)
    first = next(requests, b"")
    found = expected_of(_body(first))
    if found is None or not _differs(first, requests, found):
        return found
    say("the requests ask for answers of different forms: none is held against a schema")
    return None


def _differs(first: bytes, others: Iterator[bytes], found: Expected) -> bool:
    """Whether another request asks for something else. Most say it in the same bytes: those are not parsed."""
    same = _words(first, found)
    return any(not (same and same in raw) and expected_of(_body(raw)) != found for raw in others)


def _words(raw: bytes, found: Expected) -> bytes:
    """The key and the value of a request line that say the form of its answer, as they stand there."""
    text = raw.decode("utf-8", "replace")
    for key in _KEYS:
        start = text.find(key.decode())
        value = text.find("{", start)
        if start >= 0 and value >= 0:
            try:
                form, end = json.JSONDecoder().raw_decode(text, value)
            except (ValueError, RecursionError):
                continue
            if found in (expected_of({"response_format": form}), expected_of({"text": {"format": form}})):
                return text[start:end].encode()
    return b""


def _body(raw: bytes) -> Any:
    try:
        found = read_json(raw, exact=True)
    except ValueError:
        return None
    return found.get("body") if isinstance(found, dict) else None
