"""One pass that holds a whole request file against the rules, at any size, in flat memory.

Speed comes from two shortcuts, `_Likeness` and, where it is installed, orjson. Both only ever say "as good as
a line read the exact way"; what they cannot vouch for goes the exact way, so the verdicts are the same.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import rules
from .contract import BadInput, plural, safe
from .progress import Progress
from .request_file import BOM, Cutter, Span, lines, state_of

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]

DEPTH = 127  # the server's parser gives up on entering the 128th level
SHOWN = 20
# What a line of ours holds beside id, url and body; the server estimates tokens from the body alone.
_ENVELOPE = len('{"custom_id": "", "method": "POST", "url": "", "body": }\n')


# --- reading one line ----------------------------------------------------------------------------


class Unreadable(ValueError):
    """A line that is no JSON as the server takes it: kind, the offending value, what was expected."""

    def __init__(self, kind: str, value: str, expected: str) -> None:
        super().__init__(kind)
        self.kind, self.value, self.expected = kind, value, expected


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Unreadable("duplicate_key", twice, "each key once (the server keeps only the last)")
    return made


def _number(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise Unreadable("number", literal, "a number below 1.8e308")
    return value


def _integer(literal: str) -> int:
    if len(literal) > 300:  # for the server this is a float; Python itself stops at 4,300 digits
        _number(literal)
    return int(literal)


def _constant(literal: str) -> Any:
    raise Unreadable("json", literal, "a number: JSON has no NaN or Infinity")


_EXACT = json.JSONDecoder(object_pairs_hook=_members, parse_float=_number, parse_int=_integer, parse_constant=_constant)


def _measure(value: Any) -> tuple[int, int]:
    """How many keys a parsed value has in all, and how many levels."""
    keys, depth, level = 0, 0, [value]
    while level:
        depth += 1
        below = []
        for container in level:
            if container.__class__ is dict:
                keys += len(container)
                container = container.values()
            for member in container:
                if member.__class__ is dict or member.__class__ is list:
                    below.append(member)
        level = below
    return keys, depth


def parse(raw: bytes) -> Any:
    """The value of one line, read the exact way. Raises Unreadable."""
    try:
        text = raw.decode()
        value = _EXACT.decode(text)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
        if value.__class__ in (dict, list) and _measure(value)[1] > DEPTH:
            raise RecursionError
    except UnicodeDecodeError as error:
        wrong = raw[error.start : error.end].hex(" ")
        raise Unreadable("utf8", f"byte {error.start + 1} ({wrong})", "UTF-8 text") from None
    except UnicodeEncodeError as error:
        wrong = error.object[error.start].encode("unicode-escape").decode()
        raise Unreadable("surrogate", wrong, "a whole character: this is half of a surrogate pair") from None
    except RecursionError:
        raise Unreadable("depth", "more levels", f"at most {DEPTH} levels of brackets") from None
    except json.JSONDecodeError as error:
        there = text[error.pos : error.pos + 20].strip() or "the end of the line"
        expected = f"one JSON object on each line ({error.msg} at column {error.pos + 1})"
        raise Unreadable("json", there, expected) from None
    return value


_SPACED_COLON = re.compile(rb'"[ \t\r]+:')


def _read(raw: bytes) -> Any:
    """The value of one line, by orjson where that vouches for the same verdict."""
    if orjson is None:
        return parse(raw)
    try:
        value = orjson.loads(raw)
        keys, depth = _measure(value) if value.__class__ is dict else (-1, 0)
    except ValueError:
        return parse(raw)
    # orjson drops duplicate keys without a word. Every key of the text ends in `":` unless space comes between; so
    # do some texts, which only makes the count too high. As many as there are keys in the value: none was dropped.
    seen = raw.count(b'":')
    if seen != keys and b'\\\\":' not in raw:
        seen -= raw.count(b'\\":')
    return value if seen == keys and depth <= DEPTH and not _SPACED_COLON.search(raw) else parse(raw)


_PLAIN_ID = re.compile(rb'"[!#-\[\]-~]{1,64}"').fullmatch
_ID = re.compile(rb'"custom_id"\s*:\s*("[^"\\]+")')
_TEXTS = re.compile(rb'"(?:custom_id|content|text|input|prompt)": ?("[^"\\]*(?:\\.[^"\\]*)*")')
_ESCAPED_KEY = re.compile(rb'\\u[^"]*"\s*:')


class _Likeness:
    """Vouches for lines that equal one checked in full but for the id and some texts: nearly every line of a file.

    The bytes around those are the same, so the structure is, provided that each of them is one whole JSON string.
    """

    def __init__(self, raw: bytes, before: bytes, model: str, unwise: list[str]) -> None:
        """`before` is the line before it: the texts that it does not hold are those that vary."""
        self.model, self.unwise, self.lines = model, unwise, 0
        self._fixed: list[bytes] = []  # what stands before, between and after them
        custom_id = _ID.search(raw)
        self._id_at = -1
        if custom_id is None or raw.count(b'"custom_id"') != 1:
            return
        position = 0
        for found in _TEXTS.finditer(raw):
            if found[1] == custom_id[1] or found[1] not in before:
                if found.span(1) == custom_id.span(1):
                    self._id_at = len(self._fixed)
                self._fixed.append(raw[position : found.start(1)])
                position = found.end(1)
        self._fixed.append(raw[position:])
        # An escaped key could be the line's real custom_id.
        if self._id_at < 0 or any(_ESCAPED_KEY.search(piece) for piece in self._fixed):
            self._fixed = []

    def custom_id(self, raw: bytes) -> bytes | None:
        """The id of a line that is vouched for, else None."""
        fixed = self._fixed
        if not fixed or len(raw) > rules.BODY_BYTES or not raw.startswith(fixed[0]) or not raw.endswith(fixed[-1]):
            return None
        start, custom_id, last = len(fixed[0]), b"", len(fixed) - 2
        for index in range(last + 1):
            after = fixed[index + 1]
            # Quotes within a text are escaped, so the next fixed bytes, which hold several, begin after it.
            end = len(raw) - len(after) if index == last else raw.find(after, start)
            text = raw[start:end]
            if end < start:
                return None
            if index == self._id_at:
                if not _PLAIN_ID(text):
                    return None
                custom_id = text[1:-1]
            elif len(text) < 3 or text[0] != 34 or not _is_string(text):
                return None
            start = end + len(after)
        return custom_id


def _is_string(text: bytes) -> bool:
    """Whether bytes that begin with a quote are one JSON string."""
    try:
        if orjson is not None:
            orjson.loads(text)
            return True
        literal = text.decode()
        read, stop = _EXACT.raw_decode(literal)
        read.encode()  # refuses half of a surrogate pair
    except ValueError:
        return False
    return stop == len(literal)


# --- duplicates ----------------------------------------------------------------------------------


class Repeats:
    """Finds what occurs more than once among millions of byte strings, in 8 bytes each.

    Keeps Python's keyed 64-bit hashes, sorted in blocks. Equal hashes are a suspicion, to be looked at again.
    """

    BLOCK = 50_000
    SUSPECTS = 50_000  # more are not needed to list twenty, and memory stays bounded

    def __init__(self) -> None:
        self._blocks: list[array[int]] = []
        self._block: list[int] = []
        self.extra = 0  # how many have the hash of an earlier one; known after suspects()

    def add(self, item: bytes) -> None:
        self._block.append(hash(item))
        if len(self._block) >= self.BLOCK:
            self._close()

    def _close(self) -> None:
        self._blocks.append(array("q", sorted(self._block)))
        self._block = []

    def suspects(self) -> set[int]:
        """The hashes seen more than once, the first SUSPECTS of them."""
        self._close()
        found: set[int] = set()
        slices = len(self._blocks)
        edges = [-(2**63) + (2**64 * i) // slices for i in range(slices)] + [2**63 - 1]
        for low, high in pairwise(edges):
            one = [h for b in self._blocks for h in b[bisect_left(b, low) : bisect_left(b, high)]]
            if len(set(one)) != len(one):
                twice = Counter(one)
                self.extra += len(one) - len(twice)
                found.update(h for h, times in twice.items() if times > 1 and len(found) < self.SUSPECTS)
        return found


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


# --- the whole file ------------------------------------------------------------------------------


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
            raise BadInput(
                f"{safe(path)}: {plural(sum(self.counts.values()), 'problem')} ({kinds})",
                "mend the lines named, or make the file again; --fix OUT mends what needs no guessing",
                self.problems,
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
        self._like = self._none = _Likeness(b"", b"", "", [])
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
            request = _read(raw)
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
                self._like = _Likeness(raw, self._before, request["body"]["model"], unwise)
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
    size, read, shown = state_of(path)[0], 0, 0
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
            read += len(raw)
            if read - shown > 1_000_000:
                progress.add(read - shown)
                shown = read
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
    report.input_tokens = max(0, read - envelopes) // 4
    return report
