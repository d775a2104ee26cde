"""What each request asks: the body made from the flags of create_batch_file.py, for the endpoint it goes to."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..base.errors import BadInput, WrongUsage
from ..base.text import safe
from ..rows import cells as row_cells
from ..rows.pictures import image_address
from ..rows.source import Source
from .rules import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES
from .template import Line, Template

Write = Callable[[str, dict[str, Any], list[str]], bytes]  # custom_id, cells, names of empty cells -> the line


def composed(args: Namespace, source: Source | None) -> tuple[Write, Source | None]:
    """What writes the line of a row, and the source with the columns it uses."""
    if source and not (args.prompt or args.template):
        if source.format == "jsonl" and all(source.column_named(key) for key in ("custom_id", "body")):
            return _rewriter(args), source.using([], id_column="custom_id")
        raise WrongUsage(
            "--prompt (or --template) is missing: what is asked about each row?", "--prompt 'Label: {text}'"
        )
    if args.model is None:
        raise WrongUsage("--model is missing", "list_models.py prints the models this key may use")
    line, used = Line(args.endpoint), dict[str, None]()

    def column_named(name: str) -> str | None:
        return source.column_named(name) if source is not None else "text" if name == "text" else None

    def put(written: str) -> str:
        template = Template(written, column_named, lambda: source.columns if source else ["text"])
        used.update(dict.fromkeys(template.columns))
        return line.hole(template.fill) if template.columns else template.literals[0]

    body: dict[str, Any] = {"model": args.model} | _question(args, put, source is None)
    named = "file" if source and source.format == "images" else args.image_column
    if named is not None:
        column = column_named(named)
        if column is None:
            raise BadInput(f"there is no column {safe(named)} for --image-column")
        folder = source.folder if source else Path()

        def image(cells: dict[str, Any], empty: list[str]) -> str:
            cell = row_cells.value(cells, column)
            if row_cells.is_empty(cell):
                empty.append(column)
                return "data:,"
            return image_address(cell, folder)

        used[column] = None
        _attach(body, args.endpoint, line.hole(image))
    line.close(body | _parameters(args))
    return line.write, source and source.using(list(used))


def _question(args: Namespace, put: Callable[[str], str], prompts_only: bool) -> dict[str, Any]:
    """The part of the body that asks: messages, prompt or input."""
    url = args.endpoint
    if args.template:
        turns = _json_file(args.template)
        turns = turns["messages"] if isinstance(turns, dict) and "messages" in turns else turns
        if url not in (CHAT, RESPONSES, MESSAGES) or not isinstance(turns, list):
            raise WrongUsage("--template holds a JSON list of messages; it goes with chat, responses and messages")
        asked = _mapped(turns, put)
    else:
        asked = put("{text}" if prompts_only else args.prompt[0])
    if args.system is not None and url in (COMPLETIONS, EMBEDDINGS):
        raise WrongUsage(f"{url} has no system prompt")
    if url in (COMPLETIONS, EMBEDDINGS):
        return {"prompt" if url == COMPLETIONS else "input": asked}
    system = None if args.system is None else args.system if prompts_only else put(args.system)
    if url == RESPONSES:
        return ({} if system is None else {"instructions": system}) | {"input": asked}
    messages = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    if system is None:
        return {"messages": messages}
    if url == MESSAGES:
        return {"system": system, "messages": messages}
    return {"messages": [{"role": "system", "content": system}, *messages]}


def _mapped(value: Any, put: Callable[[str], str]) -> Any:
    """The same JSON value with every text put through `put`."""
    if isinstance(value, dict):
        return {key: _mapped(member, put) for key, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, put) for member in value]
    return put(value) if isinstance(value, str) else value


def _attach(body: dict[str, Any], url: str, image: str) -> None:
    """Puts an image beside the text of the last message."""
    if url == CHAT:
        last = body["messages"][-1]
        last["content"] = [
            {"type": "text", "text": last["content"]},
            {"type": "image_url", "image_url": {"url": image}},
        ]
    elif url == RESPONSES and isinstance(body["input"], str):
        content = [{"type": "input_text", "text": body["input"]}, {"type": "input_image", "image_url": image}]
        body["input"] = [{"role": "user", "content": content}]
    else:
        raise WrongUsage(f"images go with {CHAT} or {RESPONSES} and --prompt")


def _parameters(args: Namespace) -> dict[str, Any]:
    url, made = args.endpoint, dict[str, Any]()
    if args.max_tokens is not None:
        made["max_output_tokens" if url == RESPONSES else "max_tokens"] = args.max_tokens
    if args.temperature is not None:
        made["temperature"] = args.temperature
    if args.top_p is not None:
        made["top_p"] = args.top_p
    if args.stop:
        made["stop_sequences" if url == MESSAGES else "stop"] = args.stop
    if args.schema:
        made |= _structured(args.schema, url)
    if args.tools:
        made["tools"] = _json_file(args.tools)
    for setting in args.set or ():
        key, equals, value = setting.partition("=")
        try:
            made[key] = json.loads(value)
        except ValueError:
            equals = ""
        if not key or not equals:
            raise WrongUsage(f"--set {safe(setting)}: expected KEY=JSON", """a text is quoted: --set 'user="me"'""")
    return made


def _structured(path: Path, url: str) -> dict[str, Any]:
    """The parameter that makes the model answer by a JSON schema."""
    schema, name = _json_file(path), path.stem
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):  # with its wrapper
        schema, name = schema["schema"], str(schema.get("name", name))
    try:
        import jsonschema
    except ImportError:
        shape = isinstance(schema, dict) and isinstance(schema.get("properties", {}), dict)
        if not shape or not {"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum"} & set(schema):
            raise BadInput(f"{safe(path)} is no JSON schema: an object with type and properties") from None
    else:
        try:
            jsonschema.validators.validator_for(schema).check_schema(schema)
        except (jsonschema.SchemaError, TypeError, AttributeError) as error:
            raise BadInput(f"{safe(path)} is no JSON schema: {safe(getattr(error, 'message', error))}") from None
    named = {"name": re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64], "schema": schema, "strict": True}
    if url == CHAT:
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if url == RESPONSES:
        return {"text": {"format": {"type": "json_schema", **named}}}
    raise WrongUsage(f"--schema goes with {CHAT} or {RESPONSES}")


def _json_file(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{safe(path)} is not JSON: {safe(error)}") from None


def _rewriter(args: Namespace) -> Write:
    """For rows that are requests already: the same requests, with what the flags set."""
    changes = _parameters(args) | ({} if args.model is None else {"model": args.model})

    def write(custom_id: str, cells: dict[str, Any], _: list[str]) -> bytes:
        body, url = cells.get("body"), cells.get("url", args.endpoint)
        made = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
        if isinstance(body, dict):
            made["body"] = body | changes
        return f"{json.dumps(made, ensure_ascii=False)}\n".encode()

    return write
