"""What the record holds: the request file, its attempts, their parts, and of each batch what was last seen.

`job.py` reads record.json and writes it.

`from_dict` and `to_dict` are the only ways in and out. A key that is missing, unknown or of another type is
"damaged": the record is the memory of a job, and guessing what an edited one meant could pay twice.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..base.errors import Clock
from ..base.files import state_of
from ..base.text import safe
from ..request_file.lines import Span
from ..rows.source import Source

if TYPE_CHECKING:
    from ..request_file.verdict import Verdict

RECORD_VERSION = 1

# A status word the server may add later counts as "still running", never as done.
# "deleted" is ours: the server knows a batch no more while it knows others of the job.
ENDED = frozenset({"completed", "failed", "cancelled", "expired", "deleted"})
# Ended or about to, without being completed.
DEAD = frozenset({"failed", "cancelled", "cancelling", "expired"})


@dataclass
class Fetched:
    """What of a batch lies in the spool: distinct lines of output and errors, and the sizes of the two files."""

    completed: int
    failed: int
    status: str
    whole: bool  # the lines add up with the counts of a batch that has ended
    bytes: list[int]  # -1: no file


@dataclass
class Batch:
    """One batch as last seen. Times are Unix seconds."""

    id: str
    status: str
    total: int
    completed: int
    failed: int
    created_at: float
    cancelled_at: float  # by the server's clock; 0 if it was not cancelled
    started: bool
    output_file_id: str | None
    error_file_id: str | None
    reason: str  # the server's own word of why it failed, "" if it gave none
    seen_at: float  # when it was last seen, by our clock; a round that changed nothing else is not written down
    steady_at: float  # the same by the clock that is never set
    still_seconds: float = 0.0  # for how long status and counts had not changed by then, as far as was seen
    cancelled_seconds: float | None = None  # for how long it had been cancelled or cancelling by then; None: it is not
    fetched: Fetched | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def newer_than(self, asked_at: float, clock: Clock) -> bool:
        """Whether another copy has seen it since. A time that is still to come is of a clock that was set back."""
        return asked_at < self.seen_at <= clock.now()

    @property
    def changed_at(self) -> float:
        """When its status or counts were last seen to change, by our clock."""
        return self.seen_at - self.still_seconds

    @property
    def running(self) -> bool:
        """Whether it may still take up requests: neither ended nor about to."""
        return self.status not in ENDED | DEAD


@dataclass
class Upload:
    """The uploaded file of a part. The name is on disk before the file is sent, the id after."""

    name: str  # "" for the user's own file, or when it is to be uploaded anew
    file_id: str | None
    given: bool = False  # the user's own file: never deleted
    at: float = 0.0  # when the server answered with its id, by our clock


@dataclass
class Submission:
    """An intent to submit, written before the POST."""

    id: str
    sent_at: float
    window: str  # the completion window that it was sent with
    tearing: bool = False  # the uploaded file is being deleted, so that a late POST fails
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
    max_tokens: int | None = None  # the limit that answers which were cut short were asked for again with
    shown: bool = False  # a trial whose answers were shown: another one adds to it
    parts: list[Part] = field(default_factory=list)

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
    expects: dict[str, Any] | None = None  # what every answer must be, see request_file/expected.py; None: any text


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


_CHANGING = (Batch, Upload, Submission, Part, Attempt, Requests, Options, Record)


def told_the_same(one: Batch, other: Batch) -> bool:
    """Whether two sightings of a batch differ in nothing but their time."""
    times = ("seen_at", "steady_at", "still_seconds", "cancelled_seconds")
    return dataclasses.replace(one, **{name: getattr(other, name) for name in times}) == other


# --- in and out ----------------------------------------------------------------------------------


class Damaged(ValueError):
    """A value that is not what the record holds there; says which key."""


Read = TypeVar("Read")
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_WORDS |= {dict: "an object", list: "a list"}


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name."""
    hints = get_type_hints(kind)
    return {found.name: hints[found.name] for found in dataclasses.fields(kind)}


