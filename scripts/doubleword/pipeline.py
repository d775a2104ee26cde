"""Many parts: check the request file, upload several parts at once, submit each as soon as it is there.

Money is spent in `submit_parts` alone, after the line that says how much.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

from .api import Api
from .contract import BadInput, NotAllowed, NotFound, WrongUsage, next_command, plural, safe, say, utc
from .job import Attempt, Job, Part
from .progress import Progress
from .refusals import RETRY_AFTER_CAP_SECONDS, Busy
from .request_file import PART_BYTES, PART_REQUESTS, state_of
from .submission import require_only_copy, submit_part, upload_part

CAPACITY_WAIT_SECONDS = 30.0  # what the server says in its body when it has no Retry-After


def prepare(path: Path, part_requests: int | None = None, part_bytes: int | None = None) -> Job:
    """The job of a request file, checked: validates and makes the record, unless that was done for these very bytes.

    Raises BadInput for a file that does not pass, or that changed after a part of it was uploaded.
    """
    job = Job.load(path)
    limits = job.record["options"] if job else {"part_requests": PART_REQUESTS, "part_bytes": PART_BYTES}
    requests, size = part_requests or limits["part_requests"], part_bytes or limits["part_bytes"]
    if job is not None:
        attempt = job.latest
        path = job.request_file(attempt)
        begun = any(part["upload"] for part in attempt["parts"])
        same = (requests, size) == (limits["part_requests"], limits["part_bytes"])
        if not job.unsubmitted() or (attempt["state"] == state_of(path) and (begun or same)):
            return job

    from .validation import check

    report = check(path, part_requests=requests, part_bytes=size)
    report.require(path)
    for line in [*report.notes, *report.warnings]:
        say(f"note: {line}")
    if job is None:
        return Job.create(path, report, None, requests, size)
    if report.sha256 == attempt["sha256"] and begun:  # only its time of change differs
        job.note(attempt, state=state_of(path))
        return job
    if begun or len(job.attempts) > 1:
        raise BadInput(
            f"{safe(path)} changed since it was {'uploaded' if begun else 'planned'}",
            "restore it, or make a new request file under another name",
        )
    source = job.record["source"] if report.sha256 == attempt["sha256"] else None
    return Job.create(path, report, source, requests, size)


# --- money -------------------------------------------------------------------------------------


def estimate_part(api: Api, job: Job, part: Part, window: str) -> None:
    """Records the server's cost guess for an uploaded part, as its decimal text."""
    if window in part["estimates"] or not (part["upload"] and part["upload"]["file_id"]):
        return
    cost = safe(api.estimate(part["upload"]["file_id"], window).get("total_estimated_cost", ""), 40)
    job.note(part, estimates={**part["estimates"], window: cost})


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
            cost = Decimal(part["estimates"][window])
        except (KeyError, InvalidOperation):
            return None
        if not cost.is_finite() or cost <= 0:
            return None
        total += cost
    return total if parts else None


def cost_text(cost: Decimal | None) -> str:
    """How an estimate is shown, always called one: the server guesses the length of the answers."""
    if cost is None:
        return "estimated cost unknown (the server has no price)"
    return f"estimated cost {cost:.2f} USD" if cost >= 1 else f"estimated cost {cost:.2g} USD"


def announce(attempt: Attempt, parts: Sequence[Part], window: str) -> None:
    """The one line before money is spent."""
    models = ", ".join(safe(model, 80) for model in list(attempt["models"])[:3])
    requests = sum(part["requests"] for part in parts)
    if all(window in part["estimates"] for part in parts):
        cost = cost_text(estimated_cost(parts, window))
    else:
        cost = "estimated cost follows with each upload"
    say(f"submitting {plural(requests, 'request')}, model {models}, window {window}, {cost}")


def require_cost(job: Job, window: str, limit: Decimal) -> None:
    """Raises NotAllowed if the estimate over all parts and attempts is over the limit, or cannot be made."""
    # A part of an earlier attempt that was never submitted cost nothing; its requests are in a later one.
    parts = [part for attempt, part in job.parts() if attempt is job.latest or part["batch"]]
    cost = estimated_cost(parts, window)
    if cost is None:
        raise NotAllowed(
            "the cost cannot be estimated: the server gives no price", "ask the user; or leave out --max-cost"
        )
    if cost > limit:
        raise NotAllowed(f"{cost_text(cost)} is over --max-cost {limit}; nothing was submitted", "ask the user")


