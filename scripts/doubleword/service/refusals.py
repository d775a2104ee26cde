"""What a failed exchange with the server means: its words, the wait it asks for, whether anything was sent."""

from __future__ import annotations

import email.utils
import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..base.errors import BadInput, Clock, Failure, NotAllowed, NotFound, Temporary, WrongUsage
from ..base.text import safe

if TYPE_CHECKING:
    import requests


DEFAULT_BASE_URL = "https://api.doubleword.ai/v1"


RETRY_AFTER_CAP_SECONDS = 300.0  # a server that asks for an hour would look like a script that hangs


# Besides 5xx: time-outs and "try again" of the server, and of what stands before it (425, 499).
TEMPORARY_STATUSES = {408, 409, 425, 429, 499}


class Unclear(Temporary):
    """No usable answer to a call that changes something: the server may or may not have acted."""


class Cut(Unclear):
    """The body of an answer broke off after it had begun."""


class Busy(Temporary):
    """429: nothing was done."""


def retry_after(response: requests.Response, clock: Clock) -> float | None:
    """Seconds the server asks to wait, from a number or an HTTP date, at most the cap; None if it asks for nothing."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - clock.now()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP_SECONDS) if math.isfinite(seconds) else None


def failure_of(response: requests.Response, doing: str, base: str, clock: Clock) -> Failure | None:
    """What an HTTP status means for the caller; None for 2xx. The one place that decides it."""
    status = response.status_code
    if 200 <= status < 300:
        if response.headers.get("content-type", "").startswith("text/html"):
            return WrongUsage(
                f"{safe(base)} answers with a web page, not the API",
                f"check DOUBLEWORD_BASE_URL; the default is {DEFAULT_BASE_URL}",
            )
        return None
    said = words(response)
    what = f"{doing}: the server said {status}: {said or 'nothing more'}"
    if 300 <= status < 400:
        return WrongUsage(f"{what}; redirects are not followed, so that the key stays put", "check DOUBLEWORD_BASE_URL")
    if status == 405 or "parse onwards model" in said:
        return WrongUsage(what, f"no such API path: check DOUBLEWORD_BASE_URL; the default is {DEFAULT_BASE_URL}")
    if status == 403 and re.search(r"\bmodel\b", said, re.IGNORECASE):
        return BadInput(what, "list_models.py shows the models this key may use")
    if status in (401, 402, 403):
        return NotAllowed(what, {402: "ask the user to add credit"}.get(status, "ask the user to check the key"))
    if status == 404:
        return NotFound(what, "check the id")
    if status in TEMPORARY_STATUSES or status >= 500:
        failure = (Busy if status == 429 else Unclear)(what, "the same command again later")
        failure.retry_after = retry_after(response, clock)
        return failure
    return BadInput(what, "fix the input")


def words(response: requests.Response) -> str:
    """The server's own words in an error answer, cleaned: plain text mostly, JSON in three shapes for the rest."""
    try:
        text = next(iter(response.iter_content(16 * 1024)), b"").decode("utf-8", "replace")
    except OSError:  # requests' exceptions are OSErrors: the error's body was cut
        return ""
    if response.headers.get("content-type", "").startswith("text/html"):
        return "(a web page)"
    try:
        found = json.loads(text)
    except ValueError:
        return safe(text)
    if isinstance(found, dict):
        inner = found.get("error")
        found = inner.get("message") if isinstance(inner, dict) else found.get("message") or inner or found
    return safe(found)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    """The error, what urllib3 wrapped in it, and so on inwards."""
    while error is not None:
        yield error
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error.__cause__
        error = inner


def nothing_sent(error: BaseException) -> bool:
    """Whether the request cannot have reached the server: name look-up, connect or TLS certificate failed."""
    names = {type(e).__name__ for e in _chain(error)}
    return bool(
        names & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "SSLCertVerificationError"}
    )


def reason(error: BaseException) -> str:
    """The innermost words of a nested network error."""
    inner = list(_chain(error))[-1]
    return safe(inner, 200) or type(inner).__name__
