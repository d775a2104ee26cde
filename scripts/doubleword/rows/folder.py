"""A folder of texts or of pictures: which of its files are rows, and why the others are none."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.files import BLOCK_BYTES, LINE_BYTES, unused
from ..base.text import plural, safe
from .cell_to_text import Unreadable
from .file_kind import START_BYTES, Form, Kind, encoding_of, kind_of, not_text, what_nul_means
from .left_out import Tally
from .text_file import is_wide, no_mark, undecodable

_TEXTS = frozenset(
    [".txt", ".text", ".md", ".rst", ".htm", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".log", ".tex", ".srt"]
)
_PICTURES = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"]
)
_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


@dataclass
class Listing:
    """The files of a folder, looked at once: those that are rows by name, in order, and the others by reason."""

    format: str  # texts or images
    names: list[str]  # relative to the folder, with / between folders
    sha256: str  # of the rows' names and contents
    size: int  # bytes of the rows
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (reason, name)


@dataclass
class _File:
    name: str
    kind: Kind | None  # None: may be text
    text: bool
    sha256: str
    size: int

    def is_row(self, kind: str) -> bool:
        """Whether it is one of the folder's images or texts, by its bytes or by its name."""
        ending, image = Path(self.name).suffix.lower(), self.kind is not None and self.kind.kind == "image"
        if kind == "images":
            return image or ending in _PICTURES
        return (self.text and ending not in _PICTURES) or (ending in _TEXTS and not image)

    @property
    def what(self) -> str:
        return self.kind.name if self.kind else "a text" if self.text else "binary"


def listing(form: Form) -> Listing:
    """Looks at every file of a folder, once. `format` "" is told from what most files are.

    Raises BadInput if no file is a row, or as many files are texts as are pictures.
    """
    folder, left_out = Path(form.path), list[tuple[str, str]]()
    files = [_looked_at(folder, name, is_wide(form.encoding)) for name in sorted(_names(folder, "", form, left_out))]
    # A picture by its name that is none by its bytes was meant to be one: it is a bad row, not another file.
    images, texts = sum(file.is_row("images") for file in files), sum(file.is_row("texts") for file in files)
    kind = form.format or ("images" if images > texts else "texts")
    if not form.format and images == texts > 0:
        raise BadInput(
            f"the folder {safe(folder)} holds {plural(images, 'picture')} and as many texts",
            "say which are the rows: --format images or --format texts, or --match '*.png'",
        )
    wanted = [file for file in files if file.is_row(kind)]
    noun = "picture" if kind == "images" else "text"
    left_out += ((f"file that is no {noun}: {file.what}", file.name) for file in files if not file.is_row(kind))
    if not wanted:
        raise _no_rows(form, kind, left_out, next((file.kind for file in files if file.kind), None))
    made = hashlib.sha256()
    for file in wanted:
        made.update(f"{file.sha256} {file.name}\n".encode("utf-8", "surrogateescape"))
    return Listing(kind, [f.name for f in wanted], made.hexdigest(), sum(f.size for f in wanted), left_out)


def _names(folder: Path, below: str, form: Form, left_out: list[tuple[str, str]]) -> Iterator[str]:
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            reason = _no_file(entry, folder)
            if reason == "subfolder (--recursive)" and form.recursive:
                yield from _names(folder, f"{name}/", form, left_out)
            elif reason:
                left_out.append((reason, name))
            elif matches(form, name):
                yield name
            else:
                left_out.append((f"file that does not match {form.match}", name))


def matches(form: Form, name: str) -> bool:
    """Whether --match takes a file: its name, or its path within the folder where the pattern has a /."""
    pattern = form.match
    if pattern is None or (pattern.startswith("**/") and fnmatchcase(name, pattern[3:])):
        return True
    return fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


def _no_file(entry: os.DirEntry[str], folder: Path) -> str:
    """Why an entry is no file to read, or nothing. A folder from somebody else may lead to what is private."""
    if entry.name.startswith("."):
        return "hidden file"
    if entry.name.endswith("~") or entry.name.startswith("~$"):
        return "copy that an editor keeps"
    if entry.name.lower() in _SYSTEM:
        return "file of the system's"
    if entry.is_dir():
        return "link to a folder" if entry.is_symlink() else "subfolder (--recursive)"
    if entry.is_file():
        outside = entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(os.path.realpath(folder))
        return "link to a file outside of the folder (copied into it, it is read)" if outside else ""
    return "broken link" if entry.is_symlink() else "device or pipe"


