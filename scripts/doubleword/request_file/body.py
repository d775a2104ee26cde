"""What each request asks: the body made from the flags of create_batch_file.py, for the endpoint it goes to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.failures import BadInput, WrongUsage
from ..base.files import unused
from ..base.text import safe
from ..rows.cell_to_text import json_text
from ..rows.source import Source
from . import images, rules
from .answer_form import expected_of
from .endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MESSAGES, RESPONSES, endpoint_meant
from .flag_parameters import Parameters, made
from .flags import json_file
from .parameter_rules import TWINS
from .template import Line, Template, encode, names_in

Write = Callable[[str, dict[str, Any], list[str]], bytes]  # custom_id, cells, names of empty cells -> the line


@dataclass(frozen=True)
class Asked:
    """What is asked about each row, as the flags say it."""

    endpoint: str | None = None  # None: chat completions, or that of the requests which the source holds
    model: str | None = None
    prompts: tuple[str, ...] = ()  # one template; without rows a request each
    system: str | None = None
    template: Path | None = None
    image_columns: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)

    @property
    def url(self) -> str:
        return self.endpoint or CHAT

    @property
    def rewrites(self) -> bool:
        """Whether the rows are to be requests already."""
        return not (self.prompts or self.template)


@dataclass(frozen=True)
class Composed:
    """What is asked, what writes the line of a row, the source with the columns it uses, and what is to be said."""

    asked: Asked
    write: Write
    source: Source | None
    notes: list[str] = field(default_factory=list)


def judged(asked: Asked) -> Asked:
    """The same. Raises WrongUsage or BadInput, with the flag's name, for what is wrong whatever the rows are."""
    if asked.rewrites:
        made(asked.parameters, asked.url, complete=False)
        return asked
    if not (asked.model or "").strip():
        raise WrongUsage(
            "--model is missing",
            "list_models.py prints the models this key may use; until there is a key, --model MODEL will do: the same"
            " command with the right name makes the file anew",
        )
    made(asked.parameters, asked.url)
    _question(asked, lambda text: text, prompts_only=False)
    return asked


def composed(asked: Asked, source: Source | None) -> Composed:
    """How the requests are made, of what was `judged`. Raises BadInput for a column that the source has not."""
    if source and asked.rewrites:
        return _rewriting(asked, source)
    pictures = asked.image_columns or (("file",) if source and source.format == "images" else ())
    if source and source.id_column:
        source = source.using([], source.column_of_flag(source.id_column, "--id-column"))
    if source:
        pictures = tuple(source.column_of_flag(name, "--image-column") for name in pictures)
    column, headers = (source.column_named, source.headers) if source else (_only_text, lambda: "{text}")
    line, used, kept = Line(asked.url), dict[str, None](), dict[str, None]()

    def put(written: str) -> str:
        template = Template(written, column, headers)
        used.update(dict.fromkeys(template.columns))
        kept.update(dict.fromkeys(template.kept))
        if not template.columns:
            return template.literals[0]
        return line.hole(lambda cells, empty: encode(template.fill(cells, empty)))

    body: dict[str, Any] = {"model": asked.model} | _question(asked, put, source is None)
    if source and pictures:
        used.update(dict.fromkeys(pictures))
        images.attach(body, asked.url, line.rest(images.shown(pictures, asked.url, source.folder)))
    set_by_flags = made(asked.parameters, asked.url)
    body |= set_by_flags
    line.close(body)
    if source is None:
        asked_texts = [*asked.prompts, asked.system or ""]
        notes = _as_written("there are no rows (--input)", names_in(asked_texts, lambda _: True))
    else:
        notes = _as_written("no column", kept)
        settings = [json.dumps(set_by_flags, ensure_ascii=False)]
        notes += _as_written(
            "parameters (--set, --stop, --choices) are no templates",
            names_in(settings, lambda name: name in source.columns),
        )
    expected = expected_of(body)
    if expected is not None and len(expected.choices) == 1:
        notes.append(f"there is one choice alone: every answer will be {safe(expected.choices[0], 80)!r}")
    return Composed(asked, line.write, source and source.using(list(used)), notes)


def _as_written(why: str, kept: Iterable[str]) -> list[str]:
    found = list(kept)
    first = ", ".join(safe(braces, 40) for braces in found[:3])
    return [f"{why}, so sent as written: {first}{', ...' if len(found) > 3 else ''}"] if found else []


def _only_text(name: str) -> str | None:
    """The column that is meant where there are no rows."""
    return name if name == "text" else None


