"""POST, GET and DELETE of files."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from starlette.responses import Response

from local_server import file_store
from local_server.connection import DRAINED_BYTES
from local_server.content import file_content
from local_server.errors import ApiError, file_not_found, too_many_requests
from local_server.query import list_limit, page_of, parse_uuid
from local_server.routing import Call, Route, json_response
from local_server.upload import FRAMING_BYTES, Upload

CLOSE = {"connection": "close"}  # an upload that is refused midway is not read to its end
OUTPUT_PER_INPUT = Decimal("1.1")  # tokens, where the model has not answered anything yet
BYTES_PER_TOKEN = 4


class UploadSlots:
    """How many uploads may run and wait at the same time."""

    def __init__(self, running: int, waiting: int, wait_seconds: float) -> None:
        self._slots = asyncio.Semaphore(running) if running else None
        self._wait_seconds = wait_seconds
        self._waiting = 0
        self._most_waiting = waiting

    async def __aenter__(self) -> None:
        if self._slots is None:
            return
        if self._slots.locked() and self._waiting >= self._most_waiting:
            raise too_many_requests("Too many file uploads in progress. Please retry later.")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._slots.acquire(), self._wait_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            raise too_many_requests("Timed out waiting for upload slot. Please retry later.") from None
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        if self._slots is not None:
            self._slots.release()


async def create(call: Call) -> Response:
    settings, database = call.app.settings, call.app.database
    declared = int(call.request.headers.get("content-length") or 0)
    if settings.max_file_size and declared > settings.max_file_size + FRAMING_BYTES:
        raise ApiError(413, f"File exceeds the maximum allowed size of {settings.max_file_size} bytes")
    async with call.app.upload_slots:
        upload = Upload(call.request.headers.get("content-type", ""), settings, call.app.registry, database.data_dir)
        try:
            await _read(call, upload)
            row = await database.write(
                lambda connection: file_store.insert_input(
                    connection, call.user.email, upload.filename, upload.purpose, upload.size,
                    upload.expires_after, upload.lines(),
                )
            )  # fmt: skip
        finally:
            upload.close()
    return json_response(file_store.file_object(database.reader, row, with_owner=False), 201)


async def _read(call: Call, upload: Upload) -> None:
    declared = int(call.request.headers.get("content-length") or 2**62)
    received = 0
    try:
        async for chunk in call.request.stream():
            received += len(chunk)
            upload.feed(chunk)
    except ApiError as error:
        if declared - received > DRAINED_BYTES:
            error.headers |= CLOSE
        raise
    upload.finish()


async def list_(call: Call) -> Response:
    query = call.request.query_params
    limit = list_limit(query)
    if query.get("order", "desc") not in ("asc", "desc"):
        raise ApiError(400, "Order must be 'asc' or 'desc'")
    reader = call.app.database.reader
    rows = file_store.list_files(
        reader,
        call.user.email,
        limit,
        parse_uuid(query.get("after", "")),
        query.get("order") == "asc",
        query.get("purpose"),
        query.get("search"),
    )
    data = [file_store.file_object(reader, row, with_owner=True) for row in rows[:limit]]
    return json_response(list_object(data, len(rows) > limit))


def list_object(data: list[dict[str, object]], has_more: bool) -> dict[str, object]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return {"object": "list", "data": data, **ends, "has_more": has_more}


async def get(call: Call) -> Response:
    return json_response(file_store.file_object(call.app.database.reader, find(call), with_owner=True))


async def content(call: Call) -> Response:
    page = page_of(call.request.query_params)
    return file_content(call.app.database, find(call), page)


async def delete(call: Call) -> Response:
    row = find(call)
    live = call.app.database.reader.execute(
        "SELECT seq, total FROM batches WHERE input = ? AND cancelling_at IS NULL", (row["seq"],)
    ).fetchall()

    await call.app.database.write(lambda connection: file_store.delete(connection, row))
    for batch in live if row["kind"] == "input" else []:
        call.app.worker.cascade(batch["seq"], batch["total"])
    return json_response({"id": row["id"], "object": "file", "deleted": True})


async def cost_estimate(call: Call) -> Response:
    """Input tokens from bytes; output tokens from what the model has said so far, or a guess."""
    row = find(call)
    window = call.request.query_params.get("completion_window", "24h")
    in_batch = window in call.app.settings.completion_windows
    models: list[dict[str, Any]] = []
    for asked in file_store.cost_models(call.app.database.reader, row["seq"]):
        tokens_in = asked["body_bytes"] // BYTES_PER_TOKEN
        usual = call.app.worker.usual_output_tokens(asked["model"])
        guess = tokens_in * OUTPUT_PER_INPUT if usual is None else Decimal(usual) * asked["requests"]
        tokens_out = max(asked["requests"], int(guess.to_integral_value(ROUND_HALF_UP)))
        model = call.app.registry.get(asked["model"])
        price = model.spec.price if model else None
        cost = Decimal(0)
        if price and in_batch:
            cost = tokens_in * price.batch_input + tokens_out * price.batch_output
        elif price:
            cost = tokens_in * price.realtime_input + tokens_out * price.realtime_output
        models.append(
            {
                "model": asked["model"],
                "request_count": asked["requests"],
                "estimated_input_tokens": tokens_in,
                "estimated_output_tokens": tokens_out,
                "estimated_cost": _money(cost),
            }
        )
    totals = {
        "file_id": row["id"],
        "total_requests": sum(model["request_count"] for model in models),
        "total_estimated_input_tokens": sum(model["estimated_input_tokens"] for model in models),
        "total_estimated_output_tokens": sum(model["estimated_output_tokens"] for model in models),
        "total_estimated_cost": _money(sum((Decimal(model["estimated_cost"]) for model in models), Decimal(0))),
    }
    return json_response(totals | {"models": models})


def _money(value: Decimal) -> str:
    return f"{value:.8f}" if value else "0"


def find(call: Call) -> sqlite3.Row:
    """The caller's file; somebody else's is as unknown as one that never was."""
    row = file_store.find(call.app.database.reader, call.id)
    if row is None or row["user"] != call.user.email:
        raise file_not_found(call.id)
    return row


ROUTES = [
    Route("/files", "File", {"POST": ("Create", create), "GET": ("Read", list_)}),
    Route("/files/{id}", "File", {"GET": ("Read", get), "DELETE": ("Delete", delete)}),
    Route("/files/{id}/content", "File", {"GET": ("Read", content)}),
    Route("/files/{id}/cost-estimate", "File", {"GET": ("Read", cost_estimate)}),
]
