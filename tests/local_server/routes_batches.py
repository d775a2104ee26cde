"""POST, GET and DELETE of batches, and what can be done to one."""

from __future__ import annotations

import sqlite3
import time
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from local_server import batch_store, file_store, json_body
from local_server.content import batch_results
from local_server.errors import (
    ApiError,
    account_too_low,
    batch_not_found,
    file_not_found,
    too_many_requests,
)
from local_server.query import instant, list_limit, page_of, parse_uuid, seconds_of
from local_server.routes_files import list_object
from local_server.routing import Call, Route, json_response
from local_server.settings import ENDPOINTS

RESERVED_METADATA = {
    "created_by_email", "context_name", "context_type", "request_source", "created_by", "dw_user_agent",
}  # fmt: skip
NOTHING_TO_RETRY = "Nothing to retry: no failed or canceled requests, and the batch is not cancelled"


async def create(call: Call) -> Response:
    body = await json_body.read(call.request, "CreateBatchRequest")
    file_id_text, endpoint, window = (
        body.text_field(name) for name in ("input_file_id", "endpoint", "completion_window")
    )
    metadata = body.map_of_text("metadata")
    windows = call.app.settings.completion_windows
    if window == "background":
        raise ApiError(
            403,
            "Insufficient permissions to Create background inference; assign the BackgroundInferenceUser role to "
            "submit this completion_window",
        )
    if window not in windows:
        raise ApiError(400, f"Unsupported completion_window. Allowed values: {', '.join(windows)}")
    if endpoint not in ENDPOINTS:
        raise ApiError(400, f"Unsupported endpoint '{endpoint}'. Supported: {', '.join(ENDPOINTS)}")
    file_id = parse_uuid(file_id_text)
    if file_id is None:
        raise ApiError(400, "Invalid input_file_id format")
    if call.user.balance < 0:
        raise account_too_low()
    kept = {k: v for k, v in metadata.items() if k.replace("-", "_").casefold() not in RESERVED_METADATA}

    def work(connection: sqlite3.Connection) -> sqlite3.Row:
        # Looked up in the transaction that stores the batch: a file deleted meanwhile must not get one.
        file = file_store.find(connection, file_id)
        if file is None:
            raise file_not_found(file_id)
        if file["user"] != call.user.email:
            raise ApiError(403, f"Insufficient permissions to Create batch using file {file_id}")
        _check_models(call, connection, file, window)
        _check_volume(call, connection, file, window)
        return batch_store.insert(
            connection,
            call.user.email,
            file,
            endpoint,
            window,
            seconds_of(window),
            call.app.settings.window_speed,
            kept,
        )

    batch = await call.app.database.write(work)
    call.app.worker.populate(batch["seq"])
    return json_response(batch_store.batch_object(call.app.database.reader, batch, with_context=False), 201)


def _check_models(call: Call, connection: sqlite3.Connection, file: sqlite3.Row, window: str) -> None:
    asked = file_store.cost_models(connection, file["seq"])
    gone = [row["model"] for row in asked if call.app.registry.get(row["model"]) is None]
    if gone:
        raise ApiError(
            400,
            f"The following model(s) are no longer available: {', '.join(gone)}. "
            "The batch file references models that have been removed.",
        )
    full = []
    for row in asked:
        model = call.app.registry.get(row["model"])
        if model is not None and model.spec.requests_per_second is not None:
            waiting = connection.execute(
                "SELECT count(*) FROM requests JOIN batches b ON b.seq = batch WHERE model = ?"
                " AND state IN ('pending', 'in_progress') AND b.cancelling_at IS NULL",
                (row["model"],),
            ).fetchone()[0]
            if waiting + row["requests"] > model.spec.requests_per_second * seconds_of(window):
                full.append(row["model"])
    if full:
        raise too_many_requests(
            f"Insufficient capacity for {window} completion window. The following models are currently at capacity: "
            f"{', '.join(full)}. Try again later or use a longer completion window."
        )


def _check_volume(call: Call, connection: sqlite3.Connection, file: sqlite3.Row, window: str) -> None:
    hourly = call.app.settings.unverified_requests_per_hour
    if not hourly:
        return
    seconds = seconds_of(window)
    cap = int(hourly * seconds / 3600)
    used = connection.execute(
        "SELECT total(total) FROM batches WHERE user = ? AND completion_window = ? AND created_at > ?",
        (call.user.email, window, time.time() - seconds),
    ).fetchone()[0]
    if used + file["lines"] > cap:
        raise too_many_requests(
            f"Unverified accounts can submit at most {cap} request(s) per {window} completion window. "
            f"You have {int(used)} in the last {window}, so this submission of {file['lines']} would exceed the "
            "limit. Verify your account by adding a payment method or making a payment to remove this limit."
        )


