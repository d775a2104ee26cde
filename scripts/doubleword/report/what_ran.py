"""What ran, in words: what the job record says (source, model, parameters, attempts, times, cost), outcomes, and what
to do about each kind of error."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal

from ..base.text import plural, utc
from ..service.cost import estimated_cost
from .charts import percent
from .counts import Histogram
from .job_files import Report

# What is said elsewhere on the page: the model, the prompts, the form of the answers.
ASKING = {"model", "messages", "input", "prompt", "system", "instructions", "response_format", "text"}
VALUE_CHARACTERS = 400
DAY = 86_400


def kicker(report: Report) -> str:
    """The line above the title: model, window, day."""
    models = ", ".join(list(report.job.requests.models)[:3])
    window = _window(report)
    return " · ".join(text for text in (models, f"{window} window" if window else "", utc(started(report))) if text)


def started(report: Report) -> float:
    """When the first batch was made, by the server's clock; else when the job was."""
    made = [part.batch.created_at for part in report.job.submitted() if part.batch and part.batch.created_at]
    return min(made, default=report.job.record.created_at)


def believable(report: Report) -> bool:
    """Whether the times that answers name can be those of this job: some model services name none, or their own."""
    return started(report) - DAY < report.times.least and report.times.most < report.made_at + DAY


def clock_of(first: float, last: float) -> Callable[[float], str]:
    """How the times between two moments are written."""
    form = "%H:%M:%S" if last - first < DAY else "%d %b %H:%M"
    return lambda seconds: time.strftime(form, time.gmtime(seconds))


def facts(report: Report) -> list[tuple[str, str]]:
    """(name, value) of what ran, in reading order; what is not known is left out."""
    job, asked, done = report.job, report.job.requests, report.job.record.downloaded
    # Of all that was submitted; None where one estimate is missing or has no price.
    estimate = estimated_cost(job.submitted(), _window(report))
    tokens = f"{report.prompt_tokens:,} prompt, {report.completion_tokens:,} completion"
    found = [
        ("Source", job.record.source.path if job.record.source else ""),
        ("Request file", f"{asked.name}, {plural(asked.requests, 'request')}"),
        ("Model", ", ".join(list(asked.models)[:5])),
        ("Endpoint", asked.endpoint),
        ("Window", _window(report)),
        ("Made", utc(job.record.created_at)),
        ("Sent", _sent(report)),
        ("Taken from earlier jobs", plural(job.reused, "answer") if job.reused else ""),
        ("Estimated cost", "" if estimate is None else f"{estimate:.4g} USD"),
        ("Cost, as the service says", f"{Decimal(done.cost_usd):.4g} USD" if done and done.cost_usd else ""),
        ("Tokens", tokens if report.prompt_tokens or report.completion_tokens else ""),
        ("Answer form", _form(report)),
        *_parameters(report),
    ]
    return [(name, value) for name, value in found if value]


def _parameters(report: Report) -> list[tuple[str, str]]:
    found = []
    for name, value in report.body.items():
        if name in ASKING:
            continue
        text = json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…"
        found.append((name, text + (" (not the same in all requests)" if name in report.differing else "")))
    return found


def _form(report: Report) -> str:
    """What the answers were asked to be: choices, or the properties of a schema; "" for free text."""
    if report.answers.whole.expected:
        return "one of: " + ", ".join(report.answers.whole.expected)
    described = []
    for name, counts in report.answers.properties.items():
        kind = "a number" if isinstance(counts, Histogram) else ", ".join(counts.expected)
        described.append(f"{name} ({kind})" if kind else name)
    if described:
        return "an object of " + "; ".join(described)
    wanted = report.body.get("response_format", report.body.get("text"))
    return json.dumps(wanted, ensure_ascii=False)[:VALUE_CHARACTERS] if wanted else ""


def _window(report: Report) -> str:
    return report.job.record.options.completion_window or ("24h" if report.job.submitted() else "")


def _sent(report: Report) -> str:
    """When the first batch was made, and when the last one was seen to end."""
    changes = [part.batch.changed_at for part in report.job.submitted() if part.batch]
    ended = f"ended {utc(max(changes))}" if changes and report.job.ended else "still running"
    return f"{utc(started(report))}, {ended}" if changes else ""


