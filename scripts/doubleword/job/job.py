"""The job record: what is known of one job, on disk at once when it is learnt.

`reviews.job.json` lies beside `reviews.jsonl`. It is for people to read, holds no secret, and is the
only memory a job has: every script loads it, does what is missing, and notes what it learnt.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import BadInput, Clock, NotFound
from ..base.files import whole_file
from ..base.lock import lock
from ..base.text import next_command, safe, without_key
from .record import RECORD_VERSION, Attempt, Part, _check_shape, ended, new_attempt

if TYPE_CHECKING:
    from ..request_file.check import Report


class Job:
    """The record of one job, loaded. Change it through `note`, which also writes it."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self._mutex = threading.RLock()
        self._lock_depth = 0
        self.frozen = False  # after an interruption: threads that still upload must not write without the lock

    # --- where things lie ---

    @staticmethod
    def path_of(request_file: Path) -> Path:
        """The record's path for a request file, an attempt's file, or the record itself."""
        name = request_file.name
        if name.endswith(".job.json"):
            return request_file
        stem = name[: -len(".jsonl")] if name.endswith(".jsonl") else name
        first = request_file.with_name(re.sub(r"\.attempt-\d+$", "", stem) + ".job.json")
        return first if first.exists() else request_file.with_name(stem + ".job.json")

    def beside(self, ending: str) -> Path:
        """A file of this job: `beside("results.jsonl")` is `reviews.results.jsonl`."""
        return self.path.with_name(self.path.name[: -len("job.json")] + ending)

    def request_file(self, attempt: Attempt | None = None) -> Path:
        return self.path.with_name((attempt or self.attempts[0])["request_file"])

    # --- reading and making ---

    @classmethod
    def load(cls, request_file: Path) -> Job | None:
        """The job of a request file, or None if it has no record. Raises BadInput for a damaged or newer one."""
        path = cls.path_of(request_file)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            text = ""
        try:
            record = json.loads(text)
            version = record["version"]
            if not isinstance(version, int):
                raise ValueError("version is not a number")
            if version > RECORD_VERSION:
                raise BadInput(
                    f"{safe(path)} was written by a newer version of this skill (record {version})",
                    "use that version for this job",
                )
            _check_shape(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{safe(path)} is damaged ({type(error).__name__}: {safe(error, 100)}); it is the memory of this job",
                f"restore it from a backup, or move it away and run {next_command('create_batch.py', request_file)}"
                " --adopt, which finds the job's batches by their content",
            ) from None
        return cls(path, record)

    @classmethod
    def need(cls, request_file: Path) -> Job:
        """`load`, where a record must exist. Raises NotFound otherwise."""
        job = cls.load(request_file)
        if job is None:
            if not request_file.exists():
                raise BadInput(
                    f"there is no file {safe(request_file)}, and it is no file or batch id", "check the path"
                )
            raise NotFound(
                f"{safe(request_file)} has no job record ({cls.path_of(request_file).name})",
                f"{next_command('upload.py', request_file)} begins the job",
            )
        return job

    @classmethod
    def create(
        cls,
        request_file: Path,
        report: Report,
        source: dict[str, Any] | None,
        part_requests: int,
        part_bytes: int,
        clock: Clock | None = None,
    ) -> Job:
        """A new record for a checked request file; the same content again is a no-op.

        Raises BadInput if other content was already uploaded under this name. Takes the lock: another copy may be
        uploading at this moment, and its record must not be replaced.
        """
        clock = clock or Clock()
        limits = {"part_requests": part_requests, "part_bytes": part_bytes}
        path = cls.path_of(request_file)
        with lock(path.with_name(f".{path.name}.lock"), clock):
            old = cls.load(request_file)
            begun = old is not None and any(part["upload"] for _, part in old.parts())
            if old is not None and old.attempts[0]["sha256"] == report.sha256:
                same_limits = limits.items() <= old.record["options"].items()
                if begun or (same_limits and old.record["source"] == source):
                    return old
            elif begun:
                raise BadInput(
                    f"{safe(request_file)} was already uploaded with other content; its job must stay as it is",
                    "give the new request file another name",
                )
            job = cls._new(path, request_file, report, source, limits, clock)
            job.save()
            return job

    @classmethod
    def _new(
        cls,
        path: Path,
        request_file: Path,
        report: Report,
        source: dict[str, Any] | None,
        limits: dict[str, int],
        clock: Clock,
    ) -> Job:
        record = {
            "version": RECORD_VERSION,
            "job": uuid.uuid4().hex,
            "created_at": clock.now(),
            "source": source,
            "options": limits,
            "downloaded": None,
            "attempts": [new_attempt(1, request_file, report)],
        }
        return cls(path, record)

    # --- what is in it ---

    @property
    def id(self) -> str:
        return str(self.record["job"])

    @property
    def attempts(self) -> list[Attempt]:
        return self.record["attempts"]  # type: ignore[no-any-return]

    @property
    def latest(self) -> Attempt:
        return self.attempts[-1]

    def parts(self) -> Iterator[tuple[Attempt, Part]]:
        """Every part of every attempt, in order."""
        for attempt in self.attempts:
            for part in attempt["parts"]:
                yield attempt, part

    def submitted(self) -> list[Part]:
        """The parts that have a batch, of all attempts."""
        return [part for _, part in self.parts() if part["batch"]]

    def unsubmitted(self) -> list[Part]:
        """The parts still to be submitted: of the latest attempt alone, for it holds what earlier ones left."""
        return [part for part in self.latest["parts"] if not part["batch"]]

    def next_step(self) -> str | None:
        """The exact next command for this job, or None when it is done."""
        file, waiting, submitted = self.request_file(), self.unsubmitted(), self.submitted()
        if waiting and not self.latest["cancelled_at"]:
            if not all(part["upload"] and part["upload"]["file_id"] for part in waiting):
                return next_command("upload.py", file)
            return next_command("create_batch.py", file, *self.remembered("max_cost", "completion_window"))
        if not submitted:
            return next_command("cancel_batch.py", file, "--resume")
        if not all(ended(part) for part in submitted):
            return next_command("poll.py", file)
        done = self.record["downloaded"]
        if done is None or done["batches"] != len(submitted):
            return next_command("download.py", file, *self.remembered("csv", "answer_column"))
        if done["retryable"]:
            return next_command("retry_failed.py", file)
        return None

    def remember(self, **given: object) -> None:
        """Notes flags for `next_step`; None for one that was not given, which stays as it was."""
        new = {name: str(value) for name, value in given.items() if value is not None}
        if not new.items() <= self.record["options"].items():
            self.note(self.record["options"], **new)

    def remembered(self, *names: str) -> list[str]:
        """Flags the user gave before, for the next command: a cost limit or a CSV must not get lost on the way."""
        options = self.record["options"]
        return [word for name in names if options.get(name) for word in (f"--{name.replace('_', '-')}", options[name])]

    # --- writing ---

    def note(self, target: Any = None, **facts: Any) -> None:
        """Learns facts about a part, batch or attempt of this record (or the record itself) and writes them at once."""
        with self._mutex:
            (self.record if target is None else target).update(facts)
            self.save()

    def save(self) -> None:
        """Writes the record so that it is on disk when this returns."""
        if self.frozen:
            raise KeyboardInterrupt
        with self._mutex, whole_file(self.path) as file:
            text = without_key(json.dumps(self.record, indent=1, ensure_ascii=False))
            file.write(text.encode("utf-8", "replace"))

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:
        """Holds the lock on the record, for writing it and for sends; reads the record anew once it is held.

        Raises Temporary if another copy holds it for 10 s, BadInput where the file system has no locks.
        """
        if self._lock_depth:
            self._lock_depth += 1
            try:
                yield
            finally:
                self._lock_depth -= 1
            return
        with lock(self.path.with_name(f".{self.path.name}.lock"), clock):
            fresh = Job.load(self.path)
            if fresh is not None:
                self.record = fresh.record
            self._remove_leftovers()
            self._lock_depth = 1
            try:
                yield
            finally:
                self._lock_depth = 0

    def _remove_leftovers(self) -> None:
        """Temporary files of copies that were killed while writing the record."""
        for left in self.path.parent.glob(f".{_literal(self.path.name)}.*.tmp"):
            left.unlink(missing_ok=True)


def _literal(name: str) -> str:
    """A file name with the characters that a glob pattern would read otherwise made literal."""
    return re.sub(r"([*?[])", r"[\1]", name)
