"""When is a batch fetched whole? Its lines come into the spool, again where they do not add up with its counts."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from ..base.console import Progress, say
from ..base.failures import BadInput, ExitCode, Failure, NotFound
from ..base.own_files import own_folder
from ..base.text import plural, safe
from ..job.batch import DELETED, Batch, Fetched
from ..job.job import Job
from ..job.record import Attempt, Part
from ..request_file.answer_form import expected_in
from ..request_file.parts import PART_REQUESTS
from ..service.api import Api
from ..service.deleted import stop_unless_deleted
from ..service.identity import another, batch_of, require_same_server
from ..service.server_objects import SETTLES_SECONDS
from ..service.upload import WAIT_SECONDS
from .line_outcome import Looked, keep
from .spool import Received, Spool, ids_of, spool_files

# After a stream ends the batch is read again; if the lines do not add up, all is fetched anew, so many times.
PASSES_SECONDS = (0, 5, 15)
STOPS_SECONDS = 1.0  # after an interruption, for what is on its way to end

# After a cancel the output still grows. Final is what two reads 15 s apart agree on, SETTLES_SECONDS after the cancel
# was seen at the earliest; one seen five minutes ago is final for sure. By our clock alone: a server whose clock is
# behind ours would have cancelled everything long ago.
CANCEL_READS_APART_SECONDS, CANCEL_LONG_AGO_SECONDS = 15.0, 300.0


class TimeIsOver(Failure):
    """The time that was given is over, and not all that batches answered could be fetched, or is final."""

    code = ExitCode.STILL_RUNNING


def fetch_answers(api: Api, job: Job, jobs: int = 2) -> None:
    """Brings what every batch of the job has to offer into the spool, `jobs` of them at a time, and notes in the record
    what is whole."""
    own_folder(own_folder(job.folder, job.request_file()) / "spool", job.folder)
    _require_space(job)
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


def _require_space(job: Job) -> None:
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


def _fetch_all(api: Api, job: Job, jobs: int, learnt: list[Batch]) -> None:
    sent = [(attempt, part) for attempt in job.attempts for part in attempt.parts if attempt.kind != "reused"]
    batches = [(attempt, part, batch) for attempt, part in sent if part.batch for batch in part.batches]
    total = sum(batch.completed + batch.failed for _, _, batch in batches)
    expected, stopping, mutex = expected_in(job.request_file()), threading.Event(), threading.Lock()

    def received(lines: int) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        with mutex:
            progress.add(lines)

    def one(attempt: Attempt, part: Part, batch: Batch) -> Batch:
        if learnt and not _is_whole(batch) and api.clock.monotonic() > api.deadline:
            raise TimeIsOver("the time is over before all answers were fetched", "the same command again goes on")
        # How many a batch has, the server alone says of one that is only looked at.
        requests = part.requests if job.recorded else min(part.requests, PART_REQUESTS)
        files, ids = spool_files(job, batch), _ids_at_hand(job, attempt, part)
        for path in files:
            path.with_suffix(".fresh").unlink(missing_ok=True)  # of a copy that was killed
        output, errors = (Spool(path, ids, requests, Looked(path, expected)) for path in files)
        try:
            return _Fetch(api, job, part, output, errors, received).of(batch)
        finally:
            for spool in (output, errors):
                keep(spool.looked)

    pool = ThreadPoolExecutor(jobs)
    with Progress("download", total, "lines") as progress:
        # First what is not whole yet: each command gets on by one at least, and so comes to the end.
        found = [pool.submit(one, *held) for held in sorted(batches, key=lambda held: _is_whole(held[-1]))]
        open_ones = set(found)
        try:
            while open_ones:
                done, open_ones = wait(open_ones, WAIT_SECONDS, FIRST_COMPLETED)
                learnt += [one.result() for one in done]
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


def _ids_at_hand(job: Job, attempt: Attempt, part: Part) -> set[str] | None:
    """The custom_ids of a part's requests; None where those are not at hand."""
    if job.recorded:
        with contextlib.suppress(BadInput):  # gone, or not what was uploaded: said where the answers are joined to it
            return set(ids_of(job.request_file(attempt), part.span, attempt.state)[1])
    return None


