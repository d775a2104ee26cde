"""The least answer that fits what a request's `response_format` asks for, for a model that only plays one."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH = 30  # a schema may refer to itself: below this an object has what it must have alone
_FORMATS = {"date": "2000-01-01", "date-time": "2000-01-01T00:00:00Z", "time": "00:00:00Z", "email": "a@example.org",
            "uri": "https://example.org/", "uuid": "00000000-0000-0000-0000-000000000000"}  # fmt: skip


def structured(request: dict[str, Any], mark: str) -> str | None:
    """The JSON text that fits, or None where any text will do. `mark` stands in every text that the schema leaves free.

    Of an enum it is the first word, of a number the least from 0 on, of an object every property.
    """
    asked = request.get("response_format")
    if not isinstance(asked, dict) or asked.get("type") not in ("json_schema", "json_object"):
        return None
    named = asked.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    return json.dumps(_least(schema, schema, mark, 0) if schema else {"answer": mark}, ensure_ascii=False)


def _least(schema: Any, root: Any, mark: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 2 * DEPTH:
        return mark
    if isinstance(schema.get("$ref"), str):
        return _least(_referred(schema["$ref"], root), root, mark, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    merged = {**schema, **_joined(schema.get("allOf"), root)}
    for name in ("anyOf", "oneOf"):
        parts = merged.pop(name, None)
        if isinstance(parts, list) and parts:
            simple = [part for part in parts if isinstance(part, dict) and "$ref" not in part]
            return _least({**merged, **(parts[0] if depth < DEPTH or not simple else simple[0])}, root, mark, depth + 1)
    kind = merged.get("type", "object" if "properties" in merged else "string")
    return _of_kind(kind[0] if isinstance(kind, list) else kind, merged, root, mark, depth)


def _of_kind(kind: str, schema: dict[str, Any], root: Any, mark: str, depth: int) -> Any:
    if kind == "object":
        known = schema.get("properties") or {}
        names = known if depth < DEPTH else [name for name in schema.get("required") or [] if name in known]
        return {name: _least(known[name], root, mark, depth + 1) for name in names}
    if kind == "array":
        first = schema.get("prefixItems") or []
        items = [*first, *[schema.get("items")] * (schema.get("minItems", 0) - len(first))]
        return [_least(item, root, mark, depth + 1) for item in items]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return min(max(0, least), schema.get("maximum", math.inf))
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format")), mark)
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")
    return False if kind == "boolean" else None


def _joined(parts: Any, root: Any) -> dict[str, Any]:
    """`allOf` as one schema: its parts' properties and required names together."""
    found: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else []:
        part = _referred(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part
        if isinstance(part, dict):
            known = {**found.get("properties", {}), **part.get("properties", {})}
            found = {**found, **part, **({"properties": known} if known else {})}
    return found


def _referred(reference: str, root: Any) -> Any:
    target = root
    for key in reference.removeprefix("#").split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, dict) else None
    return target
