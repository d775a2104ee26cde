"""Answers that are not a success, in the shapes that the real server gives them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

RETRY_AFTER_429 = "60"  # the header says 60 while the body says 30: both were recorded
RETRY_AFTER_503 = "30"


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class ApiError(Exception):
    """Ends a request: a text body (files and batches) or a JSON one (proxy, models, 429, 503)."""

    def __init__(self, status: int, body: str | dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}

    def response(self) -> Response:
        if isinstance(self.body, str):
            return Response(self.body, self.status, self.headers, "text/plain; charset=utf-8")
        return Response(compact(self.body), self.status, self.headers, "application/json")


def too_many_requests(message: str) -> ApiError:
    body = {"error": "too_many_requests", "message": message, "retry_after_seconds": 30}
    return ApiError(429, body, {"retry-after": RETRY_AFTER_429})


def service_unavailable(message: str) -> ApiError:
    body = {"error": "service_unavailable", "message": message, "retry_after_seconds": 30}
    return ApiError(503, body, {"retry-after": RETRY_AFTER_503})


def proxy_error(
    status: int, message: str, code: str, kind: str = "invalid_request_error", param: str | None = None
) -> ApiError:
    return ApiError(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def file_not_found(file_id: str) -> ApiError:
    return ApiError(404, f"File with ID {file_id} not found")


def batch_not_found(batch_id: str) -> ApiError:
    return ApiError(404, f"Batch with ID {batch_id} not found")


def account_too_low() -> ApiError:
    return ApiError(402, ACCOUNT_TOO_LOW)


ACCOUNT_TOO_LOW = "Account balance too low. Please add credits to continue."
