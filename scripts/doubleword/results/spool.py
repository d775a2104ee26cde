"""The spool: a batch's output and error lines, appended as received and kept beside the job.

A resumed read skips as many lines as the spool holds. It can miss a line and repeat another with the count
of lines right (seen on the real server), so a batch is whole only when its *distinct* lines add up.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..base.console import Progress, say
from ..base.failures import BadInput, Clock, ExitCode, Failure, NotFound
from ..base.files import state_of, sync
from ..base.json_text import read_json, written
from ..base.lock import lock
from ..base.own_files import open_own, own_folder, reading_own
from ..base.text import plural, safe
from ..job.batch import DELETED, Batch, Fetched
from ..job.job import Job
from ..job.record import Part
from ..request_file.answer_form import Expected, expected_in
from ..request_file.lines import Span, request_ids
from ..request_file.parts import PART_REQUESTS
from ..service.api import Api
from ..service.deleted import stop_unless_deleted
from ..service.identity import another, batch_of, require_same_server
from ..service.refusals import Cut
from ..service.server_objects import SETTLES_SECONDS
from . import line_outcome as outcomes

# After a stream ends the batch is read again; if the lines do not add up, all is fetched anew, so many times.
PASSES_SECONDS = (0, 5, 15)
CUTS_WITHOUT_A_LINE = 5
STOPS_SECONDS = 1.0  # after an interruption, for what is on its way to end

# The longest context that any model has makes a line of a tenth of it. A longer one is left out and named, and the
# lines after it are read; one of so many bytes has no end.
ANSWER_BYTES, ENDLESS_BYTES = 15 * 1024 * 1024, 256 * 1024 * 1024
TOO_LONG = "too_long"  # its kind
BEGINNING_BYTES = 1000  # of such a line: they hold its ids

# A system call for each 16 KB takes as long as all else. No more is held back than was written before.
HELD_BYTES = 256 * 1024

# After a cancel the output still grows. Final is what two reads 15 s apart agree on, SETTLES_SECONDS after the cancel
# was seen at the earliest; one seen five minutes ago is final for sure. By our clock alone: a server whose clock is
# behind ours would have cancelled everything long ago.
CANCEL_READS_APART_SECONDS, CANCEL_LONG_AGO_SECONDS = 15.0, 300.0

# A resumed read can repeat lines, and a server may send what is none: so much beyond what was asked is read.
SPARE_LINES = 100

Received = Callable[[int], None]


class TimeIsOver(Failure):
    """The time that was given is over, and not all that batches answered could be fetched, or is final."""

    code = ExitCode.STILL_RUNNING


class Spool:
    """One output or error file of a batch as received so far; every line is looked at once, as it comes in.

    It is a cache: what a power cut takes of it is fetched again. So it is not synced; instead `fetch` holds its lines
    against what the record says of it before anything is made of them.
    """

    def __init__(self, path: Path, known: Known, requests: int, name: Path | None = None) -> None:
        """`requests`: how many its batch has; a file of many more lines is not read to its end. `name`: what it will be
        called."""
        self.path = path
        self.foreign: set[bytes] = set()  # which lines are not the batch's, or no JSON
        self.looked = outcomes.Looked(name or path, known.expected)
        self._known, self._requests = known, requests
        self._rest = bytearray()  # of the line that is coming in: one of 15 MiB grows in its place
        self._skipped = 0  # bytes of it so far, where it is too long to be kept: the rest is its beginning then
        with open_own(path, path.parent) as file:
            file.seek(0)
            while some := file.readlines(HELD_BYTES):
                self._look_at([raw[:-1] for raw in some if raw.endswith(b"\n")])
            file.truncate(self.looked.end)  # a killed copy may have left half a line: only whole ones are skipped

    def _look_at(self, lines: list[bytes]) -> None:
        ids = self.looked.add(lines)
        if foreign := self._known.foreign(ids):
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
                self._rest, self._skipped = (
                    bytearray(),
                    0,
                )  # a line without its end is no line, whatever the stream says

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
        fresh = Spool(path, self._known, self._requests, self.path)
        fresh.fetch(api, file_id, received)
        if keep:
            again = distinct(path)
            with reading_own(self.path) as old, open_own(path) as file:
                for outcome in self.looked.outcomes():
                    old.seek(outcome.offset)
                    line = old.read(outcome.length)
                    if line_id(line) not in again and not self._known.foreign([outcome.custom_id]):
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


class Known:
    """The custom_ids that a part's lines may have; any text, where its requests are not at hand."""

    def __init__(self, job: Job, part: Part, expected: Expected | None) -> None:
        self._ids: set[str] | None = None
        self.expected = expected
        attempt = next((a for a in job.attempts if any(p is part for p in a.parts)), None)
        if job.recorded and attempt is not None and job.request_file(attempt).exists():
            with contextlib.suppress(BadInput):  # not what was uploaded: said where the answers are joined to it
                self._ids = set(ids_of(job.request_file(attempt), part.span, attempt.state)[1])

    def foreign(self, ids: Iterable[str]) -> set[str]:
        """Those that are not among them."""
        return {""}.intersection(ids) if self._ids is None else set(ids).difference(self._ids)


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


