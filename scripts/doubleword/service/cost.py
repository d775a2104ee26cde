"""What a job would cost, as the server estimates it, and the limit that the user set."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from ..base.console import say
from ..base.errors import Failure, NotAllowed, WrongUsage
from ..base.text import plural, safe
from ..job.job import Job
from ..job.record import Part
from .api import Api
from .identity import patiently
from .refusals import Unclear

MOST_USD = 1_000_000_000  # more is no estimate, and too long to be shown


def estimate_part(api: Api, job: Job, part: Part, window: str) -> None:
    """Records the server's cost guess for an uploaded part, as its decimal text."""
    file_id = part.uploaded
    if window in part.estimates or file_id is None or part.upload is None:
        return
    found = patiently(api, part.upload.at, lambda: api.estimate(file_id, window))
    if found.get("file_id") not in (None, file_id):
        raise Unclear("cost estimate: the answer is about another file", "the same command again later")
    part.estimates = {**part.estimates, window: safe(found.get("total_estimated_cost", ""), 40)}
    job.save(part)


def usd(text: str | None) -> Decimal | None:
    """An amount from the command line. Raises WrongUsage for anything but a positive number."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise WrongUsage(f"--max-cost {safe(text, 40)!r} is no amount", "an amount in USD, such as --max-cost 2.50")
    return amount


def estimated_cost(parts: Sequence[Part], window: str) -> Decimal | None:
    """The sum of the estimates in USD; None if one is missing or is "0", which means that the model has no price."""
    total = Decimal(0)
    for part in parts:
        try:
            cost = Decimal(part.estimates[window])
        except (KeyError, InvalidOperation):
            return None
        if not cost.is_finite() or not 0 < cost < MOST_USD:
            return None
        total += cost
    return total if parts else None


def cost_text(cost: Decimal | None) -> str:
    """How an estimate is shown, always called one: the server guesses the length of the answers."""
    if cost is None:
        return "estimated cost unknown (the server has no price)"
    return f"estimated cost {cost:.2f} USD" if cost >= 1 else f"estimated cost {cost:.2g} USD"


def announce(job: Job, parts: Sequence[Part], window: str) -> None:
    """The one line before money is spent."""
    models = ", ".join(safe(model, 80) for model in list(job.requests.models)[:3])
    requests = sum(part.requests for part in parts)
    if all(window in part.estimates for part in parts):
        cost = cost_text(estimated_cost(parts, window))
    else:
        cost = "estimated cost follows with each upload"
    say(f"submitting {plural(requests, 'request')}, model {models}, window {window}, {cost}")


def require_cost(job: Job, window: str, limit: Decimal) -> None:
    """Raises NotAllowed if the estimate over all parts and attempts is over the limit, or cannot be made."""
    # A part of an earlier attempt that was never submitted cost nothing; its requests are in a later one.
    # What was taken from an earlier job was paid for there.
    sent = [attempt for attempt in job.attempts if attempt.kind != "reused"]
    parts = [part for attempt in sent for part in attempt.parts if attempt is job.latest or part.batch]
    cost = estimated_cost(parts, window)
    if cost is None:
        raise NotAllowed(
            "the cost cannot be estimated: the server gives no price", "ask the user; or leave out --max-cost"
        )
    if cost > limit:
        raise NotAllowed(f"{cost_text(cost)} is over --max-cost {limit}; nothing was submitted", "ask the user")


class Spent(NamedTuple):
    """What the service says that batches cost: the sum in USD over those of which it knows."""

    usd: Decimal
    known: int
    batches: int


def spent(api: Api, job: Job) -> Spent | None:
    """What all attempts of a job cost, as the service says; None where it says nothing. Asks once for each batch.

    Figures may come late, and there are none for a model without a price. Nothing here fails a download.
    """
    batches = [batch for part in job.submitted() for batch in part.batches if batch.completed]
    total, known = Decimal(0), 0
    for batch in batches:
        cost = _billed(api, batch.id)
        if cost is not None:
            total, known = total + cost, known + 1
    return Spent(total, known, len(batches)) if known else None


def _billed(api: Api, batch_id: str) -> Decimal | None:
    try:
        found = api.analytics(batch_id)
    except Failure:
        return None
    try:
        cost = Decimal(str(found.get("total_cost")))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 < cost < 10**9 else None
