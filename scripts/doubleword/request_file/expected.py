"""What every answer of a job must be: one of some words, or JSON that fits a schema; the requests ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# How a choice is asked for: strict structured output of one key. A model that only ever continues a grammar answers
# with one of the words then, and so does one that merely reads the schema; a bare enum is refused by some services.
CHOICE, KEY = "choice", "answer"


@dataclass(frozen=True)
class Expected:
    """`choices`: the answer is one of these words; else it fits `schema`, whose top-level properties are `columns`."""

    choices: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    columns: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For a job record: {"choices": [...]} or {"schema": {...}, "columns": [...]}."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"schema": self.schema, "columns": list(self.columns)}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Expected:
        if kept.get("choices"):
            return cls(choices=tuple(kept["choices"]))
        return cls(schema=kept["schema"], columns=tuple(kept["columns"]))


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
    return _properties(schema, schema, 0)


def _properties(schema: Any, root: dict[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or depth > 10:
        return {}
    found: dict[str, Any] = {}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for key in reference[2:].split("/"):
            target = target.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        found |= _properties(target, root, depth + 1)
    every = schema.get("allOf")
    for part in every if isinstance(every, list) else ():
        found |= _properties(part, root, depth + 1)
    own = schema.get("properties")
    return found | (own if isinstance(own, dict) else {})
