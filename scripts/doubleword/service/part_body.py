"""The bytes of a part as they are sent: a form with one file in it, straight from the request file."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from ..base.failures import BadInput
from ..base.files import BLOCK_BYTES, open_regular
from ..base.text import safe
from ..request_file.lines import Span


class PartBody:
    """A multipart body of known length, streamed: requests' own `files=` reads all of it into memory. Iterated once a
    sending; the part is hashed as it goes, and `sent` hears of its bytes.

    Raises BadInput before the last block if the bytes are no longer those that were checked, so that the
    server never sees a changed part whole.
    """

    def __init__(self, name: str, path: Path, span: Span, sent: Callable[[int], None]) -> None:
        self.name, self.boundary = name, uuid.uuid4().hex
        self._path, self._span, self._sent = path, span, sent
        self.told = 0  # how many bytes `sent` has heard of
        head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        self._head = head.encode("ascii")
        self._tail = f"\r\n--{self.boundary}--\r\n".encode("ascii")

    def __len__(self) -> int:
        return len(self._head) + self._span.end - self._span.start + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        start, end = self._span.start, self._span.end
        digest, left = hashlib.sha256(), end - start
        with open_regular(self._path) as file:
            file.seek(start)
            while left:
                block = file.read(min(BLOCK_BYTES, left))
                digest.update(block)
                left -= len(block)
                if not block or (not left and digest.hexdigest() != self._span.sha256):
                    raise BadInput(
                        f"{safe(self._path)} changed since it was checked (bytes {start} to {end})",
                        "restore the file, or make a new request file under another name",
                    )
                yield block
                self.told += len(block)
                self._sent(len(block))
        yield self._tail
