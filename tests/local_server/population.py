"""Turning the lines of an input file into the requests of a batch: the time in which it is `validating`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator

from local_server import batch_store
from local_server.settings import Settings
from local_server.storage import Database, keys_of


class Population:
    """One batch at a time, in the order of creation."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._queue: asyncio.Queue[int] = asyncio.Queue()

    def enqueue(self, seq: int) -> None:
        self._queue.put_nowait(seq)

    async def run(self) -> None:
        unfinished = self._database.reader.execute(
            "SELECT seq FROM batches WHERE population IN ('queued', 'running') ORDER BY seq"
        ).fetchall()
        for row in unfinished:
            self._queue.put_nowait(row["seq"])
        while True:
            await self._populate(await self._queue.get())

    async def _populate(self, seq: int) -> None:
        """From here to `running` a cancel leaves the batch `cancelling` for good; afterwards it is cancelled."""
        settings = self._settings
        await asyncio.sleep(settings.scaled(settings.population_delay))
        total = await self._database.write(lambda connection: _begin(connection, seq))
        if total is not None:
            await asyncio.sleep(settings.scaled(total * settings.population_per_line))
            await self._database.write(lambda connection: _insert_requests(connection, seq))


def _begin(connection: sqlite3.Connection, seq: int) -> int | None:
    """The number of lines, or None for a batch that was cancelled or populated before."""
    changed = connection.execute(
        "UPDATE batches SET population = 'running' WHERE seq = ? AND population IN ('queued', 'running')", (seq,)
    ).rowcount
    return int(batch_store.load(connection, seq)["total"]) if changed else None


def _insert_requests(connection: sqlite3.Connection, seq: int) -> None:
    batch = batch_store.load(connection, seq)
    if batch["population"] != "running":
        return
    if batch["total"] == 0:  # a result file given as input has no lines to run
        connection.execute("UPDATE batches SET population = 'done', failed_at = ? WHERE seq = ?", (time.time(), seq))
        return
    state = "pending" if batch["cancelling_at"] is None else "canceled"
    lines = connection.execute(
        "SELECT key, custom_id, model FROM lines WHERE key BETWEEN ? AND ? ORDER BY key", keys_of(batch["input"])
    )
    shift = keys_of(seq)[0] - keys_of(batch["input"])[0]
    connection.executemany(
        "INSERT INTO requests (seq, batch, id, custom_id, model, state) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (row["key"] + shift, seq, id_, row["custom_id"], row["model"], state)
            for row, id_ in zip(lines, _uuids(), strict=False)
        ),
    )
    connection.execute("UPDATE batches SET population = 'done', started_at = ? WHERE seq = ?", (time.time(), seq))
    if state == "canceled":
        batch_store.recount(connection, seq)


def _uuids() -> Iterator[str]:
    while True:
        yield str(uuid.UUID(bytes=os.urandom(16), version=4))
