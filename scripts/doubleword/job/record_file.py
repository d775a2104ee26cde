"""How does the record stand on the disk? As `record.json`, whole, and as the journal of what was learnt since.

A key of record.json that is missing, unknown or of another type is "damaged": the record is the memory of a job, and
guessing what an edited one meant could pay twice.

A record of n parts is written n times and more, once for each thing learnt; written whole each time, that is hundreds
of megabytes for hundreds of parts. So a part's news is one line in `record.journal`, and is folded into the record when
the lock is released or the journal has grown as large as the record. Its first line names the very record (its hash)
that it adds to: beside any other, a newer one or one restored from a backup, it says nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, Union, get_args, get_origin, get_type_hints

from ..base.disk import sync, sync_folder
from ..base.json_text import read_json, written
from ..base.own_files import open_own, read_own
from ..base.text import safe
from .batch import Batch
from .record import KINDS, Attempt, Options, Part, Record, Requests, Submission, Upload

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment,unused-ignore]

# What is refreshed in place; all else is taken anew.
_CHANGING = (list, Batch, Upload, Submission, Part, Attempt, Requests, Options, Record)


class Damaged(ValueError):
    """A value that is not what the record holds there; says which key."""


Read = TypeVar("Read")
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_WORDS |= {dict: "an object", list: "a list", tuple: "a list"}
_IN_JSON: dict[Any, Any] = {float: (int, float), tuple: list}


def from_dict(kind: type[Read], value: object, where: str = "") -> Read:
    """`value`, as JSON has it, as a `kind`. Raises Damaged, naming the key."""
    return _reader(kind)(value, where)  # type: ignore[no-any-return,arg-type]


@cache
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    """What makes a `kind` of (value, where): found once for each kind, for a record has thousands of values."""
    origin, of = get_origin(kind), [_reader(found) for found in get_args(kind) if found is not ...]
    if origin in (Union, types.UnionType):
        return lambda value, where: None if value is None else of[0](value, where)
    fields = {name: _reader(hint) for name, hint in _fields(kind).items()}
    plain = origin or (dict if fields else kind)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, _IN_JSON.get(plain, plain)) or (isinstance(value, bool) and plain is not bool):
            raise Damaged(f"{where or 'the record'}: expected {_WORDS[plain]}")
        if fields:
            for name in sorted(fields.keys() ^ value.keys()):
                raise Damaged(f"{where}.{safe(name, 40)}: {'missing' if name in fields else 'unknown'}".lstrip("."))
            return kind(**{name: one(value[name], f"{where}.{name}".lstrip(".")) for name, one in fields.items()})
        if of and plain is dict:
            return {name: of[1](member, f"{where}.{name}") for name, member in value.items()}
        return plain(of[0](member, f"{where}[{i}]") for i, member in enumerate(value)) if of else value

    return read


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name; none of any other kind."""
    return get_type_hints(kind) if is_dataclass(kind) else {}


def as_text(record: Record) -> str:
    """A record as JSON, for people to read. Not by `vars`: a Source keeps more than its fields, what it found."""

    def held(value: object) -> dict[str, Any]:
        return {name: getattr(value, name) for name in _fields(type(value))}  # type: ignore[arg-type]

    if orjson is not None:  # json writes what is indented in Python: the more parts, the longer each word takes
        with contextlib.suppress(orjson.JSONEncodeError):  # a file name that is no text
            options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATACLASS
            return orjson.dumps(record, default=held, option=options).decode()
    return json.dumps(record, default=held, indent=2, ensure_ascii=False)


def refresh(held: object, read: object) -> bool:
    """Makes `held` what was just `read`, in place, so that whoever took a part before the lock holds the present one.

    Batches are told apart by their ids, all else by its place. Returns False where `read` is to stand in its place.
    """
    same = type(held) is type(read) and getattr(held, "id", None) == getattr(read, "id", None)
    if not same or type(held) not in _CHANGING:
        return False
    if isinstance(held, list) and isinstance(read, list):
        held[:] = [
            old if place < len(held) and refresh(old := held[place], new) else new for place, new in enumerate(read)
        ]
        return True
    for name in _fields(type(held)):  # type: ignore[arg-type]
        if not refresh(getattr(held, name), new := getattr(read, name)):
            setattr(held, name, new)
    return True


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
        if attempt.kind not in KINDS:
            raise Damaged(f"{where}.kind: expected one of {', '.join(KINDS)}")
        for place, part in enumerate(attempt.parts, 1):
            _require_sound_part(part, place, f"{where}.parts[{place - 1}]")
        _require_sound_origin(attempt, len(record.requests.sections), where)


