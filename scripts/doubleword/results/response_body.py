"""What a response body says, for the five endpoints.

Bodies: chat completions, completions, embeddings, responses, and messages. Anything may be missing or of
another type: what a model service returned is data, and is never trusted to have a shape.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NamedTuple

from ..base.json_text import count, fields, words
from ..base.text import safe

# What a service writes as `finish_reason` of a text that did not come to its end, nor to the limit of tokens; and of
# one that came to the limit, be it the request's or the model's.
_BROKEN_OFF = {
    *("error", "network_error", "timeout", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource"),
    *("content_filter", "safety", "sensitive", "recitation"),
}
_CUT = {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}


class Said(NamedTuple):
    """What one body says. `failure`: (kind, text) of a body that is no answer, whatever its status was."""

    text: str = ""
    calls: list[dict[str, Any]] = []  # of tools  # noqa: RUF012 - never changed
    vectors: list[Any] = []  # noqa: RUF012
    reasoning: str = ""
    finish: str = ""  # in the service's own word
    cut: bool = False  # it stopped at the token limit
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: tuple[str, str] | None = None
    plain: bool = False  # the text is the `content` of the only message, which holds nothing else


def read(body: dict[str, Any]) -> Said:
    """What is in a body."""
    usual = _usual(body)
    if usual is not None:
        return usual
    failure = _error(body.get("error"))
    said = Said(failure=failure) if failure else _said(body)
    return Said(*said[:6], *_tokens(body.get("usage")), said.failure)


_USUAL_ENDS = ("stop", "length")


def _usual(body: dict[str, Any]) -> Said | None:
    """What nearly every body says, in one look: a single choice that came to its end or to the limit, whose message
    holds a text and its role and nothing else. None for any other, which is read with more care: 1.0 microseconds
    instead of 2.6, a tenth of what a short line takes."""
    try:
        (choice,) = body["choices"]
        message, finish = choice["message"], choice["finish_reason"]
        text, role = message["content"], message["role"]
        held = [*filter(None, message.values())]
    except (KeyError, TypeError, ValueError):
        return None
    if text.__class__ is not str or finish not in _USUAL_ENDS or (held != [text, role] and held != [role, text]):
        return None
    if body.get("error") or choice.get("error"):
        return None
    return Said(text, [], [], "", finish, finish == "length", *_tokens(body.get("usage")), None, True)


def _said(body: dict[str, Any]) -> Said:
    for key, reader in _READERS.items():
        if body.get(key):
            return reader(body)
    if isinstance(body.get("content"), (str, list)) and body.get("type") == "message":
        return _message(body)  # an empty answer is one
    if isinstance(body.get("output"), list):
        return _response(body)
    return Said(failure=("no_answer", f"no choices, output, data or content in {safe(body, 200)}"))


def as_text(said: Said) -> str:
    """All of an answer as one text: calls of tools below the text, vectors, both as JSON."""
    if said.vectors:
        return json.dumps(said.vectors[0] if len(said.vectors) == 1 else said.vectors)
    return "\n".join(filter(None, (said.text, json.dumps(said.calls, ensure_ascii=False) if said.calls else "")))


def _error(error: Any) -> tuple[str, str] | None:
    """(kind, text) of an `error` that stands in a body."""
    if not says_anything(error):
        return None
    if not isinstance(error, dict):
        return "error", safe(error)
    code = next((error[name] for name in ("code", "status", "status_code", "type") if error.get(name)), None)
    text = safe(error.get("message") or error)
    if str(code).isdecimal():
        return (f"http_{code}" if 400 <= int(str(code)[:9]) < 600 else "error"), text
    return word(code) or "error", text


def says_anything(error: Any) -> bool:
    """Whether an `error` is one: some services write {"code": null, "message": null} where there is none."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def word(name: object) -> str:
    """A service's name of something as a kind: small letters and `_`."""
    return re.sub(r"\W+", "_", safe(name or "", 40)).strip("_").lower()


# --- one endpoint each -------------------------------------------------------------------------------


