"""JSON from elsewhere (a server, a record, a source), read through one door: bounded, and with one verdict.

Python's own reader takes NaN, halves of surrogate pairs and any number of digits, and gives up on deep nesting with an
error of its own; orjson, where it is installed, differs in each. What passes here is the same with and without it.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

try:
    import orjson as orjson  # where it is installed; other rooms take it from here
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]

DEPTH = 200  # the server reads requests of 127 levels, and wraps its answers in a few more
AT_MOST_BYTES = 32 * 1024 * 1024


class NotJson(ValueError):
    """What was read is no JSON, or none that is read here; says why."""


def read_json(text: bytes | str, at_most: int = AT_MOST_BYTES, halves: bool = False, exact: bool = False) -> Any:
    """The value of a JSON text: UTF-8, at most so many bytes and 200 levels, integers beyond 64 bits as floats.

    Raises NotJson (a ValueError) for everything else: NaN, Infinity, numbers beyond 1.8e308, halves of surrogate
    pairs. `halves` lets those pass: our own record writes the bytes of a file name so that are no text. With `exact`
    numbers keep all their digits, which may be those of an account or a parcel: as int, or as Decimal.
    """
    if not isinstance(text, (str, bytes)):  # a field of an object that was read need not be one
        raise NotJson("no text")
    if len(text) > at_most:
        raise NotJson(f"more than {at_most} bytes")
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = orjson.loads(raw) if orjson is not None and not halves else _plainly(raw, halves)
    except RecursionError:
        raise NotJson(f"more than {DEPTH} levels of brackets") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if len(raw) > 2 * DEPTH and _has_brackets(raw, DEPTH) and deeper(value, DEPTH):
        raise NotJson(f"more than {DEPTH} levels of brackets")
    if exact and _LONG.search(raw):
        return json.loads(raw, parse_float=exactly)  # ints have their digits in Python
    return value


def read_again(raw: bytes) -> Any:
    """The value of a JSON text that `read_json` took before: a third faster for a long one."""
    return orjson.loads(raw) if orjson is not None else json.loads(raw)


_LONG = re.compile(rb"[0-9][0-9.]{15}")


def exactly(literal: str) -> float | Decimal:
    """A number with more digits than a float holds stays as it was written, unless it has an exponent."""
    number = float(literal)
    if "e" in literal.lower() or Decimal(repr(number)) == Decimal(literal):
        return number
    return Decimal(literal)


def _has_brackets(raw: bytes, more_than: int) -> bool:
    """Whether there are so many that there may be as many levels. Where there are few, `find` is twice as fast as
    `count`, which takes half as long as orjson does to parse."""
    for bracket in (b"{", b"["):
        place = raw.find(bracket)
        while place >= 0 and more_than >= 0:
            more_than -= 1
            place = raw.find(bracket, place + 1)
    return more_than < 0


def _plainly(raw: bytes, halves: bool) -> Any:
    value = _READER.decode(raw.decode("utf-8"))
    if not halves and b"\\u" in raw:
        json.dumps(value, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError
    return value


def _integer(literal: str) -> int | float:
    if len(literal) > 20:
        return _number(literal)
    value = int(literal)
    return value if -(1 << 63) <= value < 1 << 64 else float(literal)


def _number(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise NotJson("a number beyond 1.8e308")
    return value


def _constant(literal: str) -> Any:
    raise NotJson(f"{literal} is no number")


_READER = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_constant)


def deeper(value: Any, levels: int) -> bool:
    """Whether a value has more than so many levels of objects and arrays."""
    level = [value] if isinstance(value, (dict, list)) else []
    while level:
        levels -= 1
        if levels < 0:
            return True
        inside = (member for found in level for member in (found.values() if isinstance(found, dict) else found))
        level = [member for member in inside if isinstance(member, (dict, list))]
    return False


def written(value: object) -> bytes:
    """A value as JSON in UTF-8, on one line; halves of surrogate pairs as escapes, which `read_json` can take back."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


# --- fields of objects that were read ---


def count(value: object) -> int:
    """A count: a whole number from 0 on; 0 for anything that is none."""
    return value if value.__class__ is int and 0 <= value < 1 << 53 else 0


def moment(value: object) -> float:
    """A time in Unix seconds; 0 for anything that is none, or none of this age."""
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e11
    return float(value) if sound else 0.0  # type: ignore[arg-type]


def words(value: object) -> str:
    """A text; "" for anything that is none."""
    return value if isinstance(value, str) else ""


def fields(value: object) -> dict[str, Any]:
    """An object; {} for anything that is none."""
    return value if isinstance(value, dict) else {}
