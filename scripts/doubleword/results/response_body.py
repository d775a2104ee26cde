"""Text, finish and tokens out of a response body, for the five endpoints.

Bodies: chat completions, completions, embeddings, responses, and messages. Anything may be missing or of
another type: what a model service returned is data, and is never trusted to have a shape.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Tokens(NamedTuple):
    prompt: int
    completion: int


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def text_of(body: dict[str, Any]) -> str:
    """The answer as text; tool calls and embeddings as JSON; "" if there is none."""
    for choice in _dicts(body.get("choices"))[:1]:
        message = choice.get("message")
        if not isinstance(message, dict):
            return str(choice.get("text") or "")
        text = _joined(message.get("content"))
        calls = message.get("tool_calls")
        return text or (json.dumps(calls, ensure_ascii=False) if calls else str(message.get("refusal") or ""))
    if isinstance(body.get("output"), list):  # responses
        messages = [item for item in _dicts(body["output"]) if item.get("type", "message") == "message"]
        calls = [item for item in _dicts(body["output"]) if item.get("type") == "function_call"]
        text = "".join(_joined(item.get("content")) for item in messages)
        return text or (json.dumps(calls, ensure_ascii=False) if calls else "")
    if isinstance(body.get("data"), list):  # embeddings
        vectors = [item.get("embedding") for item in _dicts(body["data"])]
        return json.dumps(vectors[0] if len(vectors) == 1 else vectors) if vectors else ""
    content = body.get("content")  # messages
    calls = [item for item in _dicts(content) if item.get("type") == "tool_use"]
    return _joined(content) or (json.dumps(calls, ensure_ascii=False) if calls else "")


def _joined(content: Any) -> str:
    """A content field: a string, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _dicts(content) if isinstance(part.get("text"), str))


def is_cut(body: dict[str, Any]) -> bool:
    """Whether the answer stopped at the token limit instead of at its end."""
    if body.get("stop_reason") == "max_tokens" or body.get("status") == "incomplete":
        return True
    return any(choice.get("finish_reason") == "length" for choice in _dicts(body.get("choices")))


def tokens(body: dict[str, Any]) -> Tokens:
    """The answer's own `usage`, under either family of names; zeros where it says nothing."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Tokens(0, 0)

    def count(*names: str) -> int:
        found = next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)
        return max(0, int(found))

    return Tokens(count("prompt_tokens", "input_tokens"), count("completion_tokens", "output_tokens"))
