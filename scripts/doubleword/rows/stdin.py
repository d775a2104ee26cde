"""Rows from a pipe: kept as a file, since they are read again when answers come back."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..base.disk import sync_folder
from ..base.failures import BadInput, Failure, WrongUsage
from ..base.files import BLOCK_BYTES, whole_file
from ..base.files import digest as file_digest
from ..base.own_files import own_folder
from ..base.text import safe
from .file_kind import START_BYTES, kind_of
from .readers import FORMATS


@contextmanager
def kept_stdin(folder: Path, form: str | None) -> Iterator[Path]:
    """A copy of stdin in a folder, which is made if it is not there, under a name of its content: whole, and on the
    disk, before it has that name. What was made is removed if what is done with the rows fails."""
    if sys.stdin is None or sys.stdin.isatty():
        raise WrongUsage("--input - reads rows from a pipe, and there is none")
    start = sys.stdin.buffer.read(BLOCK_BYTES)
    if not start:
        raise BadInput("stdin is empty; rows were expected", "check what writes into the pipe")
    kind = kind_of(start[:START_BYTES])
    if kind is not None and kind.kind not in ("parquet", "excel"):
        raise BadInput(f"stdin is {kind.name}, no text", f"write it to a FILE, then: {kind.way}; OUT holds the rows")
    with ExitStack() as made:
        if not folder.exists():
            made.callback(_remove_empty, folder)
        if folder.suffix == ".job":  # else the temporary folder, which is there
            own_folder(folder)
        kept = _copied(start, folder, form, made)
        try:
            yield kept
        except Failure as failure:
            way = failure.next_step
            for path in (kept.resolve(), kept):  # a name that the reader of the message has never seen
                failure.what = failure.what.replace(safe(path), "stdin")
                way = way.replace(safe(path), "FILE")
            if way != failure.next_step:
                failure.next_step = f"write it to a FILE, then: {way}"
            if form is None and kept.suffix in (".csv", ".json", ".jsonl"):
                failure.next_step += f" (stdin was taken for {kept.suffix[1:]}; plain lines: --format lines)"
            raise
        made.pop_all()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _copied(start: bytes, folder: Path, form: str | None, made: ExitStack) -> Path:
    copy, content, block = folder / f"input-{secrets.token_hex(8)}.tmp", hashlib.sha256(), start
    with whole_file(copy, folder) as file:
        while block:
            content.update(block)
            file.write(block)
            block = sys.stdin.buffer.read(BLOCK_BYTES)
    kept = folder / f"input-{content.hexdigest()[:8]}{_ending(start, form)}"
    try:
        if kept.exists():
            if file_digest(kept) != content.hexdigest():
                raise BadInput(f"{safe(kept)} is in the way: the rows from stdin would be kept there", "move it away")
        else:
            made.callback(kept.unlink, missing_ok=True)
        os.replace(copy, kept)
        sync_folder(folder)
    finally:
        copy.unlink(missing_ok=True)
    return kept


def _ending(start: bytes, form: str | None) -> str:
    """The ending of the copy's name, which tells its format later."""
    first = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    form = form or {b"{": "jsonl", b"[": "json"}.get(first, "csv")
    return next((ending for ending, name in FORMATS.items() if name == form), ".txt")