def require_not_cancelled(job: Job) -> None:
    when = job.latest["cancelled_at"]
    if when:
        raise NotAllowed(
            f"this job was cancelled at {utc(when)}; its rest is not submitted by accident",
            f"ask the user; {next_command('cancel_batch.py', job.request_file(), '--resume')} lifts the mark",
        )


# --- parts -------------------------------------------------------------------------------------


@contextmanager
def uploading(api: Api, job: Job, window: str, jobs: int) -> Iterator[list[tuple[Part, Future[None]]]]:
    """Uploads the parts that are not there yet, `jobs` at a time, in the background; yields each with its future.

    The lock must be held. Leaving the block early, by an error or an interruption, stops the uploads at once.
    """
    attempt, stopping = job.latest, threading.Event()
    waiting = job.unsubmitted()
    size = sum(part["end"] - part["start"] for part in waiting if not (part["upload"] and part["upload"]["file_id"]))

    def sent(amount: int) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        progress.add(amount)

    def bring(part: Part) -> None:
        upload_part(api, job, attempt, part, sent)
        estimate_part(api, job, part, window)

    pool = ThreadPoolExecutor(jobs)
    with Progress("upload", size, "B") as progress:
        try:
            # An intent whose fate is unclear is settled first: its file may have to be deleted, not uploaded.
            yield [(part, pool.submit(bring, part)) for part in waiting if not part["submission"]]
        except BaseException as error:
            stopping.set()
            # The answer to an upload may take minutes, and somebody who interrupts does not want to wait for it.
            job.frozen = isinstance(error, KeyboardInterrupt)
            pool.shutdown(wait=not job.frozen, cancel_futures=True)
            raise
        pool.shutdown()


def upload_parts(api: Api, job: Job, window: str, jobs: int) -> None:
    """Uploads every part and learns its estimate. The lock must be held."""
    with uploading(api, job, window, jobs) as uploads:
        for _, upload in uploads:
            upload.result()


def submit_parts(
    api: Api, job: Job, window: str, choice: str | None, limit: Decimal | None, jobs: int, patience: float
) -> None:
    """Submits every part that has no batch, each as soon as it is uploaded. The lock must be held.

    With a cost limit all is uploaded first, since the estimate needs every file. A 429 is waited for, `patience`
    seconds in all, then raised as Busy: what was submitted goes on, and the same command submits the rest.
    """
    waiting = job.unsubmitted()
    if not waiting:
        return
    require_not_cancelled(job)
    if len(job.attempts) > 1 and choice != "again":
        require_only_copy(api, job)
    if limit is not None:
        upload_parts(api, job, window, jobs)
        for _, part in job.parts():  # earlier attempts count, too; they may have run in the other window
            with contextlib.suppress(NotFound):
                estimate_part(api, job, part, window)
        require_cost(job, window, limit)
    announce(job.latest, waiting, window)
    many = len(job.latest["parts"])
    with uploading(api, job, window, jobs) as uploads:
        pending = {part["part"]: upload for part, upload in uploads}
        for part in waiting:
            if part["part"] in pending:
                pending[part["part"]].result()
            patience = _submit_patiently(api, job, part, window, choice, patience)
            assert part["batch"] is not None
            cost = cost_text(estimated_cost([part], window))
            say(f"part {part['part']} of {many}: batch {safe(part['batch']['id'])}, {cost}")


def _submit_patiently(api: Api, job: Job, part: Part, window: str, choice: str | None, patience: float) -> float:
    """Submits one part, waiting out 429s; returns the patience that is left."""
    while True:
        try:
            submit_part(api, job, job.latest, part, window, choice)
            return patience
        except Busy as busy:
            pause = min(busy.retry_after or CAPACITY_WAIT_SECONDS, RETRY_AFTER_CAP_SECONDS)
            if pause > patience or api.clock.monotonic() + pause > api.deadline:
                raise
            say(f"part {part['part']}: {busy.what}; trying again in {pause:.0f} s")
            patience -= pause
            api.clock.sleep(pause)
