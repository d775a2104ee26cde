"""Where may the key go? To the one origin of the configured base URL."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from ..base.failures import WrongUsage
from ..base.text import safe
from .refusals import DEFAULT_BASE_URL

EXPECTED = f"expected a URL such as {DEFAULT_BASE_URL}"


def base_url() -> str:
    """The configured base URL, without a slash at its end. Raises WrongUsage for one the key must not be sent to."""
    url = (os.environ.get("DOUBLEWORD_BASE_URL") or DEFAULT_BASE_URL).strip().rstrip("/")
    wrong = WrongUsage(f"DOUBLEWORD_BASE_URL is {safe(url)!r}", EXPECTED)
    # What two readers of URLs would take apart in different ways is refused: blanks, control characters, backslashes.
    if not url.isprintable() or re.search(r"[\s\\]", url):
        raise wrong
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not _is_host(host) or port == 0 or parts.query or parts.fragment:
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise WrongUsage("DOUBLEWORD_BASE_URL holds a user name or password", "the key goes into DOUBLEWORD_API_KEY")
    if parts.scheme == "http" and not is_loopback(host):
        raise WrongUsage(f"the key is not sent over plain http to {safe(host)}", "use https in DOUBLEWORD_BASE_URL")
    return url


def _is_host(host: str) -> bool:
    """Whether this is an address or a name that can be looked up; names beyond ASCII can, too."""
    if ":" in host:
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    try:
        ascii_name = host.encode("idna")
    except UnicodeError:  # an empty label, one that is too long
        return False
    return re.fullmatch(rb"(?!-)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?", ascii_name) is not None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for every resolver: the name localhost, or an address of the loopback."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or bool(getattr(address, "ipv4_mapped", None) and address.ipv4_mapped.is_loopback)  # type: ignore[union-attr]


def is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
