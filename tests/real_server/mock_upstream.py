"""The model behind the server: an OpenAI-compatible endpoint on loopback whose answers a test chooses.

    python tests/real_server/mock_upstream.py --port 9000

A marker anywhere in the request's JSON text chooses the answer; several are carried out in order:

    [[400]] [[429]] [[503]] ...  that status (429 adds Retry-After: 1)
    [[slow 1500]]                wait so many milliseconds first
    [[rand 5 400]]               wait a random time between those (ms)
    [[first 2 503]]              the first 2 requests with exactly this body get 503, later ones go on
    [[drop]]                     close the connection without an answer
    [[hang]]                     never answer (until the client leaves)
    [[nonjson]] [[html]] [[empty]] [[badjson]]   status 200 with plain text, HTML, nothing, cut-off JSON
    [[sse]]                      an event stream even where the body does not say `stream`
    [[big 5000]]                 an answer text of so many characters

A model whose name contains `fail` answers 500. GET /_stats counts what came in.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

if __package__:
    from real_server import mock_answers
else:  # run as a script: this file's folder is on the path
    import mock_answers  # type: ignore[import-not-found, no-redef]

MARKER = re.compile(r"\[\[([a-z0-9]+)((?: [0-9]+)*)\]\]")
# [[hang]] outlasts every client's patience, yet ends by itself.
HANG_SECONDS = 3600.0
CHOSEN_BODIES = {
    "nonjson": ("text/plain", "this is not json"),
    "html": ("text/html", "<html>oops</html>"),
    "empty": ("application/json", ""),
    "badjson": ("application/json", '{"id": "chatcmpl-'),
}


class Upstream(ThreadingHTTPServer):
    """The mock model; `with Upstream() as model: model.url` serves it from a thread."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int = 0, *, speed: float = 1.0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.speed = speed  # waits are divided by it
        self.lock = threading.Lock()
        self.seen: collections.Counter[bytes] = collections.Counter()
        self.by_status: collections.Counter[str] = collections.Counter()
        self.requests = 0
        self.inflight = 0
        self.most_inflight = 0

    def __enter__(self) -> Upstream:
        threading.Thread(target=self.serve_forever, name="mock model", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A server that hangs up on its model is what half of the tests are about: no traceback."""

    def stats(self) -> dict[str, Any]:
        """`{requests, inflight, most_inflight, by_status}` since the start; a dropped one counts as `drop`."""
        with self.lock:
            return {
                "requests": self.requests,
                "inflight": self.inflight,
                "most_inflight": self.most_inflight,
                "by_status": dict(self.by_status),
            }


class _Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        if self.path == "/_stats":
            self._send(200, json.dumps(self.server.stats()))
        elif self.path.rstrip("/").endswith("/models"):
            self._send(200, json.dumps(mock_answers.model_list()))
        else:
            self._refuse(404)

    def do_POST(self) -> None:
        raw = self._read_body()
        server = self.server
        with server.lock:
            server.requests += 1
            server.inflight += 1
            server.most_inflight = max(server.most_inflight, server.inflight)
        try:
            self._answer(raw)
        finally:
            with server.lock:
                server.inflight -= 1

    def _read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _answer(self, raw: bytes) -> None:
        try:
            body = json.loads(raw)
        except ValueError:
            return self._refuse(400)
        length, stream = 0, bool(body.get("stream"))
        for found in MARKER.finditer(raw.decode("utf-8", "replace")):
            word, numbers = found[1], [int(n) for n in found[2].split()]
            if word == "big":
                length = numbers[0]
            elif word == "sse":
                stream = True
            elif self._obey(word, numbers, raw):
                return None
        if "fail" in str(body.get("model")):
            return self._refuse(500)
        answer = mock_answers.answer(self.path, body, length)
        if answer is None:
            return self._refuse(404)
        if stream and self.path.endswith("/chat/completions"):
            return self._send(200, mock_answers.as_events(answer), "text/event-stream")
        return self._send(200, json.dumps(answer))

    def _obey(self, word: str, numbers: list[int], raw: bytes) -> bool:
        """Carry out one marker; true when that was the answer."""
        if word in ("slow", "rand"):
            milliseconds = random.uniform(numbers[0], numbers[-1])
            time.sleep(milliseconds / 1000 / self.server.speed)
            return False
        if word == "first":
            with self.server.lock:
                self.server.seen[raw] += 1
                early = self.server.seen[raw] <= numbers[0]
            if early:
                self._refuse(numbers[1])
            return early
        if word in CHOSEN_BODIES:
            content_type, text = CHOSEN_BODIES[word]
            self._send(200, text, content_type)
        elif word == "drop":
            self._drop()
        elif word == "hang":
            self._hang()
        elif word.isdigit():
            self._refuse(int(word))
        else:
            return False
        return True

    def _drop(self) -> None:
        self._count("drop")
        self.close_connection = True
        # Zero linger: the client sees a reset, not a clean end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    def _hang(self) -> None:
        self.close_connection = True
        self.connection.settimeout(HANG_SECONDS)
        try:
            self.connection.recv(1)
        except OSError:
            pass

    def _refuse(self, status: int) -> None:
        headers = [("retry-after", "1")] if status == 429 else []
        self._send(status, json.dumps(mock_answers.error(status)), headers=headers)

    def _count(self, what: str) -> None:
        with self.server.lock:
            self.server.by_status[what] += 1

    def _send(
        self,
        status: int,
        text: str,
        content_type: str = "application/json",
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        body = text.encode()
        self._count(str(status))
        # Without the `Server` header, which a proxy in between would pass on as its own.
        self.send_response_only(status)
        for name, value in [("content-type", content_type), *(headers or [])]:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="A mock OpenAI-compatible model on loopback.")
    parser.add_argument("--port", type=int, default=9000)
    Upstream(parser.parse_args().port).serve_forever()


if __name__ == "__main__":
    main()
