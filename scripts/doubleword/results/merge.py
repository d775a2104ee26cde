"""Coverage, order and merge: one outcome for every request of the job, in the order of the request file.

`completed` is not success: a completed batch can hold failures, and the server counts answers that are no
JSON as completed. After this, every custom_id is exactly one of result, error, or missing with a reason.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..base.console import say
from ..base.errors import BadInput, ExitCode
from ..base.files import state_of, whole_file
from ..base.progress import Progress
from ..base.text import plural, safe
from ..job.job import Job
from ..job.record import Attempt, Part, ended
from ..request_file.lines import request_ids
from . import outcome as outcomes
from .outcome import Outcome
from .spool import spool_files

# A batch whose input was deleted: its requests without a result have no name any more, only a number.
INPUT_DELETED = "input_deleted"


# Repeating these cannot help: the request itself is refused, or it is gone.
PERMANENT = frozenset({"http_400", "http_401", "http_403", "http_413", "http_422", INPUT_DELETED})


class Covered(NamedTuple):
    """One request of the job with its outcome; without one, `missing` says why."""

    part: int  # of the first attempt
    line: int
    custom_id: str
    attempt: int
    outcome: Outcome | None
    missing: str

    @property
    def kind(self) -> str:
        """ "" for a result, else the kind of error or the reason why it is missing."""
        return self.outcome.kind if self.outcome else self.missing


@dataclass
class Summary:
    """The counts of a merge. `results` + sum(`errors`) + sum(`missing`) is the number of requests."""

    requests: int = 0
    results: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    unexpected: int = 0
    cut: int = 0
    empty: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def exit_code(self) -> ExitCode:
        if not self.requests or self.results < self.requests or self.unexpected:
            return ExitCode.INCOMPLETE
        return ExitCode.DONE

    @property
    def retryable(self) -> int:
        """How many requests without a result another attempt could bring one for."""
        kinds = {**self.errors, **self.missing}
        return sum(count for kind, count in kinds.items() if kind not in PERMANENT)

    def count(self, covered: Covered) -> None:
        self.requests += 1
        outcome = covered.outcome
        if outcome is None:
            self.missing[covered.missing] = self.missing.get(covered.missing, 0) + 1
        elif outcome.is_result:
            self.results += 1
            self.cut += outcome.cut
            self.empty += outcome.empty
            for word, applies in (("cut", outcome.cut), ("empty", outcome.empty)):
                if applies:
                    self.examples.setdefault(word, f"line {covered.line}, {safe(covered.custom_id, 64)}")
            self.prompt_tokens += outcome.prompt_tokens
            self.completion_tokens += outcome.completion_tokens
        else:
            self.errors[outcome.kind] = self.errors.get(outcome.kind, 0) + 1


# What a part of a later attempt brought: attempt, outcomes, custom_ids, why the others are missing, unexpected ids.
Later = tuple[int, list[Outcome], list[str], str, int]


def cover(job: Job, summary: Summary) -> Iterator[Covered]:
    """Every request of the job in input order, with its outcome; also fills in the summary.

    A result beats an error; of several results the one of the lowest attempt stands, of several errors the latest.
    Memory holds the outcomes of one part of the first attempt and of what covers it in later ones.
    """
    first = job.attempts[0]
    check = state_of(job.request_file()) != first["state"]
    cached = functools.lru_cache(maxsize=2)(lambda number, index: _later_part(job, number, index))
    counted: set[tuple[int, int]] = set()
    with Progress("merge", first["requests"], "requests") as progress:
        for part in first["parts"]:
            if len(first["parts"]) > 1:
                outcomes.forget()  # of the part before: memory is promised for one
            later: list[Later] = []
            for key in _later_parts(job, part["part"]):
                later.append(cached(*key))
                summary.unexpected += 0 if key in counted else later[-1][-1]
                counted.add(key)
            yield from _cover_part(job, part, check, later, summary)
            progress.add(part["requests"])


def _cover_part(job: Job, part: Part, check: bool, later: list[Later], summary: Summary) -> Iterator[Covered]:
    ids = list(request_ids(job.request_file(), part, check))
    missing = {custom_id: _missing(part) for _, custom_id in ids}
    if len(missing) < len(ids):  # a file made elsewhere; the server takes it
        say(f"part {part['part']}: ids occur more than once; which answer belongs to which line is unknown")
        summary.unexpected += len(ids) - len(missing)
    if len(ids) < part["requests"]:
        unnamed = part["requests"] - len(ids)
        summary.requests += unnamed
        summary.missing[INPUT_DELETED] = summary.missing.get(INPUT_DELETED, 0) + unnamed
    found: dict[str, Outcome] = {}
    attempt_of: dict[str, int] = {}
    summary.unexpected += _take(found, _part_outcomes(job, part), missing)
    for number, came, members, reason, _ in later:
        again = [custom_id for custom_id in members if custom_id in missing]
        missing.update(dict.fromkeys(again, reason))
        attempt_of.update(dict.fromkeys(again, number))
        _take(found, (outcome for outcome in came if outcome.custom_id in missing), missing)
    for line, custom_id in ids:
        number = attempt_of.get(custom_id, 1)
        covered = Covered(part["part"], line, custom_id, number, found.get(custom_id), missing[custom_id])
        summary.count(covered)
        yield covered


def _take(found: dict[str, Outcome], new: Iterable[Outcome], ids: dict[str, str]) -> int:
    """Merges outcomes; returns how many distinct ids are none of `ids`."""
    unexpected = set()
    for outcome in new:
        if outcome.custom_id not in ids:
            unexpected.add(outcome.custom_id)
            continue
        before = found.get(outcome.custom_id)
        if before is None or before.kind:
            found[outcome.custom_id] = outcome
    return len(unexpected)


def _part_outcomes(job: Job, part: Part) -> Iterator[Outcome]:
    for batch in ([part["batch"]] if part["batch"] else []) + part["other_batches"]:
        for spool in spool_files(job, batch):
            yield from outcomes.read(spool)


def _later_part(job: Job, number: int, index: int) -> Later:
    attempt = job.attempts[number - 1]
    part = attempt["parts"][index]
    known = state_of(job.request_file(attempt)) == attempt["state"]
    ids = [custom_id for _, custom_id in request_ids(job.request_file(attempt), part, check=not known)]
    found = list(_part_outcomes(job, part))
    unexpected = {outcome.custom_id for outcome in found} - set(ids)
    came = [outcome for outcome in found if outcome.custom_id not in unexpected]
    return number, came, ids, _missing(part), len(unexpected)


def _later_parts(job: Job, first_part: int) -> Iterator[tuple[int, int]]:
    """(attempt number, index of the part) of later attempts that hold requests of a part of the first attempt.

    A later attempt keeps the order of the first, so its `origin` runs [part of attempt 1, count] tell by counting.
    """
    for attempt in job.attempts[1:]:
        start = 0
        for origin, count in attempt["origin"]:
            if origin == first_part:
                yield from ((attempt["attempt"], i) for i in _parts_between(attempt, start, start + count))
            start += count


def _parts_between(attempt: Attempt, start: int, end: int) -> Iterator[int]:
    begins = 0
    for index, part in enumerate(attempt["parts"]):
        if begins < end and start < begins + part["requests"]:
            yield index
        begins += part["requests"]


def _missing(part: Part) -> str:
    if part["batch"] is None:
        return "not_submitted"
    if not ended(part):
        return "running"
    return "cancelled" if part["batch"].get("status") == "cancelled" else "not_returned"


def write(job: Job, results: Path, errors: Path) -> Summary:
    """Writes both files whole. Raises BadInput rather than replace a results file by one with fewer."""
    summary, spools = Summary(), _Spools()
    try:
        with whole_file(errors) as bad, whole_file(results) as good:
            for covered in cover(job, summary):
                raw = spools.line(covered.outcome) if covered.outcome else b""
                if covered.outcome and covered.outcome.is_result:
                    good.write(raw)
                    continue
                line = _error_line(covered, raw)
                bad.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
                if covered.outcome:
                    place = f"line {covered.line}, {safe(covered.custom_id, 64)}"
                    summary.examples.setdefault(covered.kind, f"{place}: {line['text']}")
            _refuse_fewer(results, summary.results)
    finally:
        spools.close()
    return summary


class _Spools:
    """Reads single lines out of the spools, which stay open: answers come in another order than requests."""

    OPEN = 32  # a job of hundreds of parts has more files than a process may have open

    def __init__(self) -> None:
        self._open: dict[Path, Any] = {}

    def line(self, outcome: Outcome) -> bytes:
        if outcome.spool not in self._open:
            if len(self._open) >= self.OPEN:
                self.close()
            self._open[outcome.spool] = outcome.spool.open("rb", buffering=0)
        file = self._open[outcome.spool]
        file.seek(outcome.offset)
        return bytes(file.read(outcome.length))

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()


def _error_line(covered: Covered, raw: bytes) -> dict[str, Any]:
    outcome = covered.outcome
    text = f"missing: {covered.missing.replace('_', ' ')}"
    if outcome:
        text = outcomes.error_text(raw)
    return {
        "custom_id": covered.custom_id,
        "kind": covered.kind,
        "status": outcome.status if outcome else None,
        "text": text,
        "line": covered.line,
        "attempt": covered.attempt,
        "batch_id": outcome.spool.name.split(".")[0] if outcome else None,
    }


def _refuse_fewer(results: Path, count: int) -> None:
    if not results.exists():
        return
    with results.open("rb") as file:
        held = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    if held > count:
        raise BadInput(
            f"{safe(results.name)} holds {plural(held, 'result')}, this download brought {count}; the file stays",
            "it may be the only copy of those results; move it to a safe place to have the smaller one",
        )
