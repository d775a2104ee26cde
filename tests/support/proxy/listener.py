"""A port on loopback that accepts, refuses for a while, and accepts again; each connection has a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from support.proxy import http_message
from support.proxy.http_message import HOST, PATIENCE_SECONDS

OPENING_SECONDS = 5.0


class Listener:
    """Hands every connection to `serve`, which returns when it is done with it."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._lock = threading.RLock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._socket: socket.socket | None = _listen(0)
        self.port: int = self._socket.getsockname()[1]

    def open(self) -> None:
        """Begins to accept; does nothing where it accepts already."""
        with self._lock:
            if self._socket is None:
                self._socket = _listen(self.port)
            elif self._threads:
                return
            self._start(self._accept, self._socket)

    def refuse(self) -> None:
        """Nothing listens here any more, and all connections are reset."""
        with self._lock:
            if self._socket is None:
                return
            # A thread that waits in accept() keeps a closed listener alive: shutdown wakes it.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
            for connection in self._connections:
                http_message.reset(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends for good, when every thread has."""
        self.refuse()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a connection of the proxy hangs"

    def _start(self, work: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            # Else the second half of each answer waits 40 ms until the first is acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            self._start(self._attend, connection)

    def _attend(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except OSError:
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class Elsewhere:
    """Another origin, to which redirects point. Nobody may come here."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._listener.setblocking(False)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"

    def visited(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


def _listen(port: int) -> socket.socket:
    deadline = time.monotonic() + OPENING_SECONDS
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(64)
            return listener
        except OSError:
            listener.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
