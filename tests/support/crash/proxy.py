"""A TCP proxy between a script and the local server that can do something at every moment of an exchange.

It passes whole HTTP messages on, unchanged. At each `Moment` it calls the test's function, which may kill the script,
wait, or raise `Drop` (the script's connection is closed; the server's answer, if it was asked, is still awaited) or
`Instead` (this answer is sent instead of what would have come).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

HOST = "127.0.0.1"
PATIENCE_SECONDS = 30.0  # of either side; a hang is a failure, not a wait


class Moment(Enum):
    ARRIVED = "before the request: the proxy has it, the server has nothing"
    SENT = "after the request: the server has it whole"
    ANSWERED = "before the response: the server has acted, the script knows nothing"
    HALF = "within the response: the script has half of it"
    DELIVERED = "after the response: the script has it whole"


@dataclass(frozen=True)
class Request:
    """One request on its way. `number` counts from 1 over all connections."""

    number: int
    method: str
    path: str
    raw: bytes

    def is_(self, method: str, path: str) -> bool:
        """Whether it is this method on this path below the API's root, its query left aside."""
        return self.method == method and self.path.split("?")[0].endswith(path)


class Drop(Exception):
    """Close the script's connection now."""


class Instead(Exception):
    """Send this answer, bytes and all, without asking the server."""

    def __init__(self, status: str, body: str = "", headers: str = "") -> None:
        self.raw = (
            f"HTTP/1.1 {status}\r\n{headers}content-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        )


At = Callable[[Moment, Request], None]


class Proxy:
    """`with Proxy(server.port, at) as proxy:` listens on `proxy.port`; `at` is called at every moment."""

    def __init__(self, target: int, at: At) -> None:
        self._target, self._at = target, at
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.base_url = f"http://{HOST}:{self.port}/ai/v1"
        self.requests: list[Request] = []

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a connection of the proxy hangs"

    def send_later(self, request: Request) -> bytes:
        """The server's answer to a request that arrives late."""
        return send(self._target, request)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                script, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, script)

    def _serve(self, script: socket.socket) -> None:
        self._open.add(script)
        script.settimeout(PATIENCE_SECONDS)
        # The connection to the server lives as long as the script's: kept alive, and closed with it.
        with (
            script,
            contextlib.suppress(OSError, EOFError, Drop),
            socket.create_connection((HOST, self._target)) as server,
        ):
            self._open.add(server)
            server.settimeout(PATIENCE_SECONDS)
            # Else the second half of each answer waits 40 ms until the first is acknowledged.
            script.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            from_script, from_server = _Reader(script), _Reader(server)
            while True:
                self._exchange(script, server, from_script, from_server)

    def _exchange(
        self, script: socket.socket, server: socket.socket, from_script: _Reader, from_server: _Reader
    ) -> None:
        raw = from_script.message()
        method, path, _ = raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        request = Request(next(self._numbers), method, path, raw)
        self.requests.append(request)
        try:
            self._at(Moment.ARRIVED, request)
        except Instead as instead:
            script.sendall(instead.raw.encode("latin-1"))
            return
        server.sendall(raw)
        try:
            self._at(Moment.SENT, request)
        except Drop:
            from_server.message()  # closing at once could reach the server before it has read the request
            raise
        answer = from_server.message()
        self._at(Moment.ANSWERED, request)
        script.sendall(answer[: len(answer) // 2])
        self._at(Moment.HALF, request)
        script.sendall(answer[len(answer) // 2 :])
        self._at(Moment.DELIVERED, request)


def send(port: int, request: Request) -> bytes:
    """The server's answer to a request sent on a connection of its own."""
    with socket.create_connection((HOST, port), PATIENCE_SECONDS) as server:
        server.sendall(request.raw)
        return _Reader(server).message()


class _Reader:
    """Whole HTTP/1.1 messages off a socket, as bytes."""

    def __init__(self, source: socket.socket) -> None:
        self._source, self._held = source, b""

    def message(self) -> bytes:
        """The next message. Raises EOFError if the other side has closed."""
        head = self._until(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if length:
            return head + self._take(int(length[1]))
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            return head + b"".join(iter(self._chunk, b"")) + self._last_chunk
        return head

    def _chunk(self) -> bytes:
        size = self._until(b"\r\n")
        data = self._take(int(size, 16) + 2)
        self._last_chunk = size + data
        return b"" if int(size, 16) == 0 else size + data

    def _until(self, end: bytes) -> bytes:
        while end not in self._held:
            self._more()
        found, self._held = self._held.split(end, 1)
        return found + end

    def _take(self, count: int) -> bytes:
        while len(self._held) < count:
            self._more()
        found, self._held = self._held[:count], self._held[count:]
        return found

    def _more(self) -> None:
        block = self._source.recv(1 << 18)
        if not block:
            raise EOFError
        self._held += block