def require_space(job: Job) -> None:
    """Raises BadInput if the disk cannot hold what is to come, as far as that can be told beforehand.

    The answers' size is not known; that of the requests is taken for it, twice: for the spool and for the results.
    """
    waiting = [part for part in job.submitted() if part.batch and part.batch.fetched is None]
    needed = 2 * sum(part.span.end - part.span.start for part in waiting)
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise BadInput(
            f"{job.folder} has {free // 1_000_000} MB free; about {needed // 1_000_000} MB are needed",
            "free some space",
        )


def fetch(api: Api, job: Job, jobs: int = 2) -> None:
    """Brings what every batch of the job has to offer into the spool, `jobs` of them at a time, and notes in the record
    what is whole."""
    own_folder(own_folder(job.folder, job.request_file()) / "spool", job.folder)
    require_same_server(api, job)
    learnt: list[Batch] = []
    try:
        _fetch_all(api, job, jobs, learnt)
    finally:  # at once for all: a kill before only asks again for what the spool holds
        with job.locked(api.clock):
            held = {batch.id: batch for part in job.submitted() for batch in part.batches}
            new = [b for b in learnt if b.id in held and not held[b.id].newer_than(b.seen_at, api.clock)]
            news = [part.learn(batch) for batch in new for part in job.submitted()]
            if any(news):
                job.save()


def _fetch_all(api: Api, job: Job, jobs: int, learnt: list[Batch]) -> None:
    batches = [(part, batch) for part in job.submitted() for batch in part.batches]
    total = sum(batch.completed + batch.failed for _, batch in batches)
    expected, stopping, mutex = expected_in(job.request_file()), threading.Event(), threading.Lock()

    def received(lines: int) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        with mutex:
            progress.add(lines)

    def one(part: Part, batch: Batch) -> Batch:
        if learnt and not _is_whole(batch) and api.clock.monotonic() > api.deadline:
            raise TimeIsOver("the time is over before all answers were fetched", "the same command again goes on")
        return _fetch_batch(api, job, part, batch, expected, received)

    pool = ThreadPoolExecutor(jobs)
    with Progress("download", total, "lines") as progress:
        # First what is not whole yet: each command gets on by one at least, and so comes to the end.
        found = [pool.submit(one, *held) for held in sorted(batches, key=lambda held: _is_whole(held[1]))]
        try:
            for done in as_completed(found):
                learnt.append(done.result())
        except BaseException as error:
            # What is on its way is brought in, unless somebody interrupts: then the line that is coming in is the last.
            interrupted = not isinstance(error, Failure)
            if interrupted:
                stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            begun = [one for one in found if not one.cancelled()]
            ended, _ = wait(begun, STOPS_SECONDS if interrupted else None)
            learnt += [one.result() for one in ended if one.exception() is None]
            raise
        pool.shutdown()


def _fetch_batch(api: Api, job: Job, part: Part, batch: Batch, expected: Expected | None, received: Received) -> Batch:
    """Fetches one batch; returns it as last seen, with what of it was fetched."""
    known = Known(job, part, expected)
    # How many a batch has, the server alone says of one that is only looked at.
    requests = part.requests if job.recorded else min(part.requests, PART_REQUESTS)
    for path in spool_files(job, batch):
        path.with_suffix(".fresh").unlink(missing_ok=True)  # of a copy that was killed
    output, errors = (Spool(path, known, requests) for path in spool_files(job, batch))
    try:
        return _fetch_into(api, job, part, batch, output, errors, received)
    finally:
        for spool in (output, errors):
            outcomes.keep(spool.path, expected, spool.looked)