def _looked_at(folder: Path, name: str, wide: bool) -> _File:
    made, size, nul = hashlib.sha256(), 0, False
    with open(folder / name, "rb", buffering=0) as file:
        start = block = file.read(BLOCK_BYTES)
        while block:
            made.update(block)
            size += len(block)
            nul = nul or b"\0" in block
            block = file.read(BLOCK_BYTES)
    kind = kind_of(start[:START_BYTES])
    text = kind is None and (not nul or wide or is_wide(encoding_of(start) or "utf-8"))
    return _File(name, kind, text, made.hexdigest(), size)


def _no_rows(form: Form, kind: str, left_out: list[tuple[str, str]], found: Kind | None) -> BadInput:
    """`found`: what the first of its files is that is no text, if there is one."""
    folder = Path(form.path)
    if not left_out:
        return BadInput(f"the folder {safe(folder)} holds no files", "check the path")
    tally = Tally()
    for reason, name in left_out:
        tally.leave_out(reason, name)
    below = any(reason.startswith("subfolder") for reason, _ in left_out)
    unmatched = any(reason.startswith("file that does not match") for reason, _ in left_out)
    way = "to look into subfolders say --recursive" if below else "check the path"
    if unmatched:
        way = "check --match: one pattern of *, ? and [...], such as '*.txt'" + ", or say --recursive" * below
    if found is not None:
        ways = {"parquet": "name one of its files", "excel": "name one of its files", "image": "--format images"}
        way = ways.get(found.kind, f"make {kind} of them first, for each FILE: {found.way}")
        if found.kind == "parquet" and len(left_out) > 1:
            joined = f"p.write_table(p.read_table({str(folder)!r}), {str(unused('rows.parquet'))!r})"
            way += f"; of all one: python3 -c {shlex.quote(f'import pyarrow.parquet as p; {joined}')}"
    what = "pictures" if kind == "images" else "texts"
    return BadInput(f"the folder {safe(folder)} holds no {what}; {'; '.join(tally.notes())}", way)


def rows(form: Form, found: Listing, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, cells) of each file: `file`, and of texts `text`, which is Unreadable where it is no text."""
    for reason, name in found.left_out:
        tally.leave_out(reason, name)
    for number, name in enumerate(found.names, 1):
        cells: dict[str, Any] = {"file": name}
        if form.format == "texts":
            cells["text"] = _text(Path(form.path, name), form.encoding)
            if _is_other_than_said(cells["text"], form.encoding):
                tally.doubt(f"read in {safe(form.encoding)}, as --encoding says, though it is UTF-8", name)
        yield number, cells


def _is_other_than_said(text: str | Unreadable, encoding: str) -> bool:
    """Whether a text that was read in another encoding is one in UTF-8. In one of single bytes hardly any is so by
    chance; of Chinese or Japanese in two bytes each many a word is, as letters of Europe."""
    if isinstance(text, Unreadable) or text.isascii() or encoding.startswith("utf"):
        return False
    try:
        raw = text.encode(encoding)
        meant = raw.decode()
    except UnicodeError:
        return False
    return max(meant) > ("\x7f" if len(raw) == len(text) else "\u07ff")


def _text(path: Path, encoding: str) -> str | Unreadable:
    with path.open("rb", buffering=0) as file:
        raw = file.read(LINE_BYTES + 1)
    if len(raw) > LINE_BYTES:
        return Unreadable(
            BadInput(f"{safe(path)} has more than {LINE_BYTES} bytes; a request takes 10 MiB", "cut it up")
        )
    kind = kind_of(raw[:START_BYTES])
    if kind is not None:
        return Unreadable(not_text(path, kind))
    marked = encoding_of(raw[:4])
    wide, wrong = is_wide(marked or encoding), None if marked else no_mark(path, encoding)
    if wrong is not None:
        return Unreadable(wrong)
    if not wide and b"\0" in raw:
        return Unreadable(BadInput(f"{safe(path)} holds NUL bytes, which no text has", what_nul_means(raw)))
    try:
        text = raw.decode(marked or encoding)
    except UnicodeError:
        return Unreadable(undecodable(path, marked or encoding))
    if wide and "\0" in text:
        return Unreadable(BadInput(f"{safe(path)} holds NUL characters, which no text has", "check --encoding"))
    return text.removeprefix("\ufeff") if wide else text
