"""HTTP/1.1 as far as the scripts speak it: requests with a known length in, answers with a known length out."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass, field, replace
from typing import BinaryIO

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date"}
UPSTREAM_SECONDS = 30.0


@dataclass
class Request:
    """One request. The body stays in the socket until it is asked for, so that it can be cut."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    _file: BinaryIO
    _body: bytes | None = None

    @property
    def path(self) -> str:
        return self.target.split("?")[0]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))

    def body(self) -> bytes:
        if self._body is None:
            self._body = self._file.read(self.length)
            if len(self._body) < self.length:
                raise ConnectionError("the request was cut by its sender")
        return self._body

    def half_of_body(self) -> bytes:
        return self._file.read(self.length // 2)

    @classmethod
    def read(cls, file: BinaryIO) -> Request | None:
        """The next request of a connection, or None at its end."""
        words = file.readline().decode("latin-1").split()
        if len(words) != 3:
            return None
        headers = {}
        while line := file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return cls(words[0], words[1], headers, file)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self, announce: bool = True) -> bytes:
        """The bytes to send; without `announce` there is no length, and the end of the connection ends the body."""
        head = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        # A body that goes with a 204 would be read as the start of the next answer.
        body = b"" if self.status == 204 else self.body
        head += [f"content-length: {len(body)}"] if announce and self.status != 204 else []
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body

    def with_body(self, body: bytes) -> Answer:
        return replace(self, body=body)


def forward(request: Request, port: int) -> Answer:
    """What the server on loopback answers to the request, read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=UPSTREAM_SECONDS)
    try:
        body = request.body()
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        kept = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
        return Answer(answer.status, kept, answer.read())
    finally:
        connection.close()


def text(status: int, words: str, **headers: str) -> Answer:
    """An error as the server words most of them: plain text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "text/plain; charset=utf-8", **named}, words.encode())


def reset(connection: socket.socket) -> None:
    """Ends a connection with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
