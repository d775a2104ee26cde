"""A server that costs as little as can be: it throws uploads away and sends a file of finished lines.

Against a server that stores what it gets, every client would look alike.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BATCH = "00000000-0000-4000-8000-000000000001"
INPUT = "00000000-0000-4000-8000-000000000004"
OUTPUT = "00000000-0000-4000-8000-000000000002"
ERRORS = "00000000-0000-4000-8000-000000000003"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the acknowledgement of its headers
    output: Path
    lines: int
    batch: dict[str, object] | None = None  # that was submitted, if one was

    def log_message(self, *_: object) -> None:
        pass

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        if self.path == "/v1/batches":
            self._batch(json.loads(self.rfile.read(left)))
            return
        Handler.batch = None  # another job
        buffer = memoryview(bytearray(1 << 20))
        name = b"x"
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        while left:
            read = self.rfile.readinto(buffer[: min(left, len(buffer))])
            left -= read
            found = re.search(rb'filename="([^"]*)"', bytes(buffer[:2000])) if name == b"x" else None
            name = found[1] if found else name
        known = {"id": self._uploaded(name.decode()), "object": "file", "bytes": 1, "created_at": 1, "purpose": "batch"}
        self._json(201, known | {"filename": name.decode()})

    def _uploaded(self, filename: str) -> str:
        """The id of a new file of that name."""
        return INPUT

    def _batch(self, asked: dict[str, object]) -> None:
        """Takes a batch, which has ended the next time it is asked for."""
        same = {key: asked.get(key) for key in ("input_file_id", "endpoint", "completion_window", "metadata")}
        Handler.batch = ended = self._ended() | same
        self._json(201, ended | {"status": "validating"})

    def _ended(self) -> dict[str, object]:
        counts = {"total": self.lines, "completed": self.lines, "failed": 0}
        ids = {"id": BATCH, "object": "batch", "output_file_id": OUTPUT, "error_file_id": ERRORS}
        return ids | {"status": "completed", "request_counts": counts, "created_at": 1, "in_progress_at": 1}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == f"/v1/batches/{BATCH}":
            self._json(200, self.batch or self._ended())
            return
        if path == "/v1/batches":
            self._json(200, {"object": "list", "data": [self.batch] if self.batch else [], "has_more": False})
            return
        if not path.endswith("/content"):
            estimate = {"file_id": INPUT, "total_requests": self.lines, "total_estimated_cost": "0"}
            self._json(200, {"id": INPUT, "object": "list", "filename": "x", "data": [], "has_more": False} | estimate)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        empty = ERRORS in self.path
        self.send_header("Content-Length", "0" if empty else str(self.output.stat().st_size))
        self.end_headers()
        if not empty:
            self.wfile.flush()
            self.connection.settimeout(None)
            with self.output.open("rb") as file:
                self.connection.sendfile(file)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        super().server_bind()


if __name__ == "__main__":
    Handler.output, Handler.lines = Path(sys.argv[1]), int(sys.argv[2])
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
