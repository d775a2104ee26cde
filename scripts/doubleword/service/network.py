"""One exchange with the server: sent once, bounded in time and size, and what its failure means.

requests bounds each read and each write, but not their sum: a server that drips a byte now and then would hold a
script for ever. So a second clock stands beside each exchange and shuts its socket when the time is over.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..base.failures import VERSION, Failure, NotAllowed, Temporary, WrongUsage
from ..base.text import safe
from .base_url import is_local
from .refusals import (
    Unclear,
    certificate_refused,
    file_missing,
    no_url,
    nothing_sent,
    proxy_refused,
    reason,
    tls_refused,
)

if TYPE_CHECKING:
    import requests


_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as requests itself honours them, in this order
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PROXY_KINDS = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


class Watch:
    """Shuts the sockets of one exchange when its time is over. Blocked reads and writes then end at once."""

    current = threading.local()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.over = False
        self._sockets: list[socket.socket] = []
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(max(0.0, self.until - time.monotonic())):
            if time.monotonic() >= self.until:
                self.over = True
                for held in self._sockets:
                    _shut(held)
                return

    def hold(self, held: socket.socket) -> None:
        self._sockets.append(held)
        if self.over:
            _shut(held)

    @property
    def connected(self) -> bool:
        """Whether there was a connection on which something could be sent."""
        return bool(self._sockets)

    def close(self) -> None:
        self._ended.set()


def _shut(held: socket.socket) -> None:
    with suppress(OSError):
        if isinstance(held, socket.socket):
            socket.socket.shutdown(held, socket.SHUT_RDWR)  # not the TLS one: that would wait for the other side
        else:
            held.shutdown(socket.SHUT_RDWR)


_watched: dict[type, type] = {}


def _with_watch(connection: Any) -> Any:
    """A class of urllib3 connections whose sockets the current watch holds, made from theirs."""
    if connection not in _watched and connection not in _watched.values():

        class Watched(connection):  # type: ignore[misc]
            def _held(self, found: Any) -> Any:
                watch = getattr(Watch.current, "watch", None)
                if watch is not None and found is not None:
                    watch.hold(found)
                return found

            def _new_conn(self) -> Any:  # before a proxy or TLS is spoken to
                return self._held(super()._new_conn())

            def connect(self) -> None:
                super().connect()
                self._held(self.sock)

            def request(self, *arguments: Any, **options: Any) -> Any:  # on a connection that was kept alive
                self._held(getattr(self, "sock", None))
                return super().request(*arguments, **options)

        _watched[connection] = Watched
    return _watched.get(connection, connection)


class Line:
    """The way to one server: its key, proxies and certificates. Raises WrongUsage where the environment cannot work,
    NotAllowed without the requests package."""

    def __init__(self, base: str, key: str) -> None:
        self.base, self._key = base, key
        self._requests = _requests()
        self.proxy, self._proxy_from = self._proxy()
        self._certificates, self._certificates_from = _certificates()
        self._answered = False  # once it has, the environment can work: what fails later is trouble on the way
        self._session = self._new_session()
        self._refuse_what_is_no_url()

    def _refuse_what_is_no_url(self) -> None:
        try:
            self._requests.Request("GET", self.base + "/models").prepare()
        except (ValueError, self._requests.RequestException) as error:
            raise WrongUsage(
                f"DOUBLEWORD_BASE_URL is {safe(self.base)!r}: {reason(error)}", "check DOUBLEWORD_BASE_URL"
            ) from None

    def _proxy(self) -> tuple[str | None, str]:
        """The proxy of the environment, and the variable that names it. Never one for a server on this machine: it
        would see the key, which goes there over plain http."""
        if is_local(self.base):
            return None, ""
        found = self._requests.utils.get_environ_proxies(self.base)
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
        if parts.scheme.startswith("socks") and not _has_socks():
            raise WrongUsage(
                f"{named} names a SOCKS proxy, which needs the Python package PySocks",
                f"python3 -m pip install PySocks; or unset {named}",
            )
        return proxy, named

    def _new_session(self) -> requests.Session:
        key = self._key

        class Key(self._requests.auth.AuthBase):  # type: ignore[name-defined,misc]
            def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
                request.headers["Authorization"] = f"Bearer {key}"
                return request

        class Adapter(self._requests.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
            def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
                pool = super().get_connection_with_tls_context(*arguments, **options)
                pool.ConnectionCls = _with_watch(pool.ConnectionCls)
                return pool

            def get_connection(self, *arguments: Any, **options: Any) -> Any:  # requests before 2.32
                pool = super().get_connection(*arguments, **options)
                pool.ConnectionCls = _with_watch(pool.ConnectionCls)
                return pool

        class Session(self._requests.Session):  # type: ignore[name-defined,misc]
            def get_redirect_target(self, resp: requests.Response) -> None:
                """None: else the body of a redirect is read whole, and its address taken apart, just to note it."""

        session: requests.Session = Session()
        session.auth = Key()
        session.headers["User-Agent"] = f"doubleword-batches/{VERSION}"
        # A megabyte of gzip can be a gigabyte of text: none is asked for, and what comes all the same is refused.
        session.headers["Accept-Encoding"] = "identity"
        session.trust_env = False  # no ~/.netrc in place of the key; proxies and certificates are settled here
        session.verify = self._certificates
        session.proxies = {"https": self.proxy} if self.proxy else {}
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        return session

    @contextmanager
    def exchange(
        self, method: str, path: str, seconds: float, fresh: bool = False, **options: Any
    ) -> Iterator[tuple[requests.Response, Watch]]:
        """One request, no retry, no redirect; the answer's body is still to be read, within the same time.

        Raises WrongUsage where waiting cannot mend it, Temporary if nothing was sent, else Unclear.
        """
        # A connection kept alive may have been closed by the server: a POST on it would fail in the unclear way.
        session = self._new_session() if fresh else self._session
        watch = Watch.current.watch = Watch(seconds)
        response = None
        try:
            response = session.request(method, self.base + path, allow_redirects=False, stream=True, **options)
            self._answered = True
            yield response, watch
            if watch.over:  # to who reads, a socket that was shut looks like one that has ended
                raise self._failure(TimeoutError(), f"{method} {path.split('?')[0]}", watch)
        except (self._requests.RequestException, _http_error(), UnicodeError) as error:
            raise self._failure(error, f"{method} {path.split('?')[0]}", watch) from None
        finally:
            watch.close()
            if response is not None:
                response.close()

    def _failure(self, error: BaseException, what: str, watch: Watch) -> Failure:
        way = f" by way of the proxy that {self._proxy_from} names" if self.proxy else ""
        text = f"{what}{way}: {reason(error)}"
        if watch.over:
            text = f"{what}: no whole answer within {watch.seconds:.0f} s"
            return Unclear(f"no answer from {safe(self.base)}: {text}", "the same command again later")
        if not self._answered:
            failure = self._environment(error, text, watch.connected)
            if failure is not None:
                return failure
        if nothing_sent(error) or (no_url(error) and not watch.connected):
            return Temporary(f"cannot reach {safe(self.base)}: {text}", "check the network and the URL")
        return Unclear(f"no answer from {safe(self.base)}: {text}", "the same command again later")

    def _environment(self, error: BaseException, text: str, connected: bool) -> WrongUsage | None:
        """What no waiting can mend, with the variable that is at fault."""
        if no_url(error) and not connected:
            return WrongUsage(f"DOUBLEWORD_BASE_URL is {safe(self.base)!r}: {text}", "check DOUBLEWORD_BASE_URL")
        if self.proxy and proxy_refused(error):
            host = safe(urlsplit(self.proxy if "://" in self.proxy else f"http://{self.proxy}").hostname)
            return WrongUsage(
                f"the proxy {host}, named by {self._proxy_from}, does not work: {text}",
                f"check {self._proxy_from}, or unset it",
            )
        if certificate_refused(error):
            named = self._certificates_from or "REQUESTS_CA_BUNDLE"
            state = "vouches for it neither" if self._certificates_from else "is not set"
            return WrongUsage(
                f"the certificate of {safe(self.base)} is not trusted, and {named} {state}: {text}",
                f"set {named} to the file of the authority that signed it, or check DOUBLEWORD_BASE_URL",
            )
        if file_missing(error):
            return WrongUsage(f"a file that TLS is to use: {text}", "check SSLKEYLOGFILE, or unset it")
        if tls_refused(error):
            return WrongUsage(
                f"{safe(self.base)} speaks no TLS that is understood: {text}", "check DOUBLEWORD_BASE_URL"
            )
        return None


def body_of(response: requests.Response, at_most: int) -> bytes:
    """The body of an answer. Raises Unclear for one that is longer, or compressed though that was not asked for."""
    require_plain_body(response)
    found = bytearray()
    for block in response.iter_content(64 * 1024):
        found += block
        if len(found) > at_most:
            raise Unclear(f"the answer is longer than {at_most} bytes", "the same command again later")
    return bytes(found)


def require_plain_body(response: requests.Response) -> None:
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise Unclear(
            f"the answer is compressed ({safe(coding, 20)}), though that was not asked for",
            "something between here and the server does that: check the proxy and DOUBLEWORD_BASE_URL",
        )


def _requests() -> Any:
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


def _http_error() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _has_socks() -> bool:
    try:
        import socks  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return False
    return bool(socks)


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
