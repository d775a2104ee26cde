"""From what a model said to the lines of the result files."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from local_server.errors import compact
from local_server.strict_json import dumps_sorted

RETRIABLE = {404, 408, 429, 499}  # and every 5xx; other 4xx fail at once
_REWRITTEN_IDS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")
_items = itertools.count(1)


@dataclass
class Reply:
    """A model's answer.  `body` is bytes as received, or an object where the model is in this process."""

    status: int
    body: bytes | dict[str, Any]
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else compact(self.body)


@dataclass(frozen=True)
class Timeout(Exception):
    """The model did not answer in time; `error` is the text for the error file."""

    error: str


def is_retriable(status: int) -> bool:
    return status in RETRIABLE or status >= 500


def status_failure(reply: Reply) -> str:
    """The JSON text that stands, as a string, in `error.message`."""
    kind = "RetriableHttpStatus" if is_retriable(reply.status) else "NonRetriableHttpStatus"
    details = {"status": reply.status, "body": reply.raw().decode("utf-8", "replace")}
    return compact({"type": kind, "details": details}).decode()


def timeout_failure(error: str) -> str:
    return compact({"type": "Timeout", "details": {"error": error}}).decode()


def output_line(request_id: str, custom_id: str, status: int, body: Any) -> bytes:
    head = (
        f'{{"id":"batch_req_{request_id}","custom_id":{json.dumps(custom_id, ensure_ascii=False)},'
        f'"response":{{"status_code":{status},"request_id":null,"body":'
    )
    return head.encode() + dumps_sorted(body) + b'},"error":null}\n'


def error_line(request_id: str, custom_id: str, failure: str) -> bytes:
    return (
        compact(
            {
                "id": f"batch_req_{request_id}",
                "custom_id": custom_id,
                "response": None,
                "error": {"code": None, "message": failure},
            }
        )
        + b"\n"
    )


def finish(url: str, request_id: str, reply: Reply, request: dict[str, Any]) -> tuple[Any, int, int]:
    """The body for the output line, with tokens in and out.

    Ids are rewritten to `resp_<request id>`, /v1/responses answers are built from the chat answer, and
    what is not JSON (a web page, an event stream, nothing at all) becomes a string and counts as success.
    """
    value: Any
    if isinstance(reply.body, dict):
        value = reply.body
    else:
        text = reply.body.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except ValueError:
            return text, *_stream_tokens(text)
    if not isinstance(value, dict):
        return value, 0, 0
    tokens = _tokens(value)
    if url in _REWRITTEN_IDS:
        value["id"] = f"resp_{request_id}"
    if url == "/v1/responses":
        value = response_object(value, request)
    return value, *tokens


def _tokens(value: dict[str, Any]) -> tuple[int, int]:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return 0, 0
    found = [
        next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    ]
    return found[0], found[1]


def _stream_tokens(text: str) -> tuple[int, int]:
    tokens = (0, 0)
    for line in text.splitlines():
        if line.startswith("data: {"):
            try:
                tokens = max(tokens, _tokens(json.loads(line[6:])))
            except ValueError:
                continue
    return tokens


def chat_request(request: dict[str, Any]) -> dict[str, Any]:
    """A /v1/responses request as the chat request that is sent to the model."""
    given = request.get("input", "")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    if request.get("instructions"):
        messages.insert(0, {"role": "system", "content": request["instructions"]})
    chat: dict[str, Any] = {"model": request.get("model"), "messages": messages}
    chat |= {name: request[name] for name in ("temperature", "top_p", "stream") if name in request}
    if request.get("max_output_tokens") is not None:
        chat["max_tokens"] = request["max_output_tokens"]
    text = request.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        schema = {name: wanted[name] for name in ("name", "schema", "strict") if name in wanted}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(wanted, dict) and wanted.get("type") == "json_object":
        chat["response_format"] = wanted
    return chat


def response_object(chat: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """A chat answer as the response object; anything else is passed through."""
    choices = chat.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return chat
    message = choices[0].get("message") or {}
    cut = choices[0].get("finish_reason") == "length"
    used = _tokens(chat)
    content: dict[str, Any] = {
        "annotations": [],
        "logprobs": [],
        "text": message.get("content") or "",
        "type": "output_text",
    }
    item = {"content": [content], "id": f"item_{next(_items):016x}", "role": "assistant",
            "status": "completed", "type": "message"}  # fmt: skip
    return {
        "id": chat.get("id"),
        "object": "response",
        "created_at": chat.get("created"),
        "completed_at": chat.get("created"),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": chat.get("model"),
        "previous_response_id": None,
        "instructions": request.get("instructions"),
        "output": [item],
        "error": None,
        "tools": [],
        "tool_choice": "auto",
        "truncation": "disabled",
        "parallel_tool_calls": True,
        "text": request.get("text") or {"format": {"type": "text"}},
        "top_p": request.get("top_p", 1.0),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "temperature": request.get("temperature", 1.0),
        "reasoning": request.get("reasoning"),
        "usage": {
            "input_tokens": used[0],
            "output_tokens": used[1],
            "total_tokens": sum(used),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": None,
        "store": False,
        "background": False,
        "service_tier": "default",
        "metadata": None,
        "safety_identifier": None,
        "prompt_cache_key": None,
    }