async def list_(call: Call) -> Response:
    query = call.request.query_params
    limit = list_limit(query)
    where: list[str] = []
    values: list[Any] = []
    if "member_id" in query:
        raise ApiError(400, "member_id filter is only available in organization context or for platform managers")
    if "status" in query:
        if query["status"] not in batch_store.STATUS_FILTERS:
            raise ApiError(
                400,
                f"Unknown batch status filter: '{query['status']}'. "
                f"Valid values: {', '.join(batch_store.STATUS_FILTERS)}",
            )
        where.append(batch_store.STATUS_FILTERS[query["status"]])
    for name, comparison in (("created_after", ">="), ("created_before", "<=")):
        if (moment := instant(query, name)) is not None:
            where.append(f"created_at {comparison} ?")
            values.append(moment)
    if search := query.get("search"):
        where.append("(metadata LIKE ? ESCAPE '\\' OR input_filename LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\')")
        values += [f"%{search}%"] * 3
    if chosen := query.get("completion_window"):
        where.append(f"completion_window IN ({','.join('?' * len(chosen.split(',')))})")
        values += chosen.split(",")
    reader = call.app.database.reader
    rows = batch_store.list_batches(
        reader, call.user.email, limit, parse_uuid(query.get("after", "")), where, values,
        query.get("active_first") == "true",
    )  # fmt: skip
    with_analytics = "analytics" in query.get("include", "")
    data = [
        batch_store.batch_object(reader, row, True, analytics_of(call, row) if with_analytics else None)
        for row in rows[:limit]
    ]
    return json_response(list_object(data, len(rows) > limit))


async def get(call: Call) -> Response:
    batch = find(call)
    if batch_store.needs_stamp(batch):
        seq = batch["seq"]
        batch = await call.app.database.write(lambda connection: batch_store.stamp(connection, seq))
    return json_response(batch_store.batch_object(call.app.database.reader, batch, with_context=True))


async def cancel(call: Call) -> Response:
    batch = find(call)
    seq, first_time = batch["seq"], batch["cancelling_at"] is None
    batch = await call.app.database.write(lambda connection: batch_store.cancel(connection, seq))
    if first_time:
        call.app.worker.cascade(seq, batch["total"])
    return json_response(batch_store.batch_object(call.app.database.reader, batch, with_context=False))


async def retry(call: Call) -> Response:
    seq = find(call)["seq"]
    batch = await call.app.database.write(lambda connection: batch_store.retry(connection, seq))
    if batch is None:
        raise ApiError(400, NOTHING_TO_RETRY)
    return json_response(batch_store.batch_object(call.app.database.reader, batch, with_context=False))


async def retry_requests(call: Call) -> Response:
    body = await json_body.read(call.request, "RetryRequestsBody")
    given = body.list_of_text("request_ids")
    ids = [canonical for text in given if (canonical := parse_uuid(text))]
    seq = find(call)["seq"]
    if not ids:
        raise ApiError(400, "No valid request IDs provided")
    batch = await call.app.database.write(lambda connection: batch_store.retry(connection, seq, ids))
    assert batch is not None
    return json_response(batch_store.batch_object(call.app.database.reader, batch, with_context=False))


async def delete(call: Call) -> Response:
    batch = find(call)
    await call.app.database.write(lambda connection: batch_store.delete(connection, batch["seq"]))
    call.app.worker.cascade(batch["seq"], batch["total"])
    return Response(status_code=204)


async def results(call: Call) -> Response:
    page = page_of(call.request.query_params)
    return batch_results(call.app.database, find(call), page)


async def analytics(call: Call) -> Response:
    return json_response(analytics_of(call, find(call)))


def analytics_of(call: Call, batch: sqlite3.Row) -> dict[str, Any]:
    """Counts and costs of the answers; failed requests are not in them."""
    rows = call.app.database.reader.execute(
        "SELECT r.model, count(*) AS requests, sum(prompt_tokens) AS used, sum(completion_tokens) AS made,"
        " sum(duration) AS duration FROM answers a JOIN requests r USING (seq)"
        " WHERE a.batch = ? AND a.kind = 'output' GROUP BY r.model",
        (batch["seq"],),
    ).fetchall()
    requests = sum(row["requests"] for row in rows)
    used, made = sum(row["used"] for row in rows), sum(row["made"] for row in rows)
    shown: dict[str, Any] = {
        "total_requests": requests,
        "total_prompt_tokens": used,
        "total_completion_tokens": made,
        "total_tokens": used + made,
    }
    if not requests:
        return shown
    shown["avg_duration_ms"] = shown["avg_ttfb_ms"] = 1000 * sum(row["duration"] for row in rows) / requests
    cost, priced = Decimal(0), False
    for row in rows:
        model = call.app.registry.get(row["model"])
        if model is not None and model.spec.price is not None:
            priced = True
            cost += row["used"] * model.spec.price.batch_input + row["made"] * model.spec.price.batch_output
    if priced:
        shown |= {"total_cost": f"{cost:.15f}", "total_list_cost": f"{cost:.8f}"}
    return shown


def find(call: Call) -> sqlite3.Row:
    batch = batch_store.find(call.app.database.reader, call.user.email, call.id)
    if batch is None:
        raise batch_not_found(call.id)
    return batch


ROUTES = [
    Route("/batches", "Batch", {"POST": ("Create", create), "GET": ("Read", list_)}),
    Route("/batches/{id}", "Batch", {"GET": ("Read", get), "DELETE": ("Delete", delete)}),
    Route("/batches/{id}/cancel", "Batch", {"POST": ("Update", cancel)}),
    Route("/batches/{id}/retry", "Batch", {"POST": ("Update", retry)}),
    Route("/batches/{id}/retry-requests", "Batch", {"POST": ("Update", retry_requests)}),
    Route("/batches/{id}/results", "Batch", {"GET": ("Read", results)}),
    Route("/batches/{id}/analytics", "Batch", {"GET": ("Read", analytics)}),
]
