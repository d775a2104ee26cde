"""A cell: its value, and its text, which is the same in a prompt, an id and a table."""

from __future__ import annotations

import base64
import json
import os
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite, isinf
from typing import Any

from ..base.failures import BadInput
from ..base.json_text import NotJson, read_json

# Beside white space: zero-width spaces and joiners, marks of joined files, soft hyphens.
_BLANK = "\u200b\u200c\u200d\u2060\ufeff\u00ad \t\r\n\u00a0"


class Unreadable:
    """Stands for a cell that could not be read: its text is a BadInput, raised where the cell is needed."""

    def __init__(self, failure: BadInput) -> None:
        self.failure = failure


def value(cells: dict[str, Any], name: str) -> Any:
    """The cell of that name; `a.b` is also b within a, where a is, or parses as, a JSON object."""
    found = cells.get(name)
    if found is not None or "." not in name or name in cells:
        return found
    end = len(name)
    while (end := name.rfind(".", 0, end)) > 0:  # a header may have dots itself: the longest one that is there
        if name[:end] in cells:
            return _within(cells[name[:end]], name[end + 1 :])
    return None


def _within(cell: Any, path: str) -> Any:
    for key in path.split("."):
        cell = as_object(cell)
        cell = cell.get(key) if isinstance(cell, dict) else None
    return cell


def as_object(cell: Any, opening: str = "{") -> Any:
    """The object that a cell is the text of (with `[` the list), as tables hold them; any other cell as it is."""
    if isinstance(cell, str) and cell.lstrip().startswith(opening):
        try:
            return read_json(cell, exact=True)
        except NotJson:
            return cell
    return cell


def is_empty(cell: Any) -> bool:
    """Whether there is nothing to see in it: no value, white space, what is invisible, or "not a number"."""
    if cell.__class__ is str:
        return not cell or cell.isspace() or (cell[0] in _BLANK and not cell.strip(_BLANK))
    return cell is None or (cell.__class__ in (float, Decimal) and cell != cell)


def text(cell: Any) -> str:
    """A cell as text: dates in ISO 8601, decimals plainly, nothing as an empty text, objects and lists as JSON."""
    if cell.__class__ is str:
        return str(cell)
    if is_empty(cell):
        return ""
    if isinstance(cell, (bool, int, list, dict, tuple)) or (isinstance(cell, float) and isfinite(cell)):
        return json_text(cell)
    return _scalar(cell)


def _scalar(cell: Any) -> str:
    """What JSON has no form for. Bytes are their text where they are UTF-8, else base64."""
    if isinstance(cell, Unreadable):
        raise BadInput(cell.failure.what, cell.failure.next_step)
    if isinstance(cell, (datetime, date, time)):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return f"PT{format(Decimal(cell // timedelta(microseconds=1)).scaleb(-6).normalize(), 'f')}S"
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, float):  # JSON has none without an end
        return "Infinity" if cell > 0 else "-Infinity"
    if isinstance(cell, (bytes, bytearray, memoryview)):
        raw = bytes(cell)
        return raw.decode() if is_text(raw) else base64.b64encode(raw).decode()
    return str(cell)


def is_text(cell: Any) -> bool:
    """False for bytes that are no text: a picture, say."""
    if cell.__class__ is not bytes:
        return True
    try:
        return "\0" not in cell.decode()
    except UnicodeDecodeError:
        return False


def json_text(cell: Any) -> str:
    """A cell as JSON on one line: a Decimal as a number with all its digits, what JSON has no form for as its text,
    nothing as null."""
    try:
        return _as_json(cell)
    except (ValueError, TypeError):  # NaN or Infinity inside, or keys that are no texts
        return _as_json(_plain(cell))


_DECIMAL = "\ufdd0" + os.urandom(8).hex()  # what no text holds
_DECIMALS = re.compile(f'"{_DECIMAL}([^"]*)"')


def _as_json(cell: Any) -> str:
    written = json.dumps(cell, ensure_ascii=False, default=_member, allow_nan=False)
    return _DECIMALS.sub(r"\1", written) if _DECIMAL in written else written


def _member(member: Any) -> Any:
    if not isinstance(member, Decimal):
        return _scalar(member)
    return _DECIMAL + format(member, "f") if member.is_finite() else None


def _plain(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {text(key): _plain(member) for key, member in cell.items()}
    if isinstance(cell, (list, tuple)):
        return [_plain(member) for member in cell]
    if isinstance(cell, float) and isinf(cell):
        return _scalar(cell)
    return None if is_empty(cell) and cell.__class__ is not str else cell
