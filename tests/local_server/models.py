"""The models: the echo and its embedder, and the registry that knows which there are."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Protocol

from local_server.replies import Reply
from local_server.settings import REHEARSAL_PRICE, ModelSpec
from local_server.structured import structured

ECHO_MARK = "[local echo]"  # begins every answer, so that nobody takes it for a real one
CHARACTERS_PER_TOKEN = 4
EMBEDDING_DIMENSIONS = 8


class Model(Protocol):
    """Something that answers.  `path` is the endpoint without /v1; a request of /v1/responses comes as chat."""

    spec: ModelSpec

    async def reply(self, path: str, request: dict[str, Any]) -> Reply: ...


class Registry:
    """The models by name.  Removing one stops new requests to it, as when an administrator deletes it."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self.created = int(time.time())

    def add(self, name: str, model: Model) -> None:
        self._models[name] = model

    def remove(self, name: str) -> None:
        self._models.pop(name, None)

    def get(self, name: str) -> Model | None:
        return self._models.get(name)

    def type_of(self, name: str) -> str | None:
        """CHAT, EMBEDDINGS or None; raises KeyError."""
        return self._models[name].spec.type

    def names(self) -> list[str]:
        return sorted(self._models)

    def listing(self) -> dict[str, Any]:
        data = [{"id": name, "object": "model", "created": self.created, "owned_by": "None"} for name in self.names()]
        return {"object": "list", "data": data}


def text_of(content: Any) -> str:
    """The text of a message's content, whether a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or "")
    return ""


def _last_user_text(request: dict[str, Any]) -> str:
    messages = request.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role", "user") == "user":
                return text_of(message)
        return ""
    return text_of(request.get("prompt", request.get("input", "")))


def _digest(request: dict[str, Any]) -> str:
    """Eight characters that depend on the whole prompt: a wrong join of rows and answers shows."""
    prompt = {key: request.get(key) for key in ("messages", "prompt", "input", "system")}
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:8]


def _count(text: str) -> int:
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def _invalid(message: str) -> Reply:
    return Reply(400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})


class Echo:
    """Answers `[local echo] <digest of the prompt> <last user text>`, cut at max_tokens.

    Where a `response_format` asks for JSON, the least that fits: the first of some words, and `[local echo] <digest>`
    in every text that the schema leaves free. There `system_fingerprint` bears the mark, too.
    """

    def __init__(self, spec: ModelSpec | None = None) -> None:
        self.spec = spec or ModelSpec("CHAT", price=REHEARSAL_PRICE)

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        shape = _SHAPES.get(path)
        if shape is None:
            return Reply(404, {"error": {"message": f"the echo has no {path}", "type": "not_found_error",
                                         "param": None, "code": None}})  # fmt: skip
        if path == "/completions" and "prompt" not in request:
            return _invalid("the request has no 'prompt'")
        if path != "/completions" and not isinstance(request.get("messages"), list):
            return _invalid("the request has no list of 'messages'")
        digest = _digest(request)
        fitting = structured(request, f"{ECHO_MARK} {digest}")
        text = f"{ECHO_MARK} {digest} {_last_user_text(request)}" if fitting is None else fitting
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        cut = False
        if isinstance(limit, int) and _count(text) > limit:
            text, cut = text[: limit * CHARACTERS_PER_TOKEN], True
        prompt = json.dumps(request.get("messages", request.get("prompt")), ensure_ascii=False)
        answer = shape(str(request.get("model")), digest, text, _count(prompt), _count(text), cut)
        if fitting is not None:
            answer["system_fingerprint"] = ECHO_MARK
        if request.get("stream") is True and path == "/chat/completions":
            return Reply(200, _event_stream(answer), "text/event-stream")
        return Reply(200, answer)


def _chat(model: str, digest: str, text: str, used: int, made: int, cut: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
    usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
    return {"id": f"chatcmpl-{digest}", "object": "chat.completion", "created": int(time.time()), "model": model,
            "choices": [choice], "usage": usage}  # fmt: skip


def _completion(model: str, digest: str, text: str, used: int, made: int, cut: bool) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "length" if cut else "stop"}
    usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
    return {"id": f"cmpl-{digest}", "object": "text_completion", "created": int(time.time()), "model": model,
            "choices": [choice], "usage": usage}  # fmt: skip


def _message(model: str, digest: str, text: str, used: int, made: int, cut: bool) -> dict[str, Any]:
    return {"id": f"msg_{digest}", "type": "message", "role": "assistant", "model": model,
            "content": [{"type": "text", "text": text}], "stop_reason": "max_tokens" if cut else "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": used, "output_tokens": made}}  # fmt: skip


_SHAPES = {"/chat/completions": _chat, "/completions": _completion, "/messages": _message}


def _event_stream(chat: dict[str, Any]) -> bytes:
    base = {"id": chat["id"], "object": "chat.completion.chunk", "created": chat["created"], "model": chat["model"]}
    choice = chat["choices"][0]
    first = base | {"choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]}
    last = base | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}],
                   "usage": chat["usage"]}  # fmt: skip
    return "".join(f"data: {json.dumps(part)}\n\n" for part in (first, last)).encode() + b"data: [DONE]\n\n"


class EchoEmbed:
    """Small vectors that depend on the text alone, each number between -1 and 1."""

    def __init__(self, spec: ModelSpec | None = None) -> None:
        self.spec = spec or ModelSpec("EMBEDDINGS")

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        given = request.get("input")
        if path != "/embeddings" or given is None:
            return _invalid("the request has no 'input'")
        texts = given if isinstance(given, list) else [given]
        wanted = request.get("dimensions")
        dimensions = wanted if isinstance(wanted, int) and 0 < wanted <= 32 else EMBEDDING_DIMENSIONS
        data = []
        for index, text in enumerate(texts):
            digest = hashlib.sha256(json.dumps(text).encode()).digest()
            vector = [round(byte / 127.5 - 1, 4) for byte in digest[:dimensions]]
            data.append({"object": "embedding", "index": index, "embedding": vector})
        used = sum(_count(str(text)) for text in texts)
        return Reply(200, {"object": "list", "data": data, "model": request.get("model"),
                           "usage": {"prompt_tokens": used, "total_tokens": used}})  # fmt: skip