def _question(asked: Asked, put: Callable[[str], str], prompts_only: bool) -> dict[str, Any]:
    """The part of the body that asks: messages, prompt or input."""
    url = asked.url
    question = _mapped(_turns(asked.template, url), put) if asked.template else None
    question = question or put("{text}" if prompts_only else asked.prompts[0])
    if asked.system is not None and url in (COMPLETIONS, EMBEDDINGS):
        raise WrongUsage(f"--system: {url} has no system prompt", "put it into --prompt")
    if url in (COMPLETIONS, EMBEDDINGS):
        return {"prompt" if url == COMPLETIONS else "input": question}
    system = None if asked.system is None else asked.system if prompts_only else put(asked.system)
    if url == RESPONSES:
        return ({} if system is None else {"instructions": system}) | {"input": question}
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    if system is None:
        return {"messages": messages}
    if url == MESSAGES:
        return {"system": system, "messages": messages}
    return {"messages": [{"role": "system", "content": system}, *messages]}


def _turns(file: Path, url: str) -> list[Any]:
    """The messages of --template, held against the rules with every template filled."""
    turns = json_file("--template", file)
    if isinstance(turns, dict) and "messages" in turns:
        lost = ", ".join(repr(safe(key, 40)) for key in turns if key != "messages")
        if lost:
            what = f"--template {safe(file)}: beside the messages stands {lost}, which would be lost"
            raise BadInput(what, "take it out of that file; parameters have flags: --temperature, --set KEY=JSON")
        turns = turns["messages"]
    if url not in (CHAT, RESPONSES, MESSAGES):
        raise WrongUsage(f"--template holds messages; {url} takes a text", "use --prompt")
    wrong: list[str] = []

    def found(field: str, _: str, value: Any, expected: str) -> None:
        shown = "nothing" if value is None else safe(json.dumps(value, ensure_ascii=False), 80)
        wrong.append(f"{field.removeprefix('body.')}: {shown}; expected {expected}")

    # An address passes as a text, too.
    filled = _mapped(turns, lambda text: "https://a.example" if "{" in text else text)
    rules.messages(filled, url, found, lambda _: None)
    if wrong:
        raise BadInput(f"--template {safe(file)}: {'; '.join(wrong[:5])}", "mend that file: a JSON list of messages")
    return list(turns)


def _mapped(value: Any, put: Callable[[str], str]) -> Any:
    """The same JSON value with every text put through `put`."""
    if isinstance(value, dict):
        return {key: _mapped(member, put) for key, member in value.items()}
    if isinstance(value, list):
        return [_mapped(member, put) for member in value]
    return put(value) if isinstance(value, str) else value


def _require_requests(source: Source) -> None:
    """Raises WrongUsage for rows that are no requests; of bodies of requests with the command that makes them such."""
    is_json, way = source.format in ("jsonl", "json"), "--prompt 'Label: {text}'"
    if is_json and all(source.column_named(key) for key in ("custom_id", "body")):
        return
    url = CHAT if "messages" in source.columns else RESPONSES if {"model", "input"} <= {*source.columns} else ""
    if is_json and url:
        request = '{custom_id: "row-\\(input_line_number)", method: "POST", url: "' + url + '", body: .}'
        made = f"jq -c {shlex.quote(request)} {shlex.quote(safe(source.path))} > {unused('requests.jsonl')}"
        way = f"are the rows bodies of requests? Then: {made}"
    raise WrongUsage("--prompt (or --template) is missing: what is asked about each row?", way)


def _rewriting(asked: Asked, source: Source) -> Composed:
    """For rows that are requests already: the same requests, with what the flags set."""
    _require_requests(source)
    not_asked = {"--system": asked.system, "--image-column": asked.image_columns, "--id-column": source.id_column}
    for flag, given in (not_asked | {"--empty": source.empty != "refuse"}).items():
        if given:
            raise WrongUsage(f"{flag}: these rows are requests already, and keep what they ask", f"leave {flag} out")
    first = next(source.read(requests_only=True), None)
    url = asked.endpoint or (first.cells.get("url") if first else None)
    if asked.endpoint and first and endpoint_meant(first.cells.get("url")) not in ("", asked.endpoint):
        raise WrongUsage("--endpoint: these rows are requests already, and keep where they go", "leave --endpoint out")
    url = url if url in ENDPOINTS else CHAT
    changes = made(asked.parameters, url, complete=False) | ({} if asked.model is None else {"model": asked.model})

    replaced = {TWINS[key] for key in changes if key in TWINS}

    def write(custom_id: str, cells: dict[str, Any], _: list[str]) -> bytes:
        body = cells.get("body")
        request = {"custom_id": custom_id, "method": "POST", "url": cells.get("url", url), "body": body}
        if isinstance(body, dict):
            request["body"] = {key: member for key, member in body.items() if key not in replaced} | changes
        try:
            written = json.dumps(request, ensure_ascii=False)
        except TypeError:  # a number of more digits than a float has
            written = json_text(request)
        return f"{written}\n".encode()

    return Composed(asked, write, source.using([], id_column="custom_id"))
