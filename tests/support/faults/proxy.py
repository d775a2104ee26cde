"""A proxy on a real socket between the scripts and a local server, which injects faults.

Every request is logged with its route. A fault names a route and which request on it is the first it hits; what
it then does is said in `faults.kinds`. Time is the script's: a request that is held back, and a listener that
refuses, wait for `FaultClock` to reach a moment, not for seconds to pass.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from support.faults import http_message
from support.faults.clock import FaultClock
from support.faults.exchange import Effect, Exchange, Fault, Seen
from support.faults.http_message import Answer, Request
from support.faults.server_time import ServerTime

_ROUTES = (
    ("POST", r"/files", "upload"),
    ("GET", r"/files", "list_files"),
    ("GET", r"/files/[^/]+", "file"),
    ("DELETE", r"/files/[^/]+", "delete_file"),
    ("GET", r"/files/[^/]+/cost-estimate", "estimate"),
    ("GET", r"/files/[^/]+/content", "content"),
    ("POST", r"/batches", "submit"),
    ("GET", r"/batches", "list_batches"),
    ("GET", r"/batches/[^/]+", "batch"),
    ("POST", r"/batches/[^/]+/cancel", "cancel"),
    ("GET", r"/models", "models"),
)
ROUTES = tuple(name for _, _, name in _ROUTES)
PREFIX = "/ai/v1"
OPENING_SECONDS = 5.0


@dataclass
class Held:
    """A request whose connection is gone, to be carried out at `due` (by the script's clock)."""

    due: float
    request: Request


class Elsewhere:
    """Another origin, to which redirects point. Nobody may come here."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def visited(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


@dataclass
class FaultProxy:
    """Use as a context manager. `kinds` says what each kind of fault does."""

    port: int  # of the local server
    clock: FaultClock
    faults: list[Fault] = field(default_factory=list)
    kinds: dict[str, Effect] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log: list[Seen] = []
        self.hits: Counter[str] = Counter()
        self.healed = False
        self.time = ServerTime(self.clock)
        self.elsewhere = Elsewhere()
        self._seen: dict[Fault, int] = {}
        self._held: list[Held] = []
        self._opens_at: float | None = None
        self._lock = threading.RLock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self._own_port: int = self._listener.getsockname()[1]
        self.clock.on_sleep.append(self.tick)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._own_port}{PREFIX}"

    def requests(self, *routes: str) -> list[Seen]:
        """What came in on some routes, in order; on all of them if none is named."""
        return [seen for seen in self.log if not routes or seen.route in routes]

    # --- trouble ---

    def heal(self) -> None:
        """From now on nothing goes wrong. What is held back is still to come."""
        self.healed = True
        self.time.hidden_until.clear()
        self._open_again()

    def hold(self, request: Request, seconds: float) -> None:
        with self._lock:
            self._held.append(Held(self.clock.now() + seconds, request))

    def refuse(self, seconds: float) -> None:
        """Nothing listens here for so many seconds."""
        with self._lock:
            self._opens_at = self.clock.now() + seconds
            # A thread that waits in accept() keeps a closed listener alive: shutdown wakes it.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for connection in self._connections:
                http_message.reset(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def tick(self) -> None:
        """What the time has come for, after every wait of the script."""
        if self._opens_at is not None and self.clock.now() >= self._opens_at:
            self._open_again()
        self._release(self.clock.now())

    def release_all(self) -> None:
        """Carries out everything that is still held back."""
        self._release(float("inf"))

    def _release(self, now: float) -> None:
        with self._lock:
            due = [held for held in self._held if held.due <= now]
            self._held = [held for held in self._held if held.due > now]
        for held in due:
            self.carry_out(held.request, _route(held.request))

    def carry_out(self, request: Request, route: str) -> Answer:
        answer = http_message.forward(request, self.port)
        return self.time.shown(route, answer)

    def _fault_for(self, route: str) -> Fault | None:
        """The first fault that is due for this request; every fault counts the requests on its route."""
        found = None
        with self._lock:
            for fault in self.faults:
                if self.healed or fault.route not in (route, "any"):
                    continue
                number = self._seen.get(fault, 0) + 1
                self._seen[fault] = number
                if found is None and fault.nth <= number < fault.nth + fault.times:
                    found = fault
                    self.hits[fault.kind] += 1
        return found

    # --- connections ---

    def _listen(self, port: int) -> socket.socket:
        deadline = time.monotonic() + OPENING_SECONDS
        while True:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen(64)
                return listener
            except OSError:
                listener.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _open_again(self) -> None:
        with self._lock:
            if self._opens_at is None:
                return
            self._opens_at = None
            self._listener = self._listen(self._own_port)
            self._start(self._accept, self._listener)

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
            with self._lock:
                self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        try:
            while request := Request.read(file):
                if not self._answer(request, connection):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._connections.discard(connection)
            file.close()
            connection.close()

    def _answer(self, request: Request, connection: socket.socket) -> bool:
        """Answers one request, or lets its fault do so; whether the connection stays open."""
        route = _route(request)
        fault = self._fault_for(route)
        with self._lock:
            self.log.append(
                Seen(
                    route,
                    request.method,
                    request.target,
                    request.headers,
                    self.clock.now(),
                    fault.kind if fault else None,
                )
            )
        if fault is None:
            connection.sendall(self.carry_out(request, route).encoded())
            return request.headers.get("connection") != "close"
        exchange = Exchange(self, request, connection, fault, route)
        self.kinds[fault.kind](exchange)
        return exchange.open

    def __enter__(self) -> FaultProxy:
        self._start(self._accept, self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.on_sleep.remove(self.tick)
        if self._opens_at is None:
            self.refuse(float("inf"))
        for thread in self._threads:
            thread.join(5)
        self.elsewhere.close()


def _route(request: Request) -> str:
    path = request.path.removeprefix(PREFIX)
    for method, pattern, name in _ROUTES:
        if method == request.method and re.fullmatch(pattern, path):
            return name
    return "other"
