"""The judge: what the server's own database says of a job, and whether the final files agree; never the job record.

`Oracle` is the same for the local server (`LocalOracle`) and for the vendor's (`real_server.oracle`), each with its way
of reading the tables. It sees the batches made since it was made, and each judgement gives the violations it found.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

FOREVER = float("inf")


@dataclass(frozen=True)
class Batch:
    """A batch as the database has it. Times are the server's clock; `content` is None for a foreign batch."""

    id: str
    content: str | None
    job: str | None
    window: str
    total: int
    completed: int
    failed: int
    created_at: float
    completed_at: float | None = None
    failed_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    deleted_at: float | None = None
    last_answer_at: float | None = None

    @property
    def cancelled(self) -> bool:
        return self.cancelling_at is not None

    @property
    def live(self) -> bool:
        """Nothing has cancelled, failed or deleted it; a completed one stays live, for it was paid."""
        return not self.cancelled and self.failed_at is None and self.deleted_at is None

    @property
    def void_at(self) -> float:
        """When it stopped being live."""
        return _first(self.failed_at, self.cancelled_at, self.deleted_at)

    @property
    def over_at(self) -> float:
        """When the last of its requests was done, or it was told to stop."""
        # The server writes down the end when somebody looks; it was over with the last answer.
        done = self.last_answer_at if self.completed + self.failed == self.total else None
        return _first(self.cancelling_at, self.completed_at, self.failed_at, self.deleted_at, done)


def _first(*times: float | None) -> float:
    return min((time for time in times if time is not None), default=FOREVER)


class Oracle:
    """What every database is asked for, and the judgements."""

    def batches(self) -> list[Batch]:
        """In the order of their creation."""
        raise NotImplementedError

    def answers(self) -> dict[str, int]:
        """How many times each custom_id was answered by a model, over all batches."""
        raise NotImplementedError

    def live(self) -> list[Batch]:
        return [batch for batch in self.batches() if batch.live]

    def by_content(self) -> dict[str, list[Batch]]:
        """The batches of each part's content."""
        found: dict[str, list[Batch]] = defaultdict(list)
        for batch in self.batches():
            if batch.content is not None:
                found[batch.content].append(batch)
        return found

    def all_ended(self) -> bool:
        return all(batch.over_at < FOREVER for batch in self.batches())

    def any_ended_otherwise(self) -> bool:
        return any(batch.cancelled or batch.failed_at for batch in self.batches())

    # --- judgements ---

    def live_together(self) -> list[str]:
        """Pairs of batches of one content that were live at the same time: a completed one forever."""
        return self._pairs("void_at", "were live")

    def ran_together(self) -> list[str]:
        """Pairs of batches of one content that were both at work at some time."""
        return self._pairs("over_at", "ran")

    def live_twice(self) -> list[str]:
        """The contents that more than one batch carries which is live now."""
        counts = Counter(batch.content for batch in self.live())
        return sorted(f"content {content} has {n} live batches" for content, n in counts.items() if content and n > 1)

    def answered_twice(self) -> list[str]:
        """The requests that were answered more than once, in whatever batch: paid twice."""
        return [f"{name} was answered {times} times" for name, times in sorted(self.answers().items()) if times > 1]

    def _pairs(self, end: str, what: str) -> list[str]:
        return [
            f"batches {one.id} and {other.id} of content {content[:12]} {what} at the same time"
            for content, batches in self.by_content().items()
            for one, other in combinations(batches, 2)
            if one.created_at < getattr(other, end) and other.created_at < getattr(one, end)
        ]


