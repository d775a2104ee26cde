"""The rules for one request, once it has been parsed: every field, and what was expected there.

Refused is what the server refuses (the tests compare with its recorded verdicts), and what it would take and
then waste: it looks at ids, method, url, model and reasoning, yet neither at messages nor at parameters, and
such a request comes back as an error hours later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ..base.text import safe
from ..rows.cell_to_text import is_empty
from ..rows.headers import folded

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}  # two names of one parameter
ID_BYTES = 64  # bytes, though the server's message says characters
BODY_BYTES = 10 * 1024 * 1024  # of the body as the server writes it again: compact, unescaped
Found = Callable[[str, str, Any, str], None]  # field, kind, value, what was expected there
Unwise = Callable[[str], None]  # what is so of this request, as in "3 requests ..."
Rule = tuple[Callable[[Any], bool], str]


def _integer(low: int) -> Rule:
    # Beyond 64 bits the server makes it a float.
    return lambda v: v.__class__ is int and low <= v < 2**63, f"an integer of at least {low}"


def _number(low: float, high: float) -> Rule:
    return lambda v: v.__class__ in (int, float) and low <= v <= high, f"a number from {low} to {high}"


def _some(value: Any, kind: type) -> bool:
    """A list of at least one, all of that type (`bool` is not `int` here)."""
    return value.__class__ is list and bool(value) and all(v.__class__ is kind for v in value)


def _prompt(value: Any) -> bool:
    lists_of_tokens = _some(value, list) and all(_some(v, int) for v in value)
    return value.__class__ is str or _some(value, str) or _some(value, int) or lists_of_tokens


def _format(value: Any) -> bool:
    if value.__class__ is not dict or value.get("type").__class__ is not str:
        return False
    named = value.get("json_schema")
    return value["type"] != "json_schema" or (
        named.__class__ is dict and named.get("name").__class__ is str and named.get("schema").__class__ is dict
    )


_OBJECT: Rule = (lambda v: v.__class__ is dict, "an object")

# null stands for "not set" everywhere. Parameters that are not listed pass: models have their own.
_PARAMETERS: dict[str, Rule] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of"), _integer(1)),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), _number(-2, 2)),
    **dict.fromkeys(("logit_bias", "metadata"), _OBJECT),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "min_p": _number(0, 1),
    "top_k": _integer(-1),
    "top_logprobs": _integer(0),
    "dimensions": _integer(1),
    "seed": _integer(-(2**63)),
    "logprobs": (lambda v: v.__class__ in (bool, int) and v >= 0, "true, false or a count"),
    "stop": (lambda v: v.__class__ is str or _some(v, str), "text or a list of texts"),
    "stop_sequences": (lambda v: _some(v, str), "a list of texts"),
    "stream": (lambda v: v is False, "false: a batch cannot stream, its answers would be unreadable"),
    "encoding_format": (lambda v: v in ("float", "base64"), "float or base64"),
    "response_format": (_format, "an object with type; for json_schema also json_schema with name and schema"),
    "tools": (lambda v: _some(v, dict), "a list of tools with type"),
    "tool_choice": (lambda v: v.__class__ in (str, dict), "text or an object"),
    "parallel_tool_calls": (lambda v: v.__class__ is bool, "true or false"),
}

# What is refused by most models without its partner.
_PARTNERS = {"tool_choice": "tools", "top_logprobs": "logprobs", "stream_options": "stream"}
_TAKEN_OUT = frozenset(("priority", "service_tier", "background"))  # by the server, from each body

_DIGITS = re.compile(r"-?\d{1,18}(\.\d{1,18})?")


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


_KNOWN = {_bare(name): name for name in (*_PARAMETERS, "reasoning_effort")}


def endpoint_meant(url: object) -> str:
    """The endpoint that an address of other services is meant for, whole or without /v1; empty if none is."""
    meant = "/v1/" + url.strip("/").rpartition("v1/")[2] if isinstance(url, str) else ""
    return meant if meant in ENDPOINTS else ""


def _exact(value: Any) -> bool:
    return isinstance(value, float) and abs(value) < 2**53


def _digits(value: Any) -> bool:
    return isinstance(value, str) and _DIGITS.fullmatch(value) is not None


def numbers_meant(request: Any) -> dict[str, int | float]:
    """The parameters of a request that are a number in another form than the one that is right there: written as text,
    or a whole number with `.0`, as data frames write it."""
    body = request.get("body") if request.__class__ is dict else None
    found: dict[str, int | float] = {}
    if not isinstance(body, dict):
        return found
    for key, value in body.items():
        fits, _ = _PARAMETERS.get(key, (None, ""))
        if not fits or fits(value) or not (_exact(value) or _digits(value)):
            continue
        number = int(value) if isinstance(value, str) and "." not in value else float(value)
        number = int(number) if number == int(number) else number
        if fits(number):
            found[key] = number
    return found


# As the server: chat and responses steer reasoning in one way each, completions in none; messages and embeddings
# are not looked at.
_THINKING = ("chat_template_kwargs", "thinking", "thinking_token_budget")

_REASONING: dict[str, tuple[tuple[str, ...], str]] = {
    CHAT: ((*_THINKING, "reasoning"), "use reasoning_effort"),
    RESPONSES: ((*_THINKING, "reasoning_effort"), "use reasoning.effort"),
    COMPLETIONS: ((*_THINKING, "reasoning", "reasoning_effort"), f"use {CHAT} or {RESPONSES}"),
}

_STEERS_REASONING = frozenset(key for keys, _ in _REASONING.values() for key in keys)

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_LENGTH = {
    CHAT: ("max_tokens", "max_completion_tokens"),
    COMPLETIONS: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}


def _reasoning(body: dict[str, Any], url: str, found: Found) -> None:
    refused, instead = _REASONING.get(url, ((), ""))
    for key in refused:
        if key in body:
            found(f"body.{key}", "reasoning", body[key], f"no such parameter: {instead}")
    effort, where = body.get("reasoning_effort"), "body.reasoning_effort"
    if url == RESPONSES:
        effort, where = body.get("reasoning"), "body.reasoning"
        if effort.__class__ is dict:
            effort, where = effort.get("effort"), "body.reasoning.effort"
        elif effort is not None:
            found(where, "reasoning", effort, "an object")
            return
    if url in (CHAT, RESPONSES) and effort is not None and effort not in _EFFORTS:
        found(where, "reasoning", effort, "one of " + ", ".join(_EFFORTS))


# Parts of the other endpoints, which /v1/messages leaves out without a word: what they ask is lost.
_NOT_IN_MESSAGES = {"image_url": "image", "input_image": "image", "input_text": "text", "output_text": "text"}


def _parts(content: list[Any], where: str, url: str, found: Found) -> None:
    if not content:
        found(where, "messages", content, "text, or a list of at least one part")
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            found(f"{where}[{index}]", "messages", part, "an object with a type")
        elif url == MESSAGES and kind in _NOT_IN_MESSAGES:
            found(f"{where}[{index}].type", "messages", kind, f"{_NOT_IN_MESSAGES[kind]}, as {MESSAGES} calls it")
        elif url == MESSAGES and kind == "image" and part.get("source").__class__ is not dict:
            found(f"{where}[{index}].source", "messages", part.get("source"), "an object")
        elif kind == "text" and part.get("text").__class__ is not str:
            found(f"{where}[{index}].text", "messages", part.get("text"), "text")
        elif kind == "image_url":
            address = part.get("image_url")
            address = address.get("url") if isinstance(address, dict) else address
            if not isinstance(address, str) or not address.startswith(("data:", "https://", "http://")):
                found(f"{where}[{index}].image_url.url", "messages", address, "a web address or a data: address")


_ROLES: dict[str, tuple[str, ...]] = {
    CHAT: ("user", "assistant", "system", "developer", "tool", "function"),
    MESSAGES: ("user", "assistant"),
}


def messages(messages: Any, url: str, found: Found, unwise: Unwise) -> None:
    if not _some(messages, dict):
        found("body.messages", "messages", messages, "a list of at least one message, each an object")
        return
    roles = _ROLES.get(url, ("user", "assistant", "system"))
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        where = f"body.messages[{index}]"
        if role not in roles:
            instead = "; what the system says stands in body.system" if url == MESSAGES and role == "system" else ""
            found(f"{where}.role", "messages", role, f"one of {', '.join(roles)}{instead}")
        if content.__class__ is list:
            _parts(content, f"{where}.content", url, found)
        elif content.__class__ is not str:
            calls = role == "assistant" and (message.get("tool_calls") or message.get("function_call"))
            if content is not None or not calls:
                found(f"{where}.content", "messages", content, "text or a list of parts")
        elif not content:
            unwise("with an empty message")
        if role == "tool" and message.get("tool_call_id").__class__ is not str:
            found(f"{where}.tool_call_id", "messages", message.get("tool_call_id"), "the id of the call it answers")


# How many answers are made of one request.
MANY_ANSWERS = ("n", "best_of")


def parameters(body: dict[str, Any], url: str, found: Found, unwise: Unwise) -> None:
    for key, value in body.items():
        rule = _PARAMETERS.get(key)
        if rule is not None and value is not None and not rule[0](value):
            found(f"body.{key}", "stream" if key == "stream" else "parameter", value, rule[1])
        elif value is not None:
            _without_effect(key, body, unwise)
    if not _STEERS_REASONING.isdisjoint(body):
        _reasoning(body, url, found)
    key, shape = ("name", "name and input_schema") if url == MESSAGES else ("type", "type")
    tools = body.get("tools")
    if _some(tools, dict) and not all(isinstance(tool.get(key), str) for tool in tools):  # type: ignore[union-attr]
        found("body.tools", "parameter", tools, f"a list of tools with {shape}, as {url} has them")
    if url == MESSAGES:
        _of_messages(body, found)
    if url in _LENGTH and all(body.get(key) is None for key in _LENGTH[url]):
        unwise(f"without {_LENGTH[url][0]}: nothing bounds the length, and so the cost, of an answer")


def _without_effect(key: str, body: dict[str, Any], unwise: Unwise) -> None:
    value = body[key]
    if _KNOWN.get(_bare(key), key) != key:
        unwise(f"with {safe(key, 40)}, which no model knows: is {_KNOWN[_bare(key)]} meant?")
    elif key in _TAKEN_OUT:
        unwise(f"with {key}, which the server takes out of them")
    elif key in _PARTNERS and value != "none" and not body.get(_PARTNERS[key]):
        unwise(f"with {key} and without {_PARTNERS[key]}, which most models refuse")
    elif key in MANY_ANSWERS and value.__class__ is int and value > 1:
        unwise(f"with {key} over 1: all answers are paid for, and only the first is taken")


def _of_messages(body: dict[str, Any], found: Found) -> None:
    """What /v1/messages has otherwise: a request that breaks it comes back as an error."""
    if body.get("max_tokens") is None:
        found("body.max_tokens", "missing", None, f"an integer of at least 1; {MESSAGES} needs it")
    system, top_k = body.get("system"), body.get("top_k")
    if system is not None and system.__class__ is not str and not _some(system, dict):
        found("body.system", "messages", system, "text or a list of text parts")
    if top_k == -1:
        found("body.top_k", "parameter", top_k, "an integer of at least 0")


def _item(item: Any) -> bool:
    """Whether something is asked in an item of responses: others are left out without a word."""
    content = item.get("content")
    return item.get("type", "message") != "message" or content.__class__ is str or _some(content, dict)


def _subject(body: dict[str, Any], url: str, found: Found, unwise: Unwise) -> None:
    """What the model is asked: messages, prompt or input."""
    if url in (CHAT, MESSAGES):
        messages(body.get("messages"), url, found, unwise)
        return
    key = "prompt" if url == COMPLETIONS else "input"
    value = body.get(key)
    if not (value.__class__ is str or _some(value, dict) if url == RESPONSES else _prompt(value)):
        found(f"body.{key}", "messages", value, "text or a list of " + ("items" if url == RESPONSES else "texts"))
    elif value == "":
        unwise(f"with an empty {key}")
    elif url == RESPONSES and value.__class__ is list and not all(map(_item, value)):
        found("body.input", "messages", value, "items with content that is text or a list of parts")
    elif url != RESPONSES and isinstance(value, list) and len(value) > 1 and not _some(value, int):
        unwise(f"with several texts as {key}: all answers are paid for, and only the first is taken")


def _body(body: Any, url: str, size: int, found: Found, unwise: Unwise) -> None:
    if body.__class__ is not dict:
        found("body", "body", body, "an object with model and what it is asked")
        return
    model = body.get("model")
    if model.__class__ is not str or not model or model != folded(model):
        found("body.model", "model", model, "the name of a model, without spaces around it or what is invisible")
    if url:
        parameters(body, url, found, unwise)
        _subject(body, url, found, unwise)
    # A rewritten number can be longer than it was, so the margin is wide.
    if size > BODY_BYTES // 2:
        written = len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
        if written > BODY_BYTES:
            found("body", "size", f"{written} bytes", f"at most {BODY_BYTES} bytes")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _custom_id(value: Any, found: Found, unwise: Unwise) -> None:
    if value.__class__ is not str:
        found("custom_id", "custom_id", value, "text")
    elif is_empty(value):
        found("custom_id", "custom_id", value, "an id that is not empty")
    elif len(value.encode()) > ID_BYTES:
        found("custom_id", "custom_id", value, f"at most {ID_BYTES} bytes; these are {len(value.encode())}")
    elif _CONTROL.search(value):
        found("custom_id", "custom_id", value, "no control characters")
    elif value != value.strip():
        unwise("with spaces around the custom_id")


def look(request: Any, endpoint: str | None, size: int, found: Found, unwise: Unwise) -> None:
    """Holds one parsed line against every rule: `found` hears of each breach, `unwise` of what is merely that.

    `endpoint` is the url that the file's other requests have, None for the first; `size` the bytes of the line.
    """
    if request.__class__ is not dict:
        found("line", "not_an_object", request, "a JSON object with custom_id, method, url and body")
        return
    for key in ("custom_id", "method", "url", "body"):
        if key not in request:
            found(key, "missing", None, "custom_id, method, url and body in every line")
    if "custom_id" in request:
        _custom_id(request["custom_id"], found, unwise)
    method, url = request.get("method", "POST"), request.get("url", endpoint)
    if method.__class__ is not str or method.upper() != "POST":
        found("method", "method", method, "POST")
    if url not in ENDPOINTS:
        if "url" in request:
            found("url", "url", url, "one of " + ", ".join(ENDPOINTS))
        url = ""
    elif endpoint not in (None, url):
        found("url", "url", url, f"{endpoint} as in the other lines: a batch has one endpoint")
    if "body" in request:
        _body(request["body"], url, size, found, unwise)
