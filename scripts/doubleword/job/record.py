"""What does the record hold? The request file, its attempts, their parts, and of each batch what was last seen.

`job_folder.py` reads record.json and writes it, `record_file.py` is the form in which it stands there.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.files import state_of
from ..request_file.lines import Span
from ..rows.source import Source
from .batch import Batch, told_the_same

if TYPE_CHECKING:
    from ..base.failures import Clock
    from ..request_file.verdict import Verdict

RECORD_VERSION = 2  # one more with each change of what a record holds: no older one is read

KINDS = ("all", "trial", "rest", "retry", "reused")  # of attempts


@dataclass
class Upload:
    """The uploaded file of a part. The name is on disk before the file is sent, the id after."""

    name: str  # "" for the user's own file, or when it is to be uploaded anew
    file_id: str | None
    given: bool = False  # the user's own file: never deleted
    at: float = 0.0  # when the server answered with its id, by our clock
    tearing: bool = False  # it is being deleted, so that a late POST on it fails: the server need not know it any more


@dataclass
class Submission:
    """An intent to submit, written before the POST."""

    id: str
    sent_at: float
    window: str  # the completion window that it was sent with
    compared: bool = False  # no second batch of the same content was there when the batch was first listed


@dataclass
class Part:
    """A range of lines of an attempt's request file, and what became of it."""

    part: int
    span: Span
    upload: Upload | None = None
    estimates: dict[str, str] = field(default_factory=dict)  # completion window -> USD, as the server guessed it
    submission: Submission | None = None
    batch: Batch | None = None
    other_batches: list[Batch] = field(default_factory=list)  # of the same content; what they answered counts
    again: bool = False  # the user asked for a second batch although another job has one

    @property
    def requests(self) -> int:
        return self.span.requests

    @property
    def batches(self) -> list[Batch]:
        """Its batch, if it has one, and the others of the same content."""
        return [*([self.batch] if self.batch else []), *self.other_batches]

    @property
    def ended(self) -> bool:
        return self.batch is not None and self.batch.ended

    def window(self, otherwise: str) -> str:
        """The completion window that it was sent with, or `otherwise`."""
        return self.submission.window if self.submission else otherwise

    def learn(self, batch: Batch) -> bool:
        """Takes a newer sighting of one of its batches; whether that said anything new."""
        if self.batch is not None and self.batch.id == batch.id:
            before, self.batch = self.batch, batch
            return not told_the_same(before, batch)
        for place, other in enumerate(self.other_batches):
            if other.id == batch.id:
                self.other_batches[place] = batch
                return not told_the_same(other, batch)
        return False

    @property
    def uploaded(self) -> str | None:
        """The id of its uploaded file."""
        return self.upload.file_id if self.upload else None

    @property
    def torn(self) -> bool:
        """Whether this job may have deleted its file itself."""
        return self.upload is not None and self.upload.tearing

    def begin_anew(self) -> None:
        """Its file is gone: it is uploaded under a new name. Not `upload=None`, as before upload.py ran:
        create_batch.py, killed here and run again, brings the new ticket."""
        self.submission, self.upload, self.estimates = None, Upload("", None), {}


@dataclass
class Attempt:
    """A set of requests of the job that is sent together: all of them, or what needs another try."""

    attempt: int
    kind: str  # all, trial, rest, retry or reused
    request_file: str  # a plain name in the job folder; "" for the job's own request file
    state: list[int]
    sha256: str
    requests: int
    origin: list[list[int]]  # runs [section, count] in order: which sections of the request file its lines are of
    cancelled_at: float | None = None
    withdrawn: bool = False  # what is not sent of it is never sent: another attempt is planned for that
    max_tokens: int | None = None  # the limit that answers which were cut short were asked for again with
    shown: bool = False  # a trial whose answers were shown: another one adds to it
    planned_from: dict[str, int] = field(default_factory=dict)  # how many each earlier batch had answered, by its id
    parts: list[Part] = field(default_factory=list)

    @property
    def kept(self) -> list[Part]:
        """The parts that were sent, or are to be sent."""
        return [part for part in self.parts if part.batch or not self.withdrawn]

    @property
    def begun(self) -> bool:
        """Whether anything of it was sent, or cancelled: until then it is a plan."""
        return self.cancelled_at is not None or any(p.upload or p.submission or p.batches for p in self.parts)


@dataclass
class Requests:
    """The request file as it was checked: every request of the job. Attempts send them, whole or in part."""

    name: str
    state: list[int]
    sha256: str
    size: int
    requests: int
    models: dict[str, int]
    endpoint: str
    input_tokens: int
    sections: list[Span]  # as it is cut into parts when all of it is sent


@dataclass
class Options:
    """What was asked for, for the next command: a cost limit or a table must not get lost on the way."""

    part_requests: int
    part_bytes: int
    completion_window: str | None = None
    max_cost: str | None = None
    output: str | None = None
    columns: str | None = None  # as the flag has them
    answer_column: str | None = None
    no_guard: bool = False
    id_prefix: str | None = None  # of a source that was named after the job: its rows find their answers by id


@dataclass
class Downloaded:
    """What the last whole download brought."""

    at: float
    batches: int
    retryable: int
    most_results: int
    results: int
    errors: dict[str, int]
    missing: dict[str, int]
    cost_usd: str | None = None  # what the service says that all attempts cost, where it knows it of every batch


@dataclass
class Written:
    """A file that the job wrote, as it was then: what differs from it is somebody else's and is never replaced.

    While it is being written, size is -1: a kill then leaves the old file, none, or the new one, all the job's.
    """

    size: int
    changed_ns: int
    sha256: str


@dataclass
class Record:
    """All that is known of a job. `outputs`: the files that the job wrote, by their path from the request file's;
    while one is replaced, what it was and what it will be."""

    version: int
    job: str  # 32 hexadecimal digits; "" for a batch that is only looked at
    created_at: float
    base_url: str | None
    requests: Requests
    source: Source | None
    options: Options
    outputs: dict[str, list[Written]]
    downloaded: Downloaded | None
    attempts: list[Attempt]


# --- new entries ---------------------------------------------------------------------------------


def requests_of(request_file: Path, report: Verdict) -> Requests:
    """The entry of a request file that was just checked."""
    return Requests(
        name=request_file.name,
        state=state_of(request_file),
        sha256=report.sha256,
        size=report.size,
        requests=report.requests,
        models=report.models,
        endpoint=report.endpoint,
        input_tokens=report.input_tokens,
        sections=list(report.spans),
    )


def parts_of(spans: list[Span]) -> list[Part]:
    return [Part(number, span) for number, span in enumerate(spans, 1)]


def attempt_over_all(requests: Requests) -> Attempt:
    """The attempt that sends every request, straight from the request file."""
    origin = [[section, span.requests] for section, span in enumerate(requests.sections, 1)]
    parts = parts_of(requests.sections)
    return Attempt(1, "all", "", requests.state, requests.sha256, requests.requests, origin, parts=parts)


def attempt_from(number: int, kind: str, path: Path, report: Verdict, origin: list[list[int]]) -> Attempt:
    """An attempt over a file of its own, which was just written and checked."""
    parts = parts_of(report.spans)
    return Attempt(number, kind, path.name, state_of(path), report.sha256, report.requests, origin, parts=parts)


def record_over(requests: Requests, options: Options, clock: Clock) -> Record:
    """The record of a job of which nothing was sent yet."""
    attempts = [attempt_over_all(requests)]
    return Record(RECORD_VERSION, uuid.uuid4().hex, clock.now(), None, requests, None, options, {}, None, attempts)
