"""What the database knows of files: rows in, rows out, and the file object of the API."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any

from local_server.request_lines import RequestLine
from local_server.storage import keys_of

EXPIRES_AFTER = 30 * 24 * 3600  # when the upload says nothing; never enforced, as on the real server
RESULT_PURPOSES = {"output": "batch_output", "error": "batch_error"}


def insert_input(
    connection: sqlite3.Connection,
    user: str,
    filename: str,
    purpose: str | None,
    size: int,
    expires_after: int | None,
    lines: Iterable[RequestLine],
) -> sqlite3.Row:
    """Stores a file with its lines in the transaction that is open; returns its row."""
    now = time.time()
    file_id = str(uuid.uuid4())
    expires = now + (EXPIRES_AFTER if expires_after is None else expires_after)
    seq = connection.execute(
        "INSERT INTO files (id, user, filename, purpose, kind, bytes, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, 'input', ?, ?, ?)",
        (file_id, user, filename, purpose, size, now, expires),
    ).lastrowid
    assert seq is not None
    key = keys_of(seq)[0]
    requests: Counter[str] = Counter()
    body_bytes: Counter[str] = Counter()

    def rows() -> Iterable[tuple[int, str, str, str, int, bytes]]:
        for number, line in enumerate(lines):
            requests[line.model] += 1
            body_bytes[line.model] += line.body_bytes
            yield key + number, line.custom_id, line.model, line.url, line.body_bytes, line.line

    connection.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?)", rows())
    connection.executemany(
        "INSERT INTO file_models VALUES (?, ?, ?, ?)",
        [(seq, model, count, body_bytes[model]) for model, count in requests.items()],
    )
    connection.execute("UPDATE files SET lines = ? WHERE seq = ?", (sum(requests.values()), seq))
    row: sqlite3.Row = connection.execute("SELECT * FROM files WHERE seq = ?", (seq,)).fetchone()
    return row


def insert_results(connection: sqlite3.Connection, user: str, batch: int, batch_id: str, now: float) -> None:
    """The two result files, which exist from the creation of their batch."""
    for kind, purpose in RESULT_PURPOSES.items():
        connection.execute(
            "INSERT INTO files (id, user, filename, purpose, kind, batch, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), user, f"batch-{batch_id}-{kind}.jsonl", purpose, kind, batch, now),
        )


def find(connection: sqlite3.Connection, file_id: str) -> sqlite3.Row | None:
    """An existing file of anybody."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM files WHERE id = ? AND deleted_at IS NULL", (file_id,)
    ).fetchone()
    return row


def find_results(connection: sqlite3.Connection, batch: int) -> dict[str, str]:
    """`{"output": id, "error": id}` of a batch, without deleted ones."""
    rows = connection.execute("SELECT kind, id FROM files WHERE batch = ? AND deleted_at IS NULL", (batch,))
    return {row["kind"]: row["id"] for row in rows}


def list_files(
    connection: sqlite3.Connection,
    user: str,
    limit: int,
    after: str | None,
    ascending: bool,
    purpose: str | None,
    search: str | None,
) -> list[sqlite3.Row]:
    """Up to `limit` + 1 rows.  An `after` that is unknown is ignored."""
    where, values = ["user = ?", "deleted_at IS NULL"], [user]
    if purpose is not None:
        where.append("purpose = ?")
        values.append(purpose)
    if search:
        where.append("filename LIKE ? ESCAPE '\\'")
        values.append(f"%{search}%")
    cursor = find(connection, after) if after else None
    if cursor is not None:
        where.append(f"seq {'>' if ascending else '<'} {cursor['seq']}")
    order = "ASC" if ascending else "DESC"
    query = f"SELECT * FROM files WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT {limit + 1}"
    return connection.execute(query, values).fetchall()


def estimated_bytes(connection: sqlite3.Connection, row: sqlite3.Row) -> int:
    if row["kind"] == "input":
        return int(row["bytes"])
    answer = connection.execute(
        "SELECT total(a.size) FROM answers a JOIN batches b ON b.seq = a.batch"
        " WHERE a.batch = ? AND a.kind = ? AND b.deleted_at IS NULL",
        (row["batch"], row["kind"]),
    ).fetchone()
    return int(answer[0])


def file_object(connection: sqlite3.Connection, row: sqlite3.Row, with_owner: bool) -> dict[str, Any]:
    """The file as the API shows it; the owner is shown by get and list, not by the upload's answer."""
    shown: dict[str, Any] = {
        "id": row["id"],
        "object": "file",
        "bytes": estimated_bytes(connection, row),
        "created_at": int(row["created_at"]),
        "filename": row["filename"],
        "purpose": row["purpose"] if row["kind"] != "input" else "batch",
    }
    if row["expires_at"] is not None:
        shown["expires_at"] = int(row["expires_at"])
    if with_owner:
        if row["kind"] == "input":
            shown["created_by_email"] = row["user"]
        shown |= {"context_name": "Personal", "context_type": "personal"}
    return shown


def delete(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Soft.  Deleting an input file cancels its live batches and blanks its id in all of them."""
    now = time.time()
    connection.execute("UPDATE files SET deleted_at = ? WHERE seq = ?", (now, row["seq"]))
    if row["kind"] != "input":
        return
    connection.execute(
        "UPDATE batches SET cancelling_at = ?, cancelled_at = ?, finalizing_at = NULL,"
        " population = CASE population WHEN 'queued' THEN 'void' ELSE population END"
        " WHERE input = ? AND cancelling_at IS NULL AND completed_at IS NULL AND failed_at IS NULL",
        (now, now, row["seq"]),
    )
    connection.execute("UPDATE batches SET input_file_id = '' WHERE input = ?", (row["seq"],))


def cost_models(connection: sqlite3.Connection, seq: int) -> list[sqlite3.Row]:
    return connection.execute("SELECT * FROM file_models WHERE file = ? ORDER BY rowid", (seq,)).fetchall()
