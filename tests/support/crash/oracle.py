"""The judge. It reads the server's database and the final files, never the job record.

A batch is *live* from its creation until it has failed or was cancelled or deleted; a completed one stays live, for it
was paid. The tables are described in `local_server.storage`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

FOREVER = float("inf")


def read(database: Path, query: str, *values: Any) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query, values).fetchall()


def lives(database: Path) -> dict[str, list[tuple[float, float, str]]]:
    """Of each content hash the batches' (created, ended, id), by the server's clock, in order."""
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for row in read(database, "SELECT * FROM batches ORDER BY created_at"):
        content = json.loads(row["metadata"]).get("dwb_content")
        if content is None:
            continue
        ends = [row[key] for key in ("failed_at", "cancelled_at", "deleted_at") if row[key] is not None]
        found[content].append((row["created_at"], min(ends, default=FOREVER), row["id"]))
    return found


def twice_alive(database: Path) -> list[str]:
    """The pairs of batches of one content that were live at the same time."""
    return [
        f"batches {one[2]} and {other[2]} of content {content[:12]} were live at the same time"
        for content, batches in lives(database).items()
        for one, other in pairwise(batches)
        if other[0] < one[1]
    ]


def answered_twice(database: Path) -> list[str]:
    """The requests that a model answered more than once, in whatever batch: paid twice."""
    rows = read(
        database,
        "SELECT r.custom_id, count(*) AS answers, sum(r.answered) AS times FROM answers a JOIN requests r USING (seq)"
        " WHERE a.kind = 'output' GROUP BY r.custom_id HAVING answers > 1",
    )
    return [f"{row['custom_id']} was answered {row['answers']} times" for row in rows]


def judge_files(database: Path, folder: Path, ids: list[str], code: int) -> list[str]:
    """What is wrong with the final files of the job r.jsonl, of which the last delivery ended with `code`."""
    problems = _torn_or_left(folder)
    if problems:
        return problems
    results, errors = _lines(folder / "r.results.jsonl"), _lines(folder / "r.errors.jsonl")
    answered = {row["custom_id"]: row["line"] for row in _outputs(database, ids)}
    for name, lines in (("results", results), ("errors", errors)):
        got = [line["custom_id"] for _, line in lines]
        if got != sorted(got):
            problems.append(f"{name} are not in input order: {got}")
    covered = Counter(line["custom_id"] for _, line in results + errors)
    problems += [f"{i} is covered {covered[i]} times" for i in ids if covered[i] != 1]
    problems += [f"{i} is not in this job" for i in covered if i not in ids]
    problems += [f"{line['custom_id']} is not the server's line" for raw, line in results
                 if answered.get(line["custom_id"]) != raw]  # fmt: skip
    problems += [f"{line['custom_id']} is an error, yet the server has its answer" for _, line in errors
                 if line["custom_id"] in answered]  # fmt: skip
    whole = len(results) == len(ids)
    if code not in (0, 7, 9) or whole != (code == 0) or (code == 7 and results):
        problems.append(f"exit code {code} with {len(results)} results and {len(errors)} errors")
    return problems


def _outputs(database: Path, ids: list[str]) -> list[sqlite3.Row]:
    marks = ",".join("?" * len(ids))
    return read(
        database,
        "SELECT r.custom_id, a.line FROM answers a JOIN requests r USING (seq)"
        f" WHERE a.kind = 'output' AND r.custom_id IN ({marks})",
        *ids,
    )


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    if not path.exists():  # no request failed
        return []
    with path.open("rb") as file:
        return [(raw, json.loads(raw)) for raw in file]


def _torn_or_left(folder: Path) -> list[str]:
    """Files that do not parse or lack their last line end, and files of which nothing may be left after a run."""
    problems = []
    for path in (p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        data = path.read_bytes()
        if path.suffix == ".lock":
            continue
        if path.suffix in (".tmp", ".fresh") or (path.name.startswith(".") and path.suffix != ".lock"):
            problems.append(f"{name} was left behind")
        elif path.suffix == ".jsonl":
            if (data or ("errors" in name and "/" not in name)) and not data.endswith(b"\n"):
                problems.append(f"{name} has no end")
            try:
                _lines(path)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        elif path.suffix == ".json":
            json.loads(data)
    for name in ("r.jsonl", "r.job/record.json", "r.results.jsonl"):
        if not (folder / name).exists():
            problems.append(f"{name} is missing")
    return problems
