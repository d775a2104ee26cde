"""What the database knows of batches, and the status that follows from it."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import uuid
from typing import Any

from local_server import file_store
from local_server.storage import keys_of

ACTIVE = "cancelling_at IS NULL AND completed_at IS NULL AND failed_at IS NULL"
STATUS_FILTERS = {
    "in_progress": ACTIVE,
    "completed": "completed_at IS NOT NULL",  # also one that was cancelled afterwards
    "failed": "failed_at IS NOT NULL",
    "cancelled": "cancelling_at IS NOT NULL",
    "expired": "deadline < coalesce(completed_at, failed_at, cancelled_at, strftime('%s', 'now'))",
}


def insert(
    connection: sqlite3.Connection,
    user: str,
    input_file: sqlite3.Row,
    endpoint: str,
    window: str,
    window_seconds: float,
    window_speed: float,
    metadata: dict[str, str],
) -> sqlite3.Row:
    now = time.time()
    batch_id = str(uuid.uuid4())
    total = input_file["lines"] if input_file["kind"] == "input" else 0
    seq = connection.execute(
        "INSERT INTO batches (id, user, endpoint, completion_window, input, input_file_id, input_filename,"
        " metadata, population, total, created_at, expires_at, deadline)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
        (
            batch_id,
            user,
            endpoint,
            window,
            input_file["seq"],
            input_file["id"],
            input_file["filename"],
            # Spaces as in the text that `search` looks through: a search for `"key": "value"` must hit.
            json.dumps(metadata, ensure_ascii=False),
            total,
            now,
            now + window_seconds,
            now + window_seconds / window_speed,
        ),
    ).lastrowid
    assert seq is not None
    file_store.insert_results(connection, user, seq, batch_id, now)
    return load(connection, seq)


def load(connection: sqlite3.Connection, seq: int) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute("SELECT * FROM batches WHERE seq = ?", (seq,)).fetchone()
    return row


def find(connection: sqlite3.Connection, user: str, batch_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM batches WHERE id = ? AND user = ? AND deleted_at IS NULL", (batch_id, user)
    ).fetchone()
    return row


def is_finished(batch: sqlite3.Row) -> bool:
    """No request is left to wait for; those of a cancelled batch count as cancelled at once."""
    if batch["started_at"] is not None and batch["cancelling_at"] is not None:
        return True
    return bool(batch["completed"] + batch["failed"] + batch["canceled"] == batch["total"])


def status(batch: sqlite3.Row) -> str:
    started = batch["started_at"] is not None
    if batch["cancelling_at"] is not None:
        return "cancelled" if started else "cancelling"
    if not started:
        return "failed" if batch["failed_at"] is not None else "validating"
    if not is_finished(batch):
        return "in_progress"
    if batch["failed"] == batch["total"] or batch["failed_at"] is not None:
        return "failed"
    return "completed" if batch["completed_at"] is not None else "finalizing"


def needs_stamp(batch: sqlite3.Row) -> bool:
    stamped = batch["completed_at"] or batch["failed_at"] or batch["cancelling_at"]
    return batch["started_at"] is not None and not stamped and is_finished(batch)


def stamp(connection: sqlite3.Connection, seq: int) -> sqlite3.Row:
    """Writes the end of a batch that has one: done by whoever looks first, or by the finalizer."""
    batch = load(connection, seq)
    if needs_stamp(batch):
        now = time.time()
        if batch["completed"] > 0:
            connection.execute("UPDATE batches SET finalizing_at = ?, completed_at = ? WHERE seq = ?", (now, now, seq))
        else:
            connection.execute("UPDATE batches SET failed_at = ? WHERE seq = ?", (now, seq))
        batch = load(connection, seq)
    return batch


def recount(connection: sqlite3.Connection, seq: int) -> None:
    """Brings the counts of a batch up to its requests; part of every transaction that changes their states."""
    counts = states(connection, seq)
    connection.execute(
        "UPDATE batches SET completed = ?, failed = ?, canceled = ? WHERE seq = ?",
        (counts.get("completed", 0), counts.get("failed", 0), counts.get("canceled", 0), seq),
    )


def states(connection: sqlite3.Connection, seq: int) -> dict[str, int]:
    rows = connection.execute("SELECT state, count(*) FROM requests WHERE batch = ? GROUP BY state", (seq,))
    return {row[0]: row[1] for row in rows}


def cancel(connection: sqlite3.Connection, seq: int) -> sqlite3.Row:
    """Any batch can be cancelled, a completed one too.  The requests follow later, see `cascade`."""
    now = time.time()
    connection.execute(
        "UPDATE batches SET cancelling_at = ?, cancelled_at = ?, finalizing_at = NULL,"
        # Population that has not begun never will: such a batch stays `cancelling` for good.
        " population = CASE population WHEN 'queued' THEN 'void' ELSE population END"
        " WHERE seq = ? AND cancelling_at IS NULL",
        (now, now, seq),
    )
    return load(connection, seq)


def cascade(connection: sqlite3.Connection, seq: int) -> None:
    """Cancels the open requests of a batch, even if a retry has come in between: the recorded race."""
    connection.execute(
        "UPDATE requests SET state = 'canceled' WHERE batch = ? AND state IN ('pending', 'in_progress')", (seq,)
    )
    recount(connection, seq)


def retry(connection: sqlite3.Connection, seq: int, only: list[str] | None = None) -> sqlite3.Row | None:
    """Puts failed and cancelled requests back (of `only`: the failed ones); None if there is nothing to do."""
    batch = load(connection, seq)
    first, last = keys_of(seq)
    if only is None:
        if not (batch["failed"] or batch["canceled"] or batch["cancelling_at"]):
            return None
        chosen, values = "state IN ('failed', 'canceled')", []
    else:
        chosen, values = f"state = 'failed' AND id IN ({','.join('?' * len(only))})", only
    connection.execute(
        f"DELETE FROM answers WHERE kind = 'error' AND seq IN"
        f" (SELECT seq FROM requests WHERE seq BETWEEN ? AND ? AND {chosen})",
        (first, last, *values),
    )
    changed = connection.execute(
        f"UPDATE requests SET state = 'pending', attempts = 0, not_before = 0 WHERE seq BETWEEN ? AND ? AND {chosen}",
        (first, last, *values),
    ).rowcount
    if only is None or changed:
        connection.execute(
            "UPDATE batches SET cancelling_at = NULL, cancelled_at = NULL, finalizing_at = NULL,"
            " completed_at = NULL, failed_at = NULL WHERE seq = ?",
            (seq,),
        )
        recount(connection, seq)
    return stamp(connection, seq)


def delete(connection: sqlite3.Connection, seq: int) -> None:
    cancel(connection, seq)
    connection.execute("UPDATE batches SET deleted_at = ? WHERE seq = ?", (time.time(), seq))


def list_batches(
    connection: sqlite3.Connection,
    user: str,
    limit: int,
    after: str | None,
    where: list[str],
    values: list[Any],
    active_first: bool,
) -> list[sqlite3.Row]:
    """Up to `limit` + 1 rows, newest first.  An `after` that is unknown is ignored."""
    conditions = ["user = ?", "deleted_at IS NULL", *where]
    cursor = find(connection, user, after) if after else None
    if cursor is not None:
        conditions.append(f"seq < {cursor['seq']}")
    order = f"({ACTIVE}) DESC, seq DESC" if active_first else "seq DESC"
    query = f"SELECT * FROM batches WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {limit + 1}"
    return connection.execute(query, (user, *values)).fetchall()


def batch_object(
    connection: sqlite3.Connection, batch: sqlite3.Row, with_context: bool, analytics: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The batch as the API shows it.  Absent means none; the context is shown by get and list only."""
    files = file_store.find_results(connection, batch["seq"])
    times = {
        "created_at": batch["created_at"],
        "in_progress_at": batch["started_at"],
        "expires_at": batch["expires_at"],
        "finalizing_at": batch["finalizing_at"],
        "completed_at": batch["completed_at"],
        "failed_at": batch["failed_at"],
        # On any read after the deadline, also of a batch that was done in time.
        "expired_at": batch["expires_at"] if time.time() > batch["deadline"] else None,
        "cancelling_at": batch["cancelling_at"],
        "cancelled_at": batch["cancelled_at"],
    }
    shown: dict[str, Any] = {
        "id": batch["id"],
        "object": "batch",
        "endpoint": batch["endpoint"],
        "input_file_id": batch["input_file_id"],
        "completion_window": batch["completion_window"],
        "status": status(batch),
    }
    shown |= {f"{kind}_file_id": files[kind] for kind in ("output", "error") if kind in files}
    shown |= {name: int(value) for name, value in times.items() if value is not None}
    shown["request_counts"] = {name: batch[name] for name in ("total", "completed", "failed")}
    metadata = json.loads(batch["metadata"]) | {"request_source": "api", "created_by_email": batch["user"]}
    if with_context:
        metadata |= {"context_name": "Personal", "context_type": "personal"}
    keys = list(metadata)
    random.shuffle(keys)  # the server's order changes with every read; nothing may lean on it
    shown["metadata"] = {key: metadata[key] for key in keys}
    if analytics is not None:
        shown["analytics"] = analytics
    shown["dwext"] = {"source": "api"}
    return shown
