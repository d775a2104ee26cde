"""Prompt templates, and request lines made from them: everything that does not vary is written once."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Any

from ..base.failures import BadInput
from ..base.json_text import orjson
from ..base.text import safe
from ..rows.cell_to_text import is_empty, is_text, text, value

# `{{` and `}}` around something write one brace each. A `}}` that closes two single braces, as in JSON, stays.
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DOUBLED = re.compile(r"\{\{([^{}]+)\}\}")  # as other tools name a column

# A column with what other templates take behind it: a format, a filter, an index, a call. Not `{score:5}` or
# `{label|none}`, which a prompt says of the answer that it wants.
_FORMAT = r":(?!(?:-?\d+(?:\.\d+)?)?\s*$)(?:.?[<>=^])?[-+]?#?0?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?"
_FILTER = r"\|\s*(?:\w+\s*\(|(?:upper|lower|title|capitalize|trim|strip|e|escape|safe|string|tojson|length)\b).*"
_FORMATTED = re.compile(
    r"\s*(?:\w+\s*\[\s*[\"'])?(?P<name>[\w\-. ]*?\w)\s*"
    rf"(?:![rsa]|{_FORMAT}|{_FILTER}|\[.*|\.\w+\(.*|[\"']\s*\])\s*"
)
# A column as shells, Python and other keyboards mark it.
_OTHERWISE = re.compile("%\\((?P<a>[^()]+)\\)s|\\$(?P<b>\\w+)|\uff5b(?P<c>[^\uff5b\uff5d]+)\uff5d")
_NAME = re.compile(r"[\-. ]*\w[\w\-. ]*")


def encode(text: str) -> bytes:
    """A text as JSON, UTF-8 not escaped: the bytes that `json` makes.

    Of 150,000 short rows a build takes 1.6 s by orjson, where that is installed, and 1.8 s without. Raises
    UnicodeEncodeError for half of a surrogate pair.
    """
    if orjson is not None:
        try:
            return orjson.dumps(text)
        except TypeError:
            pass
    return encode_basestring(text).encode()


def _found(name: str, column: Callable[[str], str | None]) -> str | None:
    """The column of a name, or None where it is merely near to one: it may well be meant as it stands."""
    try:
        return column(name)
    except BadInput:
        return None


class Template:
    """A text with `{column}` in it. Cell text is put in as it is and never expanded again."""

    def __init__(self, written: str, column: Callable[[str], str | None], headers: Callable[[], str]) -> None:
        """`column` gives the column that a name in braces means, or None; `headers` says which there are, for an error.

        Raises BadInput for a `{name}` that is no column.
        """
        self.literals: list[str] = [""]
        self.columns: list[str] = []
        self.kept: list[str] = []  # what stays in its braces
        opened: list[tuple[int, bool]] = []  # of each open brace: where, and whether it was written twice
        position = 0
        while found := _BRACES.search(written, position):
            literal, name = found[0], found[1]
            self.literals[-1] += written[position : found.start()]
            position = found.end()
            if name is not None:
                if self._put(name, column, headers):
                    continue
            elif literal[0] == "{":
                other = _DOUBLED.match(written, found.start()) if len(literal) == 2 else None
                if other is not None and _found(other[1].partition("|")[0].strip(), column) is not None:
                    self.kept.append(f"{other[0]} (one pair of braces puts the column in)")
                opened.append((found.start(), len(literal) == 2))
                literal = "{"
            elif opened:
                _, doubled = opened.pop()
                if len(literal) == 2 and not doubled:
                    position -= 1  # two single braces close here, one after the other
                literal = "}"
            self.literals[-1] += literal
        self.literals[-1] += written[position:]
        for other in _OTHERWISE.finditer("".join(self.literals)):
            if _found((other["a"] or other["b"] or other["c"]).strip(), column) is not None:
                self.kept.append(f"{other[0]} (a column is put in by {{}} alone)")
        self.kept += [f"{written[place : place + 20]}…, which is never closed" for place, _ in opened]

    def _put(self, name: str, column: Callable[[str], str | None], headers: Callable[[], str]) -> bool:
        """Takes `{name}` for a column, or keeps it as it is."""
        # JSON's keys are quoted: {"text": 1} is no slip of the hand for {text}.
        meant = _found(name, column) if name.lstrip()[:1] in ("", '"', "'") else column(name)
        if meant is not None:
            self.columns.append(meant)
            self.literals.append("")
            return True
        formatted = _FORMATTED.fullmatch(name) if len(name) < 200 else None  # a header is shorter
        shown = f"{{{safe(name, 60)}}}"
        if formatted is not None and _found(formatted["name"], column) is not None:
            what = f"the template says {shown}; a column is put in as it is, without formats and functions"
            raise BadInput(what, f"write {{{safe(formatted['name'].strip(), 60)}}}, or {{{shown}}} for the text itself")
        if _NAME.fullmatch(name):
            what = f"the template names {shown}, which is no column; there are: {headers()}"
            raise BadInput(what, f"correct the name, or write {{{shown}}} for the text itself")
        self.kept.append(f"{{{name}}}")
        return False

    def fill(self, cells: dict[str, Any], empty: list[str]) -> str:
        """The text for one row; the names of empty cells are added to `empty`."""
        pieces = [self.literals[0]]
        for name, literal in zip(self.columns, self.literals[1:], strict=True):
            cell = cells.get(name)
            if cell.__class__ is str and not is_empty(cell):  # nearly every cell
                pieces += (cell, literal)
                continue
            cell = value(cells, name)
            if is_empty(cell):
                empty.append(name)
            if not is_text(cell):
                raise BadInput(f"{safe(name, 60)} holds bytes that are no text", "pictures are named by --image-column")
            pieces += (text(cell), literal)
        return "".join(pieces)


def names_in(texts: Iterable[str], known: Callable[[str], bool]) -> list[str]:
    """What looks as a template would, `{name}`, in texts that are none."""
    found = (match for text in texts for match in _BRACES.finditer(text) if match[1] is not None)
    return list(dict.fromkeys(match[0] for match in found if _NAME.fullmatch(match[1]) and known(match[1])))


Fill = Callable[[dict[str, Any], list[str]], bytes]  # cells, names of empty cells -> JSON


class Line:
    """A request line with holes: `body` is serialised once, and what a function makes of a row is put into it."""

    def __init__(self, url: str) -> None:
        self._envelope = f', "method": "POST", "url": "{url}", "body": '.encode()
        self._mark = secrets.token_hex(8)
        self._holes: list[Fill] = []
        self._rest: set[int] = set()
        self._first = b""  # of the body, before the first hole
        self._then: list[tuple[Fill, bytes]] = []  # a hole, and what stands behind it

    def hole(self, fill: Fill) -> str:
        """A stand-in for a value of the body that `fill(cells, empty)` gives for each row, as JSON."""
        self._holes.append(fill)
        return f"{self._mark}{len(self._holes) - 1}."

    def rest(self, fill: Fill) -> str:
        """A stand-in for the members at the end of a list: any number, each with a comma before it."""
        self._rest.add(len(self._holes))
        return self.hole(fill)

    def close(self, body: dict[str, Any]) -> None:
        """Takes the body, stand-ins in it."""
        written = json.dumps(body, ensure_ascii=False).encode()
        pieces = re.split(f'"{self._mark}(\\d+)\\."'.encode(), written)
        for at in range(1, len(pieces), 2):
            if int(pieces[at]) in self._rest:
                pieces[at - 1] = pieces[at - 1].removesuffix(b", ")
        pieces[-1] += b"}\n"
        self._first = self._envelope + pieces[0]
        self._then = [
            (self._holes[int(hole)], literal) for hole, literal in zip(pieces[1::2], pieces[2::2], strict=True)
        ]

    def write(self, custom_id: str, cells: dict[str, Any], empty: list[str]) -> bytes:
        """The line of one row. Raises UnicodeEncodeError where a cell holds half of a surrogate pair."""
        pieces = [b'{"custom_id": ', encode(custom_id), self._first]
        for fill, literal in self._then:
            pieces.append(fill(cells, empty))
            pieces.append(literal)
        return b"".join(pieces)
