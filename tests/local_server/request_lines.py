"""The rules for one line of an input file: what is refused, in which order, with which words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local_server import strict_json
from local_server.errors import ApiError
from local_server.settings import ENDPOINTS

FIELDS = ("custom_id", "method", "url", "body")
MAX_CUSTOM_ID_BYTES = 64
STRIPPED_FROM_BODY = ("priority", "service_tier", "background")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True)
class RequestLine:
    custom_id: str
    model: str
    url: str
    body_bytes: int
    line: bytes  # as it is given back: normalised, with its newline


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def read_line(text: str, number: int, model_type: Callable[[str], str | None], max_body: int) -> RequestLine:
    """`number` is the server's own count (non-blank lines accepted so far, plus one).

    `model_type` gives a model's type or raises KeyError.  Raises ApiError for the first rule broken.
    """
    custom_id, method, url, body = _fields(text, number)
    prefix = f"Line {number}: "
    if len(custom_id.encode()) > MAX_CUSTOM_ID_BYTES:
        size = len(custom_id.encode())
        raise ApiError(400, f"{prefix}custom_id exceeds maximum length of 64 characters (got {size})")
    if _CONTROL.search(custom_id):
        raise ApiError(
            400, f"{prefix}custom_id contains invalid characters: must be valid ASCII without control characters"
        )
    if method.upper() != "POST":
        raise ApiError(400, f"{prefix}Unsupported HTTP method '{method}'. Only POST is currently supported.")
    if url not in ENDPOINTS:
        allowed = ", ".join(ENDPOINTS)
        raise ApiError(400, f"{prefix}Unsupported URL path '{url}'. Allowed paths are: {allowed}")
    model = body.get("model") if isinstance(body, dict) else None
    if not isinstance(model, str):
        raise ApiError(400, f"{prefix}Missing 'model' field in request body")
    _check_model(prefix, model, url, model_type)
    _check_reasoning(prefix, url, body)
    for key in STRIPPED_FROM_BODY:
        body.pop(key, None)
    dumped = strict_json.dumps_sorted(body)
    size = len(dumped)
    if size > max_body:
        raise ApiError(
            400, f"{prefix}Request body is {size} bytes, which exceeds the maximum allowed size of {max_body} bytes"
        )
    head = f'{{"custom_id":{_quoted(custom_id)},"method":{_quoted(method)},"url":"{url}","body":'
    return RequestLine(custom_id, model, url, size, head.encode() + dumped + b"}\n")


def _fields(text: str, number: int) -> tuple[str, str, str, Any]:
    try:
        value = strict_json.loads(text)
        return _known_fields(text, value)
    except strict_json.JsonError as error:
        raise ApiError(400, f"Invalid JSON on line {number}: {error}") from None


def _known_fields(text: str, value: Any) -> tuple[str, str, str, Any]:
    """The four fields of an object, or of a list of four; raises JsonError."""
    if isinstance(value, list):
        if len(value) != len(FIELDS):
            kind = f"invalid length {len(value)}, expected struct OpenAIBatchRequest with 4 elements"
            raise strict_json.JsonError(kind, *strict_json.end_position(text), syntax=False)
        value = dict(zip(FIELDS, value, strict=True))
    elif not isinstance(value, dict):
        kind = f"invalid type: {type_name(value)}, expected struct OpenAIBatchRequest"
        raise strict_json.JsonError(kind, *strict_json.end_position(text), syntax=False)
    elif any(text.count(f'"{name}"') > 1 for name in FIELDS):
        _refuse_duplicates(text)
    for name in FIELDS:
        if name not in value:
            raise strict_json.JsonError(f"missing field `{name}`", *strict_json.end_position(text), syntax=False)
        if name != "body" and not isinstance(value[name], str):
            kind = f"invalid type: {type_name(value[name])}, expected a string"
            raise strict_json.JsonError(kind, *strict_json.value_end(text, name), syntax=False)
    return value["custom_id"], value["method"], value["url"], value["body"]


def _refuse_duplicates(text: str) -> None:
    """Only the four known keys may not be repeated; of any other key the last one wins."""

    def outermost(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {"": [key for key, _ in pairs]}  # the outermost object is built last

    keys = json.loads(text, object_pairs_hook=outermost)[""]
    for name in FIELDS:
        if keys.count(name) > 1:
            second = text.find(f'"{name}"', text.find(f'"{name}"') + 1)
            raise strict_json.JsonError(f"duplicate field `{name}`", 1, second + len(name) + 2)


def type_name(value: Any) -> str:
    """A value as the server's messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f"string {json.dumps(value, ensure_ascii=False)}"
    return "sequence" if isinstance(value, list) else "map"


def _check_model(prefix: str, model: str, url: str, model_type: Callable[[str], str | None]) -> None:
    try:
        type_ = model_type(model)
    except KeyError:
        raise ApiError(403, f"{prefix}Model '{model}' has not been configured or is not available to user") from None
    needed = "EMBEDDINGS" if url == "/v1/embeddings" else "CHAT"
    if type_ is not None and type_ != needed:
        raise ApiError(
            400, f"{prefix}Model '{model}' is a {type_} model but endpoint '{url}' requires a {needed} model"
        )


def _check_reasoning(prefix: str, url: str, body: Mapping[str, Any]) -> None:
    if url == "/v1/chat/completions":
        _refuse(
            prefix, body, ("chat_template_kwargs", "thinking", "thinking_token_budget", "reasoning"), "reasoning_effort"
        )
        _check_effort(prefix, "reasoning_effort", body.get("reasoning_effort"))
    elif url == "/v1/responses":
        _refuse(
            prefix,
            body,
            ("chat_template_kwargs", "thinking", "thinking_token_budget", "reasoning_effort"),
            "reasoning.effort",
        )
        reasoning = body.get("reasoning")
        if reasoning is not None and not isinstance(reasoning, dict):
            raise ApiError(400, f"{prefix}Invalid type for 'reasoning'. Expected an object.")
        _check_effort(prefix, "reasoning.effort", (reasoning or {}).get("effort"))
    elif url == "/v1/completions":
        for key in ("reasoning_effort", "reasoning", "chat_template_kwargs", "thinking", "thinking_token_budget"):
            if key in body:
                raise ApiError(
                    400,
                    f"{prefix}Parameter '{key}' is not supported by /v1/completions. "
                    "Use /v1/chat/completions or /v1/responses.",
                )


def _refuse(prefix: str, body: Mapping[str, Any], keys: tuple[str, ...], instead: str) -> None:
    for key in keys:
        if key in body:
            inner = body[key]
            name = f"{key}.enable_thinking" if isinstance(inner, dict) and "enable_thinking" in inner else key
            raise ApiError(400, f"{prefix}Unsupported parameter '{name}'; use '{instead}'.")


def _check_effort(prefix: str, name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ApiError(400, f"{prefix}Invalid type for '{name}'. Expected a string.")
    if value not in EFFORTS:
        raise ApiError(400, f"{prefix}Invalid value '{value}' for '{name}'. Expected one of: {', '.join(EFFORTS)}.")
