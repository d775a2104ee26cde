"""GET /models, direct calls to a model, and every path the API does not have (which is one of those)."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from local_server import replies
from local_server.errors import ACCOUNT_TOO_LOW, compact, proxy_error
from local_server.replies import Reply
from local_server.routing import bearer, chunked
from local_server.strict_json import dumps_sorted

if TYPE_CHECKING:
    from local_server.app import App

NO_MODEL = (
    "Could not parse onwards model from request. 'model' parameter must be supplied in either the body or in the "
    "Model-Override header."
)
_JSON = {"content-type": "application/json"}
_REWRITTEN = ("/chat/completions", "/responses", "/messages")


def models(app: App, request: Request) -> Response:
    if request.method == "OPTIONS":
        return Response(b"", 200, {"allow": "GET,HEAD"})
    if request.method not in ("GET", "HEAD"):
        return chunked(405, b"", {"allow": "GET,HEAD"})
    user = bearer(app.settings, request)
    if user is None or user.platform_key:
        missing = "authorization" not in request.headers
        error = {
            "code": "missing_authorization" if missing else "invalid_api_key",
            "message": "Missing Authorization header" if missing else "Invalid API key",
            "param": None,
            "type": "authentication_error",
        }
        return chunked(401, compact({"error": error}), _JSON)
    return chunked(200, compact(app.registry.listing()), _JSON)


async def direct_call(app: App, request: Request, path: str) -> Response:
    """Forwards to the model that the request names; the order of the checks is the real server's."""
    try:
        body = json.loads(await request.body() or b"null")
    except ValueError:
        body = None
    name = request.headers.get("model-override") or (body.get("model") if isinstance(body, dict) else None)
    if not isinstance(name, str):
        raise proxy_error(400, NO_MODEL, "bad_request", param="model")
    if "authorization" not in request.headers:
        raise proxy_error(401, "Please supply an authentication token to access this resource", "unauthenticated")
    user = bearer(app.settings, request)
    if user is None:
        raise proxy_error(403, "Forbidden", "forbidden")
    if user.platform_key:
        message = "API keys with purpose 'platform' cannot be used for inference requests."
        error = {"message": message, "type": "invalid_request_error"}
        return chunked(403, compact({"error": error}), _JSON)
    model = app.registry.get(name)
    if model is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise proxy_error(404, message, "model_not_found")
    if model.spec.price is not None and user.balance <= 0:
        return chunked(402, ACCOUNT_TOO_LOW.encode(), {"content-type": "text/plain; charset=utf-8"})
    asked: dict[str, Any] = body if isinstance(body, dict) else {}
    chat = path == "/responses"
    try:
        reply = await app.rehearsal.ask(
            model, "/chat/completions" if chat else path, replies.chat_request(asked) if chat else asked
        )
    except replies.Timeout as timeout:
        raise proxy_error(504, timeout.error, "gateway_timeout", "server_error") from None
    return _relay(path, asked, reply)


def _relay(path: str, asked: dict[str, Any], reply: Reply) -> Response:
    headers = {"content-type": reply.content_type, **reply.headers}
    if reply.status >= 400 or path not in _REWRITTEN:
        return Response(reply.raw(), reply.status, headers)
    value, _, _ = replies.finish(f"/v1{path}", str(uuid.uuid4()), reply, asked)
    if isinstance(value, str):
        return Response(reply.raw(), reply.status, headers)
    if path == "/chat/completions":
        return Response(dumps_sorted(value), reply.status, headers)
    return chunked(reply.status, compact(value), headers)
