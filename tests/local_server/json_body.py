"""JSON request bodies, read as strictly as the real server does, with its statuses and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from local_server import strict_json
from local_server.errors import ApiError
from local_server.request_lines import type_name

MAX_BYTES = 2 * 1024 * 1024
_WRONG_TYPE = "Failed to deserialize the JSON body into the target type: "


@dataclass(frozen=True)
class Body:
    text: str
    value: dict[str, Any]

    def text_field(self, name: str) -> str:
        self._must_have(name)
        value = self.value[name]
        if not isinstance(value, str):
            self._wrong(name, f"invalid type: {type_name(value)}, expected a string", name)
        return str(value)

    def list_of_text(self, name: str) -> list[str]:
        self._must_have(name)
        value = self.value[name]
        if not isinstance(value, list):
            self._wrong(name, f"invalid type: {type_name(value)}, expected a sequence", name)
        for number, item in enumerate(value):
            if not isinstance(item, str):
                self._wrong(f"{name}[{number}]", f"invalid type: {type_name(item)}, expected a string", name)
        return list(value)

    def map_of_text(self, name: str) -> dict[str, str]:
        """Empty where it is absent or null."""
        value = self.value.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(name, f"invalid type: {type_name(value)}, expected a map", name)
        for key, item in value.items():
            if not isinstance(item, str):
                self._wrong(f"{name}.{key}", f"invalid type: {type_name(item)}, expected a string", name)
        return dict(value)

    def _must_have(self, name: str) -> None:
        if name not in self.value:
            where = strict_json.end_position(self.text)
            raise ApiError(422, f"{_WRONG_TYPE}{strict_json.JsonError(f'missing field `{name}`', *where)}")

    def _wrong(self, path: str, kind: str, top: str) -> None:
        where = strict_json.value_end(self.text, top)
        raise ApiError(422, f"{_WRONG_TYPE}{path}: {strict_json.JsonError(kind, *where)}")


async def read(request: Request, struct: str) -> Body:
    """The object in the body; `struct` is the name that the server's messages give it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise ApiError(415, "Expected request with `Content-Type: application/json`")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise ApiError(413, "Failed to buffer the request body: length limit exceeded", {"connection": "close"})
    try:
        text = data.decode()
        value = strict_json.loads(text)
    except UnicodeDecodeError:
        raise ApiError(400, "Failed to parse the request body as JSON: invalid unicode code point") from None
    except strict_json.JsonError as error:
        raise ApiError(400, f"Failed to parse the request body as JSON: {error}") from None
    if not isinstance(value, dict):
        kind = f"invalid type: {type_name(value)}, expected struct {struct}"
        if isinstance(value, list):
            kind = f"invalid length {len(value)}, expected struct {struct} with 5 elements"
        raise ApiError(422, f"{_WRONG_TYPE}{strict_json.JsonError(kind, *strict_json.end_position(text))}")
    return Body(text, value)
