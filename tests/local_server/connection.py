"""The HTTP protocol of one connection: uvicorn's, with the two habits of the real server that it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Between "nothing more comes from here" and hanging up.  Closed at once, with unread bytes of an upload
# waiting, the client would be reset before it had read why.
LINGER_SECONDS = 0.2


class LingeringTransport:
    """A transport whose close first ends the sending side, so that an early answer to an upload arrives."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._closing = False

    def close(self) -> None:
        if self._closing or self._transport.is_closing():
            self._transport.close()
            return
        self._closing = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def protocol(hang_up: Callable[[], bool]) -> type[H11Protocol]:
    """The protocol class for uvicorn; `hang_up` tells whether an outage drops connections right now."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(LingeringTransport(transport))  # type: ignore[arg-type]

        def data_received(self, data: bytes) -> None:
            if hang_up():
                self.transport.abort()
            elif not self.transport.is_closing():
                super().data_received(data)

    return Protocol
