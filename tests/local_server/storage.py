"""The SQLite database: one writer, many readers, and the tables, which tests may read as an oracle.

files      one row for each uploaded file and for the two result files of each batch
    seq INTEGER         order of creation
    id TEXT             UUID
    user TEXT           e-mail of the owner
    filename, purpose   purpose is NULL where the upload named none
    kind TEXT           input, output or error
    batch INTEGER       the batch (batches.seq) of an output or error file
    bytes, lines        of an input file
    created_at, expires_at, deleted_at   unix seconds; deleted_at NULL while it exists
lines      the lines of input files
    key INTEGER         files.seq * 2**24 + line number from 0
    custom_id, model, url, body_bytes
    line BLOB           the normalised line with its newline
file_models   what a file asks of each model
    file INTEGER        files.seq
    model, requests, body_bytes
batches
    seq, id, user, endpoint, completion_window
    input INTEGER       files.seq;  input_file_id TEXT: its UUID, '' once that file is deleted
    input_filename TEXT
    metadata TEXT       JSON, what the client sent (reserved keys dropped)
    population TEXT     queued, running, done, or void (cancelled before it began: it never will)
    total, completed, failed, canceled   counts of requests
    deadline            expires_at, or sooner where windows are made to pass faster
    created_at, expires_at, started_at, finalizing_at, completed_at, failed_at, cancelling_at,
    cancelled_at, deleted_at
requests   one row for each line of a batch, once it is populated
    seq INTEGER         batches.seq * 2**24 + line number from 0
    batch INTEGER       batches.seq
    id TEXT             UUID
    custom_id, model
    state TEXT          pending, in_progress, completed, failed or canceled
    attempts INTEGER    how many times it was sent to its model
    answered INTEGER    how many times an answer or a final failure was stored: more than 1 is double work
    not_before REAL     a retry waits until then
answers    the final lines of output and error files
    seq INTEGER         requests.seq
    batch, kind         kind is output or error
    completed_at, id    their order
    line BLOB           the bytes of the file, with the newline
    size INTEGER        what it adds to the size that the file object tells, which is an estimate
    prompt_tokens, completion_tokens, duration   duration in seconds
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

# Line numbers share an integer key with the file or batch they belong to: a range of keys is then a range
# of rows, and no second index has to be written for each line.
LINE_BITS = 24
BUSY_SECONDS = 30.0  # for another process that looks into the file; this one has a single writer
PAGE_BYTES = 16384  # request lines of some kB fit a page; at 4,096 most of them would be chains of pages

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, filename TEXT NOT NULL,
    purpose TEXT, kind TEXT NOT NULL, batch INTEGER, bytes INTEGER NOT NULL DEFAULT 0,
    lines INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL, expires_at REAL, deleted_at REAL);
CREATE INDEX IF NOT EXISTS files_of_user ON files (user, seq);
CREATE TABLE IF NOT EXISTS lines (
    key INTEGER PRIMARY KEY, custom_id TEXT NOT NULL, model TEXT NOT NULL, url TEXT NOT NULL,
    body_bytes INTEGER NOT NULL, line BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS file_models (
    file INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
    PRIMARY KEY (file, model));
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, endpoint TEXT NOT NULL,
    completion_window TEXT NOT NULL, input INTEGER NOT NULL, input_file_id TEXT NOT NULL,
    input_filename TEXT NOT NULL, metadata TEXT NOT NULL, population TEXT NOT NULL, total INTEGER NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, canceled INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, expires_at REAL NOT NULL, deadline REAL NOT NULL, started_at REAL,
    finalizing_at REAL, completed_at REAL, failed_at REAL, cancelling_at REAL, cancelled_at REAL, deleted_at REAL);
CREATE INDEX IF NOT EXISTS batches_of_user ON batches (user, seq);
CREATE INDEX IF NOT EXISTS batches_active ON batches (deadline, seq)
    WHERE cancelling_at IS NULL AND completed_at IS NULL AND failed_at IS NULL;
CREATE INDEX IF NOT EXISTS batches_of_input ON batches (input);
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY, batch INTEGER NOT NULL, id TEXT NOT NULL, custom_id TEXT NOT NULL,
    model TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    answered INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS requests_by_state ON requests (batch, state, model);
CREATE TABLE IF NOT EXISTS answers (
    seq INTEGER PRIMARY KEY, batch INTEGER NOT NULL, kind TEXT NOT NULL, completed_at REAL NOT NULL,
    id TEXT NOT NULL, size INTEGER NOT NULL, line BLOB NOT NULL, prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0, duration REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS answers_in_order ON answers (batch, kind, completed_at, id, size);
"""


class StorageError(Exception):
    """The database cannot be used or written; the text is one line for a person."""


def keys_of(seq: int) -> tuple[int, int]:
    """First and last key of the lines of a file, or of the requests of a batch."""
    return seq << LINE_BITS, ((seq + 1) << LINE_BITS) - 1


class Database:
    """`write` runs one transaction at a time in a thread of its own; `reader` is for the event loop's thread."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "local_server.sqlite3"
        self.on_failure: Callable[[StorageError], None] | None = None
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            if not os.access(data_dir, os.W_OK | os.X_OK):
                raise StorageError(f"cannot write to {data_dir}: permission denied")
            self._lock = _lock(data_dir / "in_use")
        except OSError as error:
            raise StorageError(f"cannot use {data_dir}: {error.strerror or error}") from None
        try:
            self._writer = self._open()
            self._writer.executescript(_SCHEMA)
            self.reader = self.open_reader()
        except sqlite3.Error as error:
            self._lock.close()
            raise StorageError(f"cannot use {self.path}: {error}") from None
        self._thread = ThreadPoolExecutor(1, "local-server-writer")
        self.written = asyncio.Event()  # set after each `write`; cleared by who waits for the next one

    def _open(self) -> sqlite3.Connection:
        # isolation_level=None: transactions are begun here, not by the driver's guesses.
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            self._prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: what was committed survives a kill -9; only a power cut may cost the last moments.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("PRAGMA journal_size_limit = 67108864")  # give the room of a big upload back

    def open_reader(self) -> sqlite3.Connection:
        """A connection of its own, for a long read in another thread.  The caller closes it."""
        connection = self._open()
        connection.execute("PRAGMA query_only = 1")
        return connection

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work(connection)`, committed; an exception of `work` rolls back and is raised here."""
        result = await asyncio.get_running_loop().run_in_executor(self._thread, self.write_now, work)
        self.written.set()
        return result

    def write_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, in the calling thread: for the start, before anything else runs."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise self.fail(str(error)) from None
        return result

    def fail(self, reason: str) -> StorageError:
        """Reports that something could not be written, and gives the error to raise."""
        failure = StorageError(f"cannot write to {self.data_dir}: {reason}")
        if self.on_failure is not None:
            self.on_failure(failure)
        return failure

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self.reader.close()
        self._writer.close()
        self._lock.close()


def _lock(path: Path) -> IO[bytes]:
    """Held while the server runs: two on one folder would answer every request twice."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StorageError(f"{path.parent} is in use by another local server") from None
    return file
