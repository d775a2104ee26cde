"""Where do a job's files lie, and how is its record written? At once when something is learnt, under its lock.

`reviews.job/` beside `reviews.jsonl` is everything the scripts keep for themselves: `record.json` (for people to read,
no secret), the lock, the spool, the files of later attempts. It is the only memory a job has: every script loads it,
does what is missing, and notes what it learnt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

from ..base.disk import sync_folder
from ..base.failures import BadInput, Clock
from ..base.files import whole_file
from ..base.json_text import read_json
from ..base.lock import lock
from ..base.own_files import open_own, own_folder, read_own
from ..base.text import next_command, safe
from .record import RECORD_VERSION, Attempt, Part, Record
from .record_file import Damaged, Journal, as_text, entries, from_dict, hash_of, refresh, require_sound, with_journal

SMALL_BYTES = 16_000  # a record of a dozen parts: it is written whole each time, for people to read
RECORD_BYTES = 64_000_000  # 100 parts take 0.2 MB

Written = tuple[str, int]  # hash and size of a record as it lies on the disk


class JobFolder:
    """The folder of one job, its record loaded. A record is changed only while `locked`, and `save` writes it."""

    recorded = True

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.record = record
        self._mutex = threading.RLock()
        self._lock_depth = 0
        self._journal = Journal(folder / "record.journal")
        self._written: Written | None = None  # None: there is none, or a journal adds to it
        self.frozen = False  # after an interruption: threads that still upload must not write without the lock

    # --- where things lie ---

    @staticmethod
    def folder_of(request_file: Path) -> Path:
        """The job folder of a request file; also where the folder, its record or an attempt's file is named."""
        if request_file.name.endswith(".job"):
            return request_file
        if request_file.parent.name.endswith(".job"):
            return request_file.parent
        return request_file.with_name(request_file.name.removesuffix(".jsonl") + ".job")

    @property
    def path(self) -> Path:
        """The record."""
        return self.folder / "record.json"

    def beside(self, ending: str) -> Path:
        """A file for the user: `beside("results.jsonl")` is `reviews.results.jsonl`, beside `reviews.job/`."""
        return self.folder.with_name(self.folder.name.removesuffix("job") + ending)

    def request_file(self, attempt: Attempt | None = None) -> Path:
        """The job's request file, or the one that an attempt sends."""
        if attempt is not None and attempt.request_file:
            return self.folder / attempt.request_file
        name = self.record.requests.name
        here = self.folder.name.removesuffix(".job") + (".jsonl" if name.endswith(".jsonl") else "")
        return self.folder.with_name(here if one_name(here, name) else name)

    # --- writing ---

    def save(self, part: Part | None = None) -> None:
        """Writes what was learnt, so that it is on disk when this returns: all, or `part` if nothing else has changed.

        Only ever under the lock.
        """
        if self.frozen:
            raise KeyboardInterrupt
        if not self._lock_depth:
            raise AssertionError("the record is written only under its lock")
        with self._mutex:
            number = self._attempt_of(part) if part else 0
            if not part or not self._written or self._written[1] < max(self._journal.size, SMALL_BYTES):
                self._write_whole()
            else:
                entry = {"attempt": number, "part": part.part, "is": dataclasses.asdict(part)}
                self._journal.add(entry, self._written[0])

    def _attempt_of(self, part: Part) -> int:
        for attempt in reversed(self.record.attempts):
            if any(one is part for one in attempt.parts):
                return attempt.attempt
        raise AssertionError("this part is of a record that was read before the lock was held, or of none")

    def _write_whole(self) -> None:
        # Bytes of file names that are no text stand there as escapes. What is foreign was blotted where it came in.
        raw = as_text(self.record).encode("utf-8", "backslashreplace")
        with whole_file(self.path, self.request_file()) as file:
            file.write(raw)
        self._written = hash_of(raw), len(raw)
        self._journal.end()

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:
        """Holds the lock on the record, for writing it and for sends; reads the record anew once it is held.

        What was taken of the job before is made to say what the record says now; what was *concluded* from it is not.
        Raises Temporary if another copy holds it for 10 s, BadInput where the file system has no locks.
        """
        if self._lock_depth:
            self._lock_depth += 1
            try:
                yield
            finally:
                self._lock_depth -= 1
            return
        self._make_folder()
        with lock(self.folder / "lock", clock):
            self._written = None
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                fresh, self._written = read_record(self.folder, self.request_file())
                refresh(self.record, fresh)
            self._journal = Journal(self.folder / "record.journal")
            self._lock_depth = 1
            try:
                self._take_stop(clock)
                yield
            finally:
                self._fold()
                self._lock_depth = 0

    def _take_stop(self, clock: Clock) -> None:
        if self.told_to_stop and self.path.exists():
            self.record.attempts[-1].cancelled_at = clock.now()
            self.save()
            (self.folder / "stop").unlink()

    def _fold(self) -> None:
        """The lock is about to be released: people read the record, not the journal."""
        if self.frozen:
            return  # a thread may still upload; the journal is read with the record
        with self._mutex, contextlib.suppress(OSError):  # a full disk: the journal has it all
            if self._journal.size:
                self._write_whole()
            self._journal.close()

    def _make_folder(self) -> None:
        new = not os.path.lexists(self.folder)
        own_folder(self.folder, self.request_file())
        if new:
            sync_folder(self.folder.parent)

    # --- what is told by commands that do not hold the lock: an empty file each ---

    @property
    def told_to_stop(self) -> bool:
        """Whether a cancel came that could not write the record: whoever holds the lock sends nothing more."""
        return self.recorded and os.path.lexists(self.folder / "stop")

    def tell_to_stop(self) -> None:
        open_own(self.folder / "stop").close()
        sync_folder(self.folder)

    @property
    def told_unknown(self) -> bool:
        """Whether the user was told that the server knows nothing of this job (another key or base URL?), and nothing
        of it was seen since: only then is --again a yes to that."""
        return os.path.lexists(self.folder / "unknown")

    def note_unknown(self, told: bool) -> None:
        if told == self.told_unknown or not self.recorded:
            return
        with contextlib.suppress(OSError):
            if told:
                open_own(self.folder / "unknown").close()
            else:
                (self.folder / "unknown").unlink()


