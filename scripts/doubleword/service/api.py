"""The HTTP API: session, key, retries, one function for each endpoint, id forms.

Facts about the server come from its source (doublewordai/control-layer v10.13.1) and recorded runs:
errors on files and batches are mostly plain text; a wrong base URL answers 200 with a web page; no
call takes an idempotency key, so a POST that may have been carried out is never repeated here.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from ..base.errors import VERSION, BadInput, Clock, NotAllowed, NotFound, Temporary, WrongUsage
from ..base.text import safe
from .refusals import DEFAULT_BASE_URL, RETRY_AFTER_CAP_SECONDS, Cut, Unclear, failure_of, nothing_sent, reason

if TYPE_CHECKING:
    import requests

    from ..request_file.parts import PartBody


CONNECT_SECONDS = 10.0


READ_SECONDS = 60.0


# requests uses the connect time-out for each write, too. A server that stores while it reads may pause a stream for
# longer than 10 s; and its answer to an upload comes only after everything is stored.
UPLOAD_SECONDS = (60.0, 900.0)


RETRIES = 5


RETRY_WITHIN_SECONDS = 120.0


PAGE_LIMIT = 101  # the server's own cap; larger values are cut to it silently


CONTENT_BLOCK_BYTES = 16 * 1024  # a body of known length that is cut loses the block that was being read


Found = TypeVar("Found")


def bare_id(text: str) -> str | None:
    """The id that `text` names, or None if it names none.

    The server's ids are bare UUIDs and it refuses prefixed ones (400), but its webhooks and documents write
    `batch_<uuid>` and `file-<uuid>`. A prefixed id that is no UUID is passed on whole: another version may use it.
    """
    prefixed = re.fullmatch(r"(?:file|batch|batch_req)[-_](.+)", text)
    try:
        return str(uuid.UUID(prefixed[1] if prefixed else text))
    except ValueError:
        return text if prefixed and re.fullmatch(r"[A-Za-z0-9_-]+", text) else None


def _with_id(found: Any, doing: str) -> dict[str, Any]:
    """What the server sent, if it is an object with an id; raises Unclear otherwise."""
    if not isinstance(found, dict) or not isinstance(found.get("id"), str) or not found["id"]:
        raise Unclear(f"{doing}: the answer has no id", "the same command again later")
    return found


def _segment(text: str) -> str:
    """An id as one segment of a path: an edited record must not reach other paths."""
    if text in (".", ".."):  # these stay what they are, however they are quoted
        raise BadInput(f"{text!r} is no id", "check the id")
    return quote(text, safe="")


def base_url() -> str:
    """The configured base URL. Raises WrongUsage for one the key must not be sent to."""
    url = (os.environ.get("DOUBLEWORD_BASE_URL") or DEFAULT_BASE_URL).strip().rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise WrongUsage(
            f"DOUBLEWORD_BASE_URL is {safe(url)!r}", f"expected a URL such as {DEFAULT_BASE_URL}"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise WrongUsage(f"DOUBLEWORD_BASE_URL is {safe(url)!r}", f"expected a URL such as {DEFAULT_BASE_URL}")
    if parts.username or parts.password:
        raise WrongUsage("DOUBLEWORD_BASE_URL holds a user name or password", "the key goes into DOUBLEWORD_API_KEY")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise WrongUsage(f"the key is not sent over plain http to {safe(parts.hostname)}", "use https")
    return url


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


class Api:
    """One configured connection. Raises NotAllowed without a key or without the requests package."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.retries = RETRIES
        self.deadline = math.inf  # by clock.monotonic(): no wait for a retry goes beyond it
        self.base = base_url()
        self.is_loopback = _loopback(urlsplit(self.base).hostname or "")
        key = os.environ.get("DOUBLEWORD_API_KEY", "").strip()
        if not key:
            raise NotAllowed(
                "DOUBLEWORD_API_KEY is not set" + ("" if self.base == DEFAULT_BASE_URL else f" for {safe(self.base)}"),
                "the user sets it, never in the chat: in OpenClaw under Control UI, Skills; else in the environment",
            )
        if not re.fullmatch(r"[!-~]+", key):
            # As a header it would be refused deep inside, by an error that quotes it.
            raise NotAllowed(
                "DOUBLEWORD_API_KEY holds blanks, line breaks or characters that no key has",
                "ask the user to set it anew; quotes and dots of a text program may have come with it",
            )
        self._key = key
        try:
            import requests
        except ImportError:
            raise NotAllowed(
                f"the Python package requests is not installed for {sys.executable}",
                f"{sys.executable} -m pip install requests (where pip is refused: in a virtual environment; or uv run)",
            ) from None
        self._requests = requests
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        key = self._key

        class Key(self._requests.auth.AuthBase):  # type: ignore[name-defined,misc]
            # As a header the key would be replaced by a ~/.netrc entry for the host; as an AuthBase it is not.
            def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
                request.headers["Authorization"] = f"Bearer {key}"
                return request

        session = self._requests.Session()
        session.auth = Key()
        session.headers["User-Agent"] = f"doubleword-batches/{VERSION}"
        # A loopback server is plain http: a proxy from the environment would see the key.
        session.trust_env = not self.is_loopback
        return session

    # --- sending ---

    def _send(self, method: str, path: str, fresh: bool = False, **options: Any) -> requests.Response:
        """One request, no retry, no redirect. Raises Temporary if nothing was sent, Unclear if it may have been."""
        options.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
        # A connection kept alive may have been closed by the server: a POST on it would fail in the unclear way.
        session = self._new_session() if fresh else self._session
        try:
            return session.request(method, self.base + path, allow_redirects=False, **options)
        except self._requests.RequestException as error:
            text = f"{method} {path.split('?')[0]}: {reason(error)}"
            if nothing_sent(error):
                raise Temporary(f"cannot reach {safe(self.base)}: {text}", "check the network and the URL") from None
            raise Unclear(f"no answer from {safe(self.base)}: {text}", "the same command again later") from None

    def _retried(self, call: Callable[[], Found]) -> Found:
        """A call that may be repeated: 5 retries within 120 s; a Retry-After is waited for, up to 300 s."""
        own_waits, asked_waits = 0.0, 0.0
        for attempt in itertools.count():
            try:
                return call()
            except Temporary as error:
                failure = error
            if attempt >= self.retries:
                raise failure
            asked = failure.retry_after
            pause = asked if asked is not None else min(2.0**attempt, 30) * (0.5 + random.random())  # noqa: S311
            own_waits += 0.0 if asked is not None else pause
            asked_waits += asked or 0.0
            late = self.clock.monotonic() + pause > self.deadline
            if late or own_waits > RETRY_WITHIN_SECONDS or asked_waits > RETRY_AFTER_CAP_SECONDS:
                raise failure
            self.clock.sleep(pause)
        raise AssertionError("unreachable")

    def _accepted(self, method: str, path: str, doing: str, **options: Any) -> requests.Response:
        """One request whose answer is a 2xx; anything else is raised."""
        response = self._send(method, path, **options)
        failure = failure_of(response, doing, self.base, self.clock)
        if failure:
            response.close()
            raise failure
        return response

    def _read(self, path: str, doing: str, **query: Any) -> dict[str, Any]:
        return self._retried(lambda: self._object(self._accepted("GET", path, doing, params=query), doing))

    def _identified(self, path: str, doing: str) -> dict[str, Any]:
        """What a GET of one thing gives: an object with an id."""
        return self._retried(lambda: _with_id(self._object(self._accepted("GET", path, doing), doing), doing))

    def _page(self, path: str, doing: str, **query: Any) -> dict[str, Any]:
        """A page of a listing. One that is not a list of things with ids is no answer: taken for an empty list it
        would say that a batch does not exist."""

        def read() -> dict[str, Any]:
            page = self._object(self._accepted("GET", path, doing, params=query), doing)
            if not isinstance(page.get("data"), list):
                raise Unclear(f"{doing}: the answer has no list", "the same command again later")
            for item in page["data"]:
                _with_id(item, doing)
            return page

        return self._retried(read)

    def _object(self, response: requests.Response, doing: str) -> dict[str, Any]:
        try:
            found = json.loads(response.content)
        except (ValueError, self._requests.RequestException):
            found = None
        if not isinstance(found, dict):
            raise Unclear(f"{doing}: the answer is no JSON object", "the same command again later")
        return found

    def _changed(self, method: str, path: str, doing: str, **options: Any) -> dict[str, Any]:
        """A call that changes something: sent once. A definite no is raised as such, all else as Unclear."""
        response = self._send(method, path, fresh=True, **options)
        failure = failure_of(response, doing, self.base, self.clock)
        # 404, 408, 409, 499 and redirects can come from something in between after the server has acted.
        if failure and (response.status_code < 400 or response.status_code in (404, 408, 409, 499)):
            failure = Unclear(failure.what, failure.next_step)
        if failure:
            raise failure
        return _with_id(self._object(response, doing), doing)

    # --- endpoints ---

    def models(self) -> list[dict[str, Any]]:
        """GET /models, unpaginated: {id, object, created, owned_by, supported_reasoning_efforts?} each."""
        found: list[dict[str, Any]] = self._page("/models", "list models")["data"]
        return found

    def upload(self, name: str, body: PartBody) -> dict[str, Any]:
        """POST /files. The answer comes after the server has stored everything. Uploads are free."""
        form = _MultipartFile(name, body)
        headers = {"Content-Type": f"multipart/form-data; boundary={form.boundary}"}
        return self._changed("POST", "/files", f"upload {name}", data=form, headers=headers, timeout=UPLOAD_SECONDS)

    def file(self, file_id: str) -> dict[str, Any]:
        return self._identified(f"/files/{_segment(file_id)}", f"file {file_id}")

    def files_named(self, name: str) -> list[dict[str, Any]]:
        """The input files uploaded under exactly this name, newest first."""
        page = self._page("/files", "list files", search=name, purpose="batch", limit=PAGE_LIMIT)
        return [file for file in page["data"] if file.get("filename") == name]

    def delete_file(self, file_id: str) -> None:
        """DELETE /files/{id}: cancels its live batches and makes every later POST on it fail. Gone already is fine."""
        path, doing = f"/files/{_segment(file_id)}", f"delete file {file_id}"
        try:
            self._retried(lambda: self._accepted("DELETE", path, doing)).close()
        except NotFound as error:
            # Something in between can say so, too, while the file is there and a delayed POST on it still works.
            if self.has_file(file_id):
                raise Unclear(f"{error.what}, but it is still there", "the same command again later") from None

    def has_file(self, file_id: str) -> bool:
        """Whether the server knows this file."""
        try:
            self.file(file_id)
        except NotFound:
            return False
        return True

    def estimate(self, file_id: str, window: str) -> dict[str, Any]:
        """The server's guess of a file's cost: {total_requests, total_estimated_cost: "0.1", ...}; "0" = no price."""
        return self._read(f"/files/{_segment(file_id)}/cost-estimate", "cost estimate", completion_window=window)

    def create_batch(self, file_id: str, endpoint: str, window: str, metadata: dict[str, str]) -> dict[str, Any]:
        """POST /batches: spends money, so it is sent once and never repeated here."""
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": metadata,
        }
        return self._changed("POST", "/batches", "create batch", json=body)

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self._identified(f"/batches/{_segment(batch_id)}", f"batch {batch_id}")

    def batches(self, pages: int, **query: Any) -> Iterator[dict[str, Any]]:
        """GET /batches, newest first, at most so many pages of 101."""
        after, seen = None, set()
        for _ in range(pages):
            page = self._page(
                "/batches", "list batches", **query, limit=PAGE_LIMIT, **({"after": after} if after else {})
            )
            # An unknown cursor is ignored and gives page 1 again: stop at the first batch seen twice.
            for batch in page["data"]:
                if batch["id"] in seen:
                    return
                seen.add(batch["id"])
                after = batch["id"]
                yield batch
            if not page.get("has_more") or not page["data"]:
                return

    def analytics(self, batch_id: str) -> dict[str, Any]:
        """GET /batches/{id}/analytics, sent once: {total_cost: "0.1" in USD where there is a price, ...}."""
        path, doing = f"/batches/{_segment(batch_id)}/analytics", f"cost of batch {batch_id}"
        return self._object(self._accepted("GET", path, doing), doing)

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """POST /batches/{id}/cancel: may be repeated; it also makes a *completed* batch `cancelled`, so look first."""
        path, doing = f"/batches/{_segment(batch_id)}/cancel", f"cancel batch {batch_id}"
        return self._retried(lambda: _with_id(self._object(self._accepted("POST", path, doing), doing), doing))

    def content(self, file_id: str, skip: int) -> Iterator[bytes]:
        """GET /files/{id}/content from line `skip`; raises Cut when the body breaks off.

        The documents call the parameter `offset`, which the server ignores, as it does any unknown one: both are sent.
        """
        doing, query = f"content of file {file_id}", {"skip": skip, "offset": skip} if skip else {}
        path = f"/files/{_segment(file_id)}/content"
        response = self._retried(lambda: self._accepted("GET", path, doing, params=query, stream=True))
        try:
            yield from response.iter_content(CONTENT_BLOCK_BYTES)
        except self._requests.RequestException as error:
            raise Cut(f"{doing}: the body was cut: {reason(error)}", "the same command again later") from None
        finally:
            response.close()


class _MultipartFile:
    """A multipart body of known length with the file streamed: requests' own `files=` reads all of it into memory."""

    def __init__(self, name: str, body: PartBody) -> None:
        self.boundary = uuid.uuid4().hex
        self._body = body
        head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        self._head = head.encode("ascii")
        self._tail = f"\r\n--{self.boundary}--\r\n".encode("ascii")

    def __len__(self) -> int:
        return len(self._head) + len(self._body) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from self._body
        yield self._tail
