"""Rows from a pipe: kept as a file, since they are read again when answers come back."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path

from ..base.errors import BadInput, WrongUsage
from ..base.files import BLOCK_BYTES, own_folder, sync_folder, whole_file
from ..base.files import digest as file_digest
from ..base.text import safe
from .formats import FORMATS
from .recognise import START_BYTES, kind_of


def kept_stdin(folder: Path, form: str | None) -> Path:
    """Copies stdin to a file named by its content: whole, and on the disk, before it has that name."""
    if sys.stdin is None or sys.stdin.isatty():
        raise WrongUsage("--input - reads rows from a pipe, and there is none")
    start = sys.stdin.buffer.read(BLOCK_BYTES)
    if not start:
        raise BadInput("stdin is empty; rows were expected", "check what writes into the pipe")
    kind = kind_of(start[:START_BYTES])
    if kind is not None and kind.kind not in ("parquet", "excel"):
        raise BadInput(f"stdin is {kind.name}, no text", f"write it to a FILE, then: {kind.way}; OUT holds the rows")
    if folder.suffix == ".job":  # else the temporary folder, which is there
        own_folder(folder)
    copy, made, block = folder / f"input-{secrets.token_hex(8)}.tmp", hashlib.sha256(), start
    with whole_file(copy, folder) as file:
        while block:
            made.update(block)
            file.write(block)
            block = sys.stdin.buffer.read(BLOCK_BYTES)
    kept = folder / f"input-{made.hexdigest()[:8]}{_ending(start, form)}"
    try:
        if kept.exists() and file_digest(kept) != made.hexdigest():
            raise BadInput(f"{safe(kept)} is in the way: the rows from stdin would be kept there", "move it away")
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