def read_record(folder: Path, request_file: Path) -> tuple[Record, Written | None]:
    """Raises OSError where there is none, BadInput for a damaged one, or one of another version."""
    path = folder / "record.json"
    raw = read_own(path, RECORD_BYTES)
    try:
        found = read_json(raw, RECORD_BYTES, halves=True)
        version = found.get("version") if isinstance(found, dict) else None
        if not isinstance(version, int):
            raise Damaged("version: expected a whole number")
        if version != RECORD_VERSION:
            age = "a newer" if version > RECORD_VERSION else "an older"
            raise BadInput(
                f"{safe(path)} was written by {age} version of this skill (record {version}, here {RECORD_VERSION})",
                "use that version for this job",
            )
        record = from_dict(Record, found)
        unfolded = with_journal(record, entries(folder / "record.journal", raw))
        require_sound(record)
    except ValueError as error:
        if request_file == folder or request_file.parent == folder:  # its most likely path
            request_file = folder.with_name(folder.name.removesuffix("job") + "jsonl")
        adopt = next_command("create_batch.py", request_file, "--adopt")
        raise BadInput(
            f"{safe(path)} is damaged ({safe(error, 100)}); it is the memory of this job",
            f"restore it from a backup, or move {safe(folder.name)} away and run {adopt}, which finds the job's"
            " batches by their content",
        ) from None
    return record, None if unfolded else (hash_of(raw), len(raw))


def one_name(one: str, other: str) -> bool:
    """Whether two names are the same; some systems, archives and shares write accents in another form."""
    return one == other or normalize("NFC", one) == normalize("NFC", other)
