"""How does a part get to the server? As a file under a name of its own that is on disk before it is sent."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..base.console import Progress, say
from ..base.failures import BadInput, Failure, NotAllowed, NotFound, Temporary, WrongUsage
from ..base.text import safe
from ..job.job import Job
from ..job.record import Part, Upload
from ..request_file.lines import Span, request_lines
from .api import Api
from .cost import estimate_part
from .part_body import PartBody
from .refusals import Busy, Unclear

# Each ticket that ends unclear costs an upload and half a minute: after three the network is not fit for this.
TICKETS = 3
# A signal that comes just before a wait is seen when that ends: an interruption waited for the answer to an upload.
WAIT_SECONDS = 0.5
Sent = Callable[[int], None]


def upload_part(api: Api, job: Job, part: Part, sent: Sent = lambda _: None) -> Upload:
    """Uploads a part of the latest attempt unless it is there already; its file, whose id is on disk then."""
    if part.upload and part.upload.file_id:
        return part.upload
    # A copy of this script may have died while it waited for the answer.
    if part.upload and part.upload.name and _take_uploaded(api, job, part, part.upload):
        return part.upload
    path, ticket = job.request_file(job.latest), 0
    while True:
        ticket += 1
        name = f"dwb-{job.id[:12]}-a{job.latest.attempt}-p{part.part}-{uuid.uuid4().hex[:12]}.jsonl"
        part.upload = upload = Upload(name, None)
        job.save(part)
        body = PartBody(name, path, part.span, sent)
        try:
            upload.file_id = api.upload(body).id
            upload.at = api.clock.now()
            job.save(part)
            return upload
        except (BadInput, NotAllowed, WrongUsage) as error:
            part.upload = None  # a definite no: nothing was stored
            job.save(part)
            raise _with_physical_line(error, path, part.span) from None
        except Temporary as error:
            sent(-body.told)  # what failed is taken back from the progress
            if isinstance(error, Unclear) and _take_uploaded(api, job, part, upload):
                return upload
            pause = error.retry_after if isinstance(error, Busy) and error.retry_after is not None else 5.0
            if ticket == TICKETS or api.clock.monotonic() + pause > api.deadline:
                raise
            say(f"upload of part {part.part}: {error.what}; trying again in {pause:.0f} s")
            api.clock.sleep(pause)


def _take_uploaded(api: Api, job: Job, part: Part, upload: Upload) -> bool:
    """Takes the file that was uploaded under the recorded name, if it is there."""
    found = api.files_named(upload.name)
    if found:
        upload.file_id, upload.at = found[0].id, api.clock.now()
        job.save(part)
    return bool(found)


def _with_physical_line(error: Failure, path: Path, span: Span) -> Failure:
    """The server counts the lines of the part that are not blank; people count the lines of the file."""
    found = re.search(r"\b[Ll]ine (\d+)", error.what)
    if not found:
        return error
    nth = min(max(1, int(found[1])), span.requests)
    line, _ = next(islice(request_lines(path, span), nth - 1, None), (span.last_line, b""))
    return type(error)(f"{safe(path.name)} line {line}: {error.what}", error.next_step or "mend that line")


@contextmanager
def uploading(api: Api, job: Job, window: str, jobs: int, priced: bool = True) -> Iterator[Iterator[None]]:
    """Uploads the parts that are not there yet, `jobs` at a time, in the background; yields what waits for each.

    `priced`: a part without an estimate is a failure; else it is submitted as one whose price is unknown.
    The lock must be held. Leaving the block early, by an error or an interruption, stops the uploads at once.
    """
    stopping, waiting = threading.Event(), job.unsubmitted()
    size = sum(part.span.end - part.span.start for part in waiting if not part.uploaded)

    def sent(amount: int) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        progress.add(amount)

    def bring(part: Part) -> None:
        if part.submission:  # its fate is unclear: its file may have to be deleted, not uploaded
            return
        upload_part(api, job, part, sent)
        try:
            estimate_part(api, job, part, window)
        except (Temporary, NotFound, BadInput) as error:
            if priced:
                raise
            say(f"part {part.part}: no estimate: {error.what}")

    pool = ThreadPoolExecutor(jobs)
    with Progress("upload", size, "B") as progress:
        try:
            yield map(_ended, [pool.submit(bring, part) for part in waiting])
        except BaseException as error:
            stopping.set()
            # The answer to an upload may take minutes, and somebody who interrupts does not want to wait for it.
            job.frozen = isinstance(error, KeyboardInterrupt)
            pool.shutdown(wait=not job.frozen, cancel_futures=True)
            raise
        pool.shutdown()


def _ended(upload: Future[None]) -> None:
    """Waits for an upload, and raises what it did."""
    while not upload.done():
        wait([upload], WAIT_SECONDS)
    upload.result()


def upload_parts(api: Api, job: Job, window: str, jobs: int) -> None:
    """Uploads every part and learns its estimate. The lock must be held, and the server be known as the job's."""
    with uploading(api, job, window, jobs) as uploads:
        for _ in uploads:
            pass
