"""The spool: a batch's output and error lines, appended as received and kept beside the job.

A resumed read skips as many lines as the spool holds. It can miss a line and repeat another with the count
of lines right (seen on the real server), so a batch is whole only when its *distinct* lines add up.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from ..base.console import say
from ..base.errors import BadInput, Clock, NotFound
from ..base.files import open_own, own_folder, sync, sync_folder
from ..base.json_text import read_json
from ..base.lock import lock
from ..base.progress import Progress
from ..base.text import safe
from ..job.job import Job
from ..job.record import Batch, Fetched, seen
from ..request_file.expected import Expected
from ..service.api import Api
from ..service.refusals import Cut
from . import asked
from . import outcome as outcomes

# After a stream ends the batch is read again; if the lines do not add up, all is fetched anew, so many times.
PASSES_SECONDS = (0, 5, 15)


CUTS_WITHOUT_A_LINE = 5


# After a cancel the output still grows: the server aborts what is in flight within 5 s. Final is what two reads 15 s
# apart agree on, 30 s after the cancel at the earliest; a cancel of five minutes ago is final for sure.
CANCEL_SETTLES_SECONDS, CANCEL_READS_APART_SECONDS, CANCEL_LONG_AGO_SECONDS = 30.0, 15.0, 300.0


Received = Callable[[int], None]


class Spool:
    """One output or error file of a batch as received so far. `lines` counts its whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """A killed copy may have left half a line: only whole lines may be counted and skipped."""
        offset = whole = 0
        with open_own(self.path, self.path.parent) as file:
            file.seek(0)
            while block := file.read(1 << 20):
                self.lines += block.count(b"\n")
                whole = offset + block.rindex(b"\n") + 1 if b"\n" in block else whole
                offset += len(block)
            file.truncate(whole)

    def fetch(self, api: Api, file_id: str, received: Received) -> None:
        """Appends the file's lines from the first one not held yet; goes on after cuts while lines keep coming."""
        cuts = 0
        while True:
            before = self.lines
            try:
                self._append(api.content(file_id, self.lines), received)
                return
            except Cut:
                cuts = 0 if self.lines > before else cuts + 1
                if cuts > CUTS_WITHOUT_A_LINE:
                    raise
                api.clock.sleep(2.0**cuts)

    def _append(self, blocks: Iterator[bytes], received: Received) -> None:
        with open_own(self.path) as file:
            written = whole = file.tell()
            try:
                for block in blocks:
                    file.write(block)
                    new = block.count(b"\n")
                    if new:
                        self.lines += new
                        whole = written + block.rindex(b"\n") + 1
                        received(new)
                    written += len(block)
            finally:
                file.flush()
                file.truncate(whole)  # a line without its end is no line, whatever the stream says
                sync(file.fileno())

    def fetch_anew(self, api: Api, file_id: str, keep: bool, received: Received) -> None:
        """Replaces the spool by a reading from line 0. With `keep`, lines that are not sent again stay."""
        self.path.with_suffix(".fresh").unlink(missing_ok=True)
        fresh = Spool(self.path.with_suffix(".fresh"))
        fresh.fetch(api, file_id, received)
        if keep and self.path.exists():
            again = fresh.distinct()
            with self.path.open("rb") as old, open_own(fresh.path) as file:
                file.writelines(line for line in old if line_id(line) not in again)
                file.flush()
                sync(file.fileno())
        os.replace(fresh.path, self.path)

    def distinct(self) -> set[bytes]:
        """The distinct ids of the lines."""
        with self.path.open("rb") as file:
            return {line_id(line) for line in file}


