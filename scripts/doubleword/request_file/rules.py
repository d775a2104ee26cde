"""The rules for one request, once it has been parsed: every field, and what was expected there.

Refused is what the server refuses (the tests compare with its recorded verdicts), and what it would take and
then waste: it looks at ids, method, url, model and reasoning, yet neither at messages nor at parameters, and
such a request comes back as an error hours later.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..rows.cell_to_text import is_empty
from ..rows.headers import folded
from .endpoints import CHAT, COMPLETIONS, ENDPOINTS, MESSAGES, RESPONSES
from .parameter_rules import Found, Unwise, parameters, some

ID_BYTES = 64  # bytes, though the server's message says characters
BODY_BYTES = 10 * 1024 * 1024  # of the body as the server writes it again: compact, unescaped
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
    if not some(messages, dict):
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


def _prompt(value: Any) -> bool:
    lists_of_tokens = some(value, list) and all(some(v, int) for v in value)
    return value.__class__ is str or some(value, str) or some(value, int) or lists_of_tokens


def _item(item: Any) -> bool:
    """Whether something is asked in an item of responses: others are left out without a word."""
    content = item.get("content")
    return item.get("type", "message") != "message" or content.__class__ is str or some(content, dict)


def _subject(body: dict[str, Any], url: str, found: Found, unwise: Unwise) -> None:
    """What the model is asked: messages, prompt or input."""
    if url in (CHAT, MESSAGES):
        messages(body.get("messages"), url, found, unwise)
        return
    key = "prompt" if url == COMPLETIONS else "input"
    value = body.get(key)
    if not (value.__class__ is str or some(value, dict) if url == RESPONSES else _prompt(value)):
        found(f"body.{key}", "messages", value, "text or a list of " + ("items" if url == RESPONSES else "texts"))
    elif value == "":
        unwise(f"with an empty {key}")
    elif url == RESPONSES and value.__class__ is list and not all(map(_item, value)):
        found("body.input", "messages", value, "items with content that is text or a list of parts")
    elif url != RESPONSES and isinstance(value, list) and len(value) > 1 and not some(value, int):
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
