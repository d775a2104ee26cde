"""Whether a value fits a JSON schema: types, enums, required names, nested values, alternatives and references.

The keywords that structured output takes. Others (`pattern`, `format`, …) narrow what is right already, and are
not held against an answer that was paid for.
"""

from __future__ import annotations

import json
from typing import Any

from ..base.text import safe

DEPTH = 60  # a schema may refer to itself
_TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def misfit(value: Any, schema: dict[str, Any]) -> str:
    """Where and how a value does not fit, for a person to read; "" if it fits."""
    return _misfit(value, schema, schema, "", 0)


def _misfit(value: Any, schema: Any, root: dict[str, Any], where: str, depth: int) -> str:
    if not isinstance(schema, dict) or depth > DEPTH:
        return _wrong(where, "nothing", value) if schema is False else ""
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
        if name not in known and others is False:
            return f"{place} is not in the schema"
        wrong = _misfit(member, known.get(name, others), root, place, depth + 1)
        if wrong:
            return wrong
    return ""


def _items(value: list[Any], schema: dict[str, Any], root: dict[str, Any], where: str, depth: int) -> str:
    first = _list(schema.get("prefixItems"))
    for number, item in enumerate(value):
        of = first[number] if number < len(first) else schema.get("items", True)
        wrong = _misfit(item, of, root, f"{where}[{number}]", depth + 1)
        if wrong:
            return wrong
    return ""


def referred(reference: str, root: dict[str, Any]) -> Any:
    """What `#/a/b` names within the schema; True, which all fits, for what is not there."""
    target: Any = root
    for key in reference.removeprefix("#").split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        target = target.get(key, True) if isinstance(target, dict) else True
    return target


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong(where: str, expected: str, value: Any) -> str:
    return f"{where or 'the answer'}: {_text(value)}; expected {safe(expected, 200)}"


def _text(value: Any) -> str:
    return safe(json.dumps(value, ensure_ascii=False), 80)