def attempts(report: Report) -> list[list[str]]:
    """A table of the batches, its head first; [] where nothing was submitted."""
    found = [
        [f"{attempt.attempt}, {attempt.kind}"]
        + [f"{count:,}" for count in (part.requests, batch.completed, batch.failed)]
        + [batch.status, utc(batch.created_at or None), batch.id]
        for attempt in report.job.attempts
        for part in attempt.parts
        for batch in part.batches
    ]
    head = ["Attempt", "Requests", "Completed", "Failed", "Status", "Sent", "Batch"]
    return [head, *found] if found else []


# --- in words ----------------------------------------------------------------------------------------

KIND_NAMES = {
    "answered": "answered in full",
    "cut": "cut short",
    "empty": "empty",
    "failed": "failed",
    "missing": "missing",
    "running": "still running",
    "waiting": "not sent yet",
}

_REFUSED = "refused as it is: repeating cannot help. Mend the rows or the parameters, and ask again in a new job."
_LATER = "trouble on the server's side: another attempt is likely to bring an answer."

# kind -> (name, what to do)
_KINDS = {
    "http_400": ("refused as invalid", _REFUSED),
    "http_413": ("too large", _REFUSED),
    "http_422": ("refused as invalid", _REFUSED),
    "http_401": ("key refused", "the model's service refused the key: ask whoever owns the account."),
    "http_403": ("not allowed", "this key may not ask this: ask whoever owns the account."),
    "http_404": ("not found", "the model is not there any more: list_models.py shows those that are."),
    "http_429": ("too many at once", _LATER),
    "timeout": ("timed out", _LATER),
    "not_json": ("no JSON", "not the form that was asked for: try again; if it stays, say the form in the prompt."),
    "off_list": ("none of the choices", "try again, or name the choices in the prompt, with one for the rest."),
    "schema": ("does not fit the schema", "try again; if it stays, see whether the schema can hold what the rows say."),
    "empty": ("no text", "often thinking used up the tokens: a higher --max-tokens, or a lower --reasoning-effort."),
    "content_filter": ("held back by a filter", "repeating seldom helps: these rows need another model, or a person."),
    "cancelled": ("cancelled", "its batch was cancelled before it was worked on: another attempt sends it again."),
    "expired": ("out of time", "its batch ended before it was worked on: another attempt sends it again."),
    "not_returned": ("not returned", "never worked on: another attempt sends it again."),
    "unread": ("not handed out yet", "the server counts it but has not handed it out: download.py again, later."),
    "input_deleted": ("input deleted", "the server lost the requests of this batch: these rows need a new job."),
}  # fmt: skip


def kind_name(kind: str) -> str:
    """A kind of error in words."""
    return _in_words(kind)[0]


def advice(kind: str) -> str:
    """What to do about a kind of error, as a sentence."""
    text = _in_words(kind)[1]
    return text[0].upper() + text[1:]


def _in_words(kind: str) -> tuple[str, str]:
    if kind.startswith("http_5"):
        return "server error", _LATER
    return _KINDS.get(kind, (kind.replace("_", " "), "the texts below say more; another attempt may help."))


def verdict(report: Report) -> str:
    """One or two sentences: how much of it there is."""
    counts, lost = report.counts, report.cut_for_nothing
    asked, cut = counts.requests - counts.waiting, counts.cut + lost
    if not asked:
        return "Nothing has been sent yet."
    if counts.results == asked:
        said = [f"All {asked:,} requests have an answer." if asked > 1 else "The one request has an answer."]
    else:
        said = [f"{counts.results:,} of {asked:,} requests have an answer ({percent(counts.results, asked)})."]
    without = [(getattr(counts, kind), KIND_NAMES[kind]) for kind in ("failed", "missing", "empty")]
    if any(count for count, _ in without):
        said.append(f"Without one: {', '.join(f'{count:,} {name}' for count, name in without if count)}.")
    if cut:
        nothing = f", {lost:,} of them so that no answer is left" if lost else ""
        said.append(f"Cut short at the token limit: {cut:,}{nothing}.")
    if counts.running:
        said.append(f"Still running: {counts.running:,}.")
    if counts.waiting:
        said.append(f"Not sent yet: {counts.waiting:,}.")
    return " ".join(said)
