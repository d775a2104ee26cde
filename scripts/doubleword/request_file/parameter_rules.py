"""The rules for the parameters of a request: which there are, of which type and range, and what has no effect.

The server looks at those of reasoning alone; a request with another that is wrong comes back as an error hours later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..base.text import safe
from .endpoints import CHAT, COMPLETIONS, MESSAGES, RESPONSES

TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}  # two names of one parameter
Found = Callable[[str, str, Any, str], None]  # field, kind, value, what was expected there
Unwise = Callable[[str], None]  # what is so of this request, as in "3 requests ..."
Rule = tuple[Callable[[Any], bool], str]


def _integer(low: int) -> Rule:
    # Beyond 64 bits the server makes it a float.
    return lambda v: v.__class__ is int and low <= v < 2**63, f"an integer of at least {low}"


def _number(low: float, high: float) -> Rule:
    return lambda v: v.__class__ in (int, float) and low <= v <= high, f"a number from {low} to {high}"


def some(value: Any, kind: type) -> bool:
    """A list of at least one, all of that type (`bool` is not `int` here)."""
    return value.__class__ is list and bool(value) and all(v.__class__ is kind for v in value)


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
    "stop": (lambda v: v.__class__ is str or some(v, str), "text or a list of texts"),
    "stop_sequences": (lambda v: some(v, str), "a list of texts"),
    "stream": (lambda v: v is False, "false: a batch cannot stream, its answers would be unreadable"),
    "encoding_format": (lambda v: v in ("float", "base64"), "float or base64"),
    "response_format": (_format, "an object with type; for json_schema also json_schema with name and schema"),
    "tools": (lambda v: some(v, dict), "a list of tools with type"),
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


def numbers_meant(request: Any) -> dict[str, int | float]:
    """The parameters of a request that are a number in another form than the one that is right there: written as text,
    or a whole number with `.0`, as data frames write it."""
    body = request.get("body") if request.__class__ is dict else None
    found: dict[str, int | float] = {}
    if not isinstance(body, dict):
        return found
    for key, value in body.items():
        fits, _ = _PARAMETERS.get(key, (None, ""))
        is_number = (
            _DIGITS.fullmatch(value) if isinstance(value, str) else isinstance(value, float) and abs(value) < 2**53
        )
        if not fits or fits(value) or not is_number:
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


# How many answers are made of one request.
MANY_ANSWERS = ("n", "best_of")


def parameters(body: dict[str, Any], url: str, found: Found, unwise: Unwise) -> None:
    for key, value in body.items():
        rule = _PARAMETERS.get(key)
        if rule is not None and value is not None and not rule[0](value):
            found(f"body.{key}", "stream" if key == "stream" else "parameter", value, rule[1])
        elif value is not None:
            _without_effect(key, body, url, unwise)
    if not _STEERS_REASONING.isdisjoint(body):
        _reasoning(body, url, found)
    key, shape = ("name", "name and input_schema") if url == MESSAGES else ("type", "type")
    tools = body.get("tools")
    if some(tools, dict) and not all(isinstance(tool.get(key), str) for tool in tools):  # type: ignore[union-attr]
        found("body.tools", "parameter", tools, f"a list of tools with {shape}, as {url} has them")
    if url == MESSAGES:
        _of_messages(body, found)
    if url in _LENGTH and all(body.get(key) is None for key in _LENGTH[url]):
        unwise(f"without {_LENGTH[url][0]}: nothing bounds the length, and so the cost, of an answer")


def _without_effect(key: str, body: dict[str, Any], url: str, unwise: Unwise) -> None:
    value = body[key]
    if _KNOWN.get(_bare(key), key) != key:
        unwise(f"with {safe(key, 40)}, which no model knows: is {_KNOWN[_bare(key)]} meant?")
    elif key in _TAKEN_OUT:
        unwise(f"with {key}, which the server takes out of them")
    elif url == CHAT and key in _PARTNERS and value != "none" and not body.get(_PARTNERS[key]):
        unwise(f"with {key} and without {_PARTNERS[key]}, which most models refuse")
    elif key in MANY_ANSWERS and value.__class__ is int and value > 1:
        unwise(f"with {key} over 1: all answers are paid for, and only the first is taken")


def _of_messages(body: dict[str, Any], found: Found) -> None:
    """What /v1/messages has otherwise: a request that breaks it comes back as an error."""
    if body.get("max_tokens") is None:
        found("body.max_tokens", "missing", None, f"an integer of at least 1; {MESSAGES} needs it")
    system, top_k = body.get("system"), body.get("top_k")
    if system is not None and system.__class__ is not str and not some(system, dict):
        found("body.system", "messages", system, "text or a list of text parts")
    if top_k == -1:
        found("body.top_k", "parameter", top_k, "an integer of at least 0")
