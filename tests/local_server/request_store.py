"""What the database knows of single requests: taking them for their models, storing what became of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Container
from dataclasses import dataclass

from local_server import batch_store
from local_server.storage import keys_of

# The size of a result file is an estimate: for each line its length, less the custom_id, plus what the
# service adds for its own columns.  Fitted to the recordings.
ESTIMATE_PER_LINE = {"output": 40, "error": -4}
CLAIM_BYTES = 32_000_000  # of request lines held in memory at a time


@dataclass(frozen=True)
class Claim:
    """A request on its way to its model."""

    seq: int
    batch: int
    id: str
    custom_id: str
    model: str
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


def has_work(connection: sqlite3.Connection) -> bool:
    """Whether there is a batch that has not ended."""
    query = f"SELECT 1 FROM batches WHERE started_at IS NOT NULL AND {batch_store.ACTIVE} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def claim(connection: sqlite3.Connection, room: dict[str, int], most: int, in_flight: Container[int]) -> list[Claim]:
    """Takes up to `most` pending requests, those with the earliest deadline first, as far as models have room.

    `room` maps a model to how many it can take.  A removed model is not in it: its requests stay as they are.
    """
    room = dict(room)
    claims: list[Claim] = []
    size = 0
    for asked in connection.execute(
        "SELECT b.seq, b.input, b.user, b.deadline, m.model FROM batches b"
        " JOIN files f ON f.seq = b.input AND f.deleted_at IS NULL JOIN file_models m ON m.file = b.input"
        f" WHERE b.started_at IS NOT NULL AND b.deleted_at IS NULL AND {batch_store.ACTIVE}"
        " ORDER BY b.deadline, b.seq"
    ).fetchall():
        model, batch = asked["model"], asked["seq"]
        limit = min(most - len(claims), room.get(model, 0))
        rows = connection.execute(
            "SELECT r.seq, r.id, r.custom_id, r.attempts, l.url, l.line FROM requests r"
            " JOIN lines l ON l.key = r.seq - ? + ?"
            " WHERE r.batch = ? AND r.state = 'pending' AND r.model = ? AND r.not_before <= ?"
            " ORDER BY r.seq LIMIT ?",
            (keys_of(batch)[0], keys_of(asked["input"])[0], batch, model, time.time(), limit),
        )
        for row in rows:
            if size > CLAIM_BYTES:
                break
            if row["seq"] in in_flight:  # put back by a retry while its first answer is on its way
                continue
            claims.append(
                Claim(
                    row["seq"],
                    batch,
                    row["id"],
                    row["custom_id"],
                    model,
                    row["url"],
                    row["line"],
                    row["attempts"] + 1,
                    asked["user"],
                    asked["deadline"],
                )
            )
            size += len(row["line"])
            room[model] -= 1
    connection.executemany(
        "UPDATE requests SET state = 'in_progress', attempts = attempts + 1 WHERE seq = ?",
        [(taken.seq,) for taken in claims],
    )
    return claims


def store(connection: sqlite3.Connection, outcomes: list[Outcome]) -> None:
    """A late answer supersedes a cancel; a late failure does not."""
    ends = [outcome for outcome in outcomes if outcome.kind != "retry"]
    connection.executemany(
        "UPDATE requests SET state = 'completed', answered = answered + 1 WHERE seq = ?",
        [(outcome.claim.seq,) for outcome in ends if outcome.kind == "output"],
    )
    connection.executemany(
        "UPDATE requests SET state = 'failed', answered = answered + 1 WHERE seq = ? AND state = 'in_progress'",
        [(outcome.claim.seq,) for outcome in ends if outcome.kind == "error"],
    )
    connection.executemany(
        "UPDATE requests SET state = 'pending', not_before = ? WHERE seq = ? AND state = 'in_progress'",
        [(outcome.not_before, outcome.claim.seq) for outcome in outcomes if outcome.kind == "retry"],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO answers SELECT seq, batch, ?, ?, id, ?, ?, ?, ?, ? FROM requests"
        " WHERE seq = ? AND state = ?",
        [
            (
                outcome.kind,
                outcome.at,
                len(outcome.line) - len(outcome.claim.custom_id.encode()) + ESTIMATE_PER_LINE[outcome.kind],
                outcome.line,
                outcome.prompt_tokens,
                outcome.completion_tokens,
                outcome.duration,
                outcome.claim.seq,
                "completed" if outcome.kind == "output" else "failed",
            )
            for outcome in ends
        ],
    )
    for batch in {outcome.claim.batch for outcome in ends}:
        batch_store.recount(connection, batch)


def recover(connection: sqlite3.Connection) -> None:
    """Before anything runs: what was in flight when the last process ended is pending again."""
    connection.execute("UPDATE requests SET state = 'pending' WHERE state = 'in_progress'")
    for row in connection.execute(
        "SELECT seq FROM batches WHERE cancelling_at IS NOT NULL AND started_at IS NOT NULL"
        " AND completed + failed + canceled < total"
    ).fetchall():
        batch_store.cascade(connection, row["seq"])


def finalize(connection: sqlite3.Connection) -> None:
    """Writes the end of the batches that have one and that nobody has looked at since."""
    query = f"SELECT seq FROM batches WHERE started_at IS NOT NULL AND {batch_store.ACTIVE}"
    for row in connection.execute(query).fetchall():
        batch_store.stamp(connection, row["seq"])


def purge(connection: sqlite3.Connection) -> None:
    """Removes what belongs to deleted batches, and the lines of deleted files.

    Answers of a batch whose input file was deleted stay.
    """
    for row in connection.execute("SELECT seq FROM batches WHERE deleted_at IS NOT NULL").fetchall():
        for table in ("answers", "requests"):
            connection.execute(f"DELETE FROM {table} WHERE seq BETWEEN ? AND ?", keys_of(row["seq"]))
    gone = "SELECT seq FROM files WHERE deleted_at IS NOT NULL AND kind = 'input'"
    for row in connection.execute(gone).fetchall():
        connection.execute("DELETE FROM lines WHERE key BETWEEN ? AND ?", keys_of(row["seq"]))