def _fetch_into(
    api: Api, job: Job, part: Part, batch: Batch, output: Spool, errors: Spool, received: Received
) -> Batch:
    """Whole means that the distinct lines add up with the counts of a batch that has ended. A batch that was fetched
    whole, and still lies there so, is asked for its counts alone."""
    before = batch.fetched
    try:
        current = _after_cancel(api, job, part, _look(api, job, part, batch)[0])
    except NotFound as error:
        if not (before and before.whole and before == _fetched(part, batch, output, errors)):
            raise
        say(f"{error.what}; all of its answers were fetched before")
        return replace(batch)
    if before and before.whole and before == _fetched(part, current, output, errors):
        return current
    # The error file loses lines when the server retries: it is not resumed across a change of status.
    stale = before is not None and before.status != current.status
    for pause in (None, *PASSES_SECONDS):
        anew = pause is not None
        if pause is not None:
            if pause and api.clock.monotonic() + pause > api.deadline:
                break  # what is lacking is unread, or looked for again before it is planned
            api.clock.sleep(pause)
        readable = _fetch_file(api, output, current.output_file_id, anew, True, received)
        readable |= _fetch_file(api, errors, current.error_file_id, anew or stale, False, received)
        again, is_there = _look(api, job, part, current)
        counted = current.completed + current.failed
        if not is_there and counted and not readable and not output.looked.lines and not errors.looked.lines:
            answered = f"batch {safe(batch.id)}, which answered {counted} requests"
            raise another(f"the server knows neither {answered}, nor its files", job)
        current = again
        current.fetched = found = _fetched(part, current, output, errors)
        foreign = len(output.foreign) + len(errors.foreign)
        if found.whole or (not current.ended and not foreign):
            return current
    say(f"batch {safe(batch.id)}: the server counts {current.completed} results and {current.failed} failures,")
    say(f"  but sent {found.completed} and {found.failed}; what was sent is kept")
    if foreign:
        say(f"  {plural(foreign, 'line')} of what it sent are not this batch's or no JSON: they are left out")
    return current


def _is_whole(batch: Batch) -> bool:
    return batch.fetched is not None and batch.fetched.whole


def _fetched(part: Part, batch: Batch, output: Spool, errors: Spool) -> Fetched:
    """What lies in the spools of a batch."""
    results, failures = output.counted(batch.completed), errors.counted(batch.failed)
    sound = batch.ended and batch.counts_what_ran(part.requests) and not (output.foreign or errors.foreign)
    whole = sound and (results, failures) == (batch.completed, batch.failed)
    return Fetched(results, failures, batch.status, whole, _sizes((output.path, errors.path)))


def is_settled(job: Job, batch: Batch) -> bool:
    """Whether what the spool holds is what the last fetch of this batch, as the record has it, left: whole or not."""
    fetched = batch.fetched
    return fetched is not None and fetched.status == batch.status and fetched.bytes == _sizes(spool_files(job, batch))


def _sizes(files: Iterable[Path]) -> list[int]:
    return [path.stat().st_size if path.exists() else -1 for path in files]


def _fetch_file(api: Api, spool: Spool, file_id: str | None, anew: bool, keep: bool, received: Received) -> bool:
    """Whether the server has the file; its new lines are in the spool then."""
    if file_id is None:
        return False
    try:
        if anew:
            spool.fetch_anew(api, file_id, keep, received)
        else:
            spool.fetch(api, file_id, received)
    except NotFound as error:
        say(f"{error.what}; what was fetched before is kept")
        return False
    return True


def _look(api: Api, job: Job, part: Part, batch: Batch) -> tuple[Batch, bool]:
    """The batch as it is now, and whether the server knows it. One deleted there stays as last seen: its files may be
    readable still."""
    try:
        return batch_of(api, part, batch).batch, True
    except NotFound as error:
        if batch.status != DELETED and (stop := stop_unless_deleted(api, job, part, batch, error)):
            raise stop from None
        say(f"{error.what}; trying its files")
        return replace(batch), False


def _after_cancel(api: Api, job: Job, part: Part, batch: Batch) -> Batch:
    """Waits until a cancelled batch no longer grows."""
    since = batch.cancelled_seconds
    if batch.status != "cancelled" or since is None or _is_whole(batch):
        return batch
    if since > CANCEL_LONG_AGO_SECONDS:
        return batch
    say("the batch was cancelled a moment ago: waiting until its last answers are in")
    pause = max(0.0, SETTLES_SECONDS - CANCEL_READS_APART_SECONDS - since)
    until = api.clock.monotonic() + CANCEL_LONG_AGO_SECONDS
    while True:
        if api.clock.monotonic() + pause > api.deadline:
            raise TimeIsOver(
                f"batch {safe(batch.id)} was cancelled a moment ago: answers may still come in",
                "the same command again later",
            )
        api.clock.sleep(pause)
        again, is_there = _look(api, job, part, batch)
        if not is_there or again.status != "cancelled":
            return again
        same = (again.completed, again.failed) == (batch.completed, batch.failed)
        settled = same and (again.cancelled_seconds or 0.0) >= SETTLES_SECONDS
        if settled or api.clock.monotonic() > until:  # one that goes on for so long is not counting what was in flight
            return again
        batch, pause = again, CANCEL_READS_APART_SECONDS
