"""The daemon: claims requests, has them answered, stores the outcomes, and keeps the slow loops of the server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from local_server import batch_store, replies, request_store
from local_server.errors import ACCOUNT_TOO_LOW
from local_server.models import Model, Registry
from local_server.population import Population
from local_server.rehearsal import Rehearsal
from local_server.replies import Reply
from local_server.request_store import Claim, Outcome
from local_server.settings import Settings
from local_server.storage import LINE_BITS, Database, StorageError

CANCEL_AGAIN_SECONDS = 0.1  # for a task that did not take the first one
FLUSH_SECONDS = 0.01  # answers that come together are stored together: one transaction instead of hundreds
RATE_AHEAD_SECONDS = 2
HISTORY = 100  # answers that the cost estimate takes its output length from


class _Pace:
    """Moments that lie an interval apart, also while nobody waits for them. To be made and used in the event loop."""

    def __init__(self, interval: float) -> None:
        self._interval, self._loop = interval, asyncio.get_running_loop()
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._due = self._loop.time() + self._interval

    def due(self) -> float:
        """The next one, in the loop's time."""
        late = self._loop.time() - self._due
        if late > 0:
            self._due += self._interval * (late // self._interval + 1)
        return self._due


class Worker:
    def __init__(self, settings: Settings, database: Database, registry: Registry, rehearsal: Rehearsal) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._rehearsal = rehearsal
        self._population = Population(settings, database)
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._outcomes: list[Outcome] = []
        self._flushing = False
        self._more = asyncio.Event()  # a model that was full has room again
        self._tasks: set[asyncio.Task[None]] = set()
        self._output_tokens: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=HISTORY))

    # -- start and stop

    def recover(self) -> None:
        self._database.write_now(request_store.recover)

    def start(self) -> None:
        settings = self._settings
        self._spawn(self._population.run())
        self._spawn(self._claim_loop())
        self._spawn(self._every(settings.cancel_poll, self._abort_cancelled, lambda: bool(self._in_flight)))
        self._spawn(self._every(settings.finalizer_interval, self._finalize, self._has_work))
        purge = partial(self._database.write, request_store.purge)
        self._spawn(self._every(settings.purge_interval, purge, lambda: True))

    async def stop(self) -> None:
        # Again until all have ended: before Python 3.12 a `wait_for` whose wait is over in that very moment
        # swallows the cancellation, and a claim loop that lived on sent a whole batch before the server ended.
        while tasks := [task for task in (*self._tasks, *self._in_flight.values()) if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)
        try:
            await self._store()
        except StorageError:
            pass  # reported where it happened; the requests are still there and run again

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Of a task that is cancelled before its first step: Python would warn of a coroutine never awaited.
        task.add_done_callback(lambda _: work.close())

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StorageError:
            return  # reported by the database, and the server ends

    async def _every(
        self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]], needed: Callable[[], bool]
    ) -> None:
        loop, pace = asyncio.get_running_loop(), _Pace(self._settings.scaled(seconds))
        while True:
            await self._until(needed)
            await asyncio.sleep(pace.due() - loop.time())
            await work()
            pace.begin()

    async def _until(self, needed: Callable[[], bool]) -> None:
        """Nobody looks again before something was written: many a server of a test waits for long, and fast."""
        while not needed():
            self._database.written.clear()
            await self._database.written.wait()

    def _has_work(self) -> bool:
        return request_store.has_work(self._database.reader)

    # -- what the routes ask for

    def populate(self, seq: int) -> None:
        self._population.enqueue(seq)

    def cascade(self, seq: int, total: int) -> None:
        """Cancels the requests of a batch a little later, as the real server does."""
        settings = self._settings
        wait = settings.scaled(settings.cascade_delay + total * settings.cascade_per_line)

        async def later() -> None:
            await asyncio.sleep(wait)
            await self._database.write(lambda connection: batch_store.cascade(connection, seq))

        self._spawn(later())

    def usual_output_tokens(self, model: str) -> float | None:
        known = self._output_tokens.get(model)
        return sum(known) / len(known) if known else None

    # -- claiming

    async def _claim_loop(self) -> None:
        loop, pace = asyncio.get_running_loop(), _Pace(self._settings.scaled(self._settings.claim_interval))
        while True:
            await self._until(self._has_work)
            # A `wait_for` would make a task of each wait, hundreds a second where the server's time passes fast.
            timer = loop.call_at(pace.due(), self._more.set)
            await self._more.wait()
            timer.cancel()
            self._more.clear()
            room = self._room()
            if room and self._has_work():
                for claim in await self._database.write(partial(self._claim, room)):
                    self._send(claim)
            pace.begin()

    def _room(self) -> dict[str, int]:
        room = {}
        for name in self._registry.names():
            model = self._registry.get(name)
            capacity = model.spec.capacity if model is not None else 0
            if self._settings.rate:  # more would only wait for their turn
                capacity = min(capacity, max(1, int(self._settings.rate * RATE_AHEAD_SECONDS)))
            if capacity > self._busy[name]:
                room[name] = capacity - self._busy[name]
        return room

    def _claim(self, room: dict[str, int], connection: sqlite3.Connection) -> list[Claim]:
        most = self._settings.claim_size or sum(room.values())
        return request_store.claim(connection, room, most, self._in_flight)

    # -- answering

    def _send(self, claim: Claim) -> None:
        self._busy[claim.model] += 1
        task = asyncio.get_running_loop().create_task(self._answer(claim))
        self._in_flight[claim.seq] = task
        task.add_done_callback(partial(self._answered, claim))

    def _answered(self, claim: Claim, task: asyncio.Task[None]) -> None:
        self._busy[claim.model] -= 1
        self._in_flight.pop(claim.seq, None)
        if not task.cancelled() and task.exception() is not None:
            print(f"local server: {claim.model} failed: {task.exception()!r}", file=sys.stderr)
            self._fail(claim, '{"type":"TaskTerminated"}', retriable=True)
        if not self._settings.claim_size:
            self._more.set()

    async def _answer(self, claim: Claim) -> None:
        started = time.monotonic()
        request = json.loads(claim.line)["body"]
        try:
            reply = await self._ask(self._registry.get(claim.model), claim, request)
        except replies.Timeout as timeout:
            self._fail(claim, replies.timeout_failure(timeout.error), retriable=True)
            return
        if reply.status >= 400:
            self._fail(claim, replies.status_failure(reply), replies.is_retriable(reply.status))
            return
        value, used, made = replies.finish(claim.url, claim.id, reply, request)
        line = replies.output_line(claim.id, claim.custom_id, reply.status, value)
        self._output_tokens[claim.model].append(made)
        # The time is taken before the answer is stored.  One that is stored late still sorts where its time
        # says: whoever resumes a download by a number of lines can miss it.
        outcome = Outcome(claim, "output", time.time(), line, used, made, time.monotonic() - started)
        if zlib.crc32(claim.id.encode()) % 10_000 < self._settings.late_fraction * 10_000:
            await asyncio.sleep(self._settings.scaled(self._settings.late_by))
        self._add(outcome)

    async def _ask(self, model: Model | None, claim: Claim, request: dict[str, Any]) -> Reply:
        user = next((user for user in self._settings.users if user.email == claim.user), None)
        if model is None:  # removed between claim and start
            return Reply(404, b"")
        if model.spec.price is not None and user is not None and user.balance <= 0:
            return Reply(402, ACCOUNT_TOO_LOW.encode(), "text/plain")
        if claim.url == "/v1/responses":
            return await self._rehearsal.ask(model, "/chat/completions", replies.chat_request(request))
        return await self._rehearsal.ask(model, claim.url.removeprefix("/v1"), request)

    def _fail(self, claim: Claim, failure: str, retriable: bool) -> None:
        now = time.time()
        settings = self._settings
        in_time = now < claim.deadline - settings.stop_before_deadline
        if retriable and in_time and claim.attempts <= settings.max_retries:
            wait = min(settings.backoff * 2 ** (claim.attempts - 1), settings.max_backoff)
            self._add(Outcome(claim, "retry", now, not_before=now + settings.scaled(wait)))
        else:
            self._add(Outcome(claim, "error", now, replies.error_line(claim.id, claim.custom_id, failure)))

    # -- storing

    def _add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if not self._flushing:
            self._flushing = True
            self._spawn(self._flush())

    async def _flush(self) -> None:
        try:
            while self._outcomes:
                await asyncio.sleep(FLUSH_SECONDS)
                await self._store()
        finally:
            self._flushing = False

    async def _store(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            await self._database.write(lambda connection: request_store.store(connection, outcomes))

    async def _finalize(self) -> None:
        if self._has_work():
            await self._database.write(request_store.finalize)

    async def _abort_cancelled(self) -> None:
        """Ends what is in flight for cancelled batches; until this comes round, their answers still land."""
        if not self._in_flight:
            return
        rows = self._database.reader.execute("SELECT seq FROM batches WHERE cancelling_at IS NOT NULL")
        cancelled = {row["seq"] for row in rows}
        for seq, task in list(self._in_flight.items()):
            if seq >> LINE_BITS in cancelled:
                task.cancel()
