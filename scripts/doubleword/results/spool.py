"""The spool: a batch's output and error lines, appended as received and kept beside the job.

A resumed read skips as many lines as the spool holds. It can miss a line and repeat another with the count
of lines right (seen on the real server), so a batch is whole only when its *distinct* lines add up.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from ..base.console import say
from ..base.disk import sync
from ..base.failures import Clock
from ..base.files import state_of
from ..base.json_text import read_json, written
from ..base.lock import lock
from ..base.own_files import open_own, reading_own
from ..job.batch import Batch
from ..job.job import Job
from ..request_file.lines import Span, request_ids
from ..service.api import Api
from ..service.refusals import Cut
from .line_outcome import Looked

CUTS_WITHOUT_A_LINE = 5

# The longest context that any model has makes a line of a tenth of it. A longer one is left out and named, and the
# lines after it are read; one of so many bytes has no end.
ANSWER_BYTES, ENDLESS_BYTES = 15 * 1024 * 1024, 256 * 1024 * 1024
TOO_LONG = "too_long"  # its kind
BEGINNING_BYTES = 1000  # of such a line: they hold its ids

# A system call for each 16 KB takes as long as all else. No more is held back than was written before.
HELD_BYTES = 256 * 1024

# A resumed read can repeat lines, and a server may send what is none: so much beyond what was asked is read.
SPARE_LINES = 100

Received = Callable[[int], None]


class Spool:
    """One output or error file of a batch as received so far; every line is looked at once, as it comes in.

    It is a cache: what a power cut takes of it is fetched again. So it is not synced; instead its lines are held
    against what the record says of it before anything is made of them.
    """

    def __init__(self, path: Path, ids: Set[str] | None, requests: int, looked: Looked) -> None:
        """`ids`: the custom_ids that its lines may have, None for any. `requests`: how many its batch has; a file of
        many more lines is not read to its end. `looked` takes what the lines say."""
        self.path, self.looked = path, looked
        self.foreign: set[bytes] = set()  # which lines are not the batch's, or no JSON
        self._ids, self._requests = ids, requests
        self._rest = bytearray()  # of the line that is coming in: one of 15 MiB grows in its place
        self._skipped = 0  # bytes of it so far, where it is too long to be kept: the rest is its beginning then
        with open_own(path, path.parent) as file:
            file.seek(0)
            while some := file.readlines(HELD_BYTES):
                self._look_at([raw[:-1] for raw in some if raw.endswith(b"\n")])
            file.truncate(self.looked.end)  # a killed copy may have left half a line: only whole ones are skipped

    def _foreign(self, ids: Iterable[str]) -> set[str]:
        return {""}.intersection(ids) if self._ids is None else set(ids).difference(self._ids)

    def _look_at(self, lines: list[bytes]) -> None:
        ids = self.looked.add(lines)
        if foreign := self._foreign(ids):
            self.foreign |= {line_id(raw + b"\n") for raw, found in zip(lines, ids, strict=True) if found in foreign}

    def fetch(self, api: Api, file_id: str, received: Received) -> None:
        """Appends the file's lines from the first one not held yet; goes on after cuts while lines keep coming."""
        cuts = 0
        while True:
            before = self.looked.lines
            try:
                self._append(api.content(file_id, before), received)
                return
            except Cut:
                cuts = 0 if self.looked.lines > before else cuts + 1
                if cuts > CUTS_WITHOUT_A_LINE or api.clock.monotonic() + 2.0**cuts > api.deadline:
                    raise
                api.clock.sleep(2.0**cuts)

    def _append(self, blocks: Iterator[bytes], received: Received) -> None:
        most = 2 * self._requests + SPARE_LINES
        held, size, taken = list[bytes](), 0, 0
        with open_own(self.path) as file:
            try:
                for block in blocks:
                    held.append(block)
                    size += len(block)
                    if size < min(HELD_BYTES, taken):
                        continue
                    self._take(file, b"".join(held), received)
                    held, size, taken = [], 0, taken + size
                    if self.looked.lines > most or self._skipped > ENDLESS_BYTES:
                        say(f"{self.path.name}: more than this batch can have answered; the rest is not read")
                        return
            finally:
                self._take(file, b"".join(held), received)
                # A line without its end is no line, whatever the stream says.
                self._rest, self._skipped = bytearray(), 0

    def _take(self, file: BinaryIO, block: bytes, received: Received) -> None:
        """Looks at the lines that end in a block, and keeps them."""
        if self._skipped:
            end = block.find(b"\n")
            self._skipped += len(block) if end < 0 else end
            if end < 0:
                return
            self._rest, block, self._skipped = bytearray(_stand_in(self._rest, self._skipped)), block[end:], 0
        self._rest += block
        whole = list[bytes]()
        if b"\n" in block:
            block, self._rest = bytes(self._rest), bytearray()
            *whole, rest = block.split(b"\n")
            self._rest += rest
            file.write(memoryview(block)[: len(block) - len(rest)])
        if len(self._rest) > ANSWER_BYTES:
            self._rest, self._skipped = self._rest[:BEGINNING_BYTES], len(self._rest)
        self._look_at(whole)
        if whole:
            received(len(whole))

    def fetch_anew(self, api: Api, file_id: str, keep: bool, received: Received) -> None:
        """Replaces the spool by a reading from line 0. With `keep`, lines that are not sent again stay."""
        path = self.path.with_suffix(".fresh")
        path.unlink(missing_ok=True)  # of the pass before
        fresh = Spool(path, self._ids, self._requests, Looked(self.path, self.looked.expected))
        fresh.fetch(api, file_id, received)
        if keep:
            again = distinct(path)
            with reading_own(self.path) as old, open_own(path) as file:
                for outcome in self.looked.outcomes():
                    old.seek(outcome.offset)
                    line = old.read(outcome.length)
                    if line_id(line) not in again and not self._foreign([outcome.custom_id]):
                        fresh._take(file, line, lambda _: None)
                file.flush()
                sync(file.fileno())  # the server may have them no more
        os.replace(path, self.path)
        self.looked, self.foreign = fresh.looked, fresh.foreign

    def counted(self, by_server: int) -> int:
        """How many distinct lines of the batch there are: by custom_id, or by the server's ids where those occur more
        than once. Foreign ones are nobody's answer."""
        found = len(self.looked.ids)
        return found if found == by_server and not self.foreign else len(distinct(self.path) - self.foreign)


