"""A model whose answers a test decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_server.app import LocalServer
from local_server.models import text_of
from local_server.replies import Reply
from local_server.settings import REHEARSAL_PRICE, ModelSpec

Body = dict[str, Any]


class Canned:
    """Answers what a function makes of the last message's text: a text, or the whole body."""

    def __init__(self, made: Callable[[str], str | Body]) -> None:
        self.spec = ModelSpec("CHAT", price=REHEARSAL_PRICE)
        self.made = made

    async def reply(self, path: str, request: Body) -> Reply:
        found = self.made(text_of(request["messages"][-1]))
        return Reply(200, chat_body(found) if isinstance(found, str) else found)


def chat_body(content: Any, finish: str = "stop", **message: Any) -> Body:
    """A chat completion with this content."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "canned", "choices": [choice],
            "usage": usage}  # fmt: skip


def answer_with(server: LocalServer, made: Callable[[str], str | Body], name: str = "canned") -> None:
    """From now on the server has this model."""
    server.app.registry.add(name, Canned(made))
