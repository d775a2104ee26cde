"""Which requests are sent again? Plans an attempt: what has no result, in input order, copied from the request file."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..base.failures import BadInput, ExitCode, Failure, NotFound, Temporary, WrongUsage
from ..base.files import digest, whole_file
from ..base.text import plural
from ..job.job import Job
from ..job.next_step import command, require_submitted
from ..job.record import attempt_from
from ..request_file import check
from ..request_file.lines import request_lines
from ..service.api import Api
from . import results_and_errors
from .evenly import Evenly
from .fetch import fetch_answers, is_settled
from .spool import spool_lock


class StillOpen(Failure):
    """An attempt has not ended: planning another could pay for the same request twice."""

    code = ExitCode.STILL_RUNNING


class Wanted(NamedTuple):
    """What to plan: these kinds alone, those refused for good, at most so many attempts, cut answers under a limit."""

    only: list[str] | None = None
    permanent: bool = False
    max_attempts: int = 5
    max_tokens: int | None = None


class Plan(NamedTuple):
    """The attempt's request file (None: nothing to send), its requests by kind, and what was left out."""

    path: Path | None
    requests: int
    kinds: dict[str, int]
    left_out: dict[str, int]
    cut: int = 0  # answers that were cut short, not planned


# Another command may change the job between a fetch and a plan; more often than that it is busy with it.
TRIES = 3


def planned(api: Api, job: Job, plan: Callable[[], Plan]) -> Plan:
    """Makes a plan under the lock, from answers that were all fetched before it was taken.

    The lock is not held for as long as a download takes, so what was fetched is asked again under it: a batch may have
    been cancelled, or looked at, or may run again. Raises Temporary if the job changes all the time.
    """
    for _ in range(TRIES):
        if any(part.ended for part in job.submitted()):
            with spool_lock(job, api.clock):
                fetch_answers(api, job)
        with job.locked(api.clock):
            if _settled(job):
                return plan()
    raise Temporary("another command changes this job all the time")


def plan(api: Api, job: Job, wanted: Wanted) -> Plan:
    """Plans what failed, was cancelled or is missing; with `max_tokens` what was cut short, too, under that limit.

    Fetch first; the lock must be held.
    """
    _withdraw_unsent(job)
    _require_ended(job)
    if len(job.attempts) >= wanted.max_attempts:
        raise BadInput(f"this job has had {len(job.attempts)} attempts", "look at the errors; or raise --max-attempts")

    before = max((attempt.max_tokens or 0 for attempt in job.attempts), default=0)
    if wanted.max_tokens is not None and wanted.max_tokens <= before:
        raise WrongUsage(
            f"--max-tokens {wanted.max_tokens}: an attempt with {before} was made already",
            command("retry_failed.py", job, "--max-tokens", str(2 * before)),
        )

    def chosen(covered: results_and_errors.Covered) -> bool:
        if wanted.only and covered.kind not in wanted.only:
            return False
        return covered.retryable or (wanted.permanent and covered.kind in results_and_errors.PERMANENT)

    made = _plan(job, "rest" if job.has_rest else "retry", chosen, wanted.max_tokens)
    if made.path is None and results_and_errors.UNREAD in made.left_out:
        raise unread(api, job, made.left_out[results_and_errors.UNREAD])
    return made


def unread(api: Api, job: Job, requests: int) -> Failure:
    """The server counts answers that it has not handed out: a download brings them, another attempt pays for them.

    Those of a batch that was deleted on the server never come: the user may count it as ended with what was fetched.
    """
    for batch in [batch for part in job.submitted() for batch in part.batches]:
        try:
            if batch.fetched is not None and not batch.fetched.whole:
                api.batch(batch.id)
        except NotFound as error:
            return NotFound(
                f"{error.what}, and not all that it answered was fetched: {plural(requests, 'request')}, which are paid"
                " for",
                f"ask the user: {command('create_batch.py', job, '--again')} counts it as ended, so that what it"
                " answered can be paid for anew",
            )
    return Temporary(
        f"the server counts answers that it has not handed out yet: {plural(requests, 'request')} may be among them;"
        " they are paid for",
        f"the same download later: {command('download.py', job)}",
    )


def plan_rest(job: Job) -> Plan:
    """After a trial: everything else, and what the trial failed at. Fetch first; the lock must be held."""
    _withdraw_unsent(job)
    if job.unsubmitted() or not job.ended or not job.has_rest:  # another command has planned it meanwhile
        return Plan(None, 0, {}, {})
    return _plan(job, "rest", lambda covered: covered.retryable)


def plan_trial(job: Job, count: int) -> Plan:
    """Plans `count` requests that no attempt holds yet, spread evenly over them: real tables are sorted.

    A plan of which nothing was submitted gives way. The lock must be held. Raises WrongUsage if there are fewer.
    """
    while job.attempts and not any(part.submission or part.batch for part in job.latest.parts):
        job.attempts.pop()
    if not job.has_rest:
        raise WrongUsage("--trial: all requests of this job were submitted already", command("run_batch.py", job))
    left = sum(covered.missing == "not_submitted" for covered in results_and_errors.cover(job))
    if count > left:
        raise WrongUsage(
            f"--trial {count}: only {plural(left, 'request')} of this job are not submitted yet",
            f"{command('run_batch.py', job)} runs them all",
        )
    evenly = Evenly(count, left)
    return _plan(job, "trial", lambda covered: covered.kind == "not_submitted" and evenly.take())


Chosen = Callable[[results_and_errors.Covered], bool]