def distinct(path: Path) -> set[bytes]:
    """The distinct ids of a spool's lines."""
    if not path.exists():
        return set()
    with reading_own(path) as file:
        return {line_id(line) for line in file}


_IDS_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]+)"\s*,\s*"custom_id"\s*:\s*"([^"\\]*)"')


def line_id(line: bytes) -> bytes:
    """What a line is known by, in 16 bytes: the server's id and the custom_id; a line without the first counts as
    itself."""
    return hashlib.blake2b(_ids_in(line), digest_size=16).digest()


def _ids_in(line: bytes) -> bytes:
    found = _IDS_FIRST.match(line)
    if found:
        return found[1] + b" " + found[2]
    try:
        parsed = read_json(line)
        ids = parsed["id"], parsed["custom_id"]
        return " ".join(ids).encode() if ids[0] else line
    except (ValueError, KeyError, TypeError, RecursionError):
        return line


def _stand_in(beginning: bytes | bytearray, length: int) -> bytes:
    """What is kept in place of a line that is too long: an error of its request, if that is known."""
    ids = _IDS_FIRST.match(beginning)
    if ids is None:
        return b"(a line of %d bytes)" % length
    text = f"the line of the answer has {length} bytes; at most {ANSWER_BYTES} are read"
    known = {"id": ids[1].decode(errors="replace"), "custom_id": ids[2].decode(errors="replace")}
    return written(known | {"response": None, "error": {"code": TOO_LONG, "message": text}})


def ids_of(path: Path, span: Span, known: list[int]) -> tuple[array[int], list[str]]:
    """(physical lines, custom_ids) of the requests in a span of a file. Raises BadInput if they are others than they
    were when the file was in the state that is known."""
    state = state_of(path)
    return _ids_of(path, span, tuple(state), state != known)


@functools.lru_cache(maxsize=1)  # a download asks for those of its one part twice
def _ids_of(path: Path, span: Span, state: tuple[int, ...], changed: bool) -> tuple[array[int], list[str]]:  # noqa: ARG001
    numbers, ids = array("q"), list[str]()
    for number, custom_id in request_ids(path, span, changed):
        numbers.append(number)
        ids.append(custom_id)
    return numbers, ids


def spool_files(job: Job, batch: Batch) -> tuple[Path, Path]:
    """(output, errors) of a batch. What the server sent as its id is never used as a path, and no two ids share one:
    what had to be changed, also where large and small letters are the same, bears its hash."""
    plain = re.sub(r"[^a-z0-9_-]", "_", batch.id)[:80]
    if plain != batch.id:
        plain += "~" + hashlib.sha256(batch.id.encode()).hexdigest()[:16]
    folder = job.folder / "spool"
    return folder / f"{plain}.output.jsonl", folder / f"{plain}.errors.jsonl"


def spool_lock(job: Job, clock: Clock) -> AbstractContextManager[None]:
    """The lock on the spool and on what is made from it. The job's own is not held for as long as a download takes."""
    return lock(job.folder / "spool.lock", clock)
