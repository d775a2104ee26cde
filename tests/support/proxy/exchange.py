"""One request on its way: the moments at which a test may act, and what a fault can do with it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from support.proxy import http_message
from support.proxy.http_message import Answer, Request

if TYPE_CHECKING:
    from support.proxy.proxy import Proxy


class Moment(Enum):
    ARRIVED = "before the request: the proxy has it, the server has nothing"
    SENT = "after the request: the server has it whole"
    ANSWERED = "before the response: the server has acted, the script knows nothing"
    HALF = "within the response: the script has half of it"
    DELIVERED = "after the response: the script has it whole"


class Drop(Exception):
    """Close the script's connection now. (The server's answer, if it was asked, is still awaited.)"""


class Instead(Exception):
    """Send this answer without asking the server."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


At = Callable[[Moment, Request], None]
"""A test's function: it may kill the script, wait, or raise `Drop`, or `Instead` when the request has just arrived."""


def nothing(_: Moment, __: Request) -> None:
    """At no moment anything."""


class First:
    """An `At` that does something at one moment of the first `times` requests of a kind, and counts how often."""

    def __init__(self, moment: Moment, what: tuple[str, str], do: Callable[[Request], None], times: int = 1) -> None:
        self._moment, self._what, self._do, self._times = moment, what, do, times
        self.done = 0

    def __call__(self, moment: Moment, request: Request) -> None:
        if moment is self._moment and request.is_(*self._what) and self.done < self._times:
            self.done += 1
            self._do(request)


def drop(_: Request) -> None:
    raise Drop


@dataclass(frozen=True)
class Fault:
    """One kind of trouble for `times` requests on a route (or "any"), from the nth on; `value` is its parameter."""

    kind: str
    route: str
    nth: int = 1
    times: int = 1
    value: float = 0.0


@dataclass
class Exchange:
    """One request in a fault's hands: `forward` carries it out, `send` answers, `cut` hangs up."""

    proxy: Proxy
    request: Request
    connection: socket.socket
    fault: Fault
    open: bool = True

    @property
    def route(self) -> str:
        return self.request.route

    def forward(self) -> Answer:
        return self.proxy.carry_out(self.request)

    def send(self, answer: Answer) -> None:
        self.request.body()
        self.connection.sendall(answer.encoded())

    def send_part(self, data: bytes) -> None:
        """Some bytes of an answer, and then nothing more."""
        self.connection.sendall(data)
        self.open = False

    def cut(self, reset: bool = False) -> None:
        if reset:
            http_message.reset(self.connection)
        self.open = False

    def missed(self) -> None:
        """The fault had nothing to act on: not a hit."""
        self.proxy.hits[self.fault.kind] -= 1

    def hold(self, seconds: float) -> None:
        """Hangs up, and carries the request out so many seconds later."""
        self.request.body()
        self.proxy.hold(self.request, seconds)
        self.open = False

    def stall(self) -> None:
        """Says nothing until the other side gives up."""
        with contextlib.suppress(OSError):
            self.connection.settimeout(http_message.PATIENCE_SECONDS)
            self.connection.recv(1)
        self.open = False


Effect = Callable[[Exchange], None]
