"""What does a stage of a job do? Upload, submit, wait, deliver: a script each; all of them are `whole_job`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from .base.command_line import Done
from .base.console import say
from .base.failures import ExitCode, NotFound, Temporary
from .base.text import next_command, plural, safe
from .exit_code import exit_code
from .job.job import Job
from .job.next_step import command, next_step, remember, require_submitted
from .results import deliver as delivery
from .results import retry
from .results.output_flags import Wanted
from .results.results_and_errors import INPUT_DELETED, UNREAD
from .service import cost, deleted, identity, raw_id, stuck, watch
from .service import submit as submission
from .service import upload as uploads
from .service.api import Api
from .service.refusals import RETRY_AFTER_CAP_SECONDS, Busy


@dataclass(frozen=True)
class Terms:
    """On which terms requests are submitted. `choice`: "adopt" or "again", where another job has the same ones."""

    window: str = "24h"
    max_cost: Decimal | None = None  # USD
    choice: str | None = None
    jobs: int = 2  # parts uploaded at once


# --- upload and submit ---------------------------------------------------------------------------


def upload(api: Api, job: Job, terms: Terms) -> Done:
    """Uploads what is not there yet and shows the estimate for a window. Free; changes nothing else about the job."""
    plan_rest(api, job)
    with job.locked(api.clock):
        identity.require_same_server(api, job)
        if not all(part.uploaded for part in job.unsubmitted()):
            identity.require_known(api, job)  # else one part would lie under another key than the others
        uploads.upload_parts(api, job, terms.window, terms.jobs)
    attempt = job.latest
    ids = [part.upload.file_id or "" for part in attempt.parts if part.upload]
    price = cost.estimated_cost(attempt.parts, terms.window)
    say(
        f"uploaded {plural(attempt.requests, 'request')} in {plural(len(ids), 'part')},"
        f" model {cost.models_text(job)}, window {terms.window}: {cost.cost_text(price, attempt.requests)}"
    )
    facts = _sent_facts(job, terms) | {"file_ids": ids, "next": next_step(job, terms.window)}
    return Done(ExitCode.DONE, [safe(i) for i in ids], facts)


def submit(api: Api, job: Job, terms: Terms, replace_stuck: bool = False) -> Done:
    """Submits each uploaded part once. Spends money."""
    if not replace_stuck:
        plan_rest(api, job)
    with job.locked(api.clock):
        if job.unsubmitted():
            job.require_not_cancelled()
        if replace_stuck:
            stuck.replace(api, job)
        elif terms.choice is None and any(not part.upload for part in job.unsubmitted()):
            raise NotFound("not every part of this job has been uploaded", command("upload.py", job))
        if terms.choice == "again" and not job.unsubmitted():  # then that is about what is gone
            deleted.count_as_ended(api, job)
    busy = submit_all(api, job, terms, api.clock.monotonic() + RETRY_AFTER_CAP_SECONDS)
    if busy is not None:
        raise busy
    ids = [part.batch.id for part in job.latest.parts if part.batch]
    return Done(ExitCode.DONE, [safe(i) for i in ids], _sent_facts(job, terms) | {"batch_ids": ids})


def agreed(job: Job, terms: Terms) -> Terms:
    """Remembers the terms, and takes a limit that was given before: it holds for the whole job. Lock held."""
    limit = job.record.options.max_cost
    if terms.max_cost is not None:
        limit = None if terms.max_cost.is_infinite() else str(terms.max_cost)  # --max-cost none
    remember(job, completion_window=terms.window, max_cost=limit)
    return replace(terms, max_cost=cost.usd(limit))


def _sent_facts(job: Job, terms: Terms) -> dict[str, Any]:
    price = cost.estimated_cost(job.latest.parts, terms.window)
    return {
        "job": str(job.folder),
        "attempt": job.latest.attempt,
        "requests": job.latest.requests,
        "models": job.requests.models,
        "completion_window": terms.window,
        "estimated_cost_usd": None if price is None else str(price),
        "next": next_step(job),
    }


def plan_rest(api: Api, job: Job) -> bool:
    """After a trial, or where earlier jobs gave answers: plans what is in no attempt; whether there was any."""
    if not job.has_rest or job.unsubmitted():
        return False
    plan = retry.planned(api, job, lambda: retry.plan_rest(job))
    again = {kind: count for kind, count in plan.kinds.items() if kind != "not_submitted"}
    if again:
        kinds = ", ".join(f"{count} {kind}" for kind, count in again.items())
        say(f"with the rest goes, once more, what failed in the trial: {kinds}")
    return plan.path is not None


CAPACITY_WAIT_SECONDS = 30.0  # what the server says in its body when it has no Retry-After


def submit_all(api: Api, job: Job, terms: Terms, until: float, interval: float | None = None) -> Busy | None:
    """Submits every part. Where the service has no room for more, what runs goes on, and the rest is tried again until
    then, without the lock meanwhile; returns the refusal if some had no room.

    `interval`: meanwhile what runs is looked at so often.
    """
    while True:
        try:
            with job.locked(api.clock):
                terms = agreed(job, terms)
                submission.submit_parts(api, job, terms.window, terms.choice, terms.max_cost, terms.jobs)
            return None
        except Busy as error:
            busy = error
        resume = api.clock.monotonic() + (busy.retry_after or CAPACITY_WAIT_SECONDS)
        if resume > until:
            return busy
        say(f"{busy.what}; trying again in {resume - api.clock.monotonic():.0f} s")
        if interval is not None:
            with contextlib.suppress(Temporary):  # an outage now is met again by the next try
                watch.wait(api, job, interval, resume, last=False)
        api.clock.sleep(max(0.0, resume - api.clock.monotonic()))


# --- wait ----------------------------------------------------------------------------------------


def wait(api: Api, targets: Sequence[str], interval: float, deadline: float, once: bool = False) -> Done:
    """Waits until every batch has ended, one is stuck, or the deadline has come; or looks once.

    `targets`: request files, or raw batch ids, of which nothing is written down.
    """
    jobs = [raw_id.watched(api, raw) if (raw := raw_id.id_in(target)) else Job.need(Path(target)) for target in targets]
    for job in jobs:
        require_submitted(job)
        if once:
            watch.look(api, job)
            say(watch.summary_line(job))
        else:
            watch.wait(api, job, watch.polite(api, interval), deadline)
    first, words, reports = jobs[0], [watch.status_word(job) for job in jobs], say_stuck(jobs)
    waiting = sum(job.to_submit for job in jobs)
    after = next_step(first) if first.recorded else next_command("download.py", targets[0])
    if not waiting and not all(job.ended for job in jobs):
        after = next_command("poll.py", *targets)
    elif waiting:
        say(f"{plural(waiting, 'part')} not submitted yet; next: {after}")
    requests, completed, failed = map(sum, zip(*map(watch.counts, jobs), strict=True))
    facts = {
        "job": str(first.folder) if len(jobs) == 1 and first.recorded else None,
        "status": words[0] if len(set(words)) == 1 else "mixed",
        "requests": requests,
        "completed": completed,
        "failed": failed,
        "batches": [watch.facts_of(part) for job in jobs for part in job.latest.parts],
        "stuck": reports[0] if reports else None,
        "next": after,
    }
    return Done(exit_code(jobs), [str(facts["status"])], facts)


def say_stuck(jobs: Sequence[Job]) -> list[str]:
    reports = [text for job in jobs if (text := stuck.why(job))]
    for text in reports:
        say(text)
    return reports


# --- deliver -------------------------------------------------------------------------------------


def deliver(api: Api, job: Job, wanted: Wanted) -> Done:
    """Fetches and writes what the user gets."""
    delivered = delivery.deliver(api, job, wanted)
    found = delivered.summary
    if found and (UNREAD in found.missing or found.unread):
        raise retry.unread(api, job, found.missing.get(UNREAD, 0) + found.unread)
    # Nothing was written: something is still to come.
    code = exit_code([job], found) if found else ExitCode.STILL_RUNNING
    return Done(code, [str(path) for path in delivered.paths], delivered.facts(job) | {"next": next_step(job)})


# --- another attempt ----------------------------------------------------------------------------


def plan_retry(api: Api, job: Job, wanted: retry.Wanted) -> Done:
    """Plans another attempt for what has no result. Free."""
    plan = retry.planned(api, job, lambda: retry.plan(api, job, wanted))
    for kind, count in plan.kinds.items():
        say(f"planned: {plural(count, 'request')} ({kind})")
    for kind, count in plan.left_out.items():
        say(f"left out: {plural(count, 'request')} ({kind}), {_why_left_out(job, kind, wanted)}")
    if plan.cut:
        longer = command("retry_failed.py", job, "--max-tokens", "N")
        say(f"{plural(plan.cut, 'answer')} cut short: {longer} plans them")
    after = command("run_batch.py", job) if plan.path else _fetched_since(job, plan)
    if plan.path is None:
        say("nothing is planned" if plan.left_out else "nothing to retry")
    if after:
        say(f"next: {after}")
    code = ExitCode.INCOMPLETE if plan.path is None and plan.left_out else ExitCode.DONE
    facts = {
        "job": str(job.folder),
        "attempt": len(job.attempts),
        "request_file": str(plan.path) if plan.path else None,
        "requests": plan.requests,
        "kinds": plan.kinds,
        "left_out": plan.left_out,
        "cut": plan.cut,
        "next": after,
    }
    return Done(code, [str(plan.path)] if plan.path else [], facts)


def _fetched_since(job: Job, plan: retry.Plan) -> str | None:
    """With nothing to send: the download, where there are more answers than the last one brought."""
    done, answered = job.record.downloaded, job.requests.requests - sum(plan.left_out.values())
    return None if done is not None and done.results >= answered else command("download.py", job)


def _why_left_out(job: Job, kind: str, wanted: retry.Wanted) -> str:
    if kind == UNREAD:
        return f"counted by the server and not handed out yet: {command('download.py', job)} later"
    if kind == "running":
        return "still under way"
    if kind == INPUT_DELETED:
        return "its input was deleted on the server, so it cannot be sent again"
    if wanted.only and kind not in wanted.only:
        return "not among --only"
    return f"refused for good: {command('retry_failed.py', job, '--include-permanent')} plans it all the same"
