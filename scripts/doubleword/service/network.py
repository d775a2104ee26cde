"""One exchange with the server: sent once, bounded in time and size, and what its failure means.

requests bounds each read and each write, but not their sum: a server that drips a byte now and then would hold a
script for ever. So a second clock stands beside each exchange and shuts its socket when the time is over.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from ..base.failures import VERSION, Failure, Temporary
from ..base.text import safe
from .environment import requests_package, way_to
from .refusals import Unclear, no_url, nothing_sent, reason

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0


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


@cache
def _watched(connection: type) -> type:
    """urllib3's class of connections, with sockets that the current watch holds."""

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

    return Watched


def _watching(pool: Any) -> Any:
    if not hasattr(pool.ConnectionCls, "_held"):
        pool.ConnectionCls = _watched(pool.ConnectionCls)
    return pool


class Line:
    """The line to one server. Raises WrongUsage where the environment cannot work, NotAllowed without the requests
    package."""

    def __init__(self, base: str, key: str) -> None:
        self.base, self._key = base, key
        self._requests = requests_package()
        from urllib3.exceptions import HTTPError  # what requests is made of

        self._errors = self._requests.RequestException, HTTPError, UnicodeError
        self._way = way_to(base)
        self._answered = False  # once it has, the environment can work: what fails later is trouble on the way
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        key = self._key

        class Key(self._requests.auth.AuthBase):  # type: ignore[name-defined,misc]
            def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
                request.headers["Authorization"] = f"Bearer {key}"
                return request

        class Adapter(self._requests.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
            def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
                return _watching(super().get_connection_with_tls_context(*arguments, **options))

            def get_connection(self, *arguments: Any, **options: Any) -> Any:  # requests before 2.32
                return _watching(super().get_connection(*arguments, **options))

        class Session(self._requests.Session):  # type: ignore[name-defined,misc]
            def get_redirect_target(self, resp: requests.Response) -> None:
                """None: else the body of a redirect is read whole, and its address taken apart, just to note it."""

        session: requests.Session = Session()
        session.auth = Key()
        session.headers["User-Agent"] = f"doubleword-batches/{VERSION}"
        # A megabyte of gzip can be a gigabyte of text: none is asked for, and what comes all the same is refused.
        session.headers["Accept-Encoding"] = "identity"
        session.trust_env = False  # no ~/.netrc in place of the key; proxies and certificates are settled here
        session.verify = self._way.certificates
        session.proxies = {"https": self._way.proxy} if self._way.proxy else {}
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
            options.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
            response = session.request(method, self.base + path, allow_redirects=False, stream=True, **options)
            self._answered = True
            yield response, watch
            if watch.over:  # to who reads, a socket that was shut looks like one that has ended
                raise self._failure(TimeoutError(), f"{method} {path.split('?')[0]}", watch)
        except self._errors as error:
            raise self._failure(error, f"{method} {path.split('?')[0]}", watch) from None
        finally:
            watch.close()
            if response is not None:
                response.close()

    def _failure(self, error: BaseException, what: str, watch: Watch) -> Failure:
        way = f" by way of the proxy that {self._way.proxy_from} names" if self._way.proxy else ""
        text = f"{what}{way}: {reason(error)}"
        if watch.over:
            text = f"{what}: no whole answer within {watch.seconds:.0f} s"
        elif not self._answered and (failure := self._way.at_fault(error, text, watch.connected)):
            return failure
        elif nothing_sent(error) or (no_url(error) and not watch.connected):
            return Temporary(f"cannot reach {safe(self.base)}: {text}", "check the network and the URL")
        return Unclear(f"no answer from {safe(self.base)}: {text}")


def body_of(response: requests.Response, at_most: int) -> bytes:
    """The body of an answer. Raises Unclear for one that is longer, or compressed though that was not asked for."""
    require_plain_body(response)
    found = bytearray()
    for block in response.iter_content(64 * 1024):
        found += block
        if len(found) > at_most:
            raise Unclear(f"the answer is longer than {at_most} bytes")
    return bytes(found)


def require_plain_body(response: requests.Response) -> None:
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise Unclear(
            f"the answer is compressed ({safe(coding, 20)}), though that was not asked for",
            "something between here and the server does that: check the proxy and DOUBLEWORD_BASE_URL",
        )
