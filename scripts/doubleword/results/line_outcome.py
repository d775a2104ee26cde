"""What the server's lines say of single requests: result, or error of a kind, with status and text.

A result needs a line that parses whole, a 2xx status, no error, and a body that is an answer (see answer.py): the
server counts a web page, an event stream or an empty body as completed, too.
"""

from __future__ import annotations

import atexit
import marshal
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..base.files import state_of
from ..base.json_text import count, fields, read_json, words
from ..base.own_files import reading_own
from ..base.text import safe
from ..request_file.answer_form import Expected
from . import response_body
from .answer import Judged, judged
from .response_body import Said, says_anything, word

BRIEF = 40  # characters of an answer that is counted word by word
BRIEFS = 1000  # of so many different ones in a batch nothing is told by counting
PLAIN = "\n"  # in place of a brief: some other text, see `Said.plain`
ID_LENGTH = 64  # bytes that a custom_id has at most: the server takes no longer ones
AT_ONCE = 1000  # outcomes that are written down together


class Outcome(NamedTuple):
    """What one line of a spool says of one request; the line itself stays there, at offset and length."""

    spool: Path
    custom_id: str
    offset: int
    length: int
    kind: str = ""  # of the error; "" for a result
    status: int | None = None
    cut: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    brief: str = ""  # an answer that is a short text, as it is; PLAIN for another text; "" for all others
    numbers: int = 0  # of a vector

    @property
    def is_result(self) -> bool:
        return not self.kind


class Failed(NamedTuple):
    """Why a line is no result. The kind is never empty. `said`: what was paid all the same."""

    kind: str
    status: int | None
    text: str
    said: Said = Said()


class Looked:
    """The lines of one spool, each looked at once: where they end, how many there are, and their custom_ids.

    What they say goes to a file that has no name, so that memory does not hold it for every part of a job.
    """

    def __init__(self, spool: Path, expected: Expected | None) -> None:
        self.end = self.lines = 0
        self.ids: set[str] = set()  # "" of a line that is no JSON
        self.spool, self.expected = spool, expected
        self._briefs: dict[str, str] = {}
        self._latest: list[Outcome] = []
        self._places: list[tuple[int, int]] = []  # in the file, of the others

    def add(self, lines: Iterable[bytes]) -> list[str]:
        """Takes the next lines, without their ends; their custom_ids."""
        ids, end = list[str](), self.end
        for raw in lines:
            if len(self._latest) == AT_ONCE:
                self._write_down()
            outcome = outcome_of(raw, self.spool, end, self.expected, self._briefs)
            self._latest.append(outcome)
            ids.append(outcome.custom_id)
            end += len(raw) + 1
        self.end, self.lines = end, self.lines + len(ids)
        self.ids.update(ids)
        return ids

    def let_go(self) -> None:
        """Of what only a fetch needs, and of the last outcomes: a hundred parts of a thousand would hold 35 MB."""
        self.ids, self._briefs = set(), {}
        if self._latest:
            self._write_down()

    def _write_down(self) -> None:
        self._places.append(_write([o[1:] for o in self._latest], self.spool.parent))
        self._latest = []

    def outcomes(self) -> Iterator[Outcome]:
        """What the lines say, in their order."""
        spool = (self.spool,)
        for place in self._places:
            for found in _read(*place):
                yield tuple.__new__(Outcome, spool + found)  # 0.1 microseconds; _make takes 0.5
        yield from self._latest


_file: BinaryIO | None = None
_mutex = threading.Lock()


def _write(some: list[tuple[Any, ...]], folder: Path) -> tuple[int, int]:
    """(start, length) in the file without a name; the first call makes it, in a folder that has room for answers."""
    global _file
    with _mutex:
        if _file is None:
            try:
                _file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open to the end
            except OSError:  # an earlier job's, which may be read-only: --reuse reads it
                _file = tempfile.TemporaryFile()  # noqa: SIM115
            atexit.register(_closed, _file)
        return _file.seek(0, os.SEEK_END), _file.write(marshal.dumps(some))


def _closed(file: BinaryIO) -> None:
    with suppress(OSError):  # a full disk was told of by what needed it
        file.close()


def _read(start: int, length: int) -> list[tuple[Any, ...]]:
    with _mutex:
        assert _file is not None
        _file.seek(start)
        raw = _file.read(length)
    found: list[tuple[Any, ...]] = marshal.loads(raw)  # noqa: S302 - nobody else can write to it
    return found


# What was looked at in this process is not looked at again: each with the state of the spool then.
_known: dict[Path, tuple[tuple[int, ...], Looked]] = {}


def keep(looked: Looked) -> None:
    """Notes what the lines of a spool say, as it lies there now; their ids were counted by now."""
    looked.let_go()
    _known[looked.spool] = (*state_of(looked.spool), id(looked.expected)), looked


