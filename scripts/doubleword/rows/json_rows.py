"""JSON: an object a line, or objects and arrays of objects of any size."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ..base.failures import BadInput
from ..base.files import BLOCK_BYTES, LINE_BYTES, unused
from ..base.json_text import exactly
from ..base.text import safe
from .file_kind import Form
from .left_out import Tally
from .text_file import BadLines, lines, opened


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {safe(next(n for n in names if names.count(n) > 1), 60)!r} stands there twice")
    return made


def _number(written: str) -> float | Decimal:
    number = float(written)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {safe(written, 40)} is too large")
    return number if len(written) < 16 else exactly(written)


def _constant(written: str) -> float:
    if written != "NaN":  # which other tools write for nothing
        raise ValueError(f"{written} is no number")
    return float("nan")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_float=_number, parse_constant=_constant)


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "integer string conversion" in str(error):
        return "a number has too many digits"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


_BEFORE = "\ufeff\x1e"  # before an object: the mark of a file that was joined, and what JSON sequences have


def _way(written: str, why: str = "") -> str:
    """The next step for a line that is no JSON."""
    if written[:1] not in "{[":
        return "mend that line; rows of a table: --format csv; plain texts: --format lines"
    if re.match(r"\{\s*'", written):
        return "that is Python's own form: write it with json.dumps"
    if re.search(r":\s*-?(None|True|False|Infinity|undefined)\b", written):
        return "mend that line: JSON has null, true and false"
    if "Extra data" in why or written.endswith(("{", ",", "[")):
        return "mend that line; objects over several lines, with commas between them, or in an array: --format json"
    return "mend that line; is the file cut off there?" if "Unterminated" in why else "mend that line"


def json_lines(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of every line that is not blank."""
    bad = BadLines(form.path)
    for number, written in lines(form):
        if written.isspace():
            tally.leave_out("blank line", number)
            continue
        try:
            cells = _DECODER.decode(written.lstrip(_BEFORE))
        except (ValueError, RecursionError) as error:
            bad.add(number, f"not JSON: {safe(_why(error))}", _way(written.strip(), str(error)))
            continue
        if isinstance(cells, dict):
            yield number, cells
        else:
            bad.add(
                number, f"{safe(written, 60)}; expected a JSON object", "mend it; for plain texts say --format lines"
            )
    bad.require_none()


def json_arrays(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:  # noqa: ARG001 - nothing is left out
    """(line, object) of every object, in arrays or one after the other, read piece by piece."""
    with opened(form, "\n") as file:
        yield from _Objects(form, file).all()


_BETWEEN = frozenset(" \t\r\n" + _BEFORE)


def _lists(cells: dict[str, Any], levels: int) -> Iterator[tuple[int, list[str]]]:
    """(length, the keys that lead there) of every list of objects within an object, so many levels of objects deep."""
    for key, inner in cells.items():
        if isinstance(inner, list) and inner and all(isinstance(member, dict) for member in inner):
            yield len(inner), [key]
        elif isinstance(inner, dict) and levels > 1:
            yield from ((length, [key, *keys]) for length, keys in _lists(inner, levels - 1))


class _Objects:
    """A reader of arrays and objects that may be larger than the memory."""

    def __init__(self, form: Form, file: Any) -> None:
        self._form, self._file = form, file
        self._buffer, self._position, self._line, self._whole = "", 0, 1, False

    def all(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if self._next() is None:
            raise self._wrong("it is empty; a JSON array of objects was expected")
        alone = self._next() == "{"
        while (character := self._next()) is not None:
            if character == "[":
                self._position += 1
                yield from self._array()
            elif character == "{":
                line, cells = self._object()
                if alone and self._next() is None:
                    self._judge(line, cells)
                yield line, cells
                if self._next() == ",":  # what stood in an array, without its brackets
                    self._position += 1
            else:
                raise self._wrong(f"{character!r} where a JSON array of objects was expected", _way(character))
            alone = False

    def _judge(self, line: int, cells: dict[str, Any]) -> None:
        """Raises BadInput for a file of one object that holds the rows, and is none itself."""
        self._line = line
        only_objects = all(isinstance(found, dict) for found in cells.values())
        _, keys = max(_lists(cells, 3 if only_objects else 1), default=(0, []))
        if keys:
            within = shlex.quote(f".{''.join(f'[{json.dumps(key, ensure_ascii=False)}]' for key in keys)}[]")
            raise self._wrong(
                f"one object, with a list of objects in {'.'.join(keys)!r}; objects were expected",
                f"jq -c {within} {shlex.quote(safe(self._form.path))} > {unused('rows.jsonl')}",
            )
        for kind in (dict, list):
            if cells and all(isinstance(found, kind) and found for found in cells.values()):
                raise self._wrong(
                    "one object, with a column in each of its keys; an object for each row was expected",
                    "write the rows: in pandas df.to_json('rows.jsonl', orient='records', lines=True)",
                )

    def _array(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if self._next() == "]":
            self._position += 1
            return
        while True:
            if (character := self._next()) != "{":
                what = "a JSON array of objects was expected: an object must stand there"
                texts = f"jq -c '.[] | {{text: .}}' {shlex.quote(safe(self._form.path))} > {unused('rows.jsonl')}"
                raise self._wrong(what, texts if character == '"' else "mend the file there")
            yield self._object()
            character = self._next()
            self._position += 1
            if character == "]":
                return
            if character != ",":
                self._position -= 1
                raise self._wrong("cut off" if character is None else "a comma or ] was expected after an object")

    def _next(self) -> str | None:
        """The next character that is no white space, at the position; None at the end."""
        while True:
            buffer, position = self._buffer, self._position
            while position < len(buffer) and buffer[position] in _BETWEEN:
                self._line += buffer[position] == "\n"
                position += 1
            self._position = position
            if position < len(buffer):
                return buffer[position]
            if not self._more():
                return None

    def _more(self) -> bool:
        piece = self._file.read(max(BLOCK_BYTES, len(self._buffer) - self._position))  # an object is tried few times
        self._buffer, self._position = self._buffer[self._position :] + piece, 0
        self._whole = not piece
        return bool(piece)

    def _object(self) -> tuple[int, dict[str, Any]]:
        while True:
            try:
                cells, end = _DECODER.raw_decode(self._buffer, self._position)
            except (ValueError, RecursionError) as error:
                final = not isinstance(error, json.JSONDecodeError)
                if final or len(self._buffer) - self._position > LINE_BYTES or not self._more():
                    self._line += self._buffer.count("\n", self._position, getattr(error, "pos", self._position))
                    raise self._wrong(f"not JSON: {_why(error)}") from None
                continue
            line = self._line
            self._line += self._buffer.count("\n", self._position, end)
            self._position = end
            return line, cells

    def _wrong(self, what: str, way: str = "mend the file there") -> BadInput:
        return BadInput(f"{safe(self._form.path)} line {self._line}: {safe(what)}", way)
