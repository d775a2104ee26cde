"""A model that counts words: it answers a choice or a schema with what fits, so that shown runs end as shown.

with Judge() as judge, LocalServer(folder, upstream=judge.url) as server:
    ...  # the model MODEL calls a review positive, negative or neutral
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

MODEL = "MODEL"
GOOD = r"\b(best|comfortable|dry|easily|excellent|fast|fine|good|great|happy|love|lovely|perfect|quiet|smooth)\b"
BAD = r"\b(after|bad|broken?|cheap|leaks|not|off|sank|slides|smells|snapped|stopped|too|useless|weak|worst)\b"


def mood(text: str) -> str:
    score = len(re.findall(GOOD, text.lower())) - len(re.findall(BAD, text.lower()))
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"


def answer(request: dict[str, Any]) -> str:
    """The text of the answer: JSON where a schema is asked for, an allowed word where there is a list of them."""
    content = request["messages"][-1]["content"]
    word = mood(content if isinstance(content, str) else json.dumps(content))
    wanted = request.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return word
    properties = wanted["json_schema"]["schema"]["properties"]
    return json.dumps(
        {name: word if word in rule.get("enum", [word]) else rule["enum"][0] for name, rule in properties.items()}
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = answer(request)
        used = {"prompt_tokens": len(json.dumps(request["messages"])) // 4, "completion_tokens": len(text) // 4 + 1}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {**used, "total_tokens": sum(used.values())}
        self._send({"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage})

    def _send(self, answered: dict[str, Any]) -> None:
        body = json.dumps(answered).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent."""


class Judge:
    """The server, on loopback."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Judge:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
