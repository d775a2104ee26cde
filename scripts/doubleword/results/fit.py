"""Whether a value fits a JSON schema: types, enums, required names, nested values, alternatives and references.

The keywords that structured output takes. Others (`pattern`, `format`, …) narrow what is right already, and are
not held against an answer that was paid for.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from ..base.text import safe

DEPTH = 60  # a schema may refer to itself
_TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def misfit(value: Any, schema: dict[str, Any]) -> str:
    """Where and how a value does not fit, for a person to read; "" if it fits."""
    return _misfit(value, schema, schema, "", 0)


def _misfit(value: Any, schema: Any, root: dict[str, Any], where: str, depth: int) -> str:
    if not isinstance(schema, dict) or depth > DEPTH:
        return _wrong(where, "nothing", value) if schema is False else ""
    if value is None and schema.get("nullable") is True:  # as OpenAPI writes it
        return ""
    if isinstance(schema.get("$ref"), str):
        wrong = _misfit(value, referred(schema["$ref"], root), root, where, depth + 1)
        if wrong:
            return wrong
    wrong = _own(value, schema, where) or _alternatives(value, schema, root, where, depth)
    if wrong:
        return wrong
    if isinstance(value, dict):
        return _members(value, schema, root, where, depth)
    if isinstance(value, list):
        return _items(value, schema, root, where, depth)
    return ""


def _own(value: Any, schema: dict[str, Any], where: str) -> str:
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
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind not in _TYPES or isinstance(value, _TYPES[kind])


def _same(one: Any, other: Any) -> bool:
    """1 and true are equal in Python."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _alternatives(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str, depth: int) -> str:
    for part in _list(schema.get("allOf")):
        wrong = _misfit(value, part, root, where, depth + 1)
        if wrong:
            return wrong
    for name in ("anyOf", "oneOf"):
        wrongs = [_misfit(value, part, root, where, depth + 1) for part in _list(schema.get(name))]
        if wrongs and all(wrongs):
            return wrongs[0] if len(wrongs) == 1 else _wrong(where, f"one of {len(wrongs)} alternatives", value)
    return ""


def _members(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str, depth: int) -> str:
    for name in _list(schema.get("required")):
        if name not in value:
            return f"{where or 'the answer'} has no {safe(name, 60)!r}"
    known = schema.get("properties")
    known = known if isinstance(known, dict) else {}
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        place = f"{where}.{safe(name, 60)}".lstrip(".")
        parts = [*([known[name]] if name in known else []), *_by_pattern(name, schema)]
        if not parts and others is False:
            return f"{place} is not in the schema"
        for part in parts or [others]:
            wrong = _misfit(member, part, root, place, depth + 1)
            if wrong:
                return wrong
    return ""


def _by_pattern(name: str, schema: dict[str, Any]) -> list[Any]:
    """What the `patternProperties` say of a property; one whose pattern is not understood says nothing against it."""
    patterns = schema.get("patternProperties")
    found: list[Any] = []
    for pattern, part in patterns.items() if isinstance(patterns, dict) else ():
        try:
            found += [part] if re.search(pattern, name) else []
        except re.error:
            found.append(True)
    return found


def _items(value: list[Any], schema: dict[str, Any], root: dict[str, Any], where: str, depth: int) -> str:
    first = _list(schema.get("prefixItems"))
    for number, item in enumerate(value):
        of = first[number] if number < len(first) else schema.get("items", True)
        wrong = _misfit(item, of, root, f"{where}[{number}]", depth + 1)
        if wrong:
            return wrong
    return ""


def whole_numbers(value: Any, schema: Any) -> Any:
    """The value with 3 for a 3.0 where the schema says integer, in properties and items."""
    if not isinstance(schema, dict):
        return value
    if isinstance(value, dict):
        known = schema.get("properties")
        known = known if isinstance(known, dict) else {}
        return {name: whole_numbers(member, known.get(name)) for name, member in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item, schema.get("items")) for item in value]
    kinds = schema.get("type")
    integer = "integer" in kinds and "number" not in kinds if isinstance(kinds, (str, list)) else False
    return int(value) if integer and isinstance(value, float) and value.is_integer() else value


def referred(reference: str, root: dict[str, Any]) -> Any:
    """What `#/a/b` names within the schema; True, which all fits, for what is not there or is named otherwise."""
    if reference != "#" and not reference.startswith("#/"):
        return True
    target: Any = root
    for key in unquote(reference).removeprefix("#").split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(key)] if key.isdecimal() and int(key) < len(target) else True
        else:
            target = target.get(key, True) if isinstance(target, dict) else True
    return target


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong(where: str, expected: str, value: Any) -> str:
    return f"{where or 'the answer'}: {_text(value)}; expected {safe(expected, 200)}"


def _text(value: Any) -> str:
    return safe(json.dumps(value, ensure_ascii=False), 80)
