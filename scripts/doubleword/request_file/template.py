"""Prompt templates, and request lines made from them: everything that does not vary is written once."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from ..base.errors import BadInput
from ..base.text import safe
from ..rows.cells import is_empty, is_text, text, value
from ..rows.headers import shown

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]


# `{{` and `}}` around something write one brace each. A `}}` that closes two single braces, as in JSON, stays.
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


_NAME = re.compile(r"[\w\-. ]*\w[\w\-. ]*")


_CONTROLS = bytes(c for c in range(32) if c not in b"\n\r\t")


_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))


def encode(text: str) -> bytes:
    """A text as JSON, UTF-8 not escaped: the same bytes as `json`, which takes three to twenty times as long.

    Raises UnicodeEncodeError for half of a surrogate pair.
    """
    if orjson is not None:
        try:
            return orjson.dumps(text)
        except TypeError:
            pass
    raw = text.encode()
    if len(raw) < 100 or len(raw.translate(None, _CONTROLS)) != len(raw):
        return json.dumps(text, ensure_ascii=False).encode()
    for character, escape in _ESCAPES:
        raw = raw.replace(character, escape)
    return b'"%b"' % raw


class Template:
    """A text with `{column}` in it. Cell text is put in as it is and never expanded again."""

    def __init__(
        self, written: str, column_named: Callable[[str], str | None], headers: Callable[[], Iterable[str]]
    ) -> None:
        """Raises BadInput for a `{name}` that is no column, with the headers that exist."""
        self.literals: list[str] = [""]
        self.columns: list[str] = []
        doubled: list[bool] = []  # for each open brace, whether it was written twice
        position = 0
        while found := _BRACES.search(written, position):
            literal, name = found[0], found[1]
            self.literals[-1] += written[position : found.start()]
            position = found.end()
            if name is not None:
                column = column_named(name)
                if column is not None:
                    self.columns.append(column)
                    self.literals.append("")
                    continue
                if _NAME.fullmatch(name):
                    known = ", ".join(f"{{{shown(header)}}}" for header in headers())
                    raise BadInput(
                        f"the template names {{{safe(name, 60)}}}, which is no column; there are: {safe(known)}",
                        f"correct the name, or write {{{{{safe(name, 60)}}}}} for the text itself",
                    )
            elif literal[0] == "{":
                doubled.append(len(literal) == 2)
                literal = "{"
            elif doubled:
                if len(literal) == 2 and not doubled[-1]:
                    position -= 1  # two single braces close here, one after the other
                doubled.pop()
                literal = "}"
            self.literals[-1] += literal
        self.literals[-1] += written[position:]

    def fill(self, cells: dict[str, Any], empty: list[str]) -> str:
        """The text for one row; the names of empty cells are added to `empty`."""
        pieces = [self.literals[0]]
        for name, literal in zip(self.columns, self.literals[1:], strict=True):
            cell = value(cells, name)
            if is_empty(cell):
                empty.append(name)
            if not is_text(cell):
                raise BadInput(f"{safe(name, 60)} holds bytes that are no text", "pictures are named by --image-column")
            pieces += (text(cell), literal)
        return "".join(pieces)


class Line:
    """A request line with holes: `body` is serialised once, and what a function makes of a row is put into it."""

    def __init__(self, url: str) -> None:
        self._envelope = f', "method": "POST", "url": "{url}", "body": '.encode()
        self._mark = secrets.token_hex(8)
        self._holes: list[Callable[[dict[str, Any], list[str]], str]] = []
        self._pieces: list[bytes] = []

    def hole(self, fill: Callable[[dict[str, Any], list[str]], str]) -> str:
        """A stand-in for a text of the body that `fill(cells, empty)` gives for each row."""
        self._holes.append(fill)
        return f"{self._mark}{len(self._holes) - 1}."

    def close(self, body: dict[str, Any]) -> None:
        """Takes the body, stand-ins in it."""
        written = json.dumps(body, ensure_ascii=False).encode()
        self._pieces = re.split(f'"{self._mark}(\\d+)\\."'.encode(), written)

    def write(self, custom_id: str, cells: dict[str, Any], empty: list[str]) -> bytes:
        """The line of one row. Raises UnicodeEncodeError where a cell holds half of a surrogate pair."""
        pieces = [b'{"custom_id": ', encode(custom_id), self._envelope]
        for index, piece in enumerate(self._pieces):
            pieces.append(encode(self._holes[int(piece)](cells, empty)) if index % 2 else piece)
        pieces.append(b"}\n")
        return b"".join(pieces)
