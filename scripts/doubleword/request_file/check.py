"""One pass that holds a whole request file against the rules, at any size, in flat memory.

A line is read by `line_json` and held against `rules`; here are duplicates, counts and what is said about it all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..base.console import Progress
from ..base.files import state_of
from ..base.problem import Problem
from ..base.text import plural, safe
from . import rules
from .endpoints import endpoint_meant
from .line_json import Likeness, Unreadable, parse
from .lines import BOM, Line, custom_id_of, lines
from .parameter_rules import numbers_meant
from .parts import Cutter
from .repeats import Repeats
from .verdict import Verdict

SHOWN = 20

# What a line of ours holds beside id, url and body; the server estimates tokens from the body alone.
_ENVELOPE = len('{"custom_id": "", "method": "POST", "url": "", "body": }\n')


def _duplicates(found: Iterable[Line], suspects: set[int]) -> Iterator[tuple[int, str, int, bool]]:
    """Line, id, first line of each repeated id, and whether the lines are the same; told from mere equal hashes by
    reading the lines again."""
    first: dict[str, tuple[int, int]] = {}
    for line in found:
        custom_id = None if line.blank else custom_id_of(line.raw)
        if custom_id is not None and hash(custom_id.encode()) in suspects:
            whole = hash(line.raw.strip())
            if custom_id in first:
                number, other = first[custom_id]
                yield line.number, custom_id, number, whole == other
            first.setdefault(custom_id, (line.number, whole))


_KEYS = frozenset(("custom_id", "method", "url", "body"))


class _Check:
    """The state of the pass: what has been found so far."""

    def __init__(self, endpoint: str | None, bodies: bool) -> None:
        self.report = Verdict()
        self.endpoint = endpoint
        self.counts: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.unwise: Counter[str] = Counter()
        self.harmless: Counter[str] = Counter()
        self.ids = Repeats()
        self.id_bytes = 0
        self.bodies = Repeats() if bodies else None
        self._like = self._none = Likeness(b"", b"", "", [])
        self._in_full, self._before = 0, b""

    def add(self, line: Line) -> None:
        raw = line.raw
        custom_id = self._like.custom_id(raw)
        if custom_id is None:
            custom_id = self._look(line.number, raw)
            self.harmless["CRLF line ends"] += raw.endswith(b"\r\n")
            self.harmless["a byte order mark"] += line.number == 1 and line.start == len(BOM)
        else:
            self._like.lines += 1
            self._in_full = 0
        if custom_id is not None:
            self.ids.add(custom_id)
            self.id_bytes += len(custom_id)
            if self.bodies is not None:
                at = raw.find(custom_id)  # near the start, as in lines of ours, nothing that is asked stands before it
                asks = raw[at + len(custom_id) :] if at < 20 else raw.replace(b'"%b"' % custom_id, b"", 1)
                self.bodies.add(asks.strip())
            if custom_id.isdigit():
                self.unwise[
                    "with a bare number as custom_id: spreadsheets drop zeros before it and digits past 15"
                ] += 1

    def _look(self, number: int, raw: bytes) -> bytes | None:
        """The full check of one line; its id, if it has one."""
        problems: list[tuple[str, str, Any, str]] = []
        unwise: list[str] = []
        try:
            request = parse(raw)
        except Unreadable as error:
            self.found(number, "line", error.kind, error.value, error.expected)
            self.report.rows += error.kind == "json" and b'"custom_id"' not in raw
            self.report.mendable |= raw.startswith(BOM)
            return None
        fields = request if isinstance(request, dict) else {}
        self.report.rows += fields is request and _KEYS.isdisjoint(request)
        custom_id, url = fields.get("custom_id"), fields.get("url")
        self.report.mendable |= type(custom_id) is int
        rules.look(request, self.endpoint, len(raw), lambda *problem: problems.append(problem), unwise.append)
        for what in unwise:
            self.unwise[what] += 1
        for problem in problems:
            self.found(number, *problem)
        self.report.mendable |= bool(problems and (numbers_meant(request) or endpoint_meant(url) not in ("", url)))
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
            self.harmless["CRLF line ends"] += self._like.lines * self._like.crlf
            for what in self._like.unwise:
                self.unwise[what] += self._like.lines
        self._like = self._none

    def found(self, line: int, where: str, kind: str, value: Any, expected: str) -> None:
        self.counts[kind] += 1
        if len(self.report.problems) < SHOWN:
            self.report.problems.append(_problem(line, where, kind, value, expected))

    def finish(self, again: Callable[[], Iterable[Line]]) -> None:
        self._settle()
        suspects = self.ids.suspects()
        found = []
        for number, custom_id, first, identical in _duplicates(again(), suspects) if suspects else ():
            self.report.mendable |= identical
            found.append(_problem(number, "custom_id", "duplicate_id", custom_id, "an id of its own", first))
            if len(found) == SHOWN:
                break
        if found:
            self.counts["duplicate_id"] = self.ids.extra
        report = self.report
        report.problems = sorted(report.problems + found, key=lambda p: p.line)[:SHOWN]
        report.counts, report.models, report.endpoint = dict(self.counts), dict(self.models), self.endpoint or ""
        report.warnings = [f"{plural(count, 'request')} {what}" for what, count in self.unwise.items()]
        if self.bodies is not None:
            self.bodies.suspects()
            same = self.bodies.extra + self.bodies.repeated
            if same * 10 > report.requests:
                report.warnings.append(
                    f"{same} of {plural(report.requests, 'request')} ({same / report.requests:.0%}) ask the same as"
                    f" another; {self.bodies.extra} ({self.bodies.extra / report.requests:.0%}) repeat an earlier one"
                    " and would cost about that share of the estimate that upload.py shows"
                )


def _problem(line: int, where: str, kind: str, value: Any, expected: str, first: int | None = None) -> Problem:
    shown = "nothing" if value is None else safe(json.dumps(value, ensure_ascii=False), 80)
    return Problem(line, where, kind, shown, expected, first)


def check(
    path: Path, *, part_requests: int, part_bytes: int, endpoint: str | None = None, bodies: bool = False
) -> Verdict:
    """Reads `path` once (twice if two ids seem equal). Bad lines are in the report; raises BadInput only for a file
    that cannot be read, changes meanwhile, or holds a line that no part can take."""
    with Progress("check", state_of(path)[0], "B") as progress:
        found = _shown(lines(path), progress)
        return examine(found, lambda: lines(path), Cutter(part_requests, part_bytes), endpoint, bodies)


def _shown(found: Iterator[Line], progress: Progress) -> Iterator[Line]:
    shown = 0
    for line in found:
        if line.start - shown > 1_000_000:
            progress.add(line.start - shown)
            shown = line.start
        yield line


def examine(
    found: Iterable[Line],
    again: Callable[[], Iterable[Line]],
    cutter: Cutter,
    endpoint: str | None = None,
    bodies: bool = False,
) -> Verdict:
    """Holds lines against the rules as they pass. `again` gives the same lines once more, where ids seem equal.

    `bodies`: requests that ask the same are counted, too, which takes a tenth longer.
    """
    checked = _Check(endpoint, bodies)
    blank, line = 0, Line(0, 0, b"\n")
    for line in found:
        if cutter.add(line):
            checked.add(line)
        else:
            blank += len(line.raw)
            checked.harmless["blank lines"] += bool(line.raw)
    checked.harmless["no newline at the end"] += not line.raw.endswith(b"\n")
    report = checked.report
    report.spans, report.sha256 = cutter.parts()
    report.size = line.start + len(line.raw) if line.number else 0
    report.requests = sum(span.requests for span in report.spans)
    if not report.requests:
        checked.found(1, "file", "empty", None, "at least one request")
    checked.finish(again)
    report.notes = [
        f"{what} ({count}): accepted" if count > 1 else f"{what}: accepted"
        for what, count in (+checked.harmless).items()
    ]
    envelopes = report.requests * (_ENVELOPE + len(report.endpoint)) + checked.id_bytes
    report.input_tokens = max(0, report.size - blank - envelopes) // 4
    return report
