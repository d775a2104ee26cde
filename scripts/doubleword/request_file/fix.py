"""A corrected copy of a request file: only what can be mended without guessing what was meant."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..base.console import Progress
from ..base.failures import BadInput
from ..base.files import digest, open_regular, state_of, whole_file
from ..base.problem import Problem
from ..base.text import safe
from ..rows.file_kind import Form, encoding_of
from ..rows.text_file import WIDE
from ..rows.text_file import lines as text_lines
from .endpoints import endpoint_meant
from .line_json import Unreadable, parse
from .lines import BOM, Line, custom_id_of, lines
from .parameter_rules import numbers_meant
from .repeats import Repeats
from .verdict import require_request_file

_WHAT = {
    "wide": "UTF-16 or UTF-32 made UTF-8",
    "bom": "byte order mark removed",
    "crlf": "CRLF line ends made LF",
    "blank": "blank lines removed",
    "newline": "newline added at the end",
    "same": "identical duplicate lines removed",
    "url": "url as other services write it made that of the endpoint",
    "number": "custom_id that was a whole number made text",
    "text": "number in another form (as text, with .0) made the number that is right there",
}
SHOWN = 20  # changes of a kind that are named


@dataclass
class Mended:
    """What was done. `changes`: each with its line in the old file, the first of a kind; `counts`: all of a kind."""

    counts: Counter[str] = field(default_factory=Counter)
    changes: list[str] = field(default_factory=list)
    removed: array[int] = field(default_factory=lambda: array("L"))  # lines of the old file that have none in the new

    def note(self, kind: str, line: Line, what: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            self.changes.append(f"line {line.number}: {what}")
        elif self.counts[kind] == SHOWN + 1:
            self.changes.append(f"and more of this kind: {_WHAT[kind]}")

    def summary(self) -> list[str]:
        """A line for each kind of change, with how many there were."""
        return [f"{what} ({self.counts[kind]})" for kind, what in _WHAT.items() if self.counts[kind]]

    def said(self) -> str:
        """What was done, each change on a line of its own."""
        first = "; ".join(self.summary()) or "nothing to mend, a copy"
        told = [*(f"fix: {change}" for change in self.changes)]
        if self.counts["same"]:
            told.append("fix: tell whoever made the file what was removed: perhaps another request was meant")
        return "\n".join([first, *told])

    def before(self, problem: Problem) -> Problem:
        """A problem of the new file, with the lines of the old one, too."""
        if problem.kind == "empty":
            return problem
        first = None if problem.first_line is None else self.old_line(problem.first_line)
        return replace(problem, old_line=self.old_line(problem.line), old_first_line=first)

    def old_line(self, new: int) -> int:
        """The line of the old file that became line `new`."""
        old = new
        while (here := new + bisect_right(self.removed, old)) != old:
            old = here
        return old


def _require_free(out: Path, path: Path, made: Path | None = None) -> None:
    """Raises BadInput where a file is in the way that is not `made`, the copy once more; without it, that cannot be."""
    if not out.exists() and not out.is_symlink():
        return
    may_be = out.is_file() and not out.is_symlink() and not out.samefile(path)
    if not may_be or (made is not None and digest(out) != digest(made)):
        raise BadInput(f"{safe(out)} was not written: it exists already", "give --fix another name")


def mend(path: Path, out: Path) -> Mended:
    """Writes the mended copy and returns what was done. Raises BadInput if `out` exists and is not that very copy."""
    _require_free(out, path)
    if not out.parent.is_dir():
        raise BadInput(f"{safe(out)} was not written: there is no folder {safe(out.parent)}", "make it first")
    done, encoding = Mended(), _wide(path)
    if encoding is None:
        require_request_file(path)
    else:
        done.counts["wide"] = 1
        done.changes.append(f"all lines: {encoding.upper()} made UTF-8")
    repeats = Repeats()
    for line in _lines(path, encoding):
        repeats.add(_bare(line.raw))
    suspects, seen = repeats.suspects(), dict[bytes, int]()
    with (
        whole_file(out, path, lambda made: _require_free(out, path, made)) as file,
        Progress("fix", state_of(path)[0], "B") as progress,
    ):
        for line in _lines(path, encoding):
            progress.add(len(line.raw))
            text = _plain(line, done)
            if text and hash(text) in suspects:
                if text in seen:
                    custom_id = safe(custom_id_of(text) or "without an id", 64)
                    done.note("same", line, f"{custom_id}: removed, identical to line {seen[text]}")
                    text = b""
                else:
                    seen[text] = line.number
            if not text:
                done.removed.append(line.number)
                continue
            file.write(_with_types(text, line, done) + b"\n")
    return done


def _wide(path: Path) -> str | None:
    """The encoding that a mark names, where it is none in which the bytes of a line can be looked at."""
    with open_regular(path) as file:
        encoding = encoding_of(file.read(4))
    return encoding if encoding in WIDE else None


def _lines(path: Path, encoding: str | None) -> Iterator[Line]:
    """The lines as they are, or made UTF-8."""
    if encoding is None:
        yield from lines(path)
        return
    start = 0
    for number, text in text_lines(Form(path=str(path), format="lines", encoding=encoding)):
        raw = text.encode()
        yield Line(number, start, raw)
        start += len(raw)


def _bare(raw: bytes) -> bytes:
    return raw.removeprefix(BOM).strip(b" \t\r\n")


def _plain(line: Line, done: Mended) -> bytes:
    """The line without what only surrounds it: empty for a blank one."""
    text = _bare(line.raw)
    if (line.number == 1 and line.start > 0) or line.raw.startswith(BOM):  # of a file that was joined to another, too
        done.note("bom", line, "byte order mark removed")
    if not text:
        done.note("blank", line, "blank, removed")
        return text
    if line.raw.endswith(b"\r\n"):
        done.note("crlf", line, f"{safe(custom_id_of(text) or 'without an id', 64)}: CRLF made LF")
    if not line.raw.endswith(b"\n"):
        done.note("newline", line, f"{safe(custom_id_of(text) or 'without an id', 64)}: newline added at the end")
    return text


def _with_types(raw: bytes, line: Line, done: Mended) -> bytes:
    """The line, its id made text if it was a whole number, and its parameters numbers if they were digits as text;
    whatever else is wrong with it stays as it is."""
    try:
        request = parse(raw)
    except Unreadable:
        return raw
    if not isinstance(request, dict):
        return raw
    changed, url = {}, endpoint_meant(request.get("url"))
    if url and url != request["url"]:
        changed["url"] = url
        done.note("url", line, f"{safe(request.get('custom_id'), 64)}: url {safe(request['url'], 80)} made {url}")
    if type(request.get("custom_id")) is int:
        changed["custom_id"] = custom_id = str(request["custom_id"])
        done.note("number", line, f'custom_id {custom_id} made text, "{custom_id}"')
    numbers = numbers_meant(request)
    for key, value in numbers.items():
        was = f"body.{key} {json.dumps(request['body'][key])}"
        done.note("text", line, f"{safe(request.get('custom_id'), 64)}: {was} made a number, {value}")
    if numbers:
        changed["body"] = request["body"] | numbers
    return json.dumps(request | changed, ensure_ascii=False).encode() if changed else raw
