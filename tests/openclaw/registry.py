"""The one question that ClawHub's publisher asks before it would publish: is this content there already?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        sent = b'{"match": null, "latestVersion": null}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        pass


@contextmanager
def empty_registry() -> Iterator[dict[str, str]]:
    """A registry on loopback in which nothing was published; yields the variables that lead ClawHub's CLI there."""
    server = HTTPServer(("127.0.0.1", 0), _Nothing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {"CLAWHUB_REGISTRY": url, "CLAWHUB_SITE": url}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
