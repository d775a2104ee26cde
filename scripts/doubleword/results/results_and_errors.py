"""Coverage, order and merge: one outcome for every request of the job, in the order of the request file.

`completed` is not success: a completed batch can hold failures, and the server counts answers that are no
JSON as completed. After this, every custom_id is exactly one of result, error, or missing with a reason.
"""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..base.console import Progress, say
from ..base.disk import sync_folder
from ..base.failures import BadInput, Clock
from ..base.files import read_at, whole_file
from ..base.own_files import reading_own
from ..base.text import plural, safe
from ..job import outputs
from ..job.job import Job
from ..job.record import Attempt, Part
from ..request_file.answer_form import expected_in
from ..request_file.lines import Span
from . import line_outcome as outcomes
from .answer import reasoning_of
from .hashed_file import Hashed
from .line_outcome import PLAIN, Outcome
from .response_body import Said
from .spool import TOO_LONG, distinct, ids_of, spool_files

# Counted as completed by the server, and paid, but not handed out yet: it is asked for again, never planned again.
UNREAD = "unread"
# A batch whose input was deleted: its requests without a result have no name any more, only a number.
INPUT_DELETED = "input_deleted"


# Repeating these cannot help: the request itself is refused, or it is gone, or there is an answer that is not read.
PERMANENT = frozenset({"http_400", "http_401", "http_403", "http_413", "http_422", INPUT_DELETED, TOO_LONG})


TALLIED = 20  # kinds of answers that are counted


class Covered(NamedTuple):
    """One request of the job with its outcome; without one, `missing` says why."""

    section: int  # of the request file
    line: int
    custom_id: str
    attempt: int
    outcome: Outcome | None
    missing: str
    tries: int = 1  # attempts that held it
    was_cut: bool = False  # one of its answers was cut short, whatever came after it

    @property
    def retryable(self) -> bool:
        """Whether another attempt could bring a result: it has none, and was not refused for good.

        A 400 comes from the model's service, for the server has taken the request; it is worth one more try.
        """
        kind = self.kind
        if kind in PERMANENT:
            return kind == "http_400" and self.tries < 2
        return kind not in ("", UNREAD, "running")

    @property
    def promising(self) -> bool:
        """Whether another attempt is the next step: what failed in two of them is for a person to look at first."""
        return self.retryable and (self.outcome is None or self.tries < 2)

    @property
    def kind(self) -> str:
        """ "" for a result, else the kind of error or the reason why it is missing."""
        return self.outcome.kind if self.outcome else self.missing


class Briefs:
    """The answer to each request that has a result, in their order, where it is a short text; else PLAIN or ""."""

    MOST = 1 << 16  # different ones, so that two bytes are enough for each result

    def __init__(self) -> None:
        self._numbers, self._of = {"": 0, PLAIN: 1}, array("H")

    def add(self, brief: str) -> None:
        number = self._numbers.get(brief)
        if number is None and len(self._numbers) < self.MOST:
            number = self._numbers[brief] = len(self._numbers)
        self._of.append(number or 0)

    def __iter__(self) -> Iterator[str]:
        return map([*self._numbers].__getitem__, self._of)

    @property
    def whole(self) -> bool:
        """Whether every answer is a short text."""
        return self.texts and 1 not in self._of

    @property
    def texts(self) -> bool:
        """Whether it is known that every answer is a text."""
        return 0 not in self._of

    def tally(self) -> dict[str, int]:
        """How often each came, most often first; {} where some are others, or of more than TALLIED kinds."""
        if not self.whole or len({brief.strip() for brief in self._numbers}) > TALLIED + 1:
            return {}
        found = Counter(brief.strip() for brief in self)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


@dataclass
class Summary:
    """The counts of a merge. `results` + sum(`errors`) + sum(`missing`) is the number of requests."""

    requests: int = 0
    results: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    unexpected: int = 0
    retryable: int = 0  # how many requests without a result another attempt is the next step for
    unread: int = 0  # longer answers to what was cut: counted by the server, not handed out yet
    cut: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    briefs: Briefs = field(default_factory=Briefs)
    vectors: Counter[int] = field(default_factory=Counter)  # how many of how many numbers

    @property
    def empty(self) -> int:
        return self.errors["empty"]

    @property
    def incomplete(self) -> bool:
        """Whether a request has no result, or results came that are nobody's."""
        return not self.requests or self.results < self.requests or self.unexpected > 0

    def count(self, covered: Covered) -> None:
        self.requests += 1
        outcome = covered.outcome
        if outcome is None:
            self.retryable += covered.promising
            self.missing[covered.missing] += 1
            return
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        if outcome.cut:
            self.cut += 1
            self.examples.setdefault("cut", place(covered))
        if outcome.kind:
            self.retryable += covered.promising
            self.errors[outcome.kind] += 1
            return
        self.results += 1
        self.briefs.add(outcome.brief)
        if outcome.numbers:
            self.vectors[outcome.numbers] += 1


