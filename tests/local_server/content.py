"""The streamed answers: content of files, and results of a batch, with the headers that go with them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from local_server import batch_store
from local_server.errors import ApiError, compact
from local_server.query import Page
from local_server.storage import Database, keys_of

NDJSON = "application/x-ndjson"
CHUNK_BYTES = 1_000_000  # large pieces: fewer turns of the event loop for each megabyte sent


def respond(
    database: Database,
    page: Page,
    query: str,
    values: tuple[Any, ...],
    unfinished: bool,
    available: int | None,
    render: Callable[[sqlite3.Row], bytes] = lambda row: bytes(row[0]),
) -> Response:
    """`query` yields the lines in order, without LIMIT; `available` is how many there are, if that is told.

    Without `limit` the body is streamed, cut at `available`, which the headers announce beforehand.
    """
    if page.limit is None:
        count = -1 if available is None else max(0, available - page.skip)
        headers = {"x-incomplete": _flag(unfinished)}
        if available is not None:
            headers["x-last-line"] = str(page.skip + count)
        lines = _lines(database, f"{query} LIMIT ? OFFSET ?", (*values, count, page.skip), render)
        return StreamingResponse(_in_thread(lines), 200, headers, NDJSON)
    rows = database.reader.execute(f"{query} LIMIT ? OFFSET ?", (*values, page.limit + 1, page.skip)).fetchall()
    lines_now = [render(row) for row in rows[: page.limit]]
    headers = {
        "x-incomplete": _flag(unfinished or len(rows) > page.limit),
        "x-last-line": str(page.skip + len(lines_now)),
    }
    return Response(b"".join(lines_now), 200, headers, NDJSON)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _lines(
    database: Database, query: str, values: tuple[Any, ...], render: Callable[[sqlite3.Row], bytes]
) -> Iterator[bytes]:
    """Joined lines of about CHUNK_BYTES, from a connection of its own: one snapshot from first to last."""
    connection = database.open_reader()
    try:
        chunk: list[bytes] = []
        size = 0
        for row in connection.execute(query, values):
            line = render(row)
            chunk.append(line)
            size += len(line)
            if size >= CHUNK_BYTES:
                yield b"".join(chunk)
                chunk, size = [], 0
        if chunk:
            yield b"".join(chunk)
    finally:
        connection.close()


async def _in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while True:
        chunk = await loop.run_in_executor(None, next, chunks, None)
        if chunk is None:
            return
        yield chunk


def file_content(database: Database, file: sqlite3.Row, page: Page) -> Response:
    """The lines of an input file in their order, those of a result file in the order of their completion."""
    reader = database.reader
    if file["kind"] == "input":
        query = "SELECT line FROM lines WHERE key BETWEEN ? AND ?"
        values: tuple[Any, ...] = keys_of(file["seq"])
        if page.search:
            query, values = f"{query} AND custom_id LIKE ? ESCAPE '\\'", (*values, f"%{page.search}%")
        return respond(database, page, f"{query} ORDER BY key", values, False, None)
    batch = batch_store.load(reader, file["batch"])
    gone = batch["deleted_at"] is not None
    query = "SELECT a.line FROM answers a WHERE a.batch = ? AND a.kind = ?"
    values = (file["batch"], file["kind"])
    if page.search:
        query = query.replace("WHERE", "JOIN requests r USING (seq) WHERE") + " AND r.custom_id LIKE ? ESCAPE '\\'"
        values = (*values, f"%{page.search}%")
    available = batch["completed" if file["kind"] == "output" else "failed"]
    if gone or page.search:
        available = None
    unfinished = not gone and not batch_store.is_finished(batch)
    return respond(database, page, f"{query} ORDER BY a.completed_at, a.id", values, unfinished, available)


def batch_results(database: Database, batch: sqlite3.Row, page: Page) -> Response:
    """Every request with its input and its answer, in input order.

    Needs the input file.  Once that is deleted the answer is 500 with `limit`, and without it a stream
    that is announced and then breaks off.
    """
    reader = database.reader
    counts = batch_store.states(reader, batch["seq"])
    unfinished = counts.get("pending", 0) + counts.get("in_progress", 0) > 0 and batch["cancelling_at"] is None
    available: int | None = counts.get(page.status or "", batch["total"])
    if page.status in ("pending", "in_progress", "completed", "failed", "canceled"):
        available = counts.get(page.status, 0)
    if page.search:
        available = None
    if batch["input_file_id"] == "":
        if page.limit is not None:
            raise ApiError(500, "Internal server error")
        headers = {"x-incomplete": _flag(unfinished), "x-last-line": str(max(page.skip, available or 0))}
        return StreamingResponse(_Broken(), 200, headers, NDJSON)
    first, last = keys_of(batch["seq"])
    query = (
        "SELECT r.id, r.custom_id, r.model, r.state, l.line AS request, a.kind, a.line AS answer FROM requests r"
        " JOIN lines l ON l.key = r.seq - ? + ? LEFT JOIN answers a USING (seq) WHERE r.seq BETWEEN ? AND ?"
    )
    values: tuple[Any, ...] = (first, keys_of(batch["input"])[0], first, last)
    if page.status:
        query, values = f"{query} AND r.state = ?", (*values, page.status)
    if page.search:
        query, values = f"{query} AND r.custom_id LIKE ? ESCAPE '\\'", (*values, f"%{page.search}%")
    return respond(database, page, f"{query} ORDER BY r.seq", values, unfinished, available, _result)


class _Broken:
    """A body that is announced and then cut off."""

    def __aiter__(self) -> _Broken:
        return self

    async def __anext__(self) -> bytes:
        raise ConnectionAbortedError("the input file is gone")


def _result(row: sqlite3.Row) -> bytes:
    answer = json.loads(row["answer"]) if row["answer"] else {}
    state = row["state"]
    return (
        compact(
            {
                "id": row["id"],
                "custom_id": row["custom_id"],
                "model": row["model"],
                "input_body": json.loads(row["request"])["body"],
                "response_body": answer["response"]["body"] if row["kind"] == "output" else None,
                "error": answer["error"]["message"] if row["kind"] == "error" else None,
                # The server knows no name for a cancelled request here.
                "status": "pending" if state == "canceled" else state,
            }
        )
        + b"\n"
    )