_IDS_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]+)"\s*,\s*"custom_id"\s*:\s*"([^"\\]*)"')


def line_id(line: bytes) -> bytes:
    """What a line is known by: the server's id and the custom_id; a line without the first counts as itself."""
    found = _IDS_FIRST.match(line)
    if found:
        return found[1] + b" " + found[2]
    try:
        parsed = read_json(line)
        ids = parsed["id"], parsed["custom_id"]
        return " ".join(ids).encode() if ids[0] else line
    except (ValueError, KeyError, TypeError, RecursionError):
        return line


def spool_files(job: Job, batch: Batch) -> tuple[Path, Path]:
    """(output, errors) of a batch. What the server sent as its id is never used as a path."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", batch.id)[:80]
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


def fetch(api: Api, job: Job) -> None:
    """Brings what every batch of the job has to offer into the spool, and notes in the record what is whole."""
    own_folder(own_folder(job.folder, job.request_file()) / "spool", job.folder)
    batches = [batch for part in job.submitted() for batch in part.batches]
    total = sum(batch.completed + batch.failed for batch in batches)
    with Progress("download", total, "lines") as progress:
        for batch in batches:
            fetched = _fetch_batch(api, job, batch, progress.add)
            with job.locked(api.clock):
                if any(part.learn(fetched) for part in job.submitted()):
                    job.save()


def _fetch_batch(api: Api, job: Job, batch: Batch, received: Received) -> Batch:
    """Fetches one batch; returns it as last seen, with what of it was fetched.

    Whole means that the distinct lines add up with the counts of a batch that has ended. A batch that was fetched
    whole is asked for its counts alone.
    """
    files = spool_files(job, batch)
    before = batch.fetched
    current = _after_cancel(api, _look(api, batch))
    held = (current.completed, current.failed, current.status)
    if before and is_here(job, current) and held == (before.completed, before.failed, before.status):
        return current
    if before is None or before.status != current.status:
        files[1].unlink(missing_ok=True)  # the error file loses lines when the server retries: never resumed then
    for pause in (None, *PASSES_SECONDS):
        if pause is not None:
            api.clock.sleep(pause)
        readable = [
            _fetch_file(api, path, file_id, pause is not None, received)
            for path, file_id in zip(files, (current.output_file_id, current.error_file_id), strict=True)
        ]
        sync_folder(files[0].parent)
        again = _look(api, current)
        counted = current.completed + current.failed
        if again is current and counted and not any(readable) and max(_sizes(files)) <= 0:
            raise NotFound(
                f"the server knows neither batch {safe(batch.id)}, which answered {counted} requests, nor its files",
                "check that the key and DOUBLEWORD_BASE_URL are those it was submitted with",
            )
        current = again
        expected = asked.expected(job)
        results = _distinct(files[0], current.completed, expected)
        failures = _distinct(files[1], current.failed, expected)
        whole = current.ended and (results, failures) == (current.completed, current.failed)
        current.fetched = Fetched(results, failures, current.status, whole, _sizes(files))
        if whole or not current.ended:
            return current
    say(f"batch {safe(batch.id)}: the server counts {current.completed} results and {current.failed} failures,")
    say(f"  but sent {results} and {failures}; what was sent is kept")
    return current


def is_here(job: Job, batch: Batch) -> bool:
    """Whether a batch was fetched whole and its spool is what it was then: people tidy up, and disks lose power."""
    fetched = batch.fetched
    return fetched is not None and fetched.whole and fetched.bytes == _sizes(spool_files(job, batch))


def _sizes(files: Iterable[Path]) -> list[int]:
    return [path.stat().st_size if path.exists() else -1 for path in files]


def _distinct(path: Path, counted: int, expected: Expected | None) -> int:
    """How many distinct lines a spool holds: by custom_id, or by the server's ids where those occur more than once."""
    found = len({outcome.custom_id for outcome in outcomes.read(path, expected)})
    return found if found == counted else len(Spool(path).distinct())


def _fetch_file(api: Api, path: Path, file_id: str | None, anew: bool, received: Received) -> bool:
    """Whether the server has the file; its new lines are in the spool then."""
    spool = Spool(path)
    path.with_suffix(".fresh").unlink(missing_ok=True)  # of a copy that was killed while it fetched anew
    if file_id is None:
        return False
    try:
        if anew:
            spool.fetch_anew(api, file_id, keep=path.name.endswith(".output.jsonl"), received=received)
        else:
            spool.fetch(api, file_id, received)
    except NotFound as error:
        say(f"{error.what}; what was fetched before is kept")
        return False
    return True


def _look(api: Api, batch: Batch) -> Batch:
    """The batch as it is now. One deleted on the server stays as last seen: its files may be readable still."""
    try:
        return seen(api.batch(batch.id), api.clock, batch)
    except NotFound as error:
        if not batch.output_file_id:
            raise
        say(f"{error.what}; trying its files")
        return batch


def _after_cancel(api: Api, batch: Batch) -> Batch:
    """Waits until a cancelled batch no longer grows."""
    if batch.status != "cancelled" or batch.cancel_seen_at is None or (batch.fetched and batch.fetched.whole):
        return batch
    now = api.clock.now()
    if now - (batch.cancelled_at or now) > CANCEL_LONG_AGO_SECONDS:
        return batch
    seen_at = batch.cancel_seen_at
    say("the batch was cancelled a moment ago: waiting until its last answers are in")
    api.clock.sleep(max(0.0, CANCEL_SETTLES_SECONDS - CANCEL_READS_APART_SECONDS - (now - seen_at)))
    while True:
        again = _look(api, batch)
        if again is batch or (again.completed, again.failed) == (batch.completed, batch.failed):
            settled = api.clock.now() - seen_at >= CANCEL_SETTLES_SECONDS
            if settled or again is batch:
                return again
        batch = again
        api.clock.sleep(CANCEL_READS_APART_SECONDS)
