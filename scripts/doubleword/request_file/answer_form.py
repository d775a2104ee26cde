"""What every answer of a job must be: one of some words, or JSON that fits a schema; the requests ask for it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..base.console import say
from ..base.files import state_of
from ..base.json_text import read_json
from .lines import lines

# How a choice is asked for: strict structured output of one key. A model that only ever continues a grammar answers
# with one of the words then, and so does one that merely reads the schema; a bare enum is refused by some services.
CHOICE, KEY = "choice", "answer"

Schemas = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Expected:
    """`choices`: the answer is one of these words; else it fits `schema`, whose top-level properties are `columns`."""

    choices: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    columns: tuple[str, ...] = ()


def choice_format(choices: tuple[str, ...]) -> dict[str, Any]:
    """The named schema that asks for one of these words; the answer's text is then {"answer": "word"}."""
    answer = {"type": "string", "enum": list(choices)}
    schema = {"type": "object", "properties": {KEY: answer}, "required": [KEY], "additionalProperties": False}
    return {"name": CHOICE, "schema": schema, "strict": True}


def expected_of(body: Any) -> Expected | None:
    """What a request body asks the answer to be, or None for any text. Made here or elsewhere, for any endpoint."""
    named = _named_schema(body)
    schema = named.get("schema")
    if not isinstance(schema, dict):
        return None
    found = properties(schema)
    words = _words(schema) or (_words(found[KEY]) if named.get("name") == CHOICE and [*found] == [KEY] else ())
    return Expected(choices=words) if words else Expected(schema=schema, columns=tuple(found))


def _named_schema(body: Any) -> dict[str, Any]:
    """The object with `name` and `schema`, of chat completions or of responses."""
    body = body if isinstance(body, dict) else {}
    text = body.get("text")
    found = text.get("format") if isinstance(text, dict) else body.get("response_format")
    if not isinstance(found, dict) or found.get("type") != "json_schema":
        return {}
    inner = found.get("json_schema", found)
    return inner if isinstance(inner, dict) else {}


def _words(schema: Any) -> tuple[str, ...]:
    """The texts of an enum of nothing else."""
    words = schema.get("enum") if isinstance(schema, dict) else None
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return tuple(words)
    return ()


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    """The top-level properties of a schema, in order; a `$ref` within the schema and `allOf` are followed."""
    found: dict[str, Any] = {}
    for part in together(schema, schema, ("allOf",)):
        own = part.get("properties")
        found |= own if isinstance(own, dict) else {}
    return found


def together(
    schema: Any, root: dict[str, Any], of: tuple[str, ...] = ("allOf", "anyOf", "oneOf"), seen: set[int] | None = None
) -> Schemas:
    """Every schema that says something of the same value, each once: what it refers to, its parts, then itself."""
    seen = set() if seen is None else seen
    if not isinstance(schema, dict) or id(schema) in seen:
        return
    seen.add(id(schema))
    reference = schema.get("$ref")
    parts = [referred(reference, root)] if isinstance(reference, str) else []
    for name in of:
        parts += schema[name] if isinstance(schema.get(name), list) else []
    for part in parts:
        yield from together(part, root, of, seen)
    yield schema


def referred(reference: str, root: dict[str, Any], otherwise: object = True) -> Any:
    """What `#/a/b` names within the schema; `otherwise`, True fits all, for what is not there or is named otherwise."""
    own = root.get("$id")
    path = reference.removeprefix(own.rstrip("#") if isinstance(own, str) else "")
    if path != "#" and not path.startswith("#/"):
        return otherwise
    target: Any = root
    for key in unquote(path).split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(key)] if key.isdecimal() and int(key[:9]) < len(target) else otherwise
        else:
            target = target.get(key, otherwise) if isinstance(target, dict) else otherwise
    return target


# --- of all requests: known of jobs made elsewhere, too ---

_KEYS = (b'"response_format"', b'"format"')  # of chat completions, of responses


def expected_in(path: Path) -> Expected | None:
    """What the answers of a request file are held against; None for any text. One object while the file stays so."""
    return _expected(path, *state_of(path)) if path.exists() else None


@functools.lru_cache(maxsize=4)
def _expected(path: Path, size: int, changed_ns: int) -> Expected | None:  # noqa: ARG001 - what the file was then
    requests = (line.raw for line in lines(path) if not line.blank)
    first = next(requests, b"")
    found = expected_of(_body(first))
    if found is None or not _differs(first, requests, found):
        return found
    say("the requests ask for answers of different forms: none is held against a schema")
    return None


def _differs(first: bytes, others: Iterator[bytes], found: Expected) -> bool:
    """Whether another request asks for something else. Most say it in the same bytes: those are not parsed."""
    same = _stands(first, found)
    return any(not (same and same in raw) and expected_of(_body(raw)) != found for raw in others)


def _stands(raw: bytes, found: Expected) -> bytes:
    """The key and the value of a request line that say the form of its answer, as they stand there."""
    text = raw.decode("utf-8", "replace")
    for key in _KEYS:
        start = text.find(key.decode())
        value = text.find("{", start)
        if start >= 0 and value >= 0:
            try:
                form, end = json.JSONDecoder().raw_decode(text, value)
            except (ValueError, RecursionError):
                continue
            if found in (expected_of({"response_format": form}), expected_of({"text": {"format": form}})):
                return text[start:end].encode()
    return b""


def _body(raw: bytes) -> Any:
    try:
        found = read_json(raw, exact=True)
    except ValueError:
        return None
    return found.get("body") if isinstance(found, dict) else None
