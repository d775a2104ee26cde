"""The files that flags name: prompts, and JSON such as a schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.files import open_regular
from ..base.text import safe
from ..rows.file_kind import START_BYTES, encoding_of, kind_of, not_text
from .line_json import Unreadable, parse


def _bytes(flag: str, path: Path) -> bytes:
    """The text in a file, as UTF-8 without a mark. Raises BadInput for what is no text."""
    try:
        with open_regular(path) as file:
            raw = file.read()
    except BadInput as error:
        raise BadInput(f"{flag}: {error.what}", error.next_step) from None
    kind, encoding = kind_of(raw[:START_BYTES]), encoding_of(raw)
    if kind is not None:
        failure = not_text(path, kind)
        raise BadInput(f"{flag} {failure.what}", failure.next_step)
    try:
        raw = raw if encoding is None else raw.decode(encoding).encode()
    except UnicodeError:
        raise BadInput(f"{flag} {safe(path)} is not {encoding}, as its mark says", "save it as UTF-8 text") from None
    if b"\0" in raw:
        raise BadInput(f"{flag} {safe(path)} is no text: it holds NUL bytes", "save it as UTF-8 text")
    return raw


def named_schema(path: Path) -> dict[str, Any]:
    """The named schema of a file: a schema, the object with name and schema around it, or a response_format."""
    value, wrapped = json_file("--schema", path), True
    while wrapped and isinstance(value, dict) and "properties" not in value:
        for key in ("response_format", "text", "format", "json_schema"):
            if isinstance(value.get(key), dict):
                value = value[key]
                break
        else:
            wrapped = False
    named: dict[str, Any] = {}
    if isinstance(value, dict) and isinstance(value.get("schema"), dict) and "properties" not in value:
        named = {key: member for key, member in value.items() if key != "type"}
        value = named["schema"]
    _require_schema(path, value)
    for key, kind in (("strict", bool), ("name", str)):
        if named.get(key, kind()).__class__ is not kind:
            raise BadInput(f"--schema {safe(path)}: {key} around the schema is no {kind.__name__}", "mend that file")
    named.setdefault("name", path.stem)
    named["name"] = re.sub(r"[^A-Za-z0-9_-]", "_", str(named["name"]))[:64] or "schema"
    return {"name": named["name"], "schema": value, "strict": True} | named


_SAYS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum"})


def _require_schema(path: Path, schema: Any) -> None:
    """Raises BadInput for what is no schema: by jsonschema where that is installed, else by its shape."""
    wrong = ""
    if not isinstance(schema, dict) or not _SAYS & set(schema) or not isinstance(schema.get("properties", {}), dict):
        wrong = "an object with type and properties was expected"
    elif schema.get("type") in ("json_object", "json_schema"):
        wrong = f"its type is {schema['type']}, and there is no schema in it"
    else:
        try:
            import jsonschema

            jsonschema.validators.validator_for(schema).check_schema(schema)
        except ImportError:
            pass
        except (jsonschema.SchemaError, TypeError, AttributeError, RecursionError) as error:
            wrong = safe(getattr(error, "message", error))
    if wrong:
        raise BadInput(f"--schema {safe(path)} is no JSON schema: {wrong}", "mend that file")


def json_file(flag: str, path: Path) -> Any:
    """The JSON in a file that a flag names. Raises BadInput."""
    raw = _bytes(flag, path)
    try:
        return parse(raw)
    except Unreadable as error:
        expected = error.expected.replace(" object on each line", "")
        raise BadInput(
            f"{flag} {safe(path)} is not JSON: {safe(error.value, 60)}; expected {expected}", "mend that file"
        ) from None


def text_file(flag: str, path: Path) -> str:
    """The text in a file that a flag names, without the last line end. Raises BadInput."""
    raw = _bytes(flag, path)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{flag} {safe(path)} is not UTF-8: {safe(error.reason)}", "save it as UTF-8 text") from None
    if not text.strip():
        raise BadInput(f"{flag} {safe(path)} is empty; a text was expected")
    return text.replace("\r\n", "\n").removesuffix("\n")
