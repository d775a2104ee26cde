"""What does a failed exchange with the server mean? Its words, the wait it asks for, whether anything was sent."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..base.failures import BadInput, Clock, Failure, NotAllowed, NotFound, Temporary, WrongUsage
from ..base.json_text import read_json
from ..base.text import safe

if TYPE_CHECKING:
    import requests

DEFAULT_BASE_URL = "https://api.doubleword.ai/v1"
RETRY_AFTER_CAP_SECONDS = 300.0  # a server that asks for an hour would look like a script that hangs
WORDS_BYTES = 16 * 1024  # of an error's text
# Besides 5xx: time-outs and "try again" of the server, and of what stands before it (425, 499).
TEMPORARY_STATUSES = {408, 409, 425, 429, 499}


class Unclear(Temporary):
    """No usable answer to a call that changes something: the server may or may not have acted."""


class Young(Temporary):
    """A 404 on a thing that was made a moment ago: a replica of the server's database lags."""


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
    said = said_in(response)
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
        failure = (Busy if status == 429 else Unclear)(what)
        failure.retry_after = retry_after(response, clock)
        return failure
    return BadInput(what, "fix the input")


def said_in(response: requests.Response) -> str:
    """The server's own words in an error answer, cleaned: plain text mostly, JSON in three shapes for the rest."""
    raw = b""
    if response.headers.get("content-encoding", "identity") == "identity":
        try:
            for block in response.iter_content(4096):
                raw += block
                if len(raw) > WORDS_BYTES:
                    break
        except OSError:  # requests' exceptions are OSErrors: the error's body was cut
            pass
    if response.headers.get("content-type", "").startswith("text/html"):
        return "(a web page)"
    try:
        found = read_json(raw)
    except ValueError:
        # What was cut off may be the rest of the key.
        return safe(raw[:WORDS_BYTES].decode("utf-8", "replace"), cut=len(raw) > WORDS_BYTES)
    if isinstance(found, dict):
        inner = found.get("error")
        found = inner.get("message") if isinstance(inner, dict) else found.get("message") or inner or found
    return safe(found)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    """The error, what urllib3 wrapped in it, and so on inwards."""
    while error is not None:
        yield error
        inside = (
            getattr(error, "reason", None),
            getattr(error, "original_error", None),
            *error.args[:1],
            error.__cause__,
        )
        error = next((inner for inner in inside if isinstance(inner, BaseException)), None)


def _names(error: BaseException) -> set[str]:
    return {type(e).__name__ for e in _chain(error)}


def nothing_sent(error: BaseException) -> bool:
    """Whether the request cannot have reached the server: name look-up, connect, proxy or TLS certificate failed."""
    return bool(
        _names(error)
        & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ConnectTimeout", "ProxyError"}
        or certificate_refused(error)
    )


def certificate_refused(error: BaseException) -> bool:
    return "SSLCertVerificationError" in _names(error) or "CertificateError" in _names(error)


def tls_refused(error: BaseException) -> bool:
    """Whether the two sides have no TLS in common, or the other speaks none. One that broke off is not meant."""
    text = " ".join(str(e) for e in _chain(error))
    return "SSLError" in _names(error) and re.search(
        r"WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|HANDSHAKE_FAILURE|RECORD_LAYER|UNKNOWN_PROTOCOL|HTTP_REQUEST"
        r"|ALERT_PROTOCOL_VERSION|NO_CIPHERS|not available",
        text,
    ) is not None  # fmt: skip


def proxy_refused(error: BaseException) -> bool:
    """Whether the proxy is at fault, and not the way behind it (a 5xx of the proxy's, but for one that is none)."""
    if not _names(error) & {"ProxyError", "InvalidProxyURL", "ProxySchemeUnknown", "SOCKSHTTPSConnectionPool"}:
        return False
    return re.search(r"Tunnel connection failed: 5(?!01)\d\d", " ".join(str(e) for e in _chain(error))) is None


def file_missing(error: BaseException) -> bool:
    """Whether a local file was lacking: urllib3 wraps that as if the connection had been cut."""
    return any("FileNotFoundError(" in str(inner) or isinstance(inner, FileNotFoundError) for inner in _chain(error))


def no_url(error: BaseException) -> bool:
    """Whether no request can be made of the URL."""
    return bool(
        _names(error) & {"InvalidURL", "MissingSchema", "InvalidSchema", "LocationParseError", "LocationValueError"}
        or isinstance(error, UnicodeError)
    )


def reason(error: BaseException) -> str:
    """The innermost words of a nested network error."""
    inner = list(_chain(error))[-1]
    return safe(inner, 200) or type(inner).__name__
