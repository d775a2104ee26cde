"""The parameters that the flags of create_batch_file.py set, judged before any row is read."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.failures import BadInput, Failure, WrongUsage
from ..base.text import safe
from ..rows.headers import folded
from .answer_form import choice_format, referred
from .endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from .flags import json_file
from .line_json import Unreadable, parse
from .parameter_rules import MANY_ANSWERS, TWINS, parameters

_TALKS = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
# What a flag is called in the body of each endpoint that has it.
_KEYS: dict[str, dict[str, str]] = {
    "--max-tokens": dict.fromkeys(_TALKS, "max_tokens") | {RESPONSES: "max_output_tokens"},
    "--temperature": dict.fromkeys(_TALKS, "temperature"),
    "--top-p": dict.fromkeys(_TALKS, "top_p"),
    "--stop": {CHAT: "stop", COMPLETIONS: "stop", MESSAGES: "stop_sequences"},
    "--reasoning-effort": {CHAT: "reasoning_effort", RESPONSES: "reasoning"},
    "--choices": {CHAT: "response_format", RESPONSES: "text"},
    "--schema": {CHAT: "response_format", RESPONSES: "text"},
    "--tools": {CHAT: "tools", RESPONSES: "tools", MESSAGES: "tools"},
}
# What --set must not write over, and the flag to use.
_OWN = {"model": "--model", "messages": "--prompt or --template", "prompt": "--prompt", "input": "--prompt"}
_OWN |= {"system": "--system", "instructions": "--system", "custom_id": "--id-column", "url": "--endpoint"}
_OWN |= {"completion_window": "--completion-window of run_batch.py and create_batch.py"}
_OWN |= {"body": "--set for each of its keys", "extra_body": "--set for each of its keys"}


@dataclass(frozen=True)
class Parameters:
    """The flags, as given; `choices` as quoted in CSV, `settings` each KEY=JSON."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    choices: str | None = None
    schema: Path | None = None
    tools: Path | None = None
    settings: tuple[str, ...] = ()


def _names(key: str) -> frozenset[str]:
    """All names of a parameter."""
    return frozenset((key, TWINS.get(key, key)))


def made(given: Parameters, url: str, complete: bool = True) -> dict[str, Any]:
    """The parameters of a body for an endpoint; `complete`: the body has no others.

    Raises WrongUsage for a wrong flag, BadInput for a wrong file, both with the flag's name.
    """
    if given.choices is not None and given.schema is not None:
        raise WrongUsage("--choices and --schema: one of them")
    body: dict[str, Any] = {}
    flag_of: dict[frozenset[str], str] = {}
    for flag, key, value in (*_flags(given, url), *map(_setting, given.settings)):
        same = _names(key)
        if same in flag_of:
            raise WrongUsage(f"{flag} and {flag_of[same]} set the same parameter", "leave one of them out")
        body[key], flag_of[same] = value, flag
    wrong: list[Failure] = []

    def found(field: str, _: str, value: Any, expected: str) -> None:
        key = field.split(".")[1]
        flag = flag_of.get(_names(key))
        if flag is not None:
            in_file = flag in ("--tools", "--schema")
            wrong.append((BadInput if in_file else WrongUsage)(f"{_shown(flag, value, given)}: expected {expected}"))
        elif complete:
            wrong.append(WrongUsage(f"--{key.replace('_', '-')} is missing: expected {expected}"))

    parameters(body, url, found, lambda _: None)
    for key in MANY_ANSWERS:
        if body.get(key).__class__ is int and body[key] > 1:
            found(f"body.{key}", "", body[key], "1: one answer a request is taken; use seed and several jobs")
    if wrong:
        raise type(wrong[0])("; ".join(failure.what for failure in wrong))
    return body


