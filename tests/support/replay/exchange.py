"""Sends one recorded request byte for byte and takes what comes back, broken connections included."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from support.replay.bindings import Bindings

BOUNDARY = "----contract"
READ_SECONDS = 60.0
# Built bodies are sent in pieces of about this size.
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What the client saw."""

    status: int
    headers: dict[str, str]
    body: bytes
    broke_off: bool  # the connection ended in the middle of the body

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def send(root_url: str, request: dict[str, Any], bindings: Bindings, authorization: str | None) -> Answer:
    """One exchange on a connection of its own. `request` is a recorded one; raises OSError if nothing came back."""
    prefix = "" if request.get("outside_base_url") else "/ai/v1"
    target = prefix + bindings.fill(request["path"])
    if request.get("query"):
        target += "?" + bindings.fill(request["query"])
    length, body = _body(request, bindings)
    place = urlsplit(root_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=READ_SECONDS)
    try:
        connection.putrequest(request["method"], target.replace(" ", "%20"), skip_accept_encoding=True)
        for name, value in request["headers"].items():
            connection.putheader(name, value)
        if authorization is not None:
            connection.putheader("authorization", authorization)
        if body is not None:
            connection.putheader("content-length", str(length))
        connection.endheaders()
        try:
            for piece in body or ():
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that refuses early answers before it hangs up: its answer can still be read
        return _read(connection)
    finally:
        connection.close()


def _read(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    try:
        return Answer(response.status, headers, response.read(), False)
    except (http.client.IncompleteRead, ConnectionResetError) as error:
        received = error.partial if isinstance(error, http.client.IncompleteRead) else b""
        return Answer(response.status, headers, received, True)


def _body(request: dict[str, Any], bindings: Bindings) -> tuple[int, Iterator[bytes] | None]:
    """Its length in bytes and its pieces; None where the request has no body."""
    if "multipart" in request:
        pieces = list(_multipart(request["multipart"]))
        return sum(len(piece) * times for piece, times in pieces), _repeat(pieces)
    if "json" in request:
        body = bindings.fill(json.dumps(request["json"])).encode()
    elif "text" in request:
        body = request["text"].encode("utf-8", "surrogateescape")
    else:
        return 0, None
    return len(body), iter([body])


def _multipart(parts: list[dict[str, Any]]) -> Iterator[tuple[bytes, int]]:
    """(bytes, how many times) in order."""
    for part in parts:
        disposition = f'form-data; name="{part["name"]}"'
        if part.get("filename") is not None:
            disposition += f'; filename="{part["filename"]}"'
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n"
        if part.get("content_type"):
            head += f"Content-Type: {part['content_type']}\r\n"
        yield (head + "\r\n").encode(), 1
        yield from _content(part)
        yield b"\r\n", 1
    yield f"--{BOUNDARY}--\r\n".encode(), 1


def _content(part: dict[str, Any]) -> Iterator[tuple[bytes, int]]:
    if "content_base64" in part:
        yield base64.b64decode(part["content_base64"]), 1
    elif "repeat" in part:
        rule = part["repeat"]
        yield rule.get("prefix", "").encode(), 1
        yield rule["text"].encode(), rule["times"]
        yield rule.get("suffix", "").encode(), 1
    elif "numbered" in part:
        rule = part["numbered"]
        lines = (rule["template"].replace("{n}", str(n)) for n in range(rule["count"]))
        yield "".join(lines).encode(), 1
    else:
        yield part["content"].encode(), 1


def _repeat(pieces: list[tuple[bytes, int]]) -> Iterator[bytes]:
    for piece, times in pieces:
        if times == 1:
            yield piece
            continue
        at_once = max(1, PIECE_BYTES // max(1, len(piece)))
        full, rest = divmod(times, at_once)
        block = piece * at_once
        for _ in range(full):
            yield block
        yield piece * rest
