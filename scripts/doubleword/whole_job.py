"""A whole job: whatever is left of it, stage by stage, and a trial first where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_UP, Context, Decimal

from .base.command_line import Done
from .base.console import say
from .base.failures import ExitCode
from .base.text import plural
from .engine import Terms, agreed, deliver, plan_rest, say_stuck, submit_all
from .exit_code import exit_code
from .job.job import Job
from .job.next_step import command, remember
from .results import deliver as delivery
from .results import retry
from .results.fetch import TimeIsOver
from .results.output_flags import Wanted
from .results.results_and_errors import brought_by
from .service import cost, watch
from .service.api import Api


@dataclass(frozen=True)
class Waiting:
    """How long to wait: seconds between looks, the end by clock.monotonic(), and the command that goes on after it."""

    interval: float
    deadline: float
    again: str


def run(api: Api, job: Job, terms: Terms, wanted: Wanted, waiting: Waiting, trial: int = 0) -> Done:
    """Whatever is left of a job. With `trial`, so many requests first: they are shown, and the rest waits for a yes."""
    done = _run(api, job, terms, wanted, waiting, trial)
    return Done(done.code, done.lines, {"trial": None, "rest": None, "rest_tokens": None} | done.facts)


def _run(api: Api, job: Job, terms: Terms, wanted: Wanted, waiting: Waiting, trial: int) -> Done:
    planned = delivery.require_writable(job, api.clock, wanted)  # before anything is paid
    if planned:
        delivery.rehearse(job, planned)
        with job.locked(api.clock):
            remember(job, **wanted.remembered())  # whoever comes after this command is told of the table
    waiting = replace(waiting, interval=watch.polite(api, waiting.interval))
    if trial:
        _plan_trial(api, job, terms, trial)
    try:
        running = _send_and_wait(api, job, terms, waiting)
        if running is None and not trial and plan_rest(api, job):
            running = _send_and_wait(api, job, terms, waiting)
        if running is not None:
            return running
        return _show_trial(api, job, terms, wanted, trial) if trial else deliver(api, job, wanted)
    except TimeIsOver as over:
        say(over.what)
        return _still_running(job, waiting)


def _send_and_wait(api: Api, job: Job, terms: Terms, waiting: Waiting) -> Done | None:
    """Submits what is planned and waits for it; None when all of it has ended, else what there is to say."""
    busy = submit_all(api, job, terms, waiting.deadline, waiting.interval)
    if busy is not None and job.ended:
        raise busy
    watch.wait(api, job, waiting.interval, waiting.deadline)
    if exit_code([job]) is not ExitCode.STILL_RUNNING:
        return None
    say_stuck([job])
    return _still_running(job, waiting)


def _still_running(job: Job, waiting: Waiting) -> Done:
    say(watch.summary_line(job))
    say(f"next: {waiting.again}")
    word = watch.status_word(job)
    return Done(ExitCode.STILL_RUNNING, [word], delivery.Delivered([], word).facts(job) | {"next": waiting.again})


# --- a trial -------------------------------------------------------------------------------------


def _plan_trial(api: Api, job: Job, terms: Terms, count: int) -> None:
    """Plans a trial, unless one is still on its way: then this goes on with that one.

    Where all was uploaded before, its price is known: over the limit, that plan stays, and no trial is paid for.
    """
    with job.locked(api.clock):
        job.require_not_cancelled()
        latest, sent = job.latest, any(part.submission or part.batch for part in job.latest.parts)
        if sent and latest.kind == "trial" and not latest.shown:
            return
        if not sent and latest.kind != "retry":  # else all was sent before: that is wrong usage, and changes no terms
            limit = agreed(job, terms).max_cost
            if limit is not None and cost.estimated_cost(latest.parts, terms.window) is not None:
                cost.require_cost(api, job, terms.window, limit)
        retry.plan_trial(job, count)


def _show_trial(api: Api, job: Job, terms: Terms, wanted: Wanted, trial: int) -> Done:
    """Shows the answers of a trial, and what the rest would use if it went on like that."""
    shown = deliver(api, job, replace(wanted, partial=True, show=wanted.show or trial))
    with job.locked(api.clock):
        job.latest.shown = True
        job.save()
    if not job.has_rest:  # the trial was all of it
        return shown
    trials = [attempt for attempt in job.attempts if attempt.kind == "trial"]
    answered, *used = brought_by(job, trials)  # not what was taken from earlier jobs; what failed may have used none
    if not answered:
        say("nothing of the trial was answered: look at why before the rest is paid for")
        code = ExitCode.INCOMPLETE if shown.facts["errors"] else ExitCode.NOT_COMPLETED
        return Done(code, shown.lines, shown.facts | {"next": None})
    parts = [part for attempt in trials for part in attempt.kept]
    tried, (left, times) = sum(part.requests for part in parts), cost.rest(job)
    price = cost.estimated_now(api, parts, terms.window) or cost.estimated_cost(parts, terms.window)
    more = [count * left // answered for count in used]
    some = f", {answered} answered," if answered < tried else ""
    say(
        f"trial: {plural(tried, 'request')}{some} used {used[0]} prompt and {used[1]} completion tokens;"
        f" at that rate the other {left} would use about {more[0]} and {more[1]}"
    )
    total, paid = None, Decimal(shown.facts["cost_usd"] or 0)
    if price is not None:
        say(f"the server's estimate for the trial is {price:.2g} USD now: about {price * times:.2g} USD for the rest")
        if paid:
            say(f"the trial cost {paid:.2g} USD: at that rate about {paid * times:.2g} USD for the rest")
        total = max(price, paid) * (1 + times)
    _say_rest(job, total, terms.max_cost)
    # Over the limit it stops there with exit 4: a higher one is the user's to give.
    facts = {"trial": tried, "rest": left, "rest_tokens": {"prompt": more[0], "completion": more[1]}}
    return Done(ExitCode.STILL_RUNNING, shown.lines, shown.facts | facts | {"next": command("run_batch.py", job)})


def _say_rest(job: Job, total: Decimal | None, limit: Decimal | None) -> None:
    """Says how the rest is paid for, and where the limit, for trial and rest, does not reach, the one that does."""
    to_table = "" if job.record.options.output else " (--output TABLE.csv for the rows with their answers)"
    if total is not None and limit is not None and total > limit:
        # A tenth more than the guess, rounded up to two figures: the estimate before the rest is made anew.
        enough = (total * Decimal("1.1")).normalize(Context(prec=2, rounding=ROUND_UP))
        raised = command("run_batch.py", job, "--max-cost", f"{enough:f}")
        say(
            f"next: ask the user: all of it costs about {total:.2g} USD, over --max-cost {limit};"
            f" after a yes to {enough:f} USD, {raised}{to_table}"
        )
    else:
        yes = ", after a yes" if total is None or limit is None else ""
        say(f"next{yes}: {command('run_batch.py', job)}{to_table}")