def _plan(job: Job, kind: str, wanted: Chosen, max_tokens: int | None = None) -> Plan:
    """Writes an attempt's request file, the wanted requests without a result, and adds the attempt to the record.

    Raises NotAllowed for the rest of a job that was cancelled.
    """
    if kind == "rest":
        job.require_not_cancelled()
    summary = results_and_errors.Summary()
    kinds, left_out = Counter[str](), Counter[str]()
    sections = Counter[int]()  # how many of each: they come in order
    number = len(job.attempts) + 1
    path = _new_name(job, number)
    lines = (raw for span in job.requests.sections for _, raw in request_lines(job.request_file(), span))
    with whole_file(path, job.request_file()) as file:
        for covered, raw in zip(results_and_errors.cover(job, summary), lines, strict=True):
            cut = covered.outcome is not None and covered.outcome.cut and covered.missing != results_and_errors.UNREAD
            again = cut and max_tokens is not None
            if not covered.kind and not again:
                continue
            if not again and (covered.kind == results_and_errors.UNREAD or not wanted(covered)):
                left_out[covered.kind] += 1
                continue
            if covered.was_cut:  # also where a later attempt failed otherwise: never again under the limit of then
                limits = [max_tokens, *(attempt.max_tokens for attempt in job.attempts[: covered.attempt])]
                raw = _with_max_tokens(raw, max((limit for limit in limits if limit), default=None))
            kinds[covered.kind or "cut"] += 1
            file.write(raw if raw.endswith(b"\n") else raw + b"\n")
            sections[covered.section] += 1
    path = _kept_name(path, number)
    _require_nothing_lost(job, summary, path)
    if not sections:
        job.save()
        path.unlink()
        return Plan(None, 0, kinds, left_out, summary.cut)
    part_requests, part_bytes = job.limits
    report = check.check(path, part_requests=part_requests, part_bytes=part_bytes)
    report.require(path)
    attempt = attempt_from(number, kind, path, report, [*map(list, sections.items())])
    attempt.max_tokens = max_tokens
    attempt.planned_from = {batch.id: batch.completed for part in job.submitted() for batch in part.batches}
    job.attempts.append(attempt)
    job.save()
    _remove_unnamed(job)
    return Plan(path, report.requests, kinds, left_out, 0 if max_tokens is not None else summary.cut)


def _new_name(job: Job, number: int) -> Path:
    """A name that no plan in the record has: a kill before the record is saved must leave the plan that it names."""
    path = job.folder / f"attempt-{number}.jsonl"
    return path if not os.path.lexists(path) else path.with_name(f"{path.stem}-{secrets.token_hex(4)}.jsonl")


def _kept_name(path: Path, number: int) -> Path:
    """The same plan again keeps its file."""
    made = digest(path)
    for other in path.parent.glob(f"attempt-{number}*.jsonl"):
        if other != path and re.fullmatch(rf"attempt-{number}(-[0-9a-f]+)?", other.stem) and digest(other) == made:
            path.unlink()
            return other
    return path


def _remove_unnamed(job: Job) -> None:
    """The files of plans that gave way, or whose record was never saved."""
    named = {attempt.request_file for attempt in job.attempts}
    for path in job.folder.glob("attempt-*.jsonl"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def _with_max_tokens(raw: bytes, count: int | None) -> bytes:
    """The request with another limit on its answer, if one was given, which is all that changes."""
    if count is None:
        return raw
    request = json.loads(raw)
    named = [key for key in ("max_completion_tokens", "max_output_tokens", "max_tokens") if key in request["body"]]
    key = named[0] if named else "max_output_tokens" if request["url"].endswith("/responses") else "max_tokens"
    request["body"][key] = count
    return json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _require_nothing_lost(job: Job, summary: results_and_errors.Summary, path: Path) -> None:
    """Raises BadInput if results that were downloaded once are gone from the spool and the server: never paid again."""
    held = job.record.downloaded.most_results if job.record.downloaded else 0
    if summary.results < held:
        job.save()  # a plan that was withdrawn must not stay in the record without its file
        path.unlink()
        raise BadInput(
            f"{held} results were downloaded before; {held - summary.results} of them are neither in the spool nor on"
            " the server any more, and another attempt would pay for them again",
            f"{job.beside('results.jsonl').name} holds them; make new requests of what is lacking there",
        )


def _withdraw_unsent(job: Job) -> None:
    """A plan of which nothing was sent is made anew: the same command again, after a kill too, answers the same."""
    if len(job.attempts) > 1 and not job.latest.begun:
        job.attempts.pop()


def _require_ended(job: Job) -> None:
    require_submitted(job)
    running = [part for part in job.submitted() if not part.ended]
    if running:
        raise StillOpen(f"{plural(len(running), 'batch')} of this job still to end", command("poll.py", job))
    waiting = job.unsubmitted()
    if any(part.submission for part in waiting):
        raise StillOpen("whether a part was submitted is still unclear", command("run_batch.py", job))
    if waiting and job.latest.cancelled_at is None:
        raise StillOpen(
            f"{plural(len(waiting), 'part')} of this job still to be submitted",
            command("run_batch.py", job),
        )
    if not job.requests.endpoint:
        raise BadInput("the input of this batch was deleted on the server", "make the requests anew from their source")


def _settled(job: Job) -> bool:
    """Whether the spool holds what the last fetch of every ended batch left, as the record has them now."""
    return all(is_settled(job, batch) for part in job.submitted() if part.ended for batch in part.batches)
