"""A file that is hashed while it is written."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue
from typing import BinaryIO

from ..base.files import BLOCK_BYTES


class Hashed:
    """Writes to a file, in blocks, and hashes them on another core meanwhile: that takes longer than the writing."""

    BLOCK, BEHIND = 2 * BLOCK_BYTES, 1  # bytes of a block, and how many wait for being hashed, at most

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self._held, self._size = list[bytes](), 0
        self._blocks: Queue[bytes] = Queue(self.BEHIND)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while block := self._blocks.get():
            self._hash.update(block)

    def write(self, line: bytes) -> None:
        self._held.append(line)
        self._size += len(line)
        if self._size >= self.BLOCK:
            self._flush()

    def _flush(self) -> None:
        block = b"".join(self._held)
        self._held, self._size = [], 0
        self._file.write(block)
        if block:
            self._blocks.put(block)

    def digest(self) -> str:
        """Of all that was written, which is in the file then; nothing more can be."""
        self._flush()
        self._blocks.put(b"")
        self._thread.join()
        return self._hash.hexdigest()
