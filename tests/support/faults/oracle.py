"""What the server's own database says of a job, whatever the scripts and their record say."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from itertools import combinations
from pathlib import Path
from typing import Any


class Oracle:
    """Judges everything that was submitted after it was made. Each method gives the violations it found."""

    def __init__(self, database: Path) -> None:
        self._database = database
        (self._since,) = self._rows("SELECT coalesce(max(seq), 0) FROM batches")[0]

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()

    def batches(self) -> list[sqlite3.Row]:
        return self._rows(
            "SELECT b.*, (SELECT max(completed_at) FROM answers a WHERE a.batch = b.seq) AS last_answer_at"
            " FROM batches b WHERE seq > ? ORDER BY seq",
            self._since,
        )

    def live_together(self) -> list[str]:
        """Pairs of batches of one content that lived at the same time."""
        return [
            f"batches {one['id']} and {other['id']} of one content lived at the same time"
            for one, other in combinations(self.batches(), 2)
            if _content(one) == _content(other) and one["created_at"] < _end(other) and other["created_at"] < _end(one)
        ]

    def answered(self) -> dict[str, int]:
        """How many times each custom_id got an answer or a final failure, over all batches."""
        rows = self._rows(
            "SELECT custom_id, sum(answered) AS times FROM requests WHERE batch > ? GROUP BY custom_id", self._since
        )
        return {row["custom_id"]: row["times"] for row in rows}

    def answered_twice(self) -> list[str]:
        return [f"{name} was answered {times} times" for name, times in self.answered().items() if times > 1]

    def results(self) -> dict[str, set[bytes]]:
        """The output lines the server holds for each custom_id."""
        found: dict[str, set[bytes]] = {}
        query = (
            "SELECT custom_id, line FROM answers JOIN requests USING (seq) WHERE kind = 'output' AND answers.batch > ?"
        )
        for row in self._rows(query, self._since):
            found.setdefault(row["custom_id"], set()).add(bytes(row["line"]))
        return found

    def all_ended(self) -> bool:
        return all(_end(batch) < float("inf") for batch in self.batches())

    def any_ended_otherwise(self) -> bool:
        return any(batch["cancelling_at"] or batch["failed_at"] for batch in self.batches())


def _content(batch: sqlite3.Row) -> str:
    return str(json.loads(batch["metadata"])["dwb_content"])


def _end(batch: sqlite3.Row) -> float:
    """When a batch stopped living: its requests were all done, or it was told to stop."""
    ends = [batch[name] for name in ("cancelling_at", "completed_at", "failed_at", "deleted_at") if batch[name]]
    # The server writes down the end when somebody looks; it was over with the last answer.
    if batch["completed"] + batch["failed"] == batch["total"] and batch["last_answer_at"]:
        ends.append(batch["last_answer_at"])
    return float(min(ends, default=float("inf")))


def outcome_of_files(folder: Path, stem: str, ids: list[str]) -> tuple[list[str], list[str]]:
    """(custom_ids with a result, violations) of the final files: whole, in input order, each request once."""
    results, errors = folder / f"{stem}.results.jsonl", folder / f"{stem}.errors.jsonl"
    problems: list[str] = []
    good, bad = _ids_in(results, problems), _ids_in(errors, problems)
    if sorted(good + bad) != sorted(ids):
        problems.append(f"results {good} and errors {bad} are not every request once")
    for path, found in ((results, good), (errors, bad)):
        if found != [name for name in ids if name in found]:
            problems.append(f"{path.name} is not in input order: {found}")
    return good, problems


def _ids_in(path: Path, problems: list[str]) -> list[str]:
    data = path.read_bytes() if path.exists() else b""  # no errors file: no request failed
    if data and not data.endswith(b"\n"):
        problems.append(f"{path.name} does not end with a whole line")
    found = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            found.append(json.loads(line)["custom_id"])
        except ValueError:
            problems.append(f"{path.name} line {number} is no JSON")
    return found