def place(covered: Covered) -> str:
    """Which request, for a person: the line of the request file and the id."""
    return f"line {covered.line}, {safe(covered.custom_id, 64)}"


@dataclass
class Brought:
    """What a part of an attempt brought its members: an outcome for each custom_id that has one."""

    attempt: int
    members: set[str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)  # which had an answer that was cut short, whatever came after it
    unexpected: set[str] = field(default_factory=set)
    missing: str = ""  # why the others are

    def take(self, came: Iterable[Outcome]) -> None:
        """Takes what stands of a batch's outcomes, and notes the ids of others than members."""
        members, outcomes = self.members, self.outcomes
        for outcome in came:
            custom_id = outcome.custom_id
            if custom_id not in members:
                self.unexpected.add(custom_id)
                continue
            if outcome.cut:
                self.cut.add(custom_id)
            before = outcomes.get(custom_id)
            if before is None or _stands(outcome, before):
                outcomes[custom_id] = outcome


def cover(job: Job, summary: Summary | None = None) -> Iterator[Covered]:
    """Every request of the job in input order, with its outcome; also fills in the summary.

    A result beats an error; of several results the one of the lowest attempt stands, of several errors the latest.
    Memory holds the outcomes of one section of the request file and of what covers it.
    """
    summary = summary or Summary()
    requests, path = job.requests, job.request_file()
    job.require_unchanged()
    parts_of = _parts_of_sections(job)
    # A part of a later attempt often covers several sections, which may be apart: it is held until the last of them.
    until = {key: section for section, parts in enumerate(parts_of, 1) for key in parts}
    brought: dict[tuple[int, int], Brought] = {}
    with Progress("merge", requests.requests, "requests") as progress:
        for section, (span, parts) in enumerate(zip(requests.sections, parts_of, strict=True), 1):
            lines, ids = ids_of(path, span, requests.state)
            _count_unnamed(section, span, ids, summary)
            brought = {key: found for key, found in brought.items() if until[key] >= section}
            for key in parts.keys() - brought.keys():
                brought[key] = _brought(job, *parts[key])
                summary.unexpected += len(brought[key].unexpected)
            of_section = [brought[key] for key in parts]
            for line, custom_id in zip(lines, ids, strict=True):
                covered = _covered(section, line, custom_id, of_section, summary)
                summary.count(covered)
                yield covered
            progress.add(span.requests)


def _count_unnamed(section: int, span: Span, ids: list[str], summary: Summary) -> None:
    """Counts the requests of a section that no id of their own tells apart."""
    twice = len(ids) - len(set(ids))
    if twice:  # a file made elsewhere; the server takes it
        say(f"section {section}: ids occur more than once; which answer belongs to which line is unknown")
        summary.unexpected += twice
    if len(ids) < span.requests:
        unnamed = span.requests - len(ids)
        summary.requests += unnamed
        summary.missing[INPUT_DELETED] += unnamed


def _covered(section: int, line: int, custom_id: str, brought: list[Brought], summary: Summary) -> Covered:
    """How a request stands after the attempts so far."""
    attempt, outcome, missing, tries, was_cut = 1, None, "not_submitted", 0, False
    for part in brought:
        found = part.outcomes.get(custom_id)
        if found is None and custom_id not in part.members:
            continue
        attempt, missing = part.attempt, part.missing
        tries += found is not None or missing != "not_submitted"
        was_cut = was_cut or custom_id in part.cut
        if found is not None:
            outcome = found if outcome is None or _stands(found, outcome) else outcome
        elif outcome is not None and missing in (UNREAD, "running"):
            # The answer may be on its way: no older error stands meanwhile.
            summary.unread += outcome.cut and outcome.is_result and missing == UNREAD
            outcome = None if outcome.kind else outcome
    return Covered(section, line, custom_id, attempt, outcome, missing, max(1, tries), was_cut)


def _stands(new: Outcome, before: Outcome) -> bool:
    """Whether a later outcome takes the place of an earlier one: of an error always, of a result if that was cut."""
    return bool(before.kind) or (before.cut and new.is_result and not new.cut)


def _brought(job: Job, attempt: Attempt, part: Part) -> Brought:
    _, ids = ids_of(job.request_file(attempt), part.span, attempt.state)
    brought = Brought(attempt.attempt, set(ids))
    unread, expected = False, expected_in(job.request_file())
    for batch in part.batches:
        output, errors = spool_files(job, batch)
        brought.take(outcomes.read(output, expected))
        # How many ids have an answer here. Of the first batch, most often the only one, no second set of all of a
        # part's ids is made: it would be the peak of the memory.
        held = len(brought.outcomes)
        if batch is not part.batches[0]:
            held = len(brought.members.intersection(found.custom_id for found in outcomes.read(output, expected)))
        failed = {outcome.custom_id: outcome for outcome in outcomes.read(errors, expected)}
        # Retried on the server: of more errors than it counts some are answers by now, which are still to come.
        if held >= batch.completed or len(brought.members.intersection(failed)) <= batch.failed:
            brought.take(failed.values())
        else:
            brought.unexpected |= failed.keys() - brought.members
        if held < batch.completed and len(brought.members) < len(ids):  # ids that occur twice: the lines are counted
            held = len(distinct(output))
        # The server counts more answers than it handed out, which ones it does not say; or it cannot count.
        unread = unread or held < batch.completed or (batch.ended and not batch.counts_what_ran(part.requests))
    brought.missing = UNREAD if unread and part.ended else _missing(part)
    return brought


