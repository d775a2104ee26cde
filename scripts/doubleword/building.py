"""A request file from rows and templates: the body, the lines, and the rules for putting it in place."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from . import sources, validation
from .contract import BadInput, WrongUsage, plural, safe, whole_file
from .job import Job
from .progress import Progress
from .request_file import digest, state_of
from .rules import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES
from .sources import Row, Source
from .templates import Line, Template

Write = Callable[[str, dict[str, Any], list[str]], bytes]  # custom_id, cells, names of empty cells -> the line


# --- the body ------------------------------------------------------------------------------------


def composed(args: Namespace, source: Source | None) -> tuple[Write, list[str]]:
    """What writes the line of a row, and the columns it uses."""
    if source and not (args.prompt or args.template):
        if source["format"] == "jsonl" and all(sources.has_column(source, key) for key in ("custom_id", "body")):
            source["id_column"] = "custom_id"
            return _rewriter(args), []
        raise WrongUsage(
            "--prompt (or --template) is missing: what is asked about each row?", "--prompt 'Label: {text}'"
        )
    if args.model is None:
        raise WrongUsage("--model is missing", "list_models.py prints the models this key may use")
    line, used = Line(args.endpoint), dict[str, None]()

    def is_column(name: str) -> bool:
        return name == "text" if source is None else sources.has_column(source, name)

    def put(written: str) -> str:
        template = Template(written, is_column, lambda: sources.columns(source) if source else ["text"])
        used.update(dict.fromkeys(template.columns))
        return line.hole(template.fill) if template.columns else template.literals[0]

    body: dict[str, Any] = {"model": args.model} | _question(args, put, source is None)
    column = "file" if source and source["format"] == "images" else args.image_column
    if column is not None:
        if not is_column(column):
            raise BadInput(f"there is no column {safe(column)} for --image-column")
        place = Path(source["path"]) if source else Path()
        folder = place if place.is_dir() else place.parent

        def image(cells: dict[str, Any], empty: list[str]) -> str:
            cell = sources.value(cells, column)
            if sources.is_empty(cell):
                empty.append(column)
                return "data:,"
            return sources.image_address(sources.text(cell), folder)

        used[column] = None
        _attach(body, args.endpoint, line.hole(image))
    line.close(body | _parameters(args))
    return line.write, list(used)


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


# --- the file ------------------------------------------------------------------------------------


class _Unchanged(Exception):
    """The file that was just made is there already."""


def build(path: Path, args: Namespace, source: Source | None) -> tuple[validation.Report, Job]:
    """Writes the request file and its job record; the same again changes nothing.

    Raises BadInput, and leaves everything as it was, if a row or a request is bad or another file is in the way.
    """
    write, used = composed(args, source)
    name, total, before = "the prompts", len(args.prompt or ()), None
    if source is not None:
        before = state_of(Path(source["path"]))
        source["used"] = used
        name = safe(source["path"])
        total, size = sources.extent(Path(source["path"]))
        requests = min(total, source["limit"] or total, source["sample"] or total)
        growth = 1.4 if source["format"] == "images" else 1.1
        _require_space(path.parent, int(requests * (growth * size / total + len(write("", {}, [])))))
    try:
        with whole_file(path) as file:
            _write_lines(file, name, total, _rows(args, source), write, source is None or source["empty"] == "refuse")
            if source is not None and before != state_of(Path(source["path"])):
                raise BadInput(f"{name} changed while it was read", "wait until whatever writes it is done")
            file.flush()
            report = validation.check(Path(file.name), part_requests=args.part_requests, part_bytes=args.part_bytes)
            if not report.requests:
                raise BadInput(f"{name}: no row to make a request of")
            if source is not None and report.problems:
                _name_rows(report, source)
            report.require(path if source is None else Path(source["path"]))
            _make_way(path, report)
    except _Unchanged:
        job = Job.load(path)
        limits = {"part_requests": args.part_requests, "part_bytes": args.part_bytes}
        if job is not None and (job.record["source"], job.record["options"]) == (source, limits):
            return report, job
    return report, Job.create(path, report, source, args.part_requests, args.part_bytes)


def preview(args: Namespace, source: Source | None, count: int) -> list[dict[str, Any]]:
    """The first requests, held against every rule, without writing anything."""
    write, used = composed(args, source)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "preview.jsonl")
        with made.open("wb") as file:
            if source is not None:
                source["used"] = used
            refuse = source is None or source["empty"] == "refuse"
            _write_lines(file, "the rows", count, islice(_rows(args, source), count), write, refuse)
        validation.check(made, part_requests=count, part_bytes=args.part_bytes).require(Path("the preview"))
        return [json.loads(line) for line in made.read_bytes().splitlines()]


def _make_way(path: Path, report: validation.Report) -> None:
    """Raises _Unchanged if the same file is there, BadInput if it is not ours to replace."""
    job, here = Job.load(path), digest(path) if path.exists() else None
    if here == report.sha256:
        raise _Unchanged
    if job is not None and any(part["upload"] for _, part in job.parts()):
        raise BadInput(
            f"{safe(path)} was already uploaded with other content; its job must stay as it is",
            "give the new request file another name",
        )
    if here is not None and (job is None or job.attempts[0]["sha256"] != here):
        raise BadInput(
            f"{safe(path)} exists, and is not as a job's record has it: it may be a source, or edited by hand",
            "give the new request file another name, or move that one away",
        )


def _rows(args: Namespace, source: Source | None) -> Iterator[Row]:
    if source is not None:
        return sources.read(source, requests_only=True)
    return (Row(n, {"text": prompt}, f"row-{n:06d}") for n, prompt in enumerate(args.prompt, 1))


def _write_lines(file: BinaryIO, name: str, total: int, rows: Iterable[Row], write: Write, refuse_empty: bool) -> None:
    problems, last, lines = [], 0, list[bytes]()
    with Progress("build", total, "rows") as progress:
        for row in rows:
            empty: list[str] = []
            try:
                line = write(row.custom_id or "", row.cells, empty)
            except UnicodeEncodeError:
                raise BadInput(f"{name} line {row.line}: half of a surrogate pair; expected whole characters") from None
            except BadInput as error:
                raise BadInput(f"{name} line {row.line}: {error.what}", error.next_step) from None
            if empty and refuse_empty:
                problems.append(_empty_cell(row.line, empty[0]))
            lines.append(line)
            if len(lines) == 64:  # few writes, little memory
                file.write(b"".join(lines))
                lines.clear()
                progress.add(row.line - last)
                last = row.line
    file.write(b"".join(lines))
    if problems:
        raise BadInput(
            f"{name}: {plural(len(problems), 'row')} with an empty cell in a column that the request needs",
            "fill them, or say --empty skip (no request for such a row) or --empty keep",
            problems,
        )


def _empty_cell(line: int, column: str) -> dict[str, Any]:
    found = {"line": line, "field": safe(column, 60), "kind": "empty_cell", "value": "", "expected": "a text"}
    return found | {"text": f"line {line}: {found['field']}: empty; expected a text"}


_LINE = re.compile(r"^line \d+|(?<=\(first on )line \d+(?=\)$)")


def _name_rows(report: validation.Report, source: Source) -> None:
    """Turns the lines of the request file, which will not be kept, into those of the source."""
    wanted = {int(found[0][5:]) for p in report.problems for found in _LINE.finditer(p["text"])}
    rows = enumerate(sources.read(source, requests_only=True), 1)
    line_of = {number: row.line for number, row in rows if number in wanted}
    for problem in report.problems:
        problem["line"] = line_of.get(problem["line"], problem["line"])
        problem["text"] = _LINE.sub(lambda f: f"line {line_of.get(int(f[0][5:]), 0)}", problem["text"])


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"{safe(folder)} has {free} bytes free; the request file will take about {needed}",
            "make room, or write it to another disk",
        )
