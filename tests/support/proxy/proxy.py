"""The proxy: passes each request on, calls a test's function at every moment of it, or lets a fault have it.

A fault names a route and which request on it is the first it hits; what it then does is said in `faults.kinds`, or by
the test itself. Time is the script's: a request that is held back, and a listener that refuses, wait for the clock to
reach a moment, not for seconds to pass.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from support.proxy import http_message
from support.proxy.exchange import At, Drop, Effect, Exchange, Fault, Instead, Moment, nothing
from support.proxy.http_message import HOST, Answer, Request
from support.proxy.listener import Elsewhere, Listener
from support.proxy.server_time import ServerTime
from support.running import FastClock

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
    ("GET", r"/batches/[^/]+/analytics", "analytics"),
    ("POST", r"/batches/[^/]+/cancel", "cancel"),
    ("GET", r"/models", "models"),
)
ROUTES = tuple(name for _, _, name in _ROUTES)
PREFIX = "/ai/v1"


@dataclass
class Held:
    """A request whose connection is gone, to be carried out at `due` (by the script's clock)."""

    due: float
    request: Request


class Proxy:
    """`with Proxy(server.port, at) as proxy:` stands before a server on loopback, at `proxy.base_url`."""

    def __init__(
        self,
        port: int,
        at: At = nothing,
        *,
        faults: Sequence[Fault] = (),
        kinds: Mapping[str, Effect] | None = None,
        clock: FastClock | None = None,
    ) -> None:
        """`clock` is the script's, where it runs in this process on a time of its own."""
        self.port, self.at = port, at
        self.faults, self.kinds = list(faults), dict(kinds or {})
        self.clock = clock or FastClock()
        self.log: list[Request] = []
        self.hits: Counter[str] = Counter()
        self.healed = False
        self.time = ServerTime(clock)
        self.elsewhere = Elsewhere()
        self._seen: dict[Fault, int] = {}
        self._held: list[Held] = []
        self.meanwhile: Callable[[float], None] | None = None  # another command, run while a request is on its way
        self._opens_at: float | None = None
        self._lock = threading.RLock()
        self._listener = Listener(self._serve)
        self.base_url = f"http://{HOST}:{self._listener.port}{PREFIX}"

    def __enter__(self) -> Proxy:
        self.clock.on_sleep.append(self.tick)
        self._listener.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.on_sleep.remove(self.tick)
        self._listener.close()
        self.elsewhere.close()

    def requests(self, *routes: str) -> list[Request]:
        """What came in on some routes, in order; on all of them if none is named."""
        return [request for request in self.log if not routes or request.route in routes]

    # --- trouble ---

    def strike(self, faults: Sequence[Fault]) -> None:
        """From now on these happen, counted from the next request on."""
        with self._lock:
            self.faults, self._seen = list(faults), {}

    def heal(self) -> None:
        """From now on nothing goes wrong. What is held back is still to come."""
        self.healed = True
        self.time.hidden_until.clear()
        self._open_again()

    def hold(self, request: Request, seconds: float) -> None:
        with self._lock:
            self._held.append(Held(self.clock.monotonic() + seconds, request))

    def refuse(self, seconds: float) -> None:
        """Nothing listens here for so many seconds."""
        with self._lock:
            self._opens_at = self.clock.monotonic() + seconds
            self._listener.refuse()

    def tick(self) -> None:
        """What the time has come for, after every wait of the script."""
        if self._opens_at is not None and self.clock.monotonic() >= self._opens_at:
            self._open_again()
        self._release(self.clock.monotonic())

    def release_all(self) -> None:
        """Carries out everything that is still held back."""
        self._release(float("inf"))

    def carry_out(self, request: Request) -> Answer:
        """The server's answer, however late, as it looks in the script's time."""
        return self.time.shown(request, http_message.forward(request, self.port))

    def _open_again(self) -> None:
        with self._lock:
            if self._opens_at is not None:
                self._opens_at = None
                self._listener.open()

    def _release(self, now: float) -> None:
        with self._lock:
            due = [held for held in self._held if held.due <= now]
            self._held = [held for held in self._held if held.due > now]
        for held in due:
            self.carry_out(held.request)

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

    # --- one connection ---

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            while request := Request.read(file):
                if not self._answer(request, connection):
                    return

    def _answer(self, request: Request, connection: socket.socket) -> bool:
        """Answers one request, or lets its fault do so; whether the connection stays open."""
        request.route, request.at = _route(request), self.clock.now()
        fault = self._fault_for(request.route)
        request.fault = fault.kind if fault else None
        with self._lock:
            self.log.append(request)
        if fault is None:
            try:
                self._pass_on(request, connection)
            except Drop:
                return False
            return request.headers.get("connection") != "close"
        exchange = Exchange(self, request, connection, fault)
        self.kinds[fault.kind](exchange)
        return exchange.open

    def _pass_on(self, request: Request, connection: socket.socket) -> None:
        request.body()
        try:
            self.at(Moment.ARRIVED, request)
        except Instead as instead:
            connection.sendall(instead.answer.encoded())
            return
        with http_message.carried(request, self.port) as file:
            try:
                self.at(Moment.SENT, request)
            except Drop:
                Answer.read(file)  # closing at once could reach the server before it has read the request
                raise
            answer = self.time.shown(request, Answer.read(file))
        self.at(Moment.ANSWERED, request)
        data = answer.raw or answer.encoded()
        connection.sendall(data[: len(data) // 2])
        self.at(Moment.HALF, request)
        connection.sendall(data[len(data) // 2 :])
        self.at(Moment.DELIVERED, request)


def _route(request: Request) -> str:
    path = request.path.removeprefix(PREFIX)
    for method, pattern, name in _ROUTES:
        if method == request.method and re.fullmatch(pattern, path):
            return name
    return "other"
