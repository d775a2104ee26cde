"""Parameters of requests: numbers, ids, durations, and the page of a list or of a content."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import QueryParams

from local_server.errors import ApiError

DEFAULT_LIMIT = 20
MAX_LIMIT = 101
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HYPHENATED = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class Page:
    """`limit` None: not given, which streams a content whole."""

    skip: int = 0
    limit: int | None = None
    search: str | None = None
    status: str | None = None


def page_of(query: QueryParams) -> Page:
    skip, limit = integer(query, "skip"), integer(query, "limit")
    return Page(
        max(0, skip or 0),
        None if limit is None else min(max(1, limit), MAX_LIMIT),
        query.get("search") or None,
        query.get("status") or None,
    )


def list_limit(query: QueryParams) -> int:
    limit = integer(query, "limit")
    return min(max(1, DEFAULT_LIMIT if limit is None else limit), MAX_LIMIT)


def integer(query: QueryParams, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        reason = "invalid digit found in string" if text else "cannot parse integer from empty string"
        raise ApiError(400, f"Failed to deserialize query string: {reason}")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        size = "large" if value > 0 else "small"
        raise ApiError(400, f"Failed to deserialize query string: number too {size} to fit in target type")
    return value


def instant(query: QueryParams, name: str) -> float | None:
    """An RFC 3339 time as unix seconds."""
    text = query.get(name)
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if value.tzinfo is None or "T" not in text.upper():
            raise ValueError
    except ValueError:
        raise ApiError(400, f"Failed to deserialize query string: {name}: input contains invalid characters") from None
    return value.timestamp()


def parse_uuid(text: str) -> str | None:
    """The canonical form of a UUID, with or without hyphens, in any case; None for anything else."""
    return str(uuid.UUID(text)) if _HYPHENATED.fullmatch(text) else None


def seconds_of(window: str) -> float:
    """`24h`, `90s`, `2d` in seconds; raises ValueError."""
    match = re.fullmatch(r"([0-9]+)([smhd])", window)
    if match is None:
        raise ValueError(f"not a duration: {window!r}")
    return int(match[1]) * _UNITS[match[2]]
