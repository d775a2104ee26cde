"""What the server's lines say of single requests: result, or error of a kind, with status and text.

A result needs a 2xx status, no error, and an object as its body: the server counts a web page, an event stream
or an empty body as completed, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..base.text import safe
from .response_body import is_cut, text_of, tokens

loads: Callable[[bytes], Any]


try:
    import orjson

    loads = orjson.loads
except ImportError:
    loads = json.loads


class Outcome(NamedTuple):
    """What one line of a spool says of one request; the line itself stays there, at offset and length."""

    custom_id: str
    spool: Path
    offset: int
    length: int
    kind: str = ""  # of the error; "" for a result
    status: int | None = None
    cut: bool = False
    empty: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_result(self) -> bool:
        return not self.kind


# The server writes compact JSON with sorted keys, so that a plain chat answer can be known by its two ends, in a
# tenth of the time that parsing takes. The pattern is exact: valid JSON that matches it says just this. What does
# not match (another endpoint, several choices, an answer that begins with white space) is parsed.
_PLAIN_HEAD = re.compile(
    rb'\{"id":"[^"\\]*","custom_id":"([^"\\]*)","response":\{"status_code":(2\d\d),"request_id":(?:null|"[^"\\]*"),'
    rb'"body":\{"choices":\[\{"finish_reason":"(\w+)","index":0,"message":\{"content":"[^"\\\s]'
)


_PLAIN_TAIL = re.compile(
    rb'"usage":\{"completion_tokens":(\d+),(?:"[^"]*_details":(?:null|\{[^{}]*\}),)?"prompt_tokens":(\d+)[^{}]*'
    rb'(?:\{[^{}]*\}[^{}]*)?\}\}\},"error":null\}\n?$'
)


_TAIL_BYTES = 600


# The outcomes of one batch's two spools: a download counts them, and merges them a moment later.
_recent: dict[tuple[Path, int, int], list[Outcome]] = {}


def read(spool: Path) -> list[Outcome]:
    """The outcomes of every line of a spool, in its order; lines that are no JSON have the custom_id ""."""
    if not spool.exists():
        return []
    state = spool.stat()
    key = spool, state.st_size, state.st_mtime_ns
    if key not in _recent:
        if len(_recent) >= 2:
            _recent.clear()  # before the next is read: memory holds one batch at a time
        _recent[key] = _read(spool)
    return _recent[key]


def forget() -> None:
    """Frees what was read last."""
    _recent.clear()


def _read(spool: Path) -> list[Outcome]:
    found: list[Outcome] = []
    offset = 0
    with spool.open("rb", buffering=1 << 20) as file:
        for raw in file:
            head = _PLAIN_HEAD.match(raw)
            tail = (
                head and raw.count(b'"finish_reason":') == 1 and _PLAIN_TAIL.search(raw, max(0, len(raw) - _TAIL_BYTES))
            )
            if head and tail:
                custom_id, status, finish = head.groups()
                used = int(tail[2]), int(tail[1])
                plain = custom_id.decode("utf-8", "replace"), spool, offset, len(raw), "", int(status)
                found.append(Outcome(*plain, finish == b"length", False, *used))
            else:
                found.append(outcome_of(raw, spool, offset))
            offset += len(raw)
    return found


def outcome_of(raw: bytes, spool: Path, offset: int) -> Outcome:
    try:
        line = loads(raw)
        custom_id = str(line["custom_id"])
    except (ValueError, KeyError, TypeError):
        custom_id, line = "", {}
    failure = _failure(line)
    if failure:
        return Outcome(custom_id, spool, offset, len(raw), kind=failure[0], status=failure[1])
    body, status = line["response"]["body"], line["response"]["status_code"]
    empty = not text_of(body).strip()
    return Outcome(custom_id, spool, offset, len(raw), "", status, is_cut(body), empty, *tokens(body))


def error_text(raw: bytes) -> str:
    """The text of a line that is no result. It is not kept for every request: that would not fit into memory."""
    failure = _failure(loads(raw))
    return failure[2] if failure else ""


def _failure(line: dict[str, Any]) -> tuple[str, int | None, str] | None:
    """(kind, status, text) of a line that is no result; the kind is never empty."""
    response, error = line.get("response"), line.get("error")
    if error is not None or not isinstance(response, dict):
        return _error(error)
    status, body = response.get("status_code"), response.get("body")
    if not isinstance(status, int) or not 200 <= status < 300:
        return f"http_{safe(status, 10)}", status if isinstance(status, int) else None, safe(body)
    if not isinstance(body, dict):
        return "not_json", status, safe(body) or "(an empty body)"
    return None


def _error(error: Any) -> tuple[str, int | None, str]:
    """(kind, status, text) of an error: {code, message} as documented, or the JSON in a string that is really sent."""
    message = error.get("message") if isinstance(error, dict) else error
    try:
        reason = json.loads(str(message))
        kind, details = reason["type"], reason.get("details") or {}
    except (ValueError, TypeError, KeyError, AttributeError):
        code = error.get("code") if isinstance(error, dict) else None
        return re.sub(r"\W+", "_", safe(code or "", 40).lower()) or "error", None, safe(message)
    if not isinstance(details, dict):
        return re.sub(r"\W+", "_", safe(kind, 40)) or "error", None, safe(details)
    status, text = details.get("status"), details.get("body", details.get("error", kind))
    try:
        inner = json.loads(text)["error"]
        text = inner["message"] if isinstance(inner, dict) else inner
    except (ValueError, TypeError, KeyError):
        pass
    if isinstance(status, int):
        return f"http_{status}", status, safe(text)
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", re.sub(r"\W+", "_", safe(kind, 40))).lower()
    return words or "error", None, safe(text)
