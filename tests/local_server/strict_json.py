"""JSON as strictly as the real server reads it, with its positions and wording.

Python's own parser is the fast way (`loads`); it takes some texts that the server refuses: NaN, lone
surrogates, numbers out of range, deep nesting.  Where one of these is possible, or the fast parser
refuses, `_Parser` walks the text and says what is wrong and in which column.  orjson, where it is
installed, is a faster fast way; the verdicts are the same.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

try:
    import orjson as _orjson
except ImportError:
    _orjson = None  # type: ignore[assignment]

fast: Any = _orjson  # None: do without

MAX_DEPTH = 127  # of nested arrays and objects; the 128th is refused
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_SPACE = " \t\n\r"
_ESCAPES = '"\\/bfnrt'


class JsonError(ValueError):
    """`kind` is the server's wording; `syntax` tells a broken text from a well-formed one of the wrong type."""

    def __init__(self, kind: str, line: int, column: int, syntax: bool = True) -> None:
        super().__init__(f"{kind} at line {line} column {column}")
        self.syntax = syntax


class _Suspicious(Exception):
    """Python's parser met something that the server may refuse."""


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _Suspicious
    return value


def _integer(text: str) -> int | float:
    if len(text) < 19:
        return int(text)
    value = int(text) if len(text) < 400 else 0
    # Beyond 64 bits the server keeps a float.
    return value if -(2**63) <= value < 2**64 and value != 0 else _float(text)


def _constant(_: str) -> NoReturn:
    raise _Suspicious


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def dumps_sorted(value: Any) -> bytes:
    """Compact, keys sorted, as the server writes what it has read."""
    if fast is not None:
        try:
            return bytes(fast.dumps(value, option=fast.OPT_SORT_KEYS))
        except TypeError:  # an integer beyond 64 bits or half a surrogate pair, from a model's answer
            pass
    return _ENCODER.encode(value).encode("utf-8", "replace")


def _decode(text: str) -> Any:
    return _DECODER.decode(text) if fast is None else fast.loads(text)


def loads(text: str) -> Any:
    """The value of `text`; raises JsonError (line and column count from 1, columns in bytes)."""
    if _SURROGATE_ESCAPE.search(text) or text.count("[") + text.count("{") > MAX_DEPTH:
        _Parser(text).check()
    try:
        return _decode(text)
    except (_Suspicious, ValueError, RecursionError):
        _Parser(text).check()
        raise JsonError("expected value", 1, 1) from None  # both parsers should agree


def end_position(text: str) -> tuple[int, int]:
    """Line and column of the last character: where the server reports a missing field."""
    return _position(text, len(text))


def _position(text: str, index: int) -> tuple[int, int]:
    start = text.rfind("\n", 0, index) + 1
    return text.count("\n", 0, index) + 1, len(text[start:index].encode("utf-8", "replace"))


class _Parser:
    """Checks only.  `where` maps the keys of the outermost object to the index after their value."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.where: dict[str, int] = {}

    def fail(self, kind: str, index: int) -> NoReturn:
        line, column = _position(self.text, min(index, len(self.text)))
        raise JsonError(kind, line, column)

    def space(self) -> str:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1
        return self.text[self.at] if self.at < len(self.text) else ""

    def check(self) -> None:
        self.value()
        if self.space():
            self.fail("trailing characters", self.at + 1)

    def value(self) -> None:
        char = self.space()
        if not char:
            self.fail("EOF while parsing a value", self.at)
        if char in "[{":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.fail("recursion limit exceeded", self.at + 1)
            self.at += 1
            self.object() if char == "{" else self.array()
            self.depth -= 1
        elif char == '"':
            self.string()
        elif char in "-0123456789":
            self.number()
        else:
            self.word()

    def word(self) -> None:
        for word in ("true", "false", "null"):
            if self.text.startswith(word[0], self.at):
                if self.text.startswith(word, self.at):
                    self.at += len(word)
                    return
                self.fail("expected ident", self.at + 2)
        self.fail("expected value", self.at + 1)

    def number(self) -> None:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            self.fail("invalid number", self.at + 1)
        try:
            _float(match[0])
        except _Suspicious:
            self.fail("number out of range", match.end() - 1)
        self.at = match.end()

    def string(self) -> None:
        self.at += 1
        while True:
            plain = _PLAIN.match(self.text, self.at)
            self.at = plain.end() if plain else self.at
            if self.at >= len(self.text):
                self.fail("EOF while parsing a string", self.at)
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return
            if char < " ":
                self.fail("control character (\\u0000-\\u001F) found while parsing a string", self.at + 1)
            self.at += 1
            if char == "\\":
                self.escape()

    def escape(self) -> None:
        char = self.text[self.at : self.at + 1]
        if char != "u":
            if not char or char not in _ESCAPES:
                self.fail("invalid escape", self.at + 1)
            self.at += 1
            return
        code = self.hex4()
        if 0xDC00 <= code <= 0xDFFF:
            self.fail("lone leading surrogate in hex escape", self.at)
        if 0xD800 <= code <= 0xDBFF:
            if self.text[self.at : self.at + 2] != "\\u":
                self.fail("unexpected end of hex escape", self.at + 1)
            self.at += 1
            if not 0xDC00 <= self.hex4() <= 0xDFFF:
                self.fail("lone leading surrogate in hex escape", self.at)

    def hex4(self) -> int:
        digits = self.text[self.at + 1 : self.at + 5]
        self.at += 5
        if not re.fullmatch("[0-9a-fA-F]{4}", digits):
            self.fail("invalid escape", self.at)
        return int(digits, 16)

    def array(self) -> None:
        if self.space() == "]":
            self.at += 1
            return
        while True:
            self.value()
            char = self.space()
            if char == "]":
                self.at += 1
                return
            if char != ",":
                self.fail("expected `,` or `]`" if char else "EOF while parsing a list", self.at + bool(char))
            self.at += 1
            if self.space() == "]":
                self.fail("trailing comma", self.at + 1)

    def object(self) -> None:
        if self.space() == "}":
            self.at += 1
            return
        while True:
            if self.space() != '"':
                self.fail("key must be a string" if self.space() else "EOF while parsing an object", self.at + 1)
            start = self.at
            self.string()
            key = self.text[start + 1 : self.at - 1]
            if self.space() != ":":
                self.fail("expected `:`" if self.space() else "EOF while parsing an object", self.at + 1)
            self.at += 1
            self.value()
            if self.depth == 1:
                self.where[key] = self.at
            char = self.space()
            if char == "}":
                self.at += 1
                return
            if char != ",":
                self.fail("expected `,` or `}`" if char else "EOF while parsing an object", self.at + bool(char))
            self.at += 1
            if self.space() == "}":
                self.fail("trailing comma", self.at + 1)


def value_end(text: str, key: str) -> tuple[int, int]:
    """Line and column of the end of a top-level key's value: where a wrong type is reported."""
    parser = _Parser(text)
    parser.check()
    return _position(text, parser.where.get(key, len(text)))
