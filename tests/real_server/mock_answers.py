"""What the mock model says: a deterministic echo in the shape of each endpoint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# A fixed time, so that two runs answer the same bytes.
CREATED = 1700000000
MODELS = ("mock-chat", "mock-embed", "mock-fail", "mock-any", "mock-native")
# The echo repeats no more of the prompt than this.
ECHO_CHARACTERS = 200


def model_list() -> dict[str, Any]:
    """The body of GET /models."""
    data = [{"id": m, "object": "model", "created": CREATED, "owned_by": "mock"} for m in MODELS]
    return {"object": "list", "data": data}


def error(status: int) -> dict[str, Any]:
    """An OpenAI-shaped error for any status."""
    message = f"mock upstream says {status}"
    return {"error": {"message": message, "type": "mock_error", "param": None, "code": f"mock_{status}"}}


def answer(path: str, body: dict[str, Any], length: int = 0) -> dict[str, Any] | None:
    """The answer to `body` on `path`, its text of `length` characters if that is not 0; None for other paths."""
    tag = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]
    prompt = _prompt(body)
    text = "x" * length if length else "echo: " + prompt[:ECHO_CHARACTERS]
    tokens = max(1, len(prompt) // 4), max(1, len(text) // 4)
    for ending, shape in SHAPES.items():
        if path.endswith(ending):
            return shape(body, tag, text, tokens)
    return None


def _prompt(body: dict[str, Any]) -> str:
    if body.get("messages"):
        return _text(body["messages"][-1])
    return _text(body.get("input", body.get("prompt", "")))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return _text(value.get("text") or value.get("content") or "")
    return ""


Tokens = tuple[int, int]


def _chat(body: dict[str, Any], tag: str, text: str, tokens: Tokens) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{tag}", "object": "chat.completion", "created": CREATED, "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": _usage(tokens),
    }  # fmt: skip


def _completion(body: dict[str, Any], tag: str, text: str, tokens: Tokens) -> dict[str, Any]:
    return {
        "id": f"cmpl-{tag}", "object": "text_completion", "created": CREATED, "model": body.get("model"),
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(tokens),
    }  # fmt: skip


def _usage(tokens: Tokens) -> dict[str, int]:
    return {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}


def _embedding(body: dict[str, Any], tag: str, _text: str, tokens: Tokens) -> dict[str, Any]:
    given = body.get("input", "")
    rows = given if isinstance(given, list) else [given]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": [round((int(tag[i : i + 2], 16) + index) / 300, 4) for i in range(0, 8, 2)],
        }
        for index in range(len(rows))
    ]
    usage = {"prompt_tokens": tokens[0], "total_tokens": tokens[0]}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def _response(body: dict[str, Any], tag: str, text: str, tokens: Tokens) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": f"msg_{tag}", "status": "completed", "role": "assistant", "content": content}
    return {
        "id": f"resp_{tag}", "object": "response", "created_at": CREATED, "status": "completed",
        "model": body.get("model"), "output": [message],
        "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)},
    }  # fmt: skip


def _message(body: dict[str, Any], tag: str, text: str, tokens: Tokens) -> dict[str, Any]:
    return {
        "id": f"msg_{tag}", "type": "message", "role": "assistant", "model": body.get("model"),
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": tokens[0], "output_tokens": tokens[1]},
    }  # fmt: skip


# By the end of the path; the longer ending first, since one is the end of the other.
SHAPES = {
    "/chat/completions": _chat,
    "/completions": _completion,
    "/embeddings": _embedding,
    "/responses": _response,
    "/messages": _message,
}


def as_events(chat: dict[str, Any]) -> str:
    """A chat answer as the event stream a model sends for `stream: true`."""
    base = {"id": chat["id"], "created": chat["created"], "model": chat["model"], "object": "chat.completion.chunk"}
    delta = {"role": "assistant", "content": chat["choices"][0]["message"]["content"]}
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": chat["usage"]},
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
