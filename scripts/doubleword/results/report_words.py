"""What outcomes and kinds of errors are called for people, and what to do about them."""

from __future__ import annotations

from .report import Report
from .report_html import percent

KIND_NAMES = {
    "answered": "answered in full",
    "cut": "cut short",
    "empty": "empty",
    "failed": "failed",
    "missing": "missing",
    "waiting": "not sent yet",
}

_REFUSED = "refused as it is: repeating cannot help. Mend the rows or the parameters, and ask again in a new job."
_LATER = "trouble on the server's side: another attempt is likely to bring an answer."
_NOT_WORKED = "never worked on: another attempt sends it again."

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
    "not_returned": ("not returned", _NOT_WORKED),
    "running": ("still running", "its batch has not ended: poll.py, then download.py."),
    "unread": ("not handed out yet", "the server counts it but has not handed it out: download.py again, later."),
    "input_deleted": ("input deleted", "the server lost the requests of this batch: these rows need a new job."),
}  # fmt: skip


def kind_name(kind: str) -> str:
    """A kind of error in words."""
    if kind.startswith("http_5"):
        return "server error"
    return _KINDS[kind][0] if kind in _KINDS else kind.replace("_", " ")


def advice(kind: str) -> str:
    """What to do about a kind of error, as a sentence."""
    if kind.startswith("http_5"):
        text = _LATER
    else:
        text = _KINDS[kind][1] if kind in _KINDS else "the texts below say more; another attempt may help."
    return text[0].upper() + text[1:]


def verdict(report: Report) -> str:
    """One or two sentences: how much of it there is."""
    counts = report.counts
    asked, with_text = counts.requests - counts.waiting, counts.answered + counts.cut
    if not asked:
        return "Nothing has been sent yet."
    if with_text == asked:
        said = f"All {asked:,} requests have an answer." if asked > 1 else "The one request has an answer."
    else:
        said = f"{with_text:,} of {asked:,} requests have an answer ({percent(with_text, asked)})."
    parts = [
        f"{getattr(counts, kind):,} {KIND_NAMES[kind]}"
        for kind in ("failed", "missing", "empty")
        if getattr(counts, kind)
    ]
    said += f" Without one: {', '.join(parts)}." if parts else ""
    said += f" Cut short at the token limit: {counts.cut:,}." if counts.cut else ""
    return said + (f" Not sent yet: {counts.waiting:,}." if counts.waiting else "")
