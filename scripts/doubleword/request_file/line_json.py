"""One request line from bytes to its value, exactly as the server's parser takes it.

Speed comes from one shortcut, `Likeness`: it only ever says "as good as a line read the exact way", and what it cannot
vouch for goes the exact way, so the verdicts are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from .rules import BODY_BYTES

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]


DEPTH = 127  # the server's parser gives up on entering the 128th level


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


def _depth(value: Any) -> int:
    """How many levels of brackets a parsed value has."""
    depth, level = 0, [value]
    while level:
        depth += 1
        members = (m for outer in level for m in (outer.values() if outer.__class__ is dict else outer))
        level = [m for m in members if m.__class__ is dict or m.__class__ is list]
    return depth


def parse(raw: bytes) -> Any:
    """The value of one line, read the exact way. Raises Unreadable."""
    try:
        text = raw.decode()
        value = _EXACT.decode(text)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
        if value.__class__ in (dict, list) and _depth(value) > DEPTH:
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


_PLAIN_ID = re.compile(rb'"[!#-\[\]-~]{1,64}"').fullmatch


_ID = re.compile(rb'"custom_id"\s*:\s*("[^"\\]+")')


_TEXTS = re.compile(rb'"(?:custom_id|content|text|input|prompt)": ?("[^"\\]*(?:\\.[^"\\]*)*")')


_ESCAPED_KEY = re.compile(rb'\\u[^"]*"\s*:')


class Likeness:
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
        if not fixed or len(raw) > BODY_BYTES or not raw.startswith(fixed[0]) or not raw.endswith(fixed[-1]):
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
    """Whether bytes that begin with a quote are one JSON string. Half of the time of a check is spent here (1.0 s for
    200 MB by `json`, 0.7 s by orjson where that is installed), so it may be told by either."""
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