def _flags(given: Parameters, url: str) -> Iterator[tuple[str, str, Any]]:
    """(flag, key of the body, value) of each flag that was given."""
    for flag, keys in _KEYS.items():
        value = getattr(given, flag[2:].replace("-", "_"))
        if value is None or value == ():
            continue
        if url not in keys:
            raise WrongUsage(f"{flag} does not go with {url}, only with {', '.join(keys)}", f"leave {flag} out")
        if flag in ("--choices", "--schema"):
            named = choice_format(_choices(value)) if flag == "--choices" else named_schema(value)
            value = {"format": {"type": "json_schema", **named}}
            if url == CHAT:
                value = {"type": "json_schema", "json_schema": named}
        elif flag == "--reasoning-effort" and url == RESPONSES:
            value = {"effort": value}
        elif flag == "--stop":
            value = list(value)
        elif flag == "--tools":
            value = json_file(flag, value)
        yield flag, keys[url], value


def _setting(written: str) -> tuple[str, str, Any]:
    key, equals, value = written.partition("=")
    key = key.strip()
    if not key or not equals:
        raise WrongUsage(f"--set {safe(written, 80)}: expected KEY=JSON", """a text is quoted: --set 'user="me"'""")
    if key in _OWN:
        raise WrongUsage(f"--set {safe(written, 80)}: expected another parameter", f"use {_OWN[key]}")
    try:
        return f"--set {safe(key, 80)}", key, parse(value.encode(), "JSON")
    except Unreadable as error:
        what = f"--set {safe(written, 80)}: {safe(error.value, 40)} is no JSON; expected {safe(error.expected, 100)}"
        way = f"""a text is quoted: --set '{safe(key, 40)}="me"'""" if error.kind == "json" else ""
        raise WrongUsage(what, way) from None


def _shown(flag: str, value: Any, given: Parameters) -> str:
    """The flag with the value that is wrong."""
    if flag in ("--tools", "--schema"):
        return f"{flag} {safe(getattr(given, flag[2:]), 200)}"
    return f"{flag}{'=' if flag.startswith('--set ') else ' '}{safe(json.dumps(value, ensure_ascii=False), 80)}"


def _choices(written: str) -> tuple[str, ...]:
    """The words of --choices, quoted as in CSV."""
    shown = f"--choices {safe(written, 80)!r}"
    way = """for example --choices 'yes,no,"yes, but"'"""
    if "\n" in written or "\r" in written:
        raise WrongUsage(f"{shown}: a line end; expected words between commas", way)
    try:
        lines = list(csv.reader([written], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise WrongUsage(f"{shown}: {safe(error)}; a choice with a comma or quotes is quoted as in CSV", way) from None
    words = [word.strip() for word in lines[0]] if lines else []
    if not all(map(folded, words)) or not words:
        raise WrongUsage(f"{shown}: {'an empty choice' if words else 'no choice'}; expected words between commas", way)
    if len(words) == 1 and (re.search(r"^@|[;|，、；]", words[0]) or Path(words[0]).suffix):  # noqa: RUF001
        raise WrongUsage(f"{shown}: one choice alone; expected words between commas", way)
    alike = [folded(word) for word in words]
    twice = sorted({word for word in alike if alike.count(word) > 1})
    if twice:
        raise WrongUsage(f"{shown}: {', '.join(map(repr, twice))} twice; expected each choice once", way)
    return tuple(words)


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
    own = str(schema.get("$id", "")).rstrip("#") if isinstance(schema, dict) else ""
    for reference in () if wrong else (found.removeprefix(own) for found in _references(schema)):
        if not reference.startswith("#"):
            wrong = f"{safe(reference, 80)!r} lies elsewhere, where no model looks: put what it names into $defs"
        elif reference.startswith("#/") and referred(reference, schema, None) is None:
            wrong = f"{safe(reference, 80)!r} names nothing in it"
    if wrong:
        raise BadInput(f"--schema {safe(path)} is no JSON schema: {wrong}", "mend that file")


def _references(schema: Any) -> Iterator[str]:
    members = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for member in members:
        yield from _references(member)
