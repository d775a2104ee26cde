"""A fault, the request it hits, and what it can do with it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.faults import http_message
from support.faults.http_message import Answer, Request

if TYPE_CHECKING:
    from support.faults.proxy import FaultProxy


@dataclass(frozen=True)
class Fault:
    """One kind of trouble for `times` requests on a route (or "any"), from the nth on; `value` is its parameter."""

    kind: str
    route: str
    nth: int = 1
    times: int = 1
    value: float = 0.0


@dataclass(frozen=True)
class Seen:
    """One request as it came in, and the fault that hit it."""

    route: str
    method: str
    target: str
    headers: dict[str, str]
    at: float
    fault: str | None


@dataclass
class Exchange:
    """One request in a fault's hands: `forward` carries it out, `send` answers, `cut` hangs up."""

    proxy: FaultProxy
    request: Request
    connection: socket.socket
    fault: Fault
    route: str
    open: bool = True

    def forward(self) -> Answer:
        return self.proxy.carry_out(self.request, self.route)

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
            self.connection.settimeout(http_message.UPSTREAM_SECONDS)
            self.connection.recv(1)
        self.open = False


Effect = Callable[[Exchange], None]