def brought_by(job: Job, attempts: Iterable[Attempt]) -> tuple[int, int, int]:
    """(answers, prompt tokens, completion tokens) that some attempts brought, by the answers' own `usage`."""
    batches = [batch for attempt in attempts for part in attempt.parts for batch in part.batches]
    expected = expected_in(job.request_file())
    came = [found for batch in batches for spool in spool_files(job, batch) for found in outcomes.read(spool, expected)]
    used = sum(found.prompt_tokens for found in came), sum(found.completion_tokens for found in came)
    return sum(found.is_result for found in came), *used


def _parts_of_sections(job: Job) -> list[dict[tuple[int, int], tuple[Attempt, Part]]]:
    """Of each section the parts that hold requests of it, by the numbers of attempt and part, in their order.

    An attempt keeps the order of the request file, so its `origin` runs [section, count] tell by counting.
    """
    found: list[dict[tuple[int, int], tuple[Attempt, Part]]] = [{} for _ in job.requests.sections]
    for attempt in job.attempts:
        start, ends = 0, [*accumulate(part.requests for part in attempt.parts)]
        for section, count in attempt.origin:
            for part, end in zip(attempt.parts, ends, strict=True):
                if start < end and end - part.requests < start + count:
                    found[section - 1][attempt.attempt, part.part] = attempt, part
            start += count
    return found


def _missing(part: Part) -> str:
    if part.batch is None:
        return "not_submitted"
    if not part.ended:
        return "running"
    return "cancelled" if part.batch.status == "cancelled" else "not_returned"


def write(job: Job, results: Path, errors: Path, clock: Clock) -> Summary:
    """Writes both files whole; the errors file only if there is one. Raises BadInput rather than replace a results
    file by one with fewer, or one that is not the job's."""
    summary, requests = Summary(), job.request_file()
    expected = expected_in(requests)
    batches = [batch for part in job.parts() for batch in part.batches]
    batch_ids = {path: batch.id for batch in batches for path in spool_files(job, batch)}
    kept, sha256 = job.folder / "errors.jsonl", ""

    def note(made: Path) -> None:
        outputs.replacing(job, clock, results, made, sha256)

    with closing(_Spools()) as spools, whole_file(kept, requests) as bad, whole_file(results, requests, note) as good:
        hashed = Hashed(good)
        for covered in cover(job, summary):
            raw = spools.line(covered.outcome) if covered.outcome else b""
            if not covered.kind:
                hashed.write(raw)
                continue
            line = _error_line(covered, outcomes.error_of(raw, expected) if covered.outcome else None, batch_ids)
            bad.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            if covered.outcome:
                summary.examples.setdefault(covered.kind, f"{place(covered)}: {line['text']}")
        sha256 = hashed.digest()
        _refuse_fewer(results, summary.results)
    if kept.stat().st_size:
        outputs.replacing(job, clock, errors, kept)
        os.replace(kept, errors)
    else:
        kept.unlink()
        outputs.remove(job, errors)
    sync_folder(results.parent)
    return summary


class _Spools(dict[Path, BinaryIO]):
    """The spools that lines are read out of stay open: answers come in another order than requests."""

    OPEN = 32  # a job of hundreds of parts has more files than a process may have open

    def __missing__(self, spool: Path) -> BinaryIO:
        if len(self) >= self.OPEN:
            self.close()
        self[spool] = reading_own(spool)
        return self[spool]

    def line(self, outcome: Outcome) -> bytes:
        return read_at(self[outcome.spool].fileno(), outcome.offset, outcome.length)

    def close(self) -> None:
        for file in self.values():
            file.close()
        self.clear()


def _error_line(covered: Covered, failed: outcomes.Failed | None, batch_ids: dict[Path, str]) -> dict[str, Any]:
    outcome, said = covered.outcome, failed.said if failed else Said()
    return {
        "custom_id": covered.custom_id,
        "kind": covered.kind,
        "status": outcome.status if outcome else None,
        "text": failed.text if failed else f"missing: {covered.missing.replace('_', ' ')}",
        "line": covered.line,
        "attempt": covered.attempt,
        "batch_id": batch_ids[outcome.spool] if outcome else None,
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.completion_tokens,
        "cut": said.cut,
        "finish_reason": said.finish,
        "reasoning": reasoning_of(said),
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
