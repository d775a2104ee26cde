"""Reading an upload as it comes in: multipart to lines, lines to checked requests, in flat memory."""

from __future__ import annotations

import codecs
import marshal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from local_server.errors import ApiError
from local_server.models import Registry
from local_server.request_lines import RequestLine, read_line
from local_server.settings import Settings

SPOOL_BYTES = 4_000_000  # smaller uploads stay in memory, larger ones go to a temporary file
BLOCK_BYTES = 500_000  # lines that are written and read back together
FRAMING_BYTES = 10 * 1024  # what the form may add to the file before the Content-Length alone is refused
BAD_BOUNDARY = "Invalid multipart request: Invalid `boundary` for `multipart/form-data` request"
BAD_FORM = "Failed to read multipart upload: Error parsing `multipart/form-data` request"


class Upload:
    """Feed it the body; `finish` when it is complete.  Raises ApiError at the first thing that is wrong."""

    def __init__(self, content_type: str, settings: Settings, registry: Registry, spool_dir: Path) -> None:
        kind, options = parse_options_header(content_type.encode("latin-1"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ApiError(400, BAD_BOUNDARY)
        self._settings = settings
        self._lines = _Lines(settings, registry, spool_dir)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )
        self._complete = False
        self._has_file = False
        self._values: dict[str, bytes] = {}
        self.filename = ""

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError:
            raise ApiError(400, BAD_FORM) from None

    def finish(self) -> None:
        if not self._complete:
            raise ApiError(400, BAD_FORM)
        if not self._has_file:
            raise ApiError(400, "No file field found in multipart upload")
        self._lines.finish()
        if not self._lines.count:
            raise ApiError(400, "File contains no valid request templates")

    @property
    def purpose(self) -> str | None:
        """As it was sent, capitals included: the list's filter compares it literally."""
        value = self._values.get("purpose")
        return None if value is None else value.decode("utf-8", "replace")

    @property
    def expires_after(self) -> int | None:
        """Seconds, if given as a number; any other value, and any anchor, is ignored."""
        try:
            return int(self._values["expires_after[seconds]"])
        except (KeyError, ValueError):
            return None

    @property
    def size(self) -> int:
        return self._lines.size

    def lines(self) -> Iterator[RequestLine]:
        return self._lines.read_back()

    def close(self) -> None:
        self._lines.close()

    # -- callbacks of the parser

    def _part_begin(self) -> None:
        self._name = ""
        self._part_filename: bytes | None = None
        self._field, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._part_filename = options.get(b"filename")
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        self._content = b""
        if self._name == "file":
            self._has_file = True
            given = self._part_filename
            self.filename = f"upload-{uuid.uuid4()}" if given is None else given.decode("utf-8", "replace")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._lines.feed(data[start:end])
        elif len(self._content) < FRAMING_BYTES:
            self._content += data[start:end]

    def _part_end(self) -> None:
        if self._name == "file":
            return
        self._values[self._name] = self._content
        if self._name == "purpose" and (purpose := self.purpose or "").lower() != "batch":
            raise ApiError(400, f"Invalid purpose '{purpose}'. Only 'batch' is supported.")

    def _end(self) -> None:
        self._complete = True


class _Lines:
    """Splits the content into lines, checks each, and keeps the results until they are stored."""

    def __init__(self, settings: Settings, registry: Registry, spool_dir: Path) -> None:
        self._settings = settings
        self._registry = registry
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest: list[str] = []  # the beginning of a line that has not ended yet
        self._rest_size = 0
        self._block: list[tuple[str, str, str, int, bytes]] = []
        self._block_size = 0
        # Closed by `close`, after the lines have been read back.
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(spool_dir))  # noqa: SIM115
        self.size = 0
        self.count = 0

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        limit = self._settings.max_file_size
        if limit and self.size > limit:
            raise ApiError(413, f"File exceeds the maximum allowed size of {limit} bytes")
        pieces = self._decode(data).split("\n")
        if len(pieces) > 1:
            self._line("".join([*self._rest, pieces[0]]))
            for piece in pieces[1:-1]:
                self._line(piece)
            self._rest, self._rest_size = [], 0
        self._rest.append(pieces[-1])
        self._rest_size += len(pieces[-1])
        # One line without an end would otherwise be collected up to the size of the whole file.
        if self._rest_size > 2 * self._settings.max_body_size + FRAMING_BYTES:
            maximum = self._settings.max_body_size
            raise ApiError(
                400,
                f"Line {self.count + 1}: Request body is {self._rest_size} bytes, "
                f"which exceeds the maximum allowed size of {maximum} bytes",
            )

    def _decode(self, data: bytes) -> str:
        held = len(self._decoder.getstate()[0])
        try:
            return self._decoder.decode(data)
        except UnicodeDecodeError as error:
            offset = self.size - len(data) - held + error.start
            raise ApiError(
                400,
                f"File contains invalid UTF-8 on/near line {self.count + 1} at byte offset {offset}: "
                f"invalid utf-8 sequence of {error.end - error.start} bytes from index {error.start}",
            ) from None

    def finish(self) -> None:
        """A sequence cut off at the very end is dropped, as the real server does."""
        self._line("".join(self._rest))
        self._end_block()

    def _line(self, text: str) -> None:
        text = text.strip()
        if not text:
            return
        maximum = self._settings.max_requests_per_file
        if maximum and self.count >= maximum:
            raise ApiError(400, f"File contains {maximum + 1} requests, which exceeds the maximum of {maximum}")
        line = read_line(text, self.count + 1, self._registry.type_of, self._settings.max_body_size)
        self.count += 1
        self._block.append((line.custom_id, line.model, line.url, line.body_bytes, line.line))
        self._block_size += len(line.line)
        if self._block_size > BLOCK_BYTES:
            self._end_block()

    def _end_block(self) -> None:
        block = marshal.dumps(self._block)
        self._spool.write(len(block).to_bytes(8, "big") + block)
        self._block, self._block_size = [], 0

    def read_back(self) -> Iterator[RequestLine]:
        self._spool.seek(0)
        read = 0
        while read < self.count:
            size = int.from_bytes(self._spool.read(8), "big")
            for row in marshal.loads(self._spool.read(size)):
                read += 1
                yield RequestLine(*row)

    def close(self) -> None:
        self._spool.close()
