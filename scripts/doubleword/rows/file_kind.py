"""What a file is, told by its bytes: nothing that is no text is ever read as one. The form of a source."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..base.failures import BadInput
from ..base.files import unused
from ..base.text import safe

START_BYTES = 4096  # enough for every sign below

# Marks of Unicode; the longer ones first, since UTF-32 begins as UTF-16 does.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Where the rows are, and all that a reader must know to read the same rows again."""

    path: str  # absolute
    format: str  # csv (with any delimiter), jsonl, json, lines, parquet, excel, texts, images
    encoding: str = "utf-8"  # of a text: a codec of Python's
    delimiter: str = ","  # of csv: one character
    sheet: str | None = None  # of excel: its name
    match: str | None = None  # of a folder: a glob that file names must match
    recursive: bool = False  # of a folder: with the files of its subfolders


class Kind(NamedTuple):
    """What a file is that is no text: `parquet`, `excel`, `image`, or `other`; in words; and what makes text of it."""

    kind: str
    name: str
    way: str


_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"))


def image_type(start: bytes) -> str | None:
    """png, jpeg, gif or webp: the pictures that models take."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    return next((kind for sign, kind in _IMAGES if start.startswith(sign)), None)


def is_whole(content: bytes, kind: str) -> bool:
    """Whether a picture has its end: a download may have been cut off. What stands after the end does no harm."""
    if kind == "png":
        return content[12:16] == b"IHDR" and b"IEND" in content
    if kind == "jpeg":  # one within may have its end, too: a preview
        return content.find(b"\xff\xd9", len(content) // 2) >= 0
    if kind == "gif":
        return b";" in content[-16:]
    return int.from_bytes(content[4:8], "little") + 8 <= len(content)


def _other(name: str, way: str) -> Kind:
    return Kind("other", name, way)


_CONVERT_IMAGE = "convert it: magick FILE FILE.png"
_OFFICE = "save it as .xlsx or .csv, or for a document: pandoc FILE -o FILE.txt"
_FRAME = "write it as Parquet or CSV with pandas"
_SIGNS = (
    (b"PAR1", Kind("parquet", "a Parquet file", "--format parquet")),
    (b"\xd0\xcf\x11\xe0", _other("an Office file of the old kind, or a protected one", _OFFICE)),
    (b"{\\rtf", _other("an RTF document", "pandoc FILE -o FILE.txt")),
    (b"version https://git-lfs", _other("what Git LFS keeps in place of a file", "git lfs pull")),
    (b"\x1f\x8b", _other("compressed (gzip)", "gunzip < FILE > OUT")),
    (b"BZh", _other("compressed (bzip2)", "bunzip2 < FILE > OUT")),
    (b"\xfd7zXZ\x00", _other("compressed (xz)", "unxz < FILE > OUT")),
    (b"\x28\xb5\x2f\xfd", _other("compressed (zstd)", "unzstd < FILE > OUT")),
    (b"\x04\x22\x4d\x18", _other("compressed (lz4)", "lz4 -d < FILE > OUT")),
    (b"\x1f\x9d", _other("compressed", "gunzip < FILE > OUT")),
    (b"LZIP", _other("compressed (lzip)", "lzip -d < FILE > OUT")),
    (b"7z\xbc\xaf\x27\x1c", _other("an archive (7z)", "7z x FILE")),
    (b"Rar!\x1a\x07", _other("an archive (rar)", "unrar x FILE")),
    (b"SQLite format 3\x00", _other("an SQLite database", "sqlite3 -csv -header FILE 'select * from …' > rows.csv")),
    (b"ARROW1\x00", _other("an Arrow file", "write it as Parquet with pyarrow")),
    (b"\xff\xff\xff\xff", _other("an Arrow stream", "write it as Parquet with pyarrow")),
    (b"FEA1", _other("a Feather file", "write it as Parquet with pyarrow")),
    (b"\x93NUMPY", _other("a NumPy array", _FRAME)),
    (b"\x89HDF", _other("an HDF5 file", _FRAME)),
    (b"\x80\x04\x95", _other("a pickle of Python's", _FRAME)),
    (b"\x80\x05\x95", _other("a pickle of Python's", _FRAME)),
    (b"Obj\x01", _other("an Avro file", "write it as JSONL or Parquet")),
    (b"ORC", _other("an ORC file", "write it as Parquet with pyarrow")),
    (b"II*\x00", _other("a TIFF picture", _CONVERT_IMAGE)),
    (b"MM\x00*", _other("a TIFF picture", _CONVERT_IMAGE)),
    (b"8BPS", _other("a Photoshop picture", _CONVERT_IMAGE)),
    (b"\x00\x00\x01\x00", _other("an icon", _CONVERT_IMAGE)),
    (b"ID3", _other("a sound file", "transcribe it first")),
    (b"OggS", _other("a sound or video file", "transcribe it first")),
    (b"fLaC", _other("a sound file", "transcribe it first")),
    (b"RIFF", _other("a sound or video file", "transcribe it first")),
    (b"\x7fELF", _other("a program", "name the rows")),
)
_TEXT_LIKE = {b"BZh", b"ORC", b"ID3", b"LZIP", b"RIFF", b"8BPS", b"OggS", b"fLaC", b"FEA1"}


def kind_of(start: bytes) -> Kind | None:
    """What the first START_BYTES of a file say it is; None for what may be text."""
    image = image_type(start)
    if image is not None:
        return Kind("image", f"a picture ({image})", "put pictures into a folder of their own, or name --image-column")
    if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"%PDF-"):
        return _other("a PDF", "pdftotext -layout FILE FILE.txt (text), or pdftoppm -r 150 -png FILE PAGE (pictures)")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _archive(start)
    if start[257:262] == b"ustar" and b"\0" in start:
        return _other("an archive (tar)", "tar -xf FILE")
    if start[:1] == b"\0" and start[4:8] == b"ftyp":
        heic = start[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"hevc")
        return (
            _other("a HEIC picture", _CONVERT_IMAGE) if heic else _other("a sound or video file", "transcribe it first")
        )
    if re.match(rb"BM.{4}\0\0\0\0", start, re.DOTALL):
        return _other("a BMP picture", _CONVERT_IMAGE)
    return next((kind for sign, kind in _SIGNS if start.startswith(sign) and _beyond_text(sign, start)), None)


def _beyond_text(sign: bytes, start: bytes) -> bool:
    """Whether a sign that is made of letters stands before bytes that no text has."""
    return sign not in _TEXT_LIKE or any(control in start for control in _CONTROLS)


_CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32)])


def _archive(start: bytes) -> Kind:
    """What a zip archive holds: the names of its first members tell."""
    if b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet" in start:
        return _other("an OpenDocument table", "save it as .xlsx or .csv")
    if b"mimetypeapplication/vnd.oasis" in start or b"mimetypeapplication/epub" in start:
        return _other("an OpenDocument file or a book", "pandoc FILE -o FILE.txt")
    if b".iwa" in start:
        return _other("a file of Numbers, Pages or Keynote", "export it as CSV, .xlsx or text")
    if b"word/" in start:
        return _other("a Word document", "pandoc FILE -o FILE.txt")
    if b"ppt/" in start:
        return _other("a PowerPoint file", "export it as PDF, then pdftotext FILE.pdf FILE.txt")
    if b"xl/" in start or b"[Content_Types].xml" in start or b"_rels/.rels" in start or b"docProps/" in start:
        return Kind("excel", "an Excel workbook", "--format excel")
    return _other("an archive (zip)", "unzip FILE")


def markup(start: bytes) -> Kind | None:
    """A web page or other XML, which is text. A sign-in or an error often comes in place of what was asked for,
    and some programs call a page with a table in it .xls."""
    found = re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:(!doctype html|html\b)|\?xml\b|svg\b)", start, re.IGNORECASE)
    if found is None:
        return None
    return _other("a web page (is it a sign-in or an error?)" if found[1] else "XML", "fetch the file again")


def no_rows(path: Path | str, page: Kind) -> BadInput:
    """What is to be said of a web page where rows or requests are expected."""
    way = f"{page.way}; a table in it: open it in a spreadsheet program, save it as .csv; its lines: --format lines"
    return BadInput(f"{safe(path)} is {page.name}, no rows", way)


def encoding_of(start: bytes) -> str | None:
    """The encoding that a mark at the start names."""
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), None)


def not_text(path: Path | str, kind: Kind) -> BadInput:
    """What is to be said of a file that is no text. The command that is named writes over nothing that is there."""
    plain = Path(path).stem if Path(path).suffix in _PACKED else f"plain-{Path(path).name}"

    def named(place: re.Match[str]) -> str:
        target = path
        if place[0] != "FILE":
            target = unused({"OUT": plain, "rows.csv": "rows.csv"}.get(place[0]) or f"{path}{place[0][4:]}")
        return shlex.quote(safe(target))

    return BadInput(f"{safe(path)} is {kind.name}, no text", _PLACES.sub(named, kind.way))


_PLACES = re.compile(r"FILE\.txt|FILE\.png|FILE|OUT|rows\.csv")
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".lz"})


def what_nul_means(start: bytes) -> str:
    """The next step for a file that holds NUL bytes: it may be a text in UTF-16 or UTF-32 without a mark."""
    encoding = wide_without_mark(start)
    if encoding is None:
        return "it is no text file; export it as CSV, JSONL or text"
    return f"it looks like {encoding[:6].upper()} without a mark: --encoding {encoding}"


def wide_without_mark(start: bytes) -> str | None:
    """The encoding of a text with NUL bytes and no mark, by its first bytes: one in which all of it can be shown."""
    if start.isascii() and start.count(0) * 3 < len(start):  # letters in pairs pass for Chinese ones
        return None
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        try:
            text = start[: min(len(start), START_BYTES) // width * width].decode(encoding)
        except UnicodeDecodeError as error:
            if error.end < len(start) - width:  # else a pair is cut at the end
                continue
            text = error.object[: error.start].decode(encoding)
        spaces = sum(character in " \t\r\n" for character in text)
        if b"\0" in start and spaces and all(c.isprintable() or c in "\t\r\n" for c in text):
            return encoding
    return None