def read(spool: Path, expected: Expected | None) -> Iterator[Outcome]:
    """The outcomes of every line of a spool, in its order; lines that are no JSON have the custom_id ""."""
    if not spool.exists():
        return iter(())
    known = _known.get(spool)
    if known is None or known[0] != (*state_of(spool), id(expected)):
        looked = Looked(spool, expected)
        with reading_own(spool) as file:
            looked.add(raw.removesuffix(b"\n") for raw in file)
        keep(looked)
    return _known[spool][1].outcomes()


def outcome_of(raw: bytes, spool: Path, offset: int, expected: Expected | None, briefs: dict[str, str]) -> Outcome:
    """What one line says, which stands in a file at an offset; `raw` is without its end, `length` has it. `briefs`:
    the short answers of the lines before."""
    line, failed = parsed_line(raw)
    custom_id, length = line.get("custom_id"), len(raw) + 1
    if not isinstance(custom_id, str) or len(custom_id) > ID_LENGTH:
        custom_id = ""
    if failed:
        return Outcome(spool, custom_id, offset, length, failed.kind, failed.status)
    response = line["response"]
    said, answer = answered(response["body"], expected)
    kind, brief, numbers = "", "", 0
    if answer.failure:
        kind = answer.failure[0]
    elif said.vectors:
        numbers = len(said.vectors[0]) if isinstance(said.vectors[0], list) else 0
    else:
        brief = _brief(answer.value, briefs) or (PLAIN if said.plain and expected is None else "")
    used = said.prompt_tokens, said.completion_tokens
    return Outcome(spool, custom_id, offset, length, kind, response["status_code"], said.cut, *used, brief, numbers)


def answered(body: dict[str, Any], expected: Expected | None) -> tuple[Said, Judged]:
    """What a body says, and the answer in it."""
    said = response_body.read(body)
    return said, judged(said, expected)


def _brief(value: Any, briefs: dict[str, str]) -> str:
    """An answer that is a short text; one object for all that are equal, and none where too many differ."""
    if not isinstance(value, str) or len(value) > 2 * BRIEF or len(text := value.strip()) > BRIEF or "\n" in text:
        return ""
    return briefs.setdefault(value, value) if len(briefs) < BRIEFS else briefs.get(value, "")


def error_of(raw: bytes, expected: Expected | None) -> Failed | None:
    """Why a line is no result. It is not kept for every request: that would not fit into memory."""
    line, failed = parsed_line(raw)
    if failed:
        return failed
    said, answer = answered(line["response"]["body"], expected)
    return (
        Failed(answer.failure[0], line["response"]["status_code"], answer.failure[1], said) if answer.failure else None
    )


def said_in(error: dict[str, Any]) -> Said:
    """What the line of an errors file says of the answer that was none: what was paid for it."""
    return Said(
        reasoning=words(error.get("reasoning")),
        finish=words(error.get("finish_reason")),
        cut=error.get("cut") is True,
        prompt_tokens=count(error.get("prompt_tokens")),
        completion_tokens=count(error.get("completion_tokens")),
    )


def parsed_line(raw: bytes) -> tuple[dict[str, Any], Failed | None]:
    """A line of the server's as an object, {} if it is none, and why it brings no body."""
    try:
        line = read_json(raw)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        return {}, Failed("not_json", None, safe(raw.decode("utf-8", "replace")))
    response, error = line.get("response"), line.get("error")
    if says_anything(error) or not isinstance(response, dict):
        return line, _error(error)
    status, body = response.get("status_code"), response.get("body")
    if not isinstance(status, int) or not 200 <= status < 300:
        number = status if isinstance(status, int) else None
        return line, Failed(f"http_{safe(status, 10)}", number, _inner(body) or safe(body))
    if not isinstance(body, dict):
        return line, Failed("not_json", status, safe(body) if body else "(an empty body)")
    return line, None


def _error(error: Any) -> Failed:
    """An error: {code, message} as documented, or the JSON in a string that is really sent."""
    message = error.get("message") if isinstance(error, dict) else error
    try:
        reason = read_json(str(message))
        kind, details = reason["type"], reason.get("details") or {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Failed(word(fields(error).get("code")) or "error", None, safe(message))
    if not isinstance(details, dict):
        return Failed(word(kind) or "error", None, safe(details))
    status, text = details.get("status"), details.get("body", details.get("error", kind))
    try:
        text = _inner(read_json(text) if isinstance(text, str) else text) or text
    except (ValueError, TypeError, RecursionError):
        pass
    if isinstance(status, int):
        return Failed(f"http_{status}", status, safe(text))
    return Failed(word(re.sub("(?=[A-Z])", "_", safe(kind, 40))) or "error", None, safe(text))  # TaskTerminated


def _inner(body: Any) -> str:
    """The message of an {"error": ...}, or ""."""
    error = fields(body).get("error")
    return safe(fields(error).get("message") or error or "")
