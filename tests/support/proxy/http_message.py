"""HTTP/1.1 as far as the scripts and the servers speak it: one message at a time, in bytes and in its parts."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

HOST = "127.0.0.1"
# Of either side, in real seconds; a hang is a failure, not a wait.
PATIENCE_SECONDS = 30.0
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date"}
_WITHOUT_BODY = (204, 304)


@dataclass
class Request:
    """One request. The body stays in the socket until it is asked for, so that it can be cut.

    `route`, `at` (by the script's clock) and `fault` (the kind that hit it) are the proxy's notes.
    """

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    _file: BinaryIO
    _body: bytes | None = None
    route: str = ""
    at: float = 0.0
    fault: str | None = None

    @property
    def path(self) -> str:
        return self.target.split("?")[0]

    def is_(self, method: str, path: str) -> bool:
        """Whether it is this method on this path below the API's root, its query left aside."""
        return self.method == method and self.path.endswith(path)

    def body(self) -> bytes:
        """The body as it came over the wire, chunks and all."""
        if self._body is None:
            self._body = _body_on_the_wire(self._file, self.headers)
        return self._body

    def half_of_body(self) -> bytes:
        return self._file.read(int(self.headers.get("content-length", 0)) // 2)

    def encoded(self) -> bytes:
        head = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + self.body()

    @classmethod
    def read(cls, file: BinaryIO) -> Request | None:
        """The next request of a connection, or None at its end."""
        words = file.readline().decode("latin-1").split()
        return cls(words[0], words[1], _headers(_head(file)), file) if len(words) == 3 else None


@dataclass(frozen=True)
class Answer:
    """An answer: what it says, and the bytes in which it came (none where it was made or changed here)."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes = b""

    def encoded(self, announce: bool = True) -> bytes:
        """The bytes to send; without `announce` there is no length, and the end of the connection ends the body."""
        head = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        # A body that goes with a 204 would be read as the start of the next answer.
        body = b"" if self.status in _WITHOUT_BODY else self.body
        head += [f"content-length: {len(body)}"] if announce and self.status not in _WITHOUT_BODY else []
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body

    def with_body(self, body: bytes) -> Answer:
        return replace(self, body=body, raw=b"")

    @classmethod
    def read(cls, file: BinaryIO) -> Answer:
        """The next answer of a connection. Raises ConnectionError if the other side has closed."""
        first = file.readline()
        if not first.strip():
            raise ConnectionError("the server has closed")
        head = _head(file)
        status, headers = int(first.split()[1]), _headers(head)
        wire = b"" if status in _WITHOUT_BODY else _body_on_the_wire(file, headers, to_the_end=True)
        body = _joined(wire) if "chunked" in headers.get("transfer-encoding", "") else wire
        kept = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
        return cls(status, kept, body, first + head + wire)


def text(status: int, words: str, **headers: str) -> Answer:
    """An error as the server words most of them: plain text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "text/plain; charset=utf-8", **named}, words.encode())


@contextlib.contextmanager
def carried(request: Request, port: int) -> Iterator[BinaryIO]:
    """The request has reached the server on loopback, whole; within this, its answer can be read."""
    with socket.create_connection((HOST, port), PATIENCE_SECONDS) as server, server.makefile("rb") as file:
        server.sendall(request.encoded())
        yield file


def forward(request: Request, port: int) -> Answer:
    """What the server on loopback answers to the request, read to its end."""
    with carried(request, port) as file:
        return Answer.read(file)


def reset(connection: socket.socket) -> None:
    """Ends a connection with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def _head(file: BinaryIO) -> bytes:
    """The header lines up to the blank one and with it."""
    found = b""
    while line := file.readline():
        found += line
        if not line.strip():
            break
    return found


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").splitlines() if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def _body_on_the_wire(file: BinaryIO, headers: dict[str, str], to_the_end: bool = False) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        return _chunks(file)
    if "content-length" not in headers:
        return file.read() if to_the_end else b""
    length = int(headers["content-length"])
    body = file.read(length)
    if len(body) < length:
        raise ConnectionError("the message was cut by its sender")
    return body


def _chunks(file: BinaryIO) -> bytes:
    found = b""
    while line := file.readline():
        size = int(line.split(b";")[0], 16)
        data = file.read(size + 2)
        if len(data) < size + 2:
            break
        found += line + data
        if size == 0:
            return found
    raise ConnectionError("the message was cut by its sender")


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        line, _, chunks = chunks.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        body, chunks = body + chunks[:size], chunks[size + 2 :]
    return body
