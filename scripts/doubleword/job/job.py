"""What is known of a job? Whether it may be sent, what is in it, and the commands that need a user's yes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.failures import BadInput, Clock, Failure, NotAllowed, NotFound
from ..base.files import digest, state_of
from ..base.text import next_command, safe, utc
from .job_folder import JobFolder, one_name, read_record
from .record import Attempt, Options, Part, Requests, record_over

if TYPE_CHECKING:
    from typing_extensions import Self


class Job(JobFolder):
    """The record of one job, loaded. It is changed only while `locked`, and `save` writes it."""

    # --- commands that need a user's yes ---

    @property
    def pay_again(self) -> str:
        """The command that sends, after the user's yes, what may have been sent before."""
        return next_command("create_batch.py", self.request_file(), "--again")

    @property
    def take_over(self) -> str:
        """The command that takes over batches which others sent with the same requests, and sends nothing."""
        return next_command("create_batch.py", self.request_file(), "--adopt")

    @property
    def without_limit(self) -> str:
        """The command that submits, after the user's yes, whatever it costs."""
        return next_command("run_batch.py", self.request_file(), *self.unshown_trial, "--max-cost", "none")

    @property
    def unshown_trial(self) -> tuple[str, ...]:
        """The flags of a trial whose answers were not shown yet: without them its rest would be paid for by the way."""
        unshown = bool(self.attempts) and self.latest.kind == "trial" and not self.latest.shown
        return ("--trial", str(self.latest.requests)) if unshown else ()

    # --- reading and making ---

    @classmethod
    def load(cls, request_file: Path) -> Job | None:
        """The job of a request file, or None if it has no record.

        Raises BadInput for a damaged or newer one, one in an older form, or one that belongs to another file; and for a
        file in a folder of that kind that is none of the job's own: a request file lies beside it, or two share one.
        """
        folder = cls.folder_of(request_file)
        try:
            record, written = read_record(folder, request_file)
        except (FileNotFoundError, NotADirectoryError):
            _refuse_older(folder)
            around = request_file.absolute().parent  # also where that is the current folder
            if request_file.parent == folder or (around.suffix == ".job" and (around / "record.json").exists()):
                raise _in_a_job_folder(request_file) from None
            return None
        job = cls(folder, record)
        job._written = written
        if request_file.parent == folder:
            own = {job.path.name, *(attempt.request_file for attempt in record.attempts)}
            if request_file.name not in own:
                raise _in_a_job_folder(request_file)
        elif request_file != folder and not one_name(request_file.name, record.requests.name):
            own_file = job.request_file()
            raise BadInput(
                f"{safe(folder.name)} belongs to {safe(own_file.name)}, not to {safe(request_file.name)}",
                "give one of the two files another name"
                if own_file.exists()
                else f"if both were renamed, give them back their names: {safe(own_file.name)} and"
                f" {safe(cls.folder_of(own_file).name)}; else give {safe(request_file.name)} another one",
            )
        return job

    @classmethod
    def need(cls, request_file: Path) -> Job:
        """`load`, where a record must exist. Raises NotFound otherwise."""
        job = cls.load(request_file)
        if job is None:
            if not request_file.exists():
                raise BadInput(
                    f"there is no file {safe(request_file)}, and it is no file or batch id", "check the path"
                )
            what = f"{safe(request_file)} has no job record ({safe(cls.folder_of(request_file).name)})"
            before = cls._name_before(request_file)
            if before is not None:
                raise NotFound(
                    f"{what}; {safe(cls.folder_of(before).name)} is that of a file of this size, {safe(before.name)},"
                    " which is gone",
                    f"if it was renamed, give it back the name {safe(before.name)}, then the same command with that",
                )
            raise NotFound(what, f"{next_command('upload.py', request_file)} begins the job")
        return job

    @classmethod
    def _name_before(cls, request_file: Path) -> Path | None:
        """Where a request file seems to have been renamed without its job folder: the name it had."""
        for folder in sorted(request_file.parent.glob("*.job")):
            with contextlib.suppress(Failure, OSError):
                job = cls.load(folder)
                if job and job.requests.state[0] == request_file.stat().st_size and not job.request_file().exists():
                    return job.request_file()
        return None

    @classmethod
    def to_be(cls, request_file: Path, clock: Clock) -> Self:
        """The job of a request file that has no record yet: to hold its lock until `begin.begin` writes one."""
        job = cls.over(Requests(request_file.name, [], "", 0, 0, {}, "", 0, []), Options(0, 0), clock)
        job.folder = cls.folder_of(request_file)
        return job

    @classmethod
    def over(cls, requests: Requests, limits: Options, clock: Clock) -> Self:
        """A job in memory, of which nothing was sent yet; its folder would lie in this one."""
        return cls(cls.folder_of(Path(requests.name)), record_over(requests, limits, clock))

    # --- may it be sent? ---

    def require_not_cancelled(self) -> None:
        when = self.latest.cancelled_at
        if when is not None or self.told_to_stop:
            raise NotAllowed(
                f"this job was cancelled{f' at {utc(when)}' if when else ''}; its rest is not submitted by accident",
                f"ask the user; {next_command('cancel_batch.py', self.request_file(), '--resume')} lifts the mark",
            )

    def require_unchanged(self, attempt: Attempt | None = None) -> None:
        """Raises BadInput if the request file, or an attempt's, is not what was checked: no answer could be joined to
        it, and what was added to it would be missing."""
        path, known = self.request_file(attempt), attempt or self.requests
        if not path.exists():
            raise BadInput(f"the request file {safe(path)} is gone; its requests are needed", "restore it")
        if state_of(path) != known.state and digest(path) != known.sha256:
            raise BadInput(
                f"{safe(path)} changed since it was uploaded",
                "restore it: its order and ids are needed; new requests go into a new file, made with --reuse",
            )

    # --- what is in it ---

    @property
    def id(self) -> str:
        return self.record.job

    @property
    def requests(self) -> Requests:
        return self.record.requests

    @property
    def attempts(self) -> list[Attempt]:
        return self.record.attempts

    @property
    def latest(self) -> Attempt:
        return self.attempts[-1]

    def parts(self) -> Iterator[Part]:
        """Every part of every attempt, in order."""
        for attempt in self.attempts:
            yield from attempt.parts

    def sent(self) -> Iterator[Part]:
        """The parts of all attempts that are sent, or to be sent, by this job."""
        return (part for attempt in self.attempts if attempt.kind != "reused" for part in attempt.parts)

    def submitted(self) -> list[Part]:
        """The parts that have a batch on the server, of all attempts."""
        return [part for part in self.sent() if part.batch]

    @property
    def batch_ids(self) -> set[str]:
        """The ids of every batch the record knows."""
        return {batch.id for part in self.parts() for batch in part.batches}

    @property
    def begun(self) -> bool:
        """Whether anything of it was uploaded, submitted, taken over or cancelled: until then it may be made anew."""
        return any(attempt.begun for attempt in self.attempts if attempt.kind != "reused")

    @property
    def reused(self) -> int:
        """How many answers were taken from earlier jobs."""
        return sum(attempt.requests for attempt in self.attempts if attempt.kind == "reused")

    def unsubmitted(self) -> list[Part]:
        """The parts still to be submitted: of the latest attempt alone, for it holds what earlier ones left."""
        return [part for part in self.latest.kept if not part.batch]

    @property
    def to_submit(self) -> int:
        """How many parts wait for being submitted, unless the user cancelled them."""
        return len(self.unsubmitted()) if self.recorded and self.latest.cancelled_at is None else 0

    @property
    def left(self) -> int:
        """How many requests of the job are in no attempt yet: there were but trials, and answers of other jobs."""
        if any(attempt.kind in ("all", "rest") for attempt in self.attempts):
            return 0
        return self.requests.requests - sum(part.requests for attempt in self.attempts for part in attempt.kept)

    @property
    def has_rest(self) -> bool:
        return self.left > 0

    @property
    def under_way(self) -> bool:
        """Whether something is still to come: what runs, and what was not sent, unless the user cancelled it."""
        return not self.ended or self.to_submit > 0 or (self.has_rest and not self.stopped)

    @property
    def stopped(self) -> bool:
        """Whether the user cancelled it before all of it was sent."""
        return self.latest.cancelled_at is not None and bool(self.unsubmitted() or self.has_rest)

    @property
    def limits(self) -> tuple[int, int]:
        """(requests, bytes) that a part may have."""
        return self.record.options.part_requests, self.record.options.part_bytes

    @property
    def ended(self) -> bool:
        """Whether every batch of the job has reached an end."""
        return all(part.ended for part in self.submitted())


def _in_a_job_folder(path: Path) -> BadInput:
    folder = safe(path.absolute().parent.name)
    return BadInput(
        f"{safe(path)} lies in {folder}: folders of such a name hold what the scripts keep of a job, not request files",
        f"move it out of {folder}, or give the folder another name",
    )


def _refuse_older(folder: Path) -> None:
    """Raises BadInput where a record lies in the form that was used before there were job folders."""
    older = folder.with_name(folder.name + ".json")
    if older.exists():
        raise BadInput(
            f"{safe(older)} is a job's record in an older form, which this version does not read",
            "finish that job with the version that began it, or move the record away",
        )
