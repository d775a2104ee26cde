"""One request line from bytes to its value, exactly as the server's parser takes it.

Speed comes from one shortcut, `Likeness`: it only ever says "as good as a line read the exact way", and what it cannot
vouch for goes the exact way, so the verdicts are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import chain
from typing import Any

from ..base.json_text import deeper, orjson
from .rules import BODY_BYTES

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


def parse(raw: bytes, whole: str = "one JSON object on each line") -> Any:
    """The value of one line, read the exact way. Raises Unreadable; `whole` is what was expected there."""
    try:
        text = raw.decode()
        value = _EXACT.decode(text)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
        if deeper(value, DEPTH):
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
        if there[0] == "\ufeff":
            there = "a byte order mark, which cannot be seen (were files joined there?)"
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise Unreadable("json", there, f"{whole} ({error.msg} at {where})") from None
    return value


_PLAIN_ID = re.compile(rb"[!#-\[\]-~]{1,64}").fullmatch
# What varies from line to line: the id, and texts that are asked.
_ID = re.compile(rb'"custom_id"\s*:\s*("[^"\\]+")')
_TEXTS = re.compile(rb'"(?:custom_id|content|text|input|prompt)": ?("[^"\\]*(?:\\.[^"\\]*)*")')
_ESCAPED_KEY = re.compile(rb'\\u[^"]*"\s*:')


class Likeness:
    """Vouches for lines that equal one checked in full but for the id and some texts: nearly every line of a file.

    The bytes around those are the same, so the structure is, provided that each of them is one whole JSON string. The
    id must be the first that varies, as in all files but those with sorted keys: those are read the exact way.
    """

    def __init__(self, raw: bytes, before: bytes, model: str, unwise: list[str]) -> None:
        """`before` is the line before it: the texts that it does not hold are those that vary."""
        self.model, self.unwise, self.lines, self.crlf = model, unwise, 0, raw.endswith(b"\r\n")
        custom_id = _ID.search(raw)
        wanted = custom_id and custom_id[1]
        found = [text.span(1) for text in _TEXTS.finditer(raw) if text[1] == wanted or text[1] not in before]
        edges = [0, *chain.from_iterable(found), len(raw)]
        # What stands before, between and after them, with their quotes: so each of them begins and ends with one.
        fixed = [raw[max(start - 1, 0) : end + 1] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        # An escaped key could be the line's real custom_id.
        self._sound = (
            custom_id is not None
            and found[:1] == [custom_id.span(1)]
            and raw.count(b'"custom_id"') == 1
            and not any(map(_ESCAPED_KEY.search, fixed))
        )
        self._first, self._between, self._last = fixed[0], fixed[1:-1], fixed[-1]
        # What is so of an empty text, or of an odd id, is not so of the lines that have others.
        self._sound = self.custom_id(raw) is not None

    def custom_id(self, raw: bytes) -> bytes | None:
        """The id of a line that is vouched for, else None."""
        if not self._sound or not (raw.startswith(self._first) and raw.endswith(self._last)) or len(raw) > BODY_BYTES:
            return None
        start, custom_id = len(self._first), b""
        for after in self._between:
            # Quotes within a text are escaped, so the next fixed bytes, which hold several, begin after it.
            end = raw.find(after, start)
            if end < 0:
                return None
            if not custom_id:
                custom_id = raw[start:end]
                if not _PLAIN_ID(custom_id):
                    return None
            elif not _is_string(raw[start - 1 : end + 1]):
                return None
            start = end + len(after)
        rest = raw[start - 1 : 1 - len(self._last)]
        if not custom_id:  # nothing else varies
            return rest[1:-1] if _PLAIN_ID(rest[1:-1]) else None
        return custom_id if _is_string(rest) else None


def _is_string(text: bytes) -> bool:
    """Whether bytes that begin with a quote are one JSON string, and not an empty one. Half of the time of a check is
    spent here (1.0 s for 200 MB by `json`, 0.7 s by orjson where that is installed), so it may be told by either."""
    if len(text) < 3:
        return False
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
