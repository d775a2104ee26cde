"""Whether a value fits a JSON schema: types, enums, required names, nested values, alternatives and references.

The keywords that structured output takes. Others (`pattern`, `format`, …) narrow what is right already, and are
not held against an answer that was paid for.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ..base.text import safe
from ..request_file.answer_form import referred, together
from ..rows.cell_to_text import json_text

Place = tuple[str | int, ...]  # names of properties and numbers of items, from the outside

DEPTH = 60  # a schema may refer to itself
_PARTS = frozenset(("allOf", "anyOf", "oneOf"))
_TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def misfit(value: Any, schema: dict[str, Any]) -> str:
    """Where and how a value does not fit, for a person to read; "" if it fits."""
    return _misfit(value, schema, schema, (), 0)


def _misfit(
    value: Any, schema: Any, root: dict[str, Any], where: Place, depth: int, seen: frozenset[int] = frozenset()
) -> str:
    """`seen`: schemas that are being held against this very value already."""
    if not isinstance(schema, dict) or depth > DEPTH or id(schema) in seen:
        return _wrong(where, "nothing", value) if schema is False else ""
    if value is None and schema.get("nullable") is True:  # as OpenAPI writes it
        return ""
    if isinstance(schema.get("$id"), str) and not schema["$id"].startswith("#"):  # what is in it refers to it
        root = schema
    if isinstance(schema.get("$ref"), str):
        wrong = _misfit(value, referred(schema["$ref"], root), root, where, depth + 1, seen | {id(schema)})
        if wrong:
            return wrong
    wrong = _own(value, schema, where)
    if not wrong and not _PARTS.isdisjoint(schema):
        wrong = _alternatives(value, schema, root, where, depth, seen)
    if wrong:
        return wrong
    if isinstance(value, dict):
        return _members(value, schema, root, where, depth)
    if isinstance(value, list):
        return _items(value, schema, root, where, depth)
    return ""


def _own(value: Any, schema: dict[str, Any], where: Place) -> str:
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(kinds, list) and kinds and not any(_is(value, kind) for kind in kinds):
        return _wrong(where, " or ".join(map(str, kinds)), value)
    words = schema.get("enum")
    if isinstance(words, list) and not any(_same(value, each) for each in words):
        return _wrong(where, f"one of {_text(words)}", value)
    if "const" in schema and not _same(value, schema["const"]):
        return _wrong(where, _text(schema["const"]), value)
    return ""


def _is(value: Any, kind: Any) -> bool:
    if kind == "integer":
        return _is(value, "number") and value == int(value)
    if kind == "number":
        return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return kind not in _TYPES or isinstance(value, _TYPES[kind])


def _same(one: Any, other: Any) -> bool:
    """1 and true are equal in Python."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _alternatives(
    value: Any, schema: dict[str, Any], root: dict[str, Any], where: Place, depth: int, seen: frozenset[int]
) -> str:
    for part in _list(schema.get("allOf")):
        wrong = _misfit(value, part, root, where, depth + 1, seen | {id(schema)})
        if wrong:
            return wrong
    for name in ("anyOf", "oneOf"):
        parts = _list(schema.get(name))
        wrongs = [_misfit(value, part, root, where, depth + 1, seen | {id(schema)}) for part in parts]
        if wrongs and all(wrongs):
            return wrongs[0] if len(wrongs) == 1 else _wrong(where, f"one of {len(wrongs)} alternatives", value)
    return ""


def _members(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: Place, depth: int) -> str:
    for name in _list(schema.get("required")):
        if isinstance(name, str) and name not in value:
            return f"{_shown(where)} has no {safe(name, 60)!r}"
    for name, member in value.items():
        place = *where, name
        for part in _of_member(name, schema):
            if part is False:
                return f"{_shown(place)} is not in the schema"
            wrong = _misfit(member, part, root, place, depth + 1)
            if wrong:
                return wrong
    return ""


def _of_member(name: str, schema: dict[str, Any]) -> list[Any]:
    """What a schema says of a property: by its name, by patterns, else as one of all others.

    A pattern that is not understood says nothing against it.
    """
    known, patterns = schema.get("properties"), schema.get("patternProperties")
    found = [known[name]] if isinstance(known, dict) and name in known else []
    if found and patterns is None:
        return found
    for pattern, part in patterns.items() if isinstance(patterns, dict) else ():
        try:
            found += [part] if re.search(pattern, name) else []
        except (re.error, OverflowError, RecursionError):
            found.append(True)
    return found or [schema.get("additionalProperties", True)]


def _items(value: list[Any], schema: dict[str, Any], root: dict[str, Any], where: Place, depth: int) -> str:
    for number, item in enumerate(value):
        wrong = _misfit(item, _of_item(number, schema), root, (*where, number), depth + 1)
        if wrong:
            return wrong
    return ""


def _of_item(number: int, schema: dict[str, Any]) -> Any:
    first = _list(schema.get("prefixItems"))
    return first[number] if number < len(first) else schema.get("items", True)


def as_asked(value: Any, schema: dict[str, Any]) -> Any:
    """A value that fits, with 3 for a 3.0 wherever the schema asks for an integer."""
    return _as_asked(value, [schema], schema)


def _as_asked(value: Any, schemas: list[Any], root: dict[str, Any]) -> Any:
    parts = [part for schema in schemas for part in together(schema, root)]
    if not parts:
        return value
    if isinstance(value, dict):
        of = {name: [each for part in parts for each in _of_member(name, part)] for name in value}
        return {name: _as_asked(member, of[name], root) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_asked(item, [_of_item(n, part) for part in parts], root) for n, item in enumerate(value)]
    if isinstance(value, (float, Decimal)) and value == int(value) and any(_integer(value, part) for part in parts):
        return int(value)
    return value


def _integer(value: float | Decimal, schema: dict[str, Any]) -> bool:
    """Whether a schema asks for a whole number, by its type or as one of its words."""
    kinds, words = schema.get("type"), [*_list(schema.get("enum")), schema.get("const")]
    return "integer" in (kinds if isinstance(kinds, list) else [kinds]) or any(
        type(word) is int and word == value for word in words
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong(where: Place, expected: str, value: Any) -> str:
    return f"{_shown(where)}: {_text(value)}; expected {safe(expected, 200)}"


def _shown(where: Place) -> str:
    """`streets[0].name`"""
    names = (f"[{each}]" if isinstance(each, int) else f".{safe(each, 60)}" for each in where)
    return "".join(names).lstrip(".") or "the answer"


def _text(value: Any) -> str:
    return safe(json_text(value), 80)