def _plain(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _require_sound_origin(attempt: Attempt, sections: int, where: str) -> None:
    """What was answered is found by counting: where that does not add up, answers would be left out, and paid again."""
    sections_of = [run[0] for run in attempt.origin if len(run) == 2 and 1 <= run[0] <= sections and run[1] > 0]
    if len(sections_of) < len(attempt.origin) or sections_of != sorted(set(sections_of)):
        raise Damaged(f"{where}.origin: expected runs [section, count] over sections 1 to {sections}, in order")
    counted, held = sum(count for _, count in attempt.origin), sum(part.requests for part in attempt.parts)
    if not attempt.requests == counted == held > 0:
        raise Damaged(f"{where}.origin: its counts, those of the parts and requests do not add up")


def _require_sound_part(part: Part, number: int, where: str) -> None:
    if part.part != number:
        raise Damaged(f"{where}.part: expected {number}")
    if not 0 <= part.span.start < part.span.end or len(part.span.sha256) != 64:
        raise Damaged(f"{where}.span: no sound byte range or hash")
    if part.submission and not part.uploaded:
        raise Damaged(f"{where}.submission: it was sent without an uploaded file")


# --- the journal -----------------------------------------------------------------------------------

JOURNAL_BYTES = 1 << 30  # it is folded into the record long before

Entry = dict[str, Any]  # {"attempt": number, "part": number, "is": the part as the record has it}


def hash_of(record: bytes) -> str:
    return hashlib.sha256(record).hexdigest()


def entries(path: Path, record: bytes) -> Iterator[Entry]:
    """What a journal adds to this record, in order; a last line without its end was never relied upon.

    Raises ValueError for a whole line that cannot be read: what it told, and all after it, would be forgotten.
    """
    try:
        lines = read_own(path, JOURNAL_BYTES).split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        try:
            found = read_json(line, JOURNAL_BYTES, halves=True)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
        if number > 1:
            yield found
        elif not isinstance(found, dict) or found.get("record") != hash_of(record):
            return


class Journal:
    """The journal of a record that is locked. `size` is what it holds; it is opened with the first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.size = 0

    def add(self, entry: Entry, record: str) -> None:
        """Appends one entry to the record of that hash; it is on disk when this returns."""
        self._write(self._file or self._begin(record), entry)

    def _begin(self, record: str) -> BinaryIO:
        self._path.unlink(missing_ok=True)  # of another record, or folded into this one: `entries` no longer took it
        self._file = open_own(self._path)
        self._write(self._file, {"record": record})
        sync_folder(self._path.parent)
        return self._file

    def _write(self, file: BinaryIO, value: Entry) -> None:
        handle, line = file.fileno(), written(value) + b"\n"
        left = line
        try:
            while left:
                left = left[os.write(handle, left) :]
            sync(handle)
        except BaseException:  # a full disk, an interruption: half a line would make the next one unreadable
            os.ftruncate(handle, self.size)
            raise
        self.size += len(line)

    def end(self) -> None:
        """Removes it: the record has just been written whole."""
        self.close()
        with contextlib.suppress(OSError):  # what stays names a record that is no more
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self.size = None, 0


def with_journal(record: Record, found: Iterable[Entry]) -> bool:
    """Takes what a journal adds into the record; whether that was anything. Raises Damaged for what fits no part."""
    changed = False
    for entry in found:
        try:
            number, place, told = entry["attempt"] - 1, entry["part"] - 1, entry["is"]
            if number < 0 or place < 0:
                raise IndexError
            attempt = record.attempts[number]
            attempt.parts[place]
        except (LookupError, TypeError):
            raise Damaged("record.journal: it names no part of the record") from None
        attempt.parts[place] = from_dict(Part, told, "record.journal")
        changed = True
    return changed
