"""What would a job cost, as the server estimates it, is that over the user's limit, and what did it cost?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

from ..base.console import say
from ..base.failures import Failure, NotAllowed, NotFound, Temporary, WrongUsage
from ..base.text import plural, safe
from ..job.job import Job
from ..job.record import Part

if TYPE_CHECKING:
    from .api import Api

MOST_USD = 1_000_000_000  # more is no estimate, and too long to be shown


OLD_SECONDS = 3600.0  # an estimate made with an upload so long ago is of other prices, maybe


def estimate_part(api: Api, job: Job, part: Part, window: str) -> None:
    """Records the server's cost guess for an uploaded part, as its decimal text. What was none, or is old and not yet
    sent, is asked for anew."""
    file_id = part.uploaded
    if file_id is None or part.upload is None:
        return
    old = part.batch is None and abs(api.clock.now() - part.upload.at) > OLD_SECONDS
    if not old and _amount(part.estimates.get(window, "")) is not None:
        return
    told = api.estimate(file_id, window)
    if told != part.estimates.get(window):
        part.estimates = {**part.estimates, window: told}
        job.save(part)


def usd(text: str | None) -> Decimal | None:
    """An amount from the command line; "none" is infinite. Raises WrongUsage for anything but a positive number."""
    if text is None:
        return None
    if text == "none":
        return Decimal("Infinity")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise WrongUsage(f"--max-cost {safe(text, 40)!r} is no amount", "in USD, such as --max-cost 2.50, or none")
    return amount


def estimated_cost(parts: Sequence[Part], window: str) -> Decimal | None:
    """The sum of the estimates in USD, in the window that a part was sent with, else in `window`.

    None if one is missing or is none.
    """
    return _sum(part.estimates.get(part.window(window), "") for part in parts)


def _sum(estimates: Iterable[str]) -> Decimal | None:
    amounts = [_amount(estimate) for estimate in estimates]
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(amounts) else None


def _amount(estimate: str) -> Decimal | None:
    """An estimate in USD; None for "0", which means that the model has no price, and for what is no amount."""
    try:
        cost = Decimal(estimate)
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 < cost < MOST_USD else None


def estimated_now(api: Api, parts: Sequence[Part], window: str) -> Decimal | None:
    """The sum of what the server estimates by now, nothing of it recorded; None where it says nothing.

    It guesses from the latest answers of the model, so that it knows more after a trial than before.
    """
    try:
        return _sum(api.estimate(part.uploaded or "", part.window(window)) for part in parts)
    except Failure:
        return None


def cost_text(cost: Decimal | None, requests: int = 0) -> str:
    """How an estimate is shown, always called one: the server guesses the length of the answers."""
    if cost is None:
        return "estimated cost unknown (the server has no price)"
    each = f", {cost / requests:.2g} a request" if requests > 1 else ""
    return (f"estimated cost {cost:.2f} USD" if cost >= 1 else f"estimated cost {cost:.2g} USD") + each


def models_text(job: Job) -> str:
    return ", ".join(safe(model, 80) for model in list(job.requests.models)[:3])


def announce(job: Job, parts: Sequence[Part], window: str) -> None:
    """The one line before money is spent."""
    requests = sum(part.requests for part in parts)
    if all(window in part.estimates for part in parts):
        cost = cost_text(estimated_cost(parts, window), requests)
    else:
        cost = "estimated cost follows with each upload"
    say(f"submitting {plural(requests, 'request')}, model {models_text(job)}, window {window}, {cost}")


def require_cost(api: Api, job: Job, window: str, limit: Decimal) -> None:
    """Raises NotAllowed if the estimate over all parts and attempts is over the limit, or cannot be made.

    What has ended of this job was billed: where that was more than its estimate, all is taken to be so. With a trial
    goes the least that the server can ask for the rest: whoever cannot pay for that has no use for the trial.
    """
    for part in job.parts():  # earlier attempts count, too; they may have run in the other window
        with contextlib.suppress(NotFound):
            estimate_part(api, job, part, part.window(window))
    # A part of an earlier attempt that was never submitted cost nothing; its requests are in a later one.
    # What was taken from an earlier job was paid for there.
    sent = [attempt for attempt in job.attempts if attempt.kind != "reused"]
    parts = [part for attempt in sent for part in attempt.kept if attempt is job.latest or part.batch]
    parts = [part for part in parts if part.uploaded or not part.batch]  # nor does what was taken over cost anything
    cost = estimated_cost(parts, window)
    if cost is None:
        raise NotAllowed(
            f"the cost cannot be estimated: the server gives no price; under --max-cost {limit} nothing is submitted",
            f"ask the user; after a yes, {job.without_limit} lifts the limit",
        )
    requests, (cost, over) = sum(part.requests for part in parts), _by_the_bill(api, parts, window, cost)
    if job.latest.kind == "trial":
        left, by_bytes = rest(job)
        cost, requests = cost + cost * min(by_bytes, Decimal(left) / requests), requests + left
    if cost > limit:
        covers = int(limit * requests / cost)
        rate = f" (by what was billed so far, {over:.2g} times its estimate)" if over > 1 else ""
        raise NotAllowed(
            f"{cost_text(cost, requests)}{rate} is over --max-cost {limit}, which would cover about {covers} of"
            f" {plural(requests, 'request')}; nothing was submitted",
            "ask the user: the same command with a higher limit, or another request file of fewer rows"
            f" (create_batch_file.py --limit {covers}{', then --reuse of this one' if job.submitted() else ''})",
        )


def rest(job: Job) -> tuple[int, Decimal]:
    """Of a job of which only trials were planned: how many requests are left, and how many times the trials' bytes.

    The server's guess goes by the bytes, or by the bytes and so much for each answer.
    """
    left = job.left
    parts = [part for attempt in job.attempts if attempt.kind == "trial" for part in attempt.kept]
    tried, size = sum(part.requests for part in parts), sum(part.span.end - part.span.start for part in parts)
    others = sum(span.end - span.start for span in job.requests.sections) - size
    each = Decimal(max(0, others)) / max(1, job.requests.requests - tried)
    return left, each * left / max(1, size)


def _by_the_bill(api: Api, parts: Sequence[Part], window: str, estimate: Decimal) -> tuple[Decimal, Decimal]:
    """What parts cost, of which some have ended and were billed, and how many times its estimate that was; at least 1.

    The server guesses from the latest answers. So an estimate made before the bill is held against estimates of that
    time, and one made since against estimates of now: across the two, what was learnt would count twice or not at all.
    """
    ended = {part.batch.id: part for part in parts if part.batch and part.batch.ended and part.batch.completed}
    bills, _ = _bills(api, list(ended))
    billed = [ended[batch_id] for batch_id in bills]
    rest = [part for part in parts if part.batch is None or part.batch.id not in bills]
    before = estimated_cost(billed, window)
    if before is None:
        return estimate, Decimal(1)
    bill, guessed, to_come = sum(bills.values(), Decimal(0)), before, estimate - before
    now, rest_now = estimated_now(api, billed, window), estimated_now(api, rest, window)
    if now is not None and rest_now is not None:
        guessed, to_come = now, rest_now
    over = max(Decimal(1), bill / guessed)
    return max(bill, before) + to_come * over, over


class Spent(NamedTuple):
    """What the service says that batches cost: the sum in USD over those of which it knows."""

    usd: Decimal
    known: int
    batches: int


def spent(api: Api, job: Job) -> Spent | None:
    """What all attempts of a job cost, as the service says; None where it says nothing, or not all of it in time: a sum
    that ends where the time did is no cost."""
    batches = [batch.id for part in job.submitted() for batch in part.batches if batch.completed]
    bills, in_time = _bills(api, batches)
    return Spent(sum(bills.values(), Decimal(0)), len(bills), len(batches)) if bills and in_time else None


SPENT_SECONDS = 30.0  # for all batches: nobody waits longer for this


def _bills(api: Api, batches: Sequence[str]) -> tuple[dict[str, Decimal], bool]:
    """What the service says that batches cost, in USD by their ids, of those that it knows; and whether it was in time.

    Asks once for each. Figures may come late, and there are none for a model without a price. Nothing here fails a
    command.
    """
    bills: dict[str, Decimal] = {}
    until = api.clock.monotonic() + SPENT_SECONDS
    for batch_id in batches:
        left = until - api.clock.monotonic()
        if left <= 0:
            return bills, False
        try:
            cost = _amount(api.billed(batch_id, left))
        except Temporary:
            return bills, api.clock.monotonic() < until
        except Failure:
            continue
        if cost is not None:
            bills[batch_id] = cost
    return bills, True