@dataclass(frozen=True)
class _Fetch:
    """The fetch of one batch into its spools."""

    api: Api
    job: Job
    part: Part
    output: Spool
    errors: Spool
    received: Received

    def of(self, batch: Batch) -> Batch:
        """Brings what it has to offer; the batch as last seen, with what of it was fetched.

        Whole means that the distinct lines add up with the counts of a batch that has ended. A batch that was fetched
        whole, and still lies there so, is asked for its counts alone."""
        try:
            current = self._after_cancel(self._look(batch)[0])
        except NotFound as error:
            if not self._lies_whole(batch):
                raise
            say(f"{error.what}; all of its answers were fetched before")
            return replace(batch)
        if self._lies_whole(current):
            return current
        # The error file loses lines when the server retries: it is not resumed across a change of status.
        stale = batch.fetched is not None and batch.fetched.status != current.status
        for pause in (None, *PASSES_SECONDS):
            anew = pause is not None
            if pause is not None:
                if pause and self.api.clock.monotonic() + pause > self.api.deadline:
                    break  # what is lacking is unread, or looked for again before it is planned
                self.api.clock.sleep(pause)
            readable = self._file(self.output, current.output_file_id, anew, keep=True)
            readable |= self._file(self.errors, current.error_file_id, anew or stale, keep=False)
            again, is_there = self._look(current)
            counted = current.completed + current.failed
            if not is_there and counted and not readable and not self.output.looked.lines + self.errors.looked.lines:
                answered = f"batch {safe(batch.id)}, which answered {counted} requests"
                raise another(f"the server knows neither {answered}, nor its files", self.job)
            current = again
            current.fetched = found = self._held(current)
            foreign = len(self.output.foreign) + len(self.errors.foreign)
            if found.whole or (not current.ended and not foreign):
                return current
        say(f"batch {safe(batch.id)}: the server counts {current.completed} results and {current.failed} failures,")
        say(f"  but sent {found.completed} and {found.failed}; what was sent is kept")
        if foreign:
            say(f"  {plural(foreign, 'line')} of what it sent are not this batch's or no JSON: they are left out")
        return current

    def _held(self, batch: Batch) -> Fetched:
        """What lies in the spools of a batch."""
        results, failures = self.output.counted(batch.completed), self.errors.counted(batch.failed)
        sound = batch.ended and batch.counts_what_ran(self.part.requests)
        sound = sound and not (self.output.foreign or self.errors.foreign)
        whole = sound and (results, failures) == (batch.completed, batch.failed)
        return Fetched(results, failures, batch.status, whole, _sizes((self.output.path, self.errors.path)))

    def _lies_whole(self, batch: Batch) -> bool:
        return _is_whole(batch) and batch.fetched == self._held(batch)

    def _file(self, spool: Spool, file_id: str | None, anew: bool, keep: bool) -> bool:
        """Whether the server has the file; its new lines are in the spool then."""
        if file_id is None:
            return False
        try:
            if anew:
                spool.fetch_anew(self.api, file_id, keep, self.received)
            else:
                spool.fetch(self.api, file_id, self.received)
        except NotFound as error:
            say(f"{error.what}; what was fetched before is kept")
            return False
        return True

    def _look(self, batch: Batch) -> tuple[Batch, bool]:
        """The batch as it is now, and whether the server knows it. One deleted there stays as last seen: its files may
        be readable still."""
        try:
            return batch_of(self.api, self.part, batch).batch, True
        except NotFound as error:
            stop = stop_unless_deleted(self.api, self.job, self.part, batch, error) if batch.status != DELETED else None
            if stop:
                raise stop from None
            say(f"{error.what}; trying its files")
            return replace(batch), False

    def _after_cancel(self, batch: Batch) -> Batch:
        """Waits until a cancelled batch no longer grows."""
        since, clock = batch.cancelled_seconds, self.api.clock
        if batch.status != "cancelled" or since is None or since > CANCEL_LONG_AGO_SECONDS or _is_whole(batch):
            return batch
        say("the batch was cancelled a moment ago: waiting until its last answers are in")
        pause = max(0.0, SETTLES_SECONDS - CANCEL_READS_APART_SECONDS - since)
        until = clock.monotonic() + CANCEL_LONG_AGO_SECONDS
        while True:
            if clock.monotonic() + pause > self.api.deadline:
                raise TimeIsOver(
                    f"batch {safe(batch.id)} was cancelled a moment ago: answers may still come in",
                    "the same command again later",
                )
            clock.sleep(pause)
            again, is_there = self._look(batch)
            if not is_there or again.status != "cancelled":
                return again
            same = (again.completed, again.failed) == (batch.completed, batch.failed)
            settled = same and (again.cancelled_seconds or 0.0) >= SETTLES_SECONDS
            if settled or clock.monotonic() > until:  # one that goes on so long is not counting what was in flight
                return again
            batch, pause = again, CANCEL_READS_APART_SECONDS


def _is_whole(batch: Batch) -> bool:
    return batch.fetched is not None and batch.fetched.whole


def is_settled(job: Job, batch: Batch) -> bool:
    """Whether what the spool holds is what the last fetch of this batch, as the record has it, left: whole or not."""
    fetched = batch.fetched
    return fetched is not None and fetched.status == batch.status and fetched.bytes == _sizes(spool_files(job, batch))


def _sizes(files: Iterable[Path]) -> list[int]:
    return [path.stat().st_size if path.exists() else -1 for path in files]
