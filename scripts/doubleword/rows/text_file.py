"""Text files: opened in their encoding, and what cannot be decoded named with its line."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from ..base.errors import BadInput, WrongUsage
from ..base.files import BLOCK_BYTES, LINE_BYTES, open_regular
from ..base.text import safe
from .form import Form
from .recognise import START_BYTES, what_nul_means

WIDE = ("utf-16", "utf-32")  # encodings with NUL bytes in every text


def require_encoding(name: str) -> None:
    """Raises WrongUsage for a name that is no encoding of texts."""
    try:
        io.TextIOWrapper(io.BytesIO(), name)
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        raise WrongUsage(f"there is no encoding {safe(name)}", "for example --encoding cp1252") from None


def is_wide(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(WIDE)


def no_mark(path: str | Path, encoding: str) -> BadInput | None:
    """What is wrong with a text that has no mark: some encodings leave the order of bytes to it."""
    name = codecs.lookup(encoding).name
    if name not in WIDE:
        return None
    return BadInput(f"{safe(path)} has no mark at its start, which {name} needs", f"--encoding {name}-le, or {name}-be")


def opened(form: Form, newline: str) -> io.TextIOWrapper:
    """The text of a source from its start, without a mark."""
    file = io.TextIOWrapper(open_regular(Path(form.path)), form.encoding, newline=newline)
    if is_wide(form.encoding) and file.read(1) != "\ufeff":  # an encoding with its byte order named keeps the mark
        file.seek(0)
    return file


def line_ends(form: Form) -> str:
    """`newline` for `opened`: CR alone ends a line only in a file where nothing else does (old Macs), or in tables."""
    with open_regular(Path(form.path)) as raw:
        start = raw.read(BLOCK_BYTES)
    if form.format == "csv":
        # Reading lines is a third of the time, and faster where only LF ends one.
        return "" if b"\r" in start.replace(b"\r\n", b"").replace(b"\r\0\n\0", b"") else "\n"
    return "" if b"\r" in start and b"\n" not in start else "\n"


def lines(form: Form) -> Iterator[tuple[int, str]]:
    """(number, text with its end) of every physical line."""
    with opened(form, line_ends(form)) as file:
        try:
            yield from enumerate(file, 1)
        except UnicodeError:
            raise undecodable(form.path, form.encoding) from None


def undecodable(path: str | Path, encoding: str) -> BadInput:
    """What is to be said of a file that does not decode: the line, the byte, and what it would be elsewhere."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_regular(Path(path)) as file:
        while True:
            raw = file.readline(BLOCK_BYTES)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                return _at_line(path, encoding, line, error)
            except UnicodeError:
                break
            line += text.count("\n")
            if not raw:
                break
    return BadInput(f"{safe(path)} is not {encoding}", "say --encoding, for example --encoding cp1252")


def _at_line(path: str | Path, encoding: str, line: int, error: UnicodeDecodeError) -> BadInput:
    where = f"{safe(path)} line {line}"
    wrong = error.object[error.start : error.start + 1]
    name = "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
    if is_wide(encoding) or not wrong:
        return BadInput(f"{where}: the bytes there are not {name} (cut off?)", "mend the file, or say its --encoding")
    try:
        other = f" (in cp1252 it is {wrong.decode('cp1252')!r})" if name == "UTF-8" else ""
    except UnicodeDecodeError:
        other = ""
    return BadInput(
        f"{where}: byte 0x{wrong.hex()} is not {name}{other}",
        "--encoding cp1252, if that is what it should be; else mend that line"
        if other
        else "say --encoding, for example --encoding latin-1",
    )


def inspected(path: Path, encoding: str | None, bounded: bool) -> str:
    """SHA-256 of a file, read once; with an encoding, held against what no text has.

    Raises BadInput for a NUL, and where `bounded` for a line of more than LINE_BYTES, each with its line.
    """
    made, line, length = hashlib.sha256(), 1, 0
    wide = encoding is not None and is_wide(encoding)
    decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding is not None and wide else None
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            made.update(block)
            if encoding is None:
                continue
            if decoder is not None:
                block = decoder.decode(block).encode("utf-8", "replace")
            if b"\0" in block:
                raise _nul(path, line + block.count(b"\n", 0, block.index(b"\0")))
            line += block.count(b"\n")
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            length = length + len(block) if last < 0 else len(block) - last
            if bounded and length > LINE_BYTES:
                raise BadInput(
                    f"{safe(path)} line {line} is longer than {LINE_BYTES} bytes; a request is at most 10 MiB",
                    "mend that line, or say what the file is: --format",
                )
    return made.hexdigest()


def _nul(path: Path, line: int) -> BadInput:
    with open_regular(path) as file:
        start = file.read(16 * START_BYTES)
    return BadInput(f"{safe(path)} line {line} holds NUL bytes, which no text has", what_nul_means(start))
