"""Text files: opened in their encoding, and what cannot be decoded named with its line."""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..base.failures import BadInput, WrongUsage
from ..base.files import BLOCK_BYTES, LINE_BYTES, open_regular
from ..base.problem import Problem
from ..base.text import NO_TEXT, safe
from .file_kind import START_BYTES, Form, what_nul_means

SHOWN = 20  # lines that cannot be read
WIDE = ("utf-16", "utf-32")  # encodings with NUL bytes in every text
OTHERS = ("cp1252", "cp1251", "gb18030", "cp932")  # what texts come in that are not UTF-8, the usual one first


def require_encoding(name: str) -> None:
    """Raises WrongUsage for a name that is no encoding of texts."""
    try:
        io.TextIOWrapper(io.BytesIO(), name)
        b"a\xc3".decode(name, "replace")  # "undefined" raises even so
        if codecs.lookup(name).name in ("punycode", "idna"):  # of the names of hosts, not of texts
            raise LookupError(name)
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


@contextmanager
def opened(form: Form, newline: str) -> Iterator[io.TextIOWrapper]:
    """The text of a source from its start, without a mark. Raises BadInput where it does not decode."""
    with io.TextIOWrapper(open_regular(Path(form.path)), form.encoding, newline=newline) as file:
        try:
            if is_wide(form.encoding) and file.read(1) != "\ufeff":  # one with its byte order named keeps the mark
                file.seek(0)
            yield file
        except UnicodeError:
            raise undecodable(form.path, form.encoding, newline) from None


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
        yield from enumerate(file, 1)


class BadLines:
    """The lines of a file that cannot be read: told together, once all of them have been seen."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._count, self._problems = path, 0, list[Problem]()
        self._first = ("", "")

    def add(self, line: int, what: str, way: str) -> None:
        self._count += 1
        if self._count == 1:
            self._first = (f"{safe(self._path)} line {line}: {what}", way)
        if self._count <= SHOWN:
            self._problems.append(Problem(line, "row", "unreadable", what, ""))

    def failure(self) -> BadInput | None:
        what, way = self._first
        if self._count > 1:
            return BadInput(f"{what} (and {self._count - 1} more lines that cannot be read)", way, self._problems)
        return BadInput(what, way) if self._count else None

    def require_none(self) -> None:
        failure = self.failure()
        if failure is not None:
            raise failure


def undecodable(path: str | Path, encoding: str, newline: str = "\n") -> BadInput:
    """What is to be said of a file that does not decode: the lines, the bytes, and what they would be elsewhere."""
    bad, number, good, wrongs = BadLines(path), 0, 0, 0
    way = "say --encoding, for example --encoding cp1252"
    try:
        # Bytes that do not decode become halves of surrogate pairs.
        with io.TextIOWrapper(open_regular(Path(path)), encoding, "surrogateescape", newline) as file:
            for number, text in enumerate(file, 1):
                wrong = None if text.isascii() else NO_TEXT.search(text)
                good += wrong is None and not text.isascii()
                wrongs += wrong is not None
                if wrong is not None:
                    bad.add(number, *(_wrong_byte(encoding, text, wrong.start()) if wrongs <= SHOWN else ("", "")))
    except UnicodeError:
        bad.add(number + 1, f"the bytes there are not {encoding} (cut off?)", "mend the file, or say its --encoding")
    failure = bad.failure() or BadInput(f"{safe(path)} is not {encoding}", way)
    if good and good >= wrongs and "--encoding" in failure.next_step:
        failure.next_step = "mend what is named: the rest of the file is UTF-8"
    elif encoding == "utf-8-sig" and "--encoding" in failure.next_step:  # which the mark overrules
        failure.next_step = f"mend what is named, or take the mark off: tail -c +4 {shlex.quote(safe(path))} > OUT"
    return failure


def _wrong_byte(encoding: str, text: str, at: int) -> tuple[str, str]:
    """What is wrong at a place of a line, and the next step."""
    byte, name = ord(text[at]) - 0xDC00, "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
    what = f"byte 0x{byte:02x} is not {name}"
    if name != "UTF-8":
        return what, "say --encoding, for example --encoding latin-1"
    if at == len(text) - 1 and byte >= 0xC2:
        return f"{what}: the file is cut off within a character", "fetch the file again, or mend its end"
    before, after = re.split(r"[\s,;\t\"]", text[:at])[-1][-12:], re.split(r"[\s,;\t\"]", text[at:], maxsplit=1)[0][:12]
    word, shown = (before + after).encode("utf-8", "surrogateescape"), list[str]()
    for other in OTHERS:
        with suppress(UnicodeDecodeError):
            shown.append(f"{word.decode(other)!r} in {other}")
    if not shown:
        return what, "say --encoding, for example --encoding latin-1"
    what += f" (the word is {', '.join(shown)})"
    return what, f"--encoding {shown[0].rpartition(' ')[2]}, or the one in which it reads right; else mend that line"


def inspected(path: Path, encoding: str | None, bounded: bool) -> str:
    """SHA-256 of a file, read once; with an encoding, held against what no text has.

    Raises BadInput for a NUL, and where `bounded` for a line of more than LINE_BYTES, each with its line.
    """
    made, line, length, start = hashlib.sha256(), 1, 0, b""
    wide = encoding is not None and is_wide(encoding)
    decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding is not None and wide else None
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            made.update(block)
            if encoding is None:
                continue
            start = start or block[: 16 * START_BYTES]
            if decoder is not None:
                block = decoder.decode(block).encode("utf-8", "replace")
            if b"\0" in block:
                line += block.count(b"\n", 0, block.index(b"\0"))
                raise BadInput(f"{safe(path)} line {line} holds NUL bytes, which no text has", what_nul_means(start))
            line += block.count(b"\n")
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            length = length + len(block) if last < 0 else len(block) - last
            if bounded and length > LINE_BYTES:
                raise BadInput(
                    f"{safe(path)} line {line} is longer than {LINE_BYTES} bytes; a request is at most 10 MiB",
                    "mend that line, or say what the file is: --format",
                )
    return made.hexdigest()
