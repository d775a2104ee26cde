"""Is a batch that comes back one of the part's, and is this server, with this key, the one that the job is on?

A file that this job uploaded and never deleted, unknown to the server, means
another key or base URL; it is never taken for a proof that something does not exist, or two servers would both be paid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from ..base.console import say
from ..base.failures import NotFound
from ..base.text import safe
from ..job.batch import DELETED, Batch
from ..job.job import Job
from ..job.record import Part, Upload
from .api import Api
from .refusals import Unclear, Young
from .server_objects import Told


def tell_what_is_young(api: Api, job: Job) -> None:
    """The record knows what this job made in the last minutes, in whichever process: a 404 on that is temporary."""
    for part in job.sent():
        if part.upload and part.upload.file_id and not part.upload.given:
            api.made_lately(part.upload.file_id, part.upload.at)
        if part.submission and part.batch:
            api.made_lately(part.batch.id, part.submission.sent_at)


def is_of(part: Part, found: Told) -> bool:
    """Whether a batch object can be one of this part's: its content, and its file, are those of the part."""
    now = found.batch
    for known in (batch for batch in part.batches if batch.id == now.id):
        files = (known.output_file_id, now.output_file_id), (known.error_file_id, now.error_file_id)
        if any(before and after and before != after for before, after in files):
            return False  # another batch's answers would be taken for its own
    sent, tags = part.submission, found.tags
    if sent is None:
        return True  # it was submitted elsewhere, and taken over by its id or content
    if tags.get("dwb_content") not in (part.span.sha256, None):
        return False
    if tags.get("dwb_submission") != sent.id:
        return True  # it was taken over: it runs on another file
    return found.input_file_id in (part.uploaded, "")  # "": its file was deleted


def batch_of(api: Api, part: Part, before: Batch) -> Told:
    """A batch of a part, as it is now. Raises Unclear for an answer about another one."""
    found = api.batch(before.id)
    if not is_of(part, found):
        raise Unclear(f"batch {safe(before.id, 80)}: the answer is about another batch")
    return replace(found, batch=found.batch.after(before))


def one_spelling(url: str) -> str:
    """A base URL as the record has it: spellings of one origin and path are one."""
    parts = urlsplit(url.strip())
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme)) else f":{parts.port}"
    path = "/".join(segment for segment in parts.path.split("/") if segment)
    return f"{parts.scheme}://{host}{port}/{path}".rstrip("/")


def another(what: str, job: Job) -> NotFound:
    """The stop: nothing is concluded, nothing torn up, nothing paid. From then on --again is a yes to that."""
    job.note_unknown(True)
    where = job.record.base_url or "the server"
    return NotFound(
        f"{what}, although this job has it on {safe(where)}: another key or base URL?",
        f"set the key and DOUBLEWORD_BASE_URL of before; if it was deleted or has expired there, ask the user:"
        f" {job.pay_again} pays for it anew",
    )


def require_same_server(api: Api, job: Job) -> None:
    """Raises NotFound (exit 5) where the job is on another server than the configured one.

    The record names the URL of the first contact. Under another one the server must know what this job made there.
    """
    tell_what_is_young(api, job)
    url = one_spelling(api.base)
    if not job.recorded or job.record.base_url == url:
        return
    made = require_known(api, job)
    with job.locked(api.clock):
        before = job.record.base_url
        job.record.base_url = url
        job.save()
    if before and made:
        say(f"note: this job was begun on {safe(before)}; {safe(url)} knows it, too")


def require_known(api: Api, job: Job) -> bool:
    """Raises NotFound where the server does not know what the job made last; whether it has made anything yet."""
    made = [part for part in job.sent() if part.batch or (part.uploaded and not part.torn)]
    made = [part for part in made if not part.batch or part.batch.status != DELETED]  # those nobody knows any more
    if made and not _knows(api, made[-1]):
        raise another(f"{safe(one_spelling(api.base))} does not know what was made for part {made[-1].part}", job)
    job.note_unknown(False)
    return bool(made)


def _knows(api: Api, part: Part) -> bool:
    asks: list[Callable[[], object]] = []
    if part.uploaded and not part.torn:
        asks.append(partial(api.file, part.uploaded))
    if part.batch:
        asks.append(partial(api.batch, part.batch.id))
    young = None
    for ask in asks:
        try:
            ask()
            return True
        except NotFound:
            pass
        except Young as error:  # the other thing may be known
            young = error
    if young is not None:
        raise young
    return False


def require_known_file(api: Api, job: Job, upload: Upload) -> None:
    """Raises NotFound where the server does not know a file that this job uploaded and never deleted."""
    if not api.has_file(upload.file_id or ""):
        raise another(f"the server knows no file {safe(upload.file_id, 80)}", job)
