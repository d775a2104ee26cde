"""The HTTP API: session, key, retries, one function for each endpoint, id forms.

Facts about the server come from its source (doublewordai/control-layer v10.13.1) and recorded runs:
errors on files and batches are mostly plain text; a wrong base URL answers 200 with a web page; no
call takes an idempotency key, so a POST that may have been carried out is never repeated here.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ..base.console import say
from ..base.failures import BadInput, Clock, NotAllowed, NotFound, Temporary
from ..base.json_text import fields
from ..base.text import safe
from .base_url import base_url, is_local
from .network import Line, Watch, require_plain_body
from .refusals import DEFAULT_BASE_URL, RETRY_AFTER_CAP_SECONDS, Cut, Unclear, Young, failure_of
from .server_objects import Told, amount_of, file_of, model_of, object_of, told_of

if TYPE_CHECKING:
    import requests

    from .part_body import PartBody


CONNECT_SECONDS = 10.0


READ_SECONDS = 60.0


# A whole exchange, the reading of its answer included. Content and uploads are as long as their bytes: so much, and a
# second more for each so many bytes.
EXCHANGE_SECONDS = 75.0
SLOWEST_BYTES_A_SECOND = 4096


# requests uses the connect time-out for each write, too. A server that stores while it reads may pause a stream for
# longer than 10 s; and its answer to an upload comes only after everything is stored.
UPLOAD_SECONDS = (60.0, 900.0)


# An exchange may take so long even if the time given to the whole command is over: it looks at least once. A call that
# changes something has longer, since one that is broken off must be looked for.
AT_LEAST_SECONDS, CHANGE_AT_LEAST_SECONDS = 5.0, 30.0


RETRIES = 5


QUIET_PAUSE_SECONDS = 2.0  # a longer wait is said, and why


RETRY_WITHIN_SECONDS = 120.0  # the time of the tries included; what the server asks to wait for is not


YOUNG_SECONDS = 300.0  # what was made so lately may be unknown to a replica of the server's database


PAGE_LIMIT = 101  # the server's own cap; larger values are cut to it silently


CONTENT_BLOCK_BYTES = 256 * 1024  # at most: what is there is taken


OLD_BLOCK_BYTES = 16 * 1024  # urllib3 1 waits until a block is full, and loses it where the body is cut


CONTENT_LINE_BYTES = 300 * 1024 * 1024  # such a line has no end; what is kept of a shorter one is for who reads it


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


def _segment(text: str) -> str:
    """An id as one segment of a path: an edited record must not reach other paths."""
    if text in (".", ".."):  # these stay what they are, however they are quoted
        raise BadInput(f"{text!r} is no id", "check the id")
    return quote(text, safe="")


class Api:
    """One configured connection. Raises NotAllowed without a key or without the requests package."""

    def __init__(self, clock: Clock, deadline: float = math.inf) -> None:
        """`deadline` by clock.monotonic(): no exchange and no wait for a retry goes far beyond it."""
        self.clock = clock
        self.retries = RETRIES
        self.deadline = deadline
        self.base = base_url()
        self.is_loopback = is_local(self.base)
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
        self._line = Line(self.base, key)
        self._made: dict[str, float] = {}  # id -> when, by clock.monotonic()
        self._seen: dict[str, float] = {}

    def made_lately(self, made_id: str, at: float | None = None) -> None:
        """For a thing that this job made: while it is young, a 404 on it is temporary. `at`: when, by our clock."""
        age = 0.0 if at is None else abs(self.clock.now() - at)
        if age < YOUNG_SECONDS:
            self._made[made_id] = self.clock.monotonic() - age

    def seconds_since_seen(self, what: str) -> float:
        """How long ago this process saw something for the first time: 0 the first time it is asked."""
        now = self.clock.monotonic()
        return now - self._seen.setdefault(what, now)

    def _is_young(self, made_id: str) -> bool:
        return self.clock.monotonic() - self._made.get(made_id, -math.inf) < YOUNG_SECONDS

    # --- sending ---

    def _seconds(self, most: float, least: float | None = None) -> float:
        """How long an exchange may take that begins now."""
        return max(AT_LEAST_SECONDS if least is None else least, min(most, self.deadline - self.clock.monotonic()))

    def _retried(self, call: Callable[[float], Found]) -> Found:
        """A call that may be repeated, given its seconds: 5 retries within 120 s, the time of the tries included; a
        Retry-After is waited for, up to 300 s."""
        started, asked_waits = self.clock.monotonic(), 0.0
        for attempt in itertools.count():
            left = started + asked_waits + RETRY_WITHIN_SECONDS - self.clock.monotonic()
            try:
                return call(self._seconds(min(EXCHANGE_SECONDS, left)))
            except Temporary as error:
                failure = error
            if attempt >= self.retries:
                raise failure
            asked = failure.retry_after
            pause = asked if asked is not None else min(2.0**attempt, 30) * (0.5 + random.random())  # noqa: S311
            asked_waits += asked or 0.0
            then = self.clock.monotonic() + pause
            late = then > self.deadline or then > started + asked_waits + RETRY_WITHIN_SECONDS
            if late or asked_waits > RETRY_AFTER_CAP_SECONDS:
                raise failure
            if pause >= QUIET_PAUSE_SECONDS:
                say(f"{failure.what}; trying again in {pause:.0f} s")
            self.clock.sleep(pause)
        raise AssertionError("unreachable")

    def _opened(
        self, method: str, path: str, doing: str, seconds: float, **options: Any
    ) -> tuple[ExitStack, requests.Response, Watch]:
        """One request whose answer is a 2xx, its body still to be read within the stack; anything else is raised."""
        with ExitStack() as stack:
            response, watch = stack.enter_context(self._line.exchange(method, path, seconds, **_timed(options)))
            failure = failure_of(response, doing, self.base, self.clock)
            if failure:
                raise failure
            return stack.pop_all(), response, watch
        raise AssertionError("unreachable")

    def _accepted(self, method: str, path: str, doing: str, seconds: float, **options: Any) -> dict[str, Any]:
        """The JSON object of a 2xx answer; anything else is raised."""
        stack, response, _ = self._opened(method, path, doing, seconds, **options)
        with stack:
            return object_of(response, doing)

    def _read(self, path: str, doing: str, thing: str = "", **query: Any) -> dict[str, Any]:
        """An object by GET, retried. `thing` is the id that it is of: a 404 is temporary while that is young."""

        def read(seconds: float) -> dict[str, Any]:
            try:
                return self._accepted("GET", path, doing, seconds, params=query)
            except NotFound as error:
                if not self._is_young(thing):
                    raise
                raise Young(f"{error.what} (it was made a moment ago)", "the same command again later") from None

        return self._retried(read)

    def _page(self, path: str, doing: str, **query: Any) -> dict[str, Any]:
        """A page of a listing. One that is not a list of things with ids is no answer: taken for an empty list it
        would say that a batch does not exist."""

        def read(seconds: float) -> dict[str, Any]:
            page = self._accepted("GET", path, doing, seconds, params=query)
            is_list = isinstance(page.get("data"), list) and (path == "/models" or page.get("object") == "list")
            if not is_list:
                raise Unclear(f"{doing}: the answer has no list", "the same command again later")
            known = {"/files": file_of, "/batches": self._told}.get(path, model_of)
            page["data"] = [known(item, doing) for item in page["data"]]
            return page

        return self._retried(read)

    def _changed(
        self, method: str, path: str, doing: str, seconds: float = EXCHANGE_SECONDS, **options: Any
    ) -> dict[str, Any]:
        """A call that changes something: sent once. A definite no is raised as such, all else as Unclear."""
        seconds = self._seconds(seconds, CHANGE_AT_LEAST_SECONDS)
        with self._line.exchange(method, path, seconds, fresh=True, **_timed(options)) as (response, _):
            failure = failure_of(response, doing, self.base, self.clock)
            # 404, 408, 409, 499 and redirects can come from something in between after the server has acted.
            if failure and (response.status_code < 400 or response.status_code in (404, 408, 409, 499)):
                failure = Unclear(failure.what, failure.next_step)
            if failure:
                raise failure
            return object_of(response, doing)

    def _told(self, found: Any, doing: str) -> Told:
        return told_of(found, doing, self.clock)

    # --- endpoints ---

    def models(self) -> list[dict[str, Any]]:
        """GET /models, unpaginated: {id, object, created, owned_by, supported_reasoning_efforts?} each."""
        found: list[dict[str, Any]] = self._page("/models", "list models")["data"]
        return found

    def upload(self, body: PartBody) -> dict[str, Any]:
        """POST /files. The answer comes after the server has stored everything. Uploads are free."""
        headers = {"Content-Type": f"multipart/form-data; boundary={body.boundary}"}
        doing, seconds = f"upload {body.name}", sum(UPLOAD_SECONDS) + len(body) / SLOWEST_BYTES_A_SECOND
        options = {"data": body, "headers": headers, "timeout": UPLOAD_SECONDS}
        file = file_of(self._changed("POST", "/files", doing, seconds, **options), doing)
        self.made_lately(file["id"])
        return file

    def file(self, file_id: str) -> dict[str, Any]:
        doing = f"file {file_id}"
        return file_of(self._read(f"/files/{_segment(file_id)}", doing, file_id), doing)

    def files_named(self, name: str) -> list[dict[str, Any]]:
        """The input files uploaded under exactly this name, newest first."""
        page = self._page("/files", "list files", search=name, purpose="batch", limit=PAGE_LIMIT)
        return [file for file in page["data"] if file.get("filename") == name]

    def delete_file(self, file_id: str) -> None:
        """DELETE /files/{id}: cancels its live batches and makes every later POST on it fail. Gone already is fine."""
        path, doing = f"/files/{_segment(file_id)}", f"delete file {file_id}"
        try:
            deleted = self._retried(lambda seconds: self._accepted("DELETE", path, doing, seconds))
            if deleted.get("id") != file_id or deleted.get("deleted") is not True:
                raise Unclear(f"{doing}: the answer does not say that it is deleted", "the same command again later")
            self._made.pop(file_id, None)
        except NotFound as error:
            # Something in between can say so, too, while the file is there and a delayed POST on it still works.
            try:
                is_there = self.has_file(file_id)
            except Young:
                is_there = False  # nobody has known it for as long as a replica lags
            if is_there:
                raise Unclear(f"{error.what}, but it is still there", "the same command again later") from None

    def has_file(self, file_id: str) -> bool:
        """Whether the server knows this file."""
        try:
            self.file(file_id)
        except NotFound:
            return False
        return True

    def estimate(self, file_id: str, window: str) -> str:
        """The server's guess of a file's cost in USD, such as "0.1"; "0" = no price, "" = no amount."""
        path, doing = f"/files/{_segment(file_id)}/cost-estimate", "cost estimate"
        found = self._read(path, doing, file_id, completion_window=window)
        if found.get("file_id") not in (None, file_id):
            raise Unclear(f"{doing}: the answer is about another file", "the same command again later")
        models = found.get("models")
        each = [amount_of(fields(one).get("estimated_cost")) for one in models] if isinstance(models, list) else []
        free = any(not text.strip("0.") for text in each)  # the sum leaves out a model without a price
        return "0" if free else amount_of(found.get("total_estimated_cost"))

    def create_batch(self, file_id: str, endpoint: str, window: str, metadata: dict[str, str]) -> Told:
        """POST /batches: spends money, so it is sent once and never repeated here."""
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": metadata,
        }
        doing = "create batch"
        batch = self._told(self._changed("POST", "/batches", doing, json=body), doing)
        self.made_lately(batch.id)
        return batch

    def batch(self, batch_id: str) -> Told:
        doing = f"batch {batch_id}"
        return self._told(self._read(f"/batches/{_segment(batch_id)}", doing, batch_id), doing)

    def batches(self, pages: int, **query: Any) -> Iterator[Told]:
        """GET /batches, newest first, at most so many pages of 101."""
        after, seen = None, set()
        for _ in range(pages):
            page = self._page(
                "/batches", "list batches", **query, limit=PAGE_LIMIT, **({"after": after} if after else {})
            )
            # An unknown cursor is ignored and gives page 1 again: stop at the first batch seen twice.
            for batch in page["data"]:
                if batch.id in seen:
                    return
                seen.add(batch.id)
                after = batch.id
                yield batch
            if not page.get("has_more") or not page["data"]:
                return

    def billed(self, batch_id: str, seconds: float) -> str:
        """GET /batches/{id}/analytics, sent once, within so many seconds: what it cost in USD, as in `estimate`."""
        path, doing = f"/batches/{_segment(batch_id)}/analytics", f"cost of batch {batch_id}"
        found = self._accepted("GET", path, doing, self._seconds(seconds, min(seconds, AT_LEAST_SECONDS)))
        return amount_of(found.get("total_cost"))

    def cancel(self, batch_id: str) -> Told:
        """POST /batches/{id}/cancel: may be repeated; it also makes a *completed* batch `cancelled`, so look first."""
        path, doing = f"/batches/{_segment(batch_id)}/cancel", f"cancel batch {batch_id}"
        return self._retried(lambda seconds: self._told(self._accepted("POST", path, doing, seconds), doing))

    def content(self, file_id: str, skip: int) -> Iterator[bytes]:
        """GET /files/{id}/content from line `skip`; raises Cut when the body breaks off.

        The documents call the parameter `offset`, which the server ignores, as it does any unknown one: both are sent.
        """
        doing, query = f"content of file {file_id}", {"skip": skip, "offset": skip} if skip else {}
        path = f"/files/{_segment(file_id)}/content"
        stack, response, watch = self._retried(lambda seconds: self._opened("GET", path, doing, seconds, params=query))
        length = 0  # of the line that is coming in
        try:
            with stack:
                require_plain_body(response)
                for block in _as_received(response):
                    yield block
                    watch.until = min(watch.until + max(len(block), 1) / SLOWEST_BYTES_A_SECOND, self._latest())
                    last = block.rfind(b"\n")
                    length = length + len(block) if last < 0 else len(block) - last - 1
                    if length > CONTENT_LINE_BYTES:
                        raise BadInput(f"{doing}: a line of more than {CONTENT_LINE_BYTES} bytes", "ask for support")
        except Temporary as error:
            raise Cut(f"{doing}: the body was cut: {error.what}", "the same command again later") from None

    def _latest(self) -> float:
        """When an exchange must be over, by time.monotonic()."""
        return time.monotonic() + self._seconds(math.inf)


def _as_received(response: requests.Response) -> Iterator[bytes]:
    """A body in blocks as they come in; of one that is cut, all that came before."""
    read = getattr(response.raw, "read1", None)
    if read is None:
        yield from response.iter_content(OLD_BLOCK_BYTES)
        return
    while block := read(CONTENT_BLOCK_BYTES):
        yield block


def _timed(options: dict[str, Any]) -> dict[str, Any]:
    return {"timeout": (CONNECT_SECONDS, READ_SECONDS)} | options
