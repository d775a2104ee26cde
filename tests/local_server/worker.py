"""The daemon: populates batches, claims requests, stores answers, and keeps the slow loops of the server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from local_server import batch_store, replies
from local_server.errors import ACCOUNT_TOO_LOW
from local_server.models import Model, Registry
from local_server.population import Population
from local_server.rehearsal import Rehearsal
from local_server.replies import Reply
from local_server.settings import Settings
from local_server.storage import LINE_BITS, Database, StorageError, keys_of

FLUSH_SECONDS = 0.01  # answers that come together are stored together: one transaction instead of hundreds
CLAIM_BYTES = 32_000_000  # of request lines held in memory at a time
HISTORY = 100  # answers that the cost estimate takes its output length from


@dataclass(frozen=True)
class Claim:
    """A request on its way to its model."""

    seq: int
    batch: int
    id: str
    custom_id: str
    url: str
    line: bytes
    attempts: int
    user: str
    deadline: float


@dataclass(frozen=True)
class Outcome:
    """What became of a claim: an output line, an error line, or another try at `not_before`."""

    claim: Claim
    kind: str  # output, error or retry
    at: float
    line: bytes = b""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration: float = 0.0
    not_before: float = 0.0


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
        """Before anything runs: what was in flight when the last process ended is pending again."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE requests SET state = 'pending' WHERE state = 'in_progress'")
            rows = connection.execute(
                "SELECT seq FROM batches WHERE cancelling_at IS NOT NULL AND started_at IS NOT NULL"
                " AND completed + failed + canceled < total"
            ).fetchall()
            for row in rows:
                batch_store.cascade(connection, row["seq"])

        self._database.write_now(work)

    def start(self) -> None:
        scaled = self._settings.scaled
        self._spawn(self._population.run())
        self._spawn(self._claim_loop())
        self._spawn(self._every(scaled(self._settings.cancel_poll), self._abort_cancelled))
        self._spawn(self._every(scaled(self._settings.finalizer_interval), self._finalize))
        self._spawn(self._every(scaled(self._settings.purge_interval), self._purge))

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._in_flight.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._outcomes:
            await self._store_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StorageError:
            return  # reported by the database, and the server ends

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

    # -- what the routes ask for

    def populate(self, seq: int) -> None:
        self._population.enqueue(seq)

    def cascade(self, seq: int, total: int) -> None:
        """Cancels the requests of a batch a little later, as the real server does."""
        wait = self._settings.scaled(self._settings.cascade_delay + total * 5e-6)

        async def later() -> None:
            await asyncio.sleep(wait)
            await self._database.write(lambda connection: batch_store.cascade(connection, seq))

        self._spawn(later())

    def usual_output_tokens(self, model: str) -> float | None:
        known = self._output_tokens.get(model)
        return sum(known) / len(known) if known else None

    # -- claiming

    async def _claim_loop(self) -> None:
        interval = self._settings.scaled(self._settings.claim_interval)
        while True:
            try:
                await asyncio.wait_for(self._more.wait(), interval)
            except (asyncio.TimeoutError, TimeoutError):
                pass
            self._more.clear()
            room = self._room()
            if room:
                for model_name, claim in await self._database.write(lambda connection: self._claim(connection, room)):
                    self._send(model_name, claim)

    def _room(self) -> dict[str, int]:
        names = self._registry.names()
        room = {name: model.spec.capacity - self._busy[name] for name in names if (model := self._registry.get(name))}
        return {name: free for name, free in room.items() if free > 0}

    def _claim(self, connection: sqlite3.Connection, room: dict[str, int]) -> list[tuple[str, Claim]]:
        """Takes pending requests, those with the earliest deadline first, as far as models have room."""
        left = self._settings.claim_size or sum(room.values())
        claims: list[tuple[str, Claim]] = []
        size = 0
        for asked in connection.execute(
            "SELECT b.seq, b.input, b.user, b.deadline, m.model FROM batches b"
            " JOIN files f ON f.seq = b.input AND f.deleted_at IS NULL JOIN file_models m ON m.file = b.input"
            f" WHERE b.started_at IS NOT NULL AND b.deleted_at IS NULL AND {batch_store.ACTIVE}"
            " ORDER BY b.deadline, b.seq"
        ).fetchall():
            model, batch = asked["model"], asked["seq"]
            rows = connection.execute(
                "SELECT r.seq, r.id, r.custom_id, r.attempts, l.url, l.line FROM requests r"
                " JOIN lines l ON l.key = r.seq - ? + ?"
                " WHERE r.batch = ? AND r.state = 'pending' AND r.model = ? AND r.not_before <= ?"
                " ORDER BY r.seq LIMIT ?",
                (keys_of(batch)[0], keys_of(asked["input"])[0], batch, model, time.time(),
                 min(left, room.get(model, 0))),
            )  # fmt: skip
            for row in rows:
                if size > CLAIM_BYTES:
                    break
                if row["seq"] in self._in_flight:  # put back by a retry while its first answer is on its way
                    continue
                claims.append((model, Claim(row["seq"], batch, row["id"], row["custom_id"], row["url"], row["line"],
                                            row["attempts"] + 1, asked["user"], asked["deadline"])))  # fmt: skip
                size += len(row["line"])
                room[model] -= 1
                left -= 1
        connection.executemany(
            "UPDATE requests SET state = 'in_progress', attempts = attempts + 1 WHERE seq = ?",
            [(claim.seq,) for _, claim in claims],
        )
        return claims

    # -- answering

    def _send(self, model_name: str, claim: Claim) -> None:
        self._busy[model_name] += 1
        task = asyncio.get_running_loop().create_task(self._answer(model_name, claim))
        self._in_flight[claim.seq] = task

        def done(ended: asyncio.Task[None]) -> None:
            self._busy[model_name] -= 1
            self._in_flight.pop(claim.seq, None)
            if not ended.cancelled() and ended.exception() is not None:
                print(f"local server: {model_name} failed: {ended.exception()!r}", file=sys.stderr)
                self._fail(claim, '{"type":"TaskTerminated"}', True)
            if not self._settings.claim_size:
                self._more.set()

        task.add_done_callback(done)

    async def _answer(self, model_name: str, claim: Claim) -> None:
        model = self._registry.get(model_name)
        started = time.monotonic()
        request = json.loads(claim.line)["body"]
        try:
            reply = await self._ask(model, claim, request)
        except replies.Timeout as timeout:
            self._fail(claim, replies.timeout_failure(timeout.error), True)
            return
        if reply.status >= 400:
            self._fail(claim, replies.status_failure(reply), replies.is_retriable(reply.status))
            return
        value, used, made = replies.finish(claim.url, claim.id, reply, request)
        line = replies.output_line(claim.id, claim.custom_id, reply.status, value)
        self._output_tokens[model_name].append(made)
        # The time is taken before the answer is stored.  One that is stored late still sorts where its time
        # says: whoever resumes a download by a number of lines can miss it.
        outcome = Outcome(claim, "output", time.time(), line, used, made, time.monotonic() - started)
        if zlib.crc32(claim.id.encode()) % 10_000 < self._settings.late_fraction * 10_000:
            await asyncio.sleep(self._settings.scaled(self._settings.late_by))
        self._add(outcome)

    async def _ask(self, model: Model | None, claim: Claim, request: dict[str, Any]) -> Reply:
        user = next((user for user in self._settings.users if user.email == claim.user), None)
        if model is None:
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
                await self._store_all()
        finally:
            self._flushing = False

    async def _store_all(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        await self._database.write(lambda connection: _store(connection, outcomes))

    # -- the slow loops

    async def _abort_cancelled(self) -> None:
        """Ends what is in flight for cancelled batches; until this comes round, their answers still land."""
        rows = self._database.reader.execute("SELECT seq FROM batches WHERE cancelling_at IS NOT NULL")
        cancelled = {row["seq"] for row in rows}
        for seq, task in list(self._in_flight.items()):
            if seq >> LINE_BITS in cancelled:
                task.cancel()

    async def _finalize(self) -> None:
        def work(connection: sqlite3.Connection) -> None:
            rows = connection.execute(
                f"SELECT seq FROM batches WHERE started_at IS NOT NULL AND {batch_store.ACTIVE}"
            ).fetchall()
            for row in rows:
                batch_store.stamp(connection, row["seq"])

        await self._database.write(work)

    async def _purge(self) -> None:
        """Removes what belongs to deleted batches, and the lines of deleted files."""

        def work(connection: sqlite3.Connection) -> None:
            for row in connection.execute("SELECT seq FROM batches WHERE deleted_at IS NOT NULL").fetchall():
                for table in ("answers", "requests"):
                    connection.execute(f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?", keys_of(row["seq"]))
            gone = "SELECT seq FROM files WHERE deleted_at IS NOT NULL AND kind = 'input'"
            for row in connection.execute(gone).fetchall():
                connection.execute("DELETE FROM lines WHERE key BETWEEN ? AND ?", keys_of(row["seq"]))

        await self._database.write(work)


def _store(connection: sqlite3.Connection, outcomes: list[Outcome]) -> None:
    rows = [
        (o.claim.seq, o.claim.batch, o.kind, o.at, o.claim.id, o.line, o.prompt_tokens, o.completion_tokens,
         o.duration)
        for o in outcomes
    ]  # fmt: skip
    # A late answer supersedes a cancel; a late failure does not.
    connection.executemany(
        "UPDATE requests SET state = 'completed', answered = answered + 1 WHERE seq = ?",
        [(o.claim.seq,) for o in outcomes if o.kind == "output"],
    )
    connection.executemany(
        "UPDATE requests SET state = 'failed', answered = answered + 1 WHERE seq = ? AND state = 'in_progress'",
        [(o.claim.seq,) for o in outcomes if o.kind == "error"],
    )
    connection.executemany(
        "UPDATE requests SET state = 'pending', not_before = ? WHERE seq = ? AND state = 'in_progress'",
        [(o.not_before, o.claim.seq) for o in outcomes if o.kind == "retry"],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO answers SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? FROM requests r"
        " WHERE r.seq = ? AND r.state = ?",
        [
            (*row, row[0], "completed" if row[2] == "output" else "failed")
            for row in rows
            if row[2] != "retry"
        ],
    )
    for batch in {o.claim.batch for o in outcomes if o.kind != "retry"}:
        batch_store.recount(connection, batch)
