"""What of the environment leads to the server (the base URL, a proxy, certificates, the package requests), and what of
it is at fault when an exchange fails?"""

from __future__ import annotations

import ipaddress
import os
import re
import warnings
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..base.failures import NotAllowed, WrongUsage
from ..base.text import safe
from .refusals import (
    DEFAULT_BASE_URL,
    certificate_refused,
    file_missing,
    no_url,
    proxy_refused,
    reason,
    tls_refused,
)

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as requests itself honours them, in this order
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PROXY_KINDS = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def base_url() -> str:
    """The configured base URL, without a slash at its end. Raises WrongUsage for one the key must not be sent to."""
    url = (os.environ.get("DOUBLEWORD_BASE_URL") or DEFAULT_BASE_URL).strip().rstrip("/")
    wrong = WrongUsage(f"DOUBLEWORD_BASE_URL is {safe(url)!r}", f"expected a URL such as {DEFAULT_BASE_URL}")
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


class Way(NamedTuple):
    """How a server is reached, with the variables that say so."""

    base: str
    proxy: str | None
    proxy_from: str
    certificates: str | bool
    certificates_from: str

    def at_fault(self, error: BaseException, text: str, connected: bool) -> WrongUsage | None:
        """What no waiting can mend, with the variable that is at fault."""
        base, check = safe(self.base), "check DOUBLEWORD_BASE_URL"
        if no_url(error) and not connected:
            what = f"DOUBLEWORD_BASE_URL is {base!r}"
        elif self.proxy and proxy_refused(error):
            host = safe(urlsplit(self.proxy if "://" in self.proxy else f"http://{self.proxy}").hostname)
            what = f"the proxy {host}, named by {self.proxy_from}, does not work"
            check = f"check {self.proxy_from}, or unset it"
        elif certificate_refused(error):
            named = self.certificates_from or "REQUESTS_CA_BUNDLE"
            state = "vouches for it neither" if self.certificates_from else "is not set"
            what = f"the certificate of {base} is not trusted, and {named} {state}"
            check = f"set {named} to the file of the authority that signed it, or {check}"
        elif file_missing(error):
            what, check = "a file that TLS is to use", "check SSLKEYLOGFILE, or unset it"
        elif tls_refused(error):
            what = f"{base} speaks no TLS that is understood"
        else:
            return None
        return WrongUsage(f"{what}: {text}", check)


def way_to(base: str) -> Way:
    """Raises WrongUsage where the environment cannot work."""
    requests = requests_package()
    way = Way(base, *_proxy(base, requests), *_certificates())
    try:
        requests.Request("GET", base + "/models").prepare()
    except (ValueError, requests.RequestException) as error:
        raise WrongUsage(
            f"DOUBLEWORD_BASE_URL is {safe(base)!r}: {reason(error)}", "check DOUBLEWORD_BASE_URL"
        ) from None
    return way


def requests_package() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the versions of its dependencies: no line for people to act on
            import requests
    except ImportError:
        import sys

        raise NotAllowed(
            f"the Python package requests is not installed for {sys.executable}",
            f"{sys.executable} -m pip install requests (where pip is refused: in a virtual environment; or uv run)",
        ) from None
    return requests


def _proxy(base: str, requests: Any) -> tuple[str | None, str]:
    """The proxy of the environment, and the variable that names it. Never one for a server on this machine: it
    would see the key, which goes there over plain http."""
    if is_local(base):
        return None, ""
    found = requests.utils.get_environ_proxies(base)
    proxy = (found.get("https") or "").strip() or (found.get("all") or "").strip()
    if not proxy:
        return None, ""
    named = next(
        (name for name in _PROXY_VARIABLES if os.environ.get(name, "").strip() == proxy), "the system's settings"
    )
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        sound = bool(parts.hostname) and parts.port != 0 and not any(c.isspace() for c in proxy)
    except ValueError:
        sound, parts = False, urlsplit("")
    if not sound or parts.scheme not in _PROXY_KINDS:
        kind = f" of the kind {safe(parts.scheme, 20)}://" if sound else ""
        raise WrongUsage(
            f"{named} names no proxy that can be used{kind}",
            f"expected SCHEME://HOST:PORT, with http as its scheme; or unset {named}",
        )
    if parts.scheme.startswith("socks") and find_spec("socks") is None:
        raise WrongUsage(
            f"{named} names a SOCKS proxy, which needs the Python package PySocks",
            f"python3 -m pip install PySocks; or unset {named}",
        )
    return proxy, named


def _certificates() -> tuple[str | bool, str]:
    """Which authorities are trusted, and the variable that says so. Raises WrongUsage for a file that is none."""
    found = [(name, path) for name in _CA_VARIABLES if (path := os.environ.get(name))]
    if not found:
        return True, ""
    named, path = found[0]
    try:
        if not os.path.isdir(path):
            import ssl

            ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        other = getattr(error, "filename", None)
        if other not in (None, path):  # where TLS is to write its keys to
            raise WrongUsage(
                f"SSLKEYLOGFILE names {safe(other)}: {reason(error)}", "correct SSLKEYLOGFILE, or unset it"
            ) from None
        why = "there is no such file" if isinstance(error, FileNotFoundError) else reason(error)
        raise WrongUsage(
            f"{named} names no file of certificates: {safe(path)}: {why}", f"correct {named}, or unset it"
        ) from None
    return path, named