def read(database: Path, query: str, *values: Any) -> list[sqlite3.Row]:
    """Rows of the local server's database; its tables are described in `local_server.storage`."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query, values).fetchall()


class LocalOracle(Oracle):
    def __init__(self, database: Path, since: int | None = None) -> None:
        """`since` 0: also sees what was made before."""
        self._database = database
        self._since = self.rows("SELECT coalesce(max(seq), 0) FROM batches")[0][0] if since is None else since

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return read(self._database, query, *values)

    def batches(self) -> list[Batch]:
        rows = self.rows(
            "SELECT b.*, (SELECT max(completed_at) FROM answers a WHERE a.batch = b.seq) AS last_answer_at"
            " FROM batches b WHERE seq > ? ORDER BY seq",
            self._since,
        )
        return [_batch(row) for row in rows]

    def answers(self) -> dict[str, int]:
        return self._sums("answered", "state = 'completed'")

    def done(self) -> dict[str, int]:
        """How many times each custom_id got an answer or a final failure, over all batches."""
        return self._sums("answered", "true")

    def _sums(self, column: str, where: str) -> dict[str, int]:
        query = f"SELECT custom_id, sum({column}) FROM requests WHERE batch > ? AND {where} GROUP BY custom_id"
        return {row[0]: row[1] for row in self.rows(query, self._since)}

    def results(self) -> dict[str, set[bytes]]:
        """The output lines the server holds for each custom_id."""
        found: dict[str, set[bytes]] = {}
        query = (
            "SELECT custom_id, line FROM answers JOIN requests USING (seq) WHERE kind = 'output' AND answers.batch > ?"
        )
        for row in self.rows(query, self._since):
            found.setdefault(row["custom_id"], set()).add(bytes(row["line"]))
        return found

    def judge(self, folder: Path, ids: list[str], code: int) -> list[str]:
        """Everything that is wrong with the job r.jsonl, of which the last delivery ended with `code`."""
        return [*self.judge_files(folder, ids, code), *self.live_together(), *self.answered_twice()]

    def judge_files(self, folder: Path, ids: list[str], code: int) -> list[str]:
        """What is wrong with the final files of the job r.jsonl, of which the last delivery ended with `code`."""
        problems = _torn_or_left(folder)
        if problems:
            return problems
        good, problems = outcome_of_files(folder, "r", ids)
        held = self.results()
        for line in (folder / "r.results.jsonl").read_bytes().splitlines(keepends=True):
            name = json.loads(line)["custom_id"]
            if line not in held.get(name, ()):
                problems.append(f"{name} is not the server's line")
        problems += [f"{name} is an error, yet the server has its answer" for name in ids
                     if name in held and name not in good]  # fmt: skip
        if code not in (0, 7, 9) or (len(good) == len(ids)) != (code == 0) or (code == 7 and good):
            problems.append(f"exit code {code} with {len(good)} results of {len(ids)}")
        return problems


def _batch(row: sqlite3.Row) -> Batch:
    metadata = json.loads(row["metadata"])
    times = ("created_at", "completed_at", "failed_at", "cancelling_at", "cancelled_at", "deleted_at", "last_answer_at")
    return Batch(
        id=row["id"],
        content=metadata.get("dwb_content"),
        job=metadata.get("dwb_job"),
        window=row["completion_window"],
        **{name: row[name] for name in ("total", "completed", "failed", *times)},
    )


# --- files ---


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


def _torn_or_left(folder: Path) -> list[str]:
    """Files that do not parse or lack their last line end, and files of which nothing may be left after a run."""
    problems = []
    for path in (p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".lock":
            continue
        if path.suffix in (".tmp", ".fresh") or path.name.startswith("."):
            problems.append(f"{name} was left behind")
        elif path.suffix == ".jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                problems.append(f"{name} has no end")
            if not lines and name == "r.errors.jsonl":
                problems.append(f"{name} is empty: no request failed")
            problems += [f"{name} line {n} is no JSON" for n, line in enumerate(lines, 1) if not _is_json(line)]
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
    for name in ("r.jsonl", "r.job/record.json", "r.results.jsonl"):
        if not (folder / name).exists():
            problems.append(f"{name} is missing")
    return problems


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
