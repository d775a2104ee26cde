"""Which handler answers a request, who is asking, and what an unknown path or method gets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local_server.errors import ApiError, compact
from local_server.query import parse_uuid
from local_server.settings import Settings, User

if TYPE_CHECKING:
    from local_server.app import App

BASE_PATH = "/ai/v1"
PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="UTF-8"><title>Local server</title></head>
<body><p>This is not the API. Its base URL ends in /ai/v1.</p></body></html>
"""


@dataclass(frozen=True)
class Call:
    """One request on its way to a handler.  `id` is the canonical UUID of the path, if it has one."""

    app: App
    request: Request
    user: User
    id: str = ""


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """`resource` is what its id names (File or Batch); `actions` maps a method to what it does to it."""

    pattern: str  # below the base path; {id} stands for one segment
    resource: str
    handlers: dict[str, tuple[str, Handler]]

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(re.escape(self.pattern).replace(r"\{id\}", "(?P<id>[^/]+)"), path)

    def allow(self) -> str:
        names = [name for method in self.handlers for name in ((method, "HEAD") if method == "GET" else (method,))]
        return ",".join(names)

    async def answer(self, app: App, request: Request, match: re.Match[str]) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if request.method == "OPTIONS":
            return Response(b"", 200, {"allow": self.allow()})
        if method not in self.handlers:
            return Response(b"", 405, {"allow": self.allow()})
        action, handler = self.handlers[method]
        user = authenticate(app.settings, request)
        if not user.batch_role:
            plural = "Batches" if self.resource == "Batch" else "Files"
            raise ApiError(403, f"Insufficient permissions to {action} {plural}")
        given = match.groupdict().get("id")
        canonical = parse_uuid(given) if given is not None else ""
        if canonical is None:
            raise ApiError(400, f"Invalid {self.resource.lower()} ID format")
        return await handler(Call(app, request, user, canonical))


def authenticate(settings: Settings, request: Request) -> User:
    """The owner of the key; the scheme must be exactly `Bearer` and one space."""
    user = bearer(settings, request)
    if user is None or user.platform_key:
        raise ApiError(401, "Authentication required")
    return user


def bearer(settings: Settings, request: Request) -> User | None:
    header = request.headers.get("authorization", "")
    return settings.user_of(header[len("Bearer ") :]) if header.startswith("Bearer ") else None


def outside(method: str, path: str) -> Response:
    """Everything but the API: a web page to look at, which is what a wrong base URL meets."""
    if path == BASE_PATH:
        return chunked(404, b"", {})
    if method in ("GET", "HEAD", "OPTIONS"):
        return Response(PAGE if method == "GET" else b"", 200, {"content-type": "text/html"})
    return Response(b"", 405, {"allow": "GET,HEAD"})


def json_response(value: Any, status: int = 200) -> Response:
    return Response(compact(value), status, media_type="application/json")


def chunked(status: int, body: bytes, headers: dict[str, str]) -> Response:
    """Without a Content-Length, as some routes of the real server answer."""
    return StreamingResponse(iter([body] if body else []), status, headers)
