"""The HTTP protocol of one connection: uvicorn's, with two habits of the real server that it lacks.

An upload that is refused midway is not read to its end: the answer goes out, the sending side is ended,
and the connection is closed.  And during an outage of the kind `drop` every connection is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Between "nothing more comes from here" and hanging up.  Closed at once, with unread bytes of an upload
# waiting, the client would be reset before it had read why.
LINGER_SECONDS = 0.2
# What is left of a refused upload is read and dropped up to here; with more to come, the connection ends.
DRAINED_BYTES = 64 * 1024


class Protocol(H11Protocol):
    """`hang_up` tells whether an outage drops connections right now."""

    hang_up: Callable[[], bool]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._received = 0
        super().connection_made(_Transport(transport, self._left_unread))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self.hang_up():
            self.transport.abort()
        elif not self.transport.is_closing():
            super().data_received(data)

    def on_response_complete(self) -> None:
        if self._left_unread():
            self.transport.close()
        self._received = 0
        super().on_response_complete()

    def _left_unread(self) -> bool:
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        declared = next((int(value) for name, value in self.headers if name == b"content-length"), None)
        return declared is None or declared - self._received > DRAINED_BYTES


class _Transport:
    """A transport whose close lets an early answer arrive first, where the client is still sending."""

    def __init__(self, transport: Any, left_unread: Callable[[], bool]) -> None:
        self._transport = transport
        self._left_unread = left_unread
        self._lingering = False

    def close(self) -> None:
        if self.is_closing() or not self._left_unread():
            if not self._lingering:
                self._transport.close()
            return
        self._lingering = True
        self._transport.pause_reading()
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def is_closing(self) -> bool:
        return self._lingering or bool(self._transport.is_closing())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def protocol(hang_up: Callable[[], bool]) -> type[Protocol]:
    """The protocol class of one server."""
    return type("ServerProtocol", (Protocol,), {"hang_up": staticmethod(hang_up)})
