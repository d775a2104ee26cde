"""A call of the API: bounded in time, repeated where nothing can come of that twice.

No call takes an idempotency key, so a POST that may have been carried out is never repeated here.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from ..base.console import say
from ..base.failures import Clock, NotAllowed, NotFound, Temporary
from ..base.text import safe
from .environment import base_url, is_local
from .network import Line, Watch
from .refusals import DEFAULT_BASE_URL, RETRY_AFTER_CAP_SECONDS, Unclear, Young, failure_of
from .server_objects import object_of

if TYPE_CHECKING:
    import requests

# A whole exchange, the reading of its answer included. Content and uploads are as long as their bytes: so much, and a
# second more for each so many bytes.
EXCHANGE_SECONDS = 75.0
SLOWEST_BYTES_A_SECOND = 4096
# An exchange may take so long even if the time given to the whole command is over: it looks at least once. A call that
# changes something has longer, since one that is broken off must be looked for.
AT_LEAST_SECONDS, CHANGE_AT_LEAST_SECONDS = 5.0, 30.0
RETRIES = 5
QUIET_PAUSE_SECONDS = 2.0  # a longer wait is said, and why
RETRY_WITHIN_SECONDS = 120.0  # the time of the tries included; what the server asks to wait for is not
YOUNG_SECONDS = 300.0  # what was made so lately may be unknown to a replica of the server's database

Found = TypeVar("Found")


class Calls:
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
            response, watch = stack.enter_context(self._line.exchange(method, path, seconds, **options))
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
                raise Young(f"{error.what} (it was made a moment ago)") from None

        return self._retried(read)

    def _changed(
        self, method: str, path: str, doing: str, seconds: float = EXCHANGE_SECONDS, **options: Any
    ) -> dict[str, Any]:
        """A call that changes something: sent once. A definite no is raised as such, all else as Unclear."""
        seconds = self._seconds(seconds, CHANGE_AT_LEAST_SECONDS)
        with self._line.exchange(method, path, seconds, fresh=True, **options) as (response, _):
            failure = failure_of(response, doing, self.base, self.clock)
            # 404, 408, 409, 499 and redirects can come from something in between after the server has acted.
            if failure and (response.status_code < 400 or response.status_code in (404, 408, 409, 499)):
                failure = Unclear(failure.what, failure.next_step)
            if failure:
                raise failure
            return object_of(response, doing)