def _choices(body: dict[str, Any]) -> Said:
    choices = body["choices"]
    there = _dicts(choices)
    choice = there[0] if len(there) == 1 else min(there, key=_index, default=None)
    if choice is None:
        return Said(failure=("no_answer", f"no choice in {safe(choices, 200)}"))
    finish = words(choice.get("finish_reason"))
    message = choice.get("message")
    if isinstance(message, dict):
        text = _joined(message.get("content"))
        refused = words(message.get("refusal")) or _refused(message.get("content"))
        calls = _dicts(message.get("tool_calls"))
        if not calls:
            calls = _dicts([message.get("function_call") or None])
        reasoning = _joined(message.get("reasoning_content") or "") or _joined(message.get("reasoning") or "")
    elif isinstance(found := message or choice.get("text"), str):
        text, calls, reasoning, refused = found, [], "", ""
    else:
        return Said(failure=("no_answer", f"no message in {safe(choice, 200)}"))
    failure = _error(choice.get("error")) if "error" in choice else None
    if finish not in _USUAL_ENDS and word(finish) in _BROKEN_OFF:
        said = failure[1] if failure else f"finish_reason {safe(finish, 40)}" + (text and f": {safe(text, 200)}")
        failure = word(finish), said
    failure = failure or _refusal(refused, text)
    return Said(text, calls, [], reasoning, finish, word(finish) in _CUT, failure=failure)


def _response(body: dict[str, Any]) -> Said:
    status, output = words(body.get("status")), body.get("output")
    items = _dicts(output)
    finish = words(fields(body.get("incomplete_details")).get("reason"))
    failure = None
    if status in ("failed", "cancelled", "in_progress", "queued"):
        failure = status, f"the response is {status.replace('_', ' ')}"
    elif finish == "content_filter":
        failure = finish, "the response was filtered"
    said = [item for item in items if item.get("type", "message") == "message"]
    refused = "".join(_refused(item.get("content")) for item in said)
    text = "".join(_joined(item.get("content")) for item in said) or words(output) or _joined(body.get("output_text"))
    calls = [item for item in items if str(item.get("type")).endswith("_call") and _is_asked(item)]
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    failure = failure or _refusal(refused, text)
    reasoning = "".join(_joined(item.get("summary")) or _joined(item.get("content")) for item in thoughts)
    return Said(text, calls, [], reasoning, finish or status, status == "incomplete", failure=failure)


def _is_asked(call: dict[str, Any]) -> bool:
    """Whether a call asks the caller, or brings something: what else the service's own tools did is no answer."""
    return call.get("type") == "function_call" or bool(call.get("call_id") or call.get("result"))


def _embeddings(body: dict[str, Any]) -> Said:
    data = body["data"] if isinstance(body["data"], list) else []
    items = sorted(_dicts(data), key=_index)
    vectors, numbers = [item.get("embedding") for item in items], [_index(item) for item in items]
    whole = numbers and (len({*numbers}) < len(numbers) or numbers[-1] - numbers[0] < len(numbers))
    if not whole or len(items) < len(data) or not all(map(_is_vector, vectors)):
        return Said(failure=("no_answer", f"no embedding, or not every one, in {safe(body, 200)}"))
    return Said(vectors=vectors)


def _index(item: dict[str, Any]) -> int:
    index = item.get("index")
    return index if isinstance(index, int) else 0


def _is_vector(value: Any) -> bool:
    """A list of numbers, or their bytes in base64."""
    if isinstance(value, list):
        return bool(value) and set(map(type, value)) <= {int, float}
    try:
        return isinstance(value, str) and bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False


def _message(body: dict[str, Any]) -> Said:
    content = body["content"]
    finish = words(body.get("stop_reason"))
    failure = _refusal(_joined(content) or "(without a word)", "") if finish == "refusal" else None
    calls = [item for item in _dicts(content) if item.get("type") == "tool_use"]
    reasoning = "".join(words(item.get("thinking")) for item in _dicts(content))
    return Said(_joined(content), calls, [], reasoning, finish, word(finish) in _CUT, failure=failure)


_READERS = {
    "choices": _choices,
    "output": _response,
    "output_text": _response,
    "data": _embeddings,
    "content": _message,
}


# --- parts -------------------------------------------------------------------------------------------


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _joined(content: Any) -> str:
    """A content field: a string, or a list of parts of which those with text count; anything else as JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(map(_part, content))
    if isinstance(content, dict) and "type" in content:
        return _part(content)
    return json.dumps(content, ensure_ascii=False)


def _refused(content: Any) -> str:
    """The words of a refusal among the parts of a content field."""
    return "".join(words(part.get("refusal")) for part in _dicts(content))


def _refusal(refused: str, text: str) -> tuple[str, str] | None:
    """The failure of a body that holds a refusal and no answer beside it."""
    return ("refusal", f"the model refused: {safe(refused, 200)}") if refused and not text.strip() else None


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return words(text.get("value") if isinstance(text, dict) else text)


def _tokens(usage: Any) -> tuple[int, int]:
    """(prompt, completion) of an answer's own `usage`, under either family of names; zeros where it says nothing."""
    usage = fields(usage)
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    return _count(prompt), _count(completion)


def _count(value: Any) -> int:
    """A number of tokens; some services write 7.0."""
    return count(int(value) if isinstance(value, float) and value.is_integer() else value)