def from_dict(kind: type[Read], value: object, where: str = "") -> Read:
    """`value`, as JSON has it, as a `kind`. Raises Damaged, naming the key."""
    return _read(kind, value, where)  # type: ignore[no-any-return]


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(get_args(kind)[0], value, where)
    if kind is Source:
        try:
            return Source.from_dict(value)
        except ValueError as error:
            raise Damaged(str(error)) from None
    plain = origin or (dict if dataclasses.is_dataclass(kind) else kind)
    if plain is Any:
        return value
    fits = isinstance(value, (int, float) if plain is float else plain)
    if not fits or (isinstance(value, bool) and plain is not bool):
        raise Damaged(f"{where or 'the record'}: expected {_WORDS[plain]}")
    if plain is list:
        return [_read(get_args(kind)[0], member, f"{where}[{i}]") for i, member in enumerate(value)]
    if plain is dict and origin:
        return {name: _read(get_args(kind)[1], member, f"{where}.{name}") for name, member in value.items()}
    if not dataclasses.is_dataclass(kind):
        return value
    hints: dict[str, Any] = _fields(kind)  # type: ignore[arg-type]
    for name in sorted(hints.keys() ^ value.keys()):
        raise Damaged(f"{where}.{safe(name, 40)}: {'missing' if name in hints else 'unknown'}".lstrip("."))
    made: Any = kind
    return made(**{name: _read(hint, value[name], f"{where}.{name}".lstrip(".")) for name, hint in hints.items()})


def to_dict(record: Record) -> dict[str, Any]:
    return dataclasses.asdict(record)


def refresh(held: object, read: object) -> bool:
    """Makes `held` what was just `read`, in place, so that whoever took a part before the lock holds the present one.

    Batches are told apart by their ids, all else by its place. Returns False where the two are different things.
    """
    if type(held) is not type(read) or getattr(held, "id", None) != getattr(read, "id", None):
        return False
    if isinstance(held, list) and isinstance(read, list):
        held[:] = [
            old if place < len(held) and _in_place(old := held[place], new) else new for place, new in enumerate(read)
        ]
        return True
    for field_of in dataclasses.fields(held):  # type: ignore[arg-type]
        name = field_of.name
        old, new = getattr(held, name), getattr(read, name)
        if not _in_place(old, new):
            setattr(held, name, new)
    return True


def _in_place(old: object, new: object) -> bool:
    """Whether `old` stays, made to say what `new` does."""
    if isinstance(old, list) and isinstance(new, list):
        return refresh(old, new)
    return dataclasses.is_dataclass(old) and type(old) in _CHANGING and refresh(old, new)


def require_sound(record: Record) -> None:
    """Raises Damaged if an edited record contradicts what the scripts rely on."""
    if len(record.job) != 32 or record.job.strip("0123456789abcdef"):
        raise Damaged("job: expected 32 hexadecimal digits")
    if not record.attempts:
        raise Damaged("attempts: at least one was expected")
    if not _plain(record.requests.name):
        raise Damaged("requests.name: expected a plain file name")
    for number, attempt in enumerate(record.attempts, 1):
        where = f"attempts[{number - 1}]"
        if attempt.attempt != number:
            raise Damaged(f"{where}.attempt: expected {number}")
        if attempt.request_file and not _plain(attempt.request_file):
            raise Damaged(f"{where}.request_file: expected a plain file name")
        for part in attempt.parts:
            _require_sound_part(part, f"{where}.parts[{part.part - 1}]")


def _plain(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _require_sound_part(part: Part, where: str) -> None:
    if not 0 <= part.span.start < part.span.end or len(part.span.sha256) != 64:
        raise Damaged(f"{where}.span: no sound byte range or hash")
    if part.submission and not part.uploaded:
        raise Damaged(f"{where}.submission: it was sent without an uploaded file")


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
