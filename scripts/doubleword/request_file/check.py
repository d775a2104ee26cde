"""One pass that holds a whole request file against the rules, at any size, in flat memory.

A line is read by `reading` and held against `rules`; here are duplicates, counts and what is said about it all.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..base.files import state_of
from ..base.progress import Progress
from ..base.text import plural, safe
from . import rules
from .lines import BOM, Span, lines
from .parse import Likeness, Unreadable, parse, read
from .parts import Cutter
from .repeats import Repeats

SHOWN = 20


# What a line of ours holds beside id, url and body; the server estimates tokens from the body alone.
_ENVELOPE = len('{"custom_id": "", "method": "POST", "url": "", "body": }\n')


_HEAD = re.compile(rb'\{ ?"custom_id": ?"([^"\\]+)"').match


def _identifier(raw: bytes) -> bytes | None:
    """The id of any line that has one."""
    if plain := _HEAD(raw):
        return plain[1]
    try:
        custom_id = parse(raw)["custom_id"]
        return custom_id.encode() if isinstance(custom_id, str) else None
    except (Unreadable, TypeError, KeyError):
        return None


def _duplicates(path: Path, suspects: set[int]) -> Iterator[tuple[int, str, int]]:
    """Line, id and first line of each repeated id, told from mere equal hashes by reading the file again."""
    first: dict[bytes, int] = {}
    for line in lines(path):
        custom_id = None if line.blank else _identifier(line.raw)
        if custom_id is not None and hash(custom_id) in suspects:
            if custom_id in first:
                yield line.number, custom_id.decode(), first[custom_id]
            first.setdefault(custom_id, line.number)


@dataclass
class Report:
    """What one pass over a request file found. `problems`: the first 20; `counts`: all of them, by kind."""

    spans: list[Span] = field(default_factory=list)
    requests: int = 0
    size: int = 0
    sha256: str = ""
    models: dict[str, int] = field(default_factory=dict)
    endpoint: str = ""
    input_tokens: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def require(self, path: Path) -> None:
        """Raises BadInput, with every kind counted, if there is any problem."""
        if self.counts:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
            step = "mend the lines named, or make the file again; --fix OUT mends what needs no guessing"
            if set(self.counts) == {"json"} and self.counts["json"] >= self.requests and path.suffix != ".jsonl":
                made = safe(path.with_suffix(".jsonl"))
                step = f"these are rows, no requests: create_batch_file.py {made} --input {safe(path)} makes requests"
            raise BadInput(
                f"{safe(path)}: {plural(sum(self.counts.values()), 'problem')} ({kinds})", step, self.problems
            )


class _Check:
    """The state of the pass: what has been found so far."""

    def __init__(self, endpoint: str | None) -> None:
        self.report = Report()
        self.endpoint = endpoint
        self.counts: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.unwise: Counter[str] = Counter()
        self.ids = Repeats()
        self.id_bytes = 0
        self._like = self._none = Likeness(b"", b"", "", [])
        self._in_full, self._before = 0, b""

    def add(self, number: int, raw: bytes) -> None:
        custom_id = self._like.custom_id(raw)
        if custom_id is None:
            custom_id = self._look(number, raw)
        else:
            self._like.lines += 1
            self._in_full = 0
        if custom_id is not None:
            self.ids.add(custom_id)
            self.id_bytes += len(custom_id)
            if custom_id.isdigit():
                self.unwise["with a bare number as custom_id: spreadsheets change those"] += 1

    def _look(self, number: int, raw: bytes) -> bytes | None:
        """The full check of one line; its id, if it has one."""
        problems: list[tuple[str, str, Any, str]] = []
        unwise: list[str] = []
        try:
            request = read(raw)
        except Unreadable as error:
            self.found(number, "line", error.kind, error.value, error.expected)
            return None
        rules.look(request, self.endpoint, len(raw), lambda *problem: problems.append(problem), unwise.append)
        for what in unwise:
            self.unwise[what] += 1
        for problem in problems:
            self.found(number, *problem)
        custom_id = request.get("custom_id") if isinstance(request, dict) else None
        if not problems:
            self.endpoint = request["url"]
            self.models[request["body"]["model"]] += 1
            # Two such lines in a row: what they have in common may hold for the next. Not tried at each, for in a
            # mixed file it never holds.
            self._in_full += 1
            if self._in_full > 1 and not self._in_full & (self._in_full - 1):
                self._settle()
                self._like = Likeness(raw, self._before, request["body"]["model"], unwise)
            self._before = raw
        return custom_id.encode() if isinstance(custom_id, str) and custom_id else None

    def _settle(self) -> None:
        """Counts what was learnt of one line for all the lines like it."""
        if self._like.lines:
            self.models[self._like.model] += self._like.lines
            for what in self._like.unwise:
                self.unwise[what] += self._like.lines
        self._like = self._none

    def found(self, line: int, where: str, kind: str, value: Any, expected: str) -> None:
        self.counts[kind] += 1
        if len(self.report.problems) < SHOWN:
            self.report.problems.append(_problem(line, where, kind, value, expected))

    def finish(self, path: Path) -> None:
        self._settle()
        suspects = self.ids.suspects()
        found = []
        for line, custom_id, first in _duplicates(path, suspects) if suspects else ():
            expected = f"an id of its own (first on line {first})"
            found.append(_problem(line, "custom_id", "duplicate_id", custom_id, expected))
            found[-1]["text"] = f"line {line}: custom_id: duplicate {found[-1]['value']} (first on line {first})"
            if len(found) == SHOWN:
                break
        if found:
            self.counts["duplicate_id"] = self.ids.extra
        report = self.report
        report.problems = sorted(report.problems + found, key=lambda p: int(p["line"]))[:SHOWN]
        report.counts, report.models, report.endpoint = dict(self.counts), dict(self.models), self.endpoint or ""
        report.warnings = [f"{plural(count, 'request')} {what}" for what, count in self.unwise.items()]


def _problem(line: int, where: str, kind: str, value: Any, expected: str) -> dict[str, Any]:
    shown = "nothing" if value is None else safe(json.dumps(value, ensure_ascii=False), 80)
    return {
        "line": line,
        "field": where,
        "kind": kind,
        "value": shown,
        "expected": expected,
        "text": f"line {line}: {where}: {shown}; expected {expected}",
    }


def check(path: Path, *, part_requests: int, part_bytes: int, endpoint: str | None = None) -> Report:
    """Reads `path` once (twice if two ids seem equal). Bad lines are in the report; raises BadInput only for a file
    that cannot be read, changes meanwhile, or holds a line that no part can take."""
    size, seen, shown = state_of(path)[0], 0, 0
    checked, harmless = _Check(endpoint), Counter[str]()
    with Progress("check", size, "B") as progress, Cutter(path, part_requests, part_bytes) as cutter:
        for line in lines(path):
            raw = line.raw
            if not cutter.add(line):
                harmless["blank lines"] += bool(raw)
                continue
            if raw.endswith(b"\r\n"):
                harmless["CRLF line ends"] += 1
            checked.add(line.number, raw)
            seen += len(raw)
            if seen - shown > 1_000_000:
                progress.add(seen - shown)
                shown = seen
        report = checked.report
        report.spans, report.sha256 = cutter.parts(size)
    report.size, report.requests = size, sum(span.requests for span in report.spans)
    if not report.requests:
        checked.found(1, "file", "empty", None, "at least one request")
    checked.finish(path)
    with path.open("rb") as file:
        harmless["a byte order mark"] += file.read(3) == BOM
        harmless["no newline at the end"] += size > 0 and file.seek(-1, 2) >= 0 and file.read() != b"\n"
    report.notes = [
        f"{what} ({count}): accepted" if count > 1 else f"{what}: accepted" for what, count in (+harmless).items()
    ]
    envelopes = report.requests * (_ENVELOPE + len(report.endpoint)) + checked.id_bytes
    report.input_tokens = max(0, seen - envelopes) // 4
    return report
