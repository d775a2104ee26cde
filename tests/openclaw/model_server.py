"""A model whose answers are written down: it speaks the protocol by which OpenClaw calls a provider.

A *part* is a generator function. It is given the conversation, yields the tools it wants called and gets back
what they said; the text that it yields last is its answer:

    def part(talk):
        page = yield ToolCall("read", {"path": "SKILL.md"})
        yield f"I read {len(page)} characters"

It is played from its beginning at every request, with the results so far, so a part keeps nothing itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

INTERNAL = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"  # what OpenClaw adds by itself in the user's name


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]


Part = Callable[["Conversation"], Generator["ToolCall | str", str, None]]


class Conversation:
    """One request to the model: what OpenClaw told it, what the user asked last, what tools said since."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.system = "\n".join(_text(m) for m in messages if m["role"] == "system")
        asked = [n for n, m in enumerate(messages) if m["role"] == "user" and not _text(m).startswith(INTERNAL)]
        self.request = _text(messages[asked[-1]])
        self.results = [_text(m) for m in messages[asked[-1] :] if m["role"] == "tool"]


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


class ScriptedModel:
    """The server. `parts` are tried by a word that the user's message holds; no word: `NO_REPLY`."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = parts
        self.conversations: list[Conversation] = []
        self.answers: list[str] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sent = _events(model.next_step(Conversation(body["messages"])), body["model"])
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def next_step(self, talk: Conversation) -> ToolCall | str:
        self.conversations.append(talk)
        part = next((part for word, part in self.parts.items() if word in talk.request), None)
        if part is None:
            return "NO_REPLY"
        steps = part(talk)
        step = next(steps)
        for result in talk.results:
            step = steps.send(result)
        if isinstance(step, str):
            self.answers.append(step)
        return step

    @property
    def provider(self) -> dict[str, Any]:
        """The `models` section of OpenClaw's configuration that leads here."""
        model = {"id": "scripted", "name": "scripted", "contextWindow": 128_000, "maxTokens": 4096}
        url = f"http://127.0.0.1:{self._server.server_port}/v1"
        provider = {"baseUrl": url, "apiKey": "none", "api": "openai-completions", "models": [model]}
        return {"providers": {"scripted": provider}}

    def __enter__(self) -> ScriptedModel:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _events(step: ToolCall | str, model: str) -> bytes:
    """The step as the event stream of a chat completion."""
    if isinstance(step, str):
        delta: dict[str, Any] = {"role": "assistant", "content": step}
    else:
        function = {"name": step.name, "arguments": json.dumps(step.arguments)}
        calls = [{"index": 0, "id": "call", "type": "function", "function": function}]
        delta = {"role": "assistant", "content": None, "tool_calls": calls}
    reason = "stop" if isinstance(step, str) else "tool_calls"
    sent = b""
    for chunk, ending in ((delta, None), ({}, reason)):
        choice = {"index": 0, "delta": chunk, "finish_reason": ending}
        event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
        sent += b"data: " + json.dumps(event).encode() + b"\n\n"
    return sent + b"data: [DONE]\n\n"
