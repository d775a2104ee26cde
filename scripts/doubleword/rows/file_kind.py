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


_BINARY = rb".*[\x00-\x08\x0e-\x1a\x1c-\x1f]"  # behind a sign of letters, with which a text may begin, too
_ZIP = rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"  # the names of its first members tell what it holds
_PANDOC, _MAGICK, _HEAR = "pandoc FILE -o FILE.txt", "convert it: magick FILE FILE.png", "transcribe it first"
_ARROW, _FRAME, _SHEET = (
    "write it as Parquet with pyarrow",
    "write it as Parquet or CSV with pandas",
    "save it as .xlsx or .csv",
)
_PDF = "pdftotext -layout FILE FILE.txt (text), or pdftoppm -r 150 -png FILE PAGE (pictures)"

# How a file begins, what it is then, and what makes text of it; of several signs the first holds.
_SIGNS = (
    (rb"[\xef\xbb\xbf \r\n]*%PDF-", "a PDF", _PDF),
    (_ZIP + rb".*mimetypeapplication/vnd\.oasis\.opendocument\.spreadsheet", "an OpenDocument table", _SHEET),
    (_ZIP + rb".*mimetypeapplication/(?:vnd\.oasis|epub)", "an OpenDocument file or a book", _PANDOC),
    (_ZIP + rb".*\.iwa", "a file of Numbers, Pages or Keynote", "export it as CSV, .xlsx or text"),
    (_ZIP + rb".*word/", "a Word document", _PANDOC),
    (_ZIP + rb".*ppt/", "a PowerPoint file", "export it as PDF, then pdftotext FILE.pdf FILE.txt"),
    (_ZIP + rb".*(?:xl/|\[Content_Types\]\.xml|_rels/\.rels|docProps/)", "an Excel workbook", "--format excel"),
    (_ZIP, "an archive (zip)", "unzip FILE"),
    (rb"(?=.*\0).{257}ustar", "an archive (tar)", "tar -xf FILE"),
    (rb"\0...ftyp(?:hei[cx]|mif1|avif|hevc)", "a HEIC picture", _MAGICK),
    (rb"\0...ftyp", "a sound or video file", _HEAR),
    (rb"BM.{4}\0\0\0\0", "a BMP picture", _MAGICK),
    (rb"PAR1", "a Parquet file", "--format parquet"),
    (
        rb"\xd0\xcf\x11\xe0",
        "an Office file of the old kind, or a protected one",
        f"{_SHEET}, or for a document: {_PANDOC}",
    ),
    (rb"{\\rtf", "an RTF document", _PANDOC),
    (rb"version https://git-lfs", "what Git LFS keeps in place of a file", "git lfs pull"),
    (rb"\x1f\x8b", "compressed (gzip)", "gunzip < FILE > OUT"),
    (rb"BZh" + _BINARY, "compressed (bzip2)", "bunzip2 < FILE > OUT"),
    (rb"\xfd7zXZ\0", "compressed (xz)", "unxz < FILE > OUT"),
    (rb"\x28\xb5\x2f\xfd", "compressed (zstd)", "unzstd < FILE > OUT"),
    (rb"\x04\x22\x4d\x18", "compressed (lz4)", "lz4 -d < FILE > OUT"),
    (rb"\x1f\x9d", "compressed", "gunzip < FILE > OUT"),
    (rb"LZIP" + _BINARY, "compressed (lzip)", "lzip -d < FILE > OUT"),
    (rb"7z\xbc\xaf\x27\x1c", "an archive (7z)", "7z x FILE"),
    (rb"Rar!\x1a\x07", "an archive (rar)", "unrar x FILE"),
    (rb"SQLite format 3\0", "an SQLite database", "sqlite3 -csv -header FILE 'select * from …' > rows.csv"),
    (rb"ARROW1\0", "an Arrow file", _ARROW),
    (rb"\xff{4}", "an Arrow stream", _ARROW),
    (rb"FEA1" + _BINARY, "a Feather file", _ARROW),
    (rb"\x93NUMPY", "a NumPy array", _FRAME),
    (rb"\x89HDF", "an HDF5 file", _FRAME),
    (rb"\x80[\x04\x05]\x95", "a pickle of Python's", _FRAME),
    (rb"Obj\x01", "an Avro file", "write it as JSONL or Parquet"),
    (rb"ORC" + _BINARY, "an ORC file", _ARROW),
    (rb"II\*\0|MM\0\*", "a TIFF picture", _MAGICK),
    (rb"8BPS" + _BINARY, "a Photoshop picture", _MAGICK),
    (rb"\0\0\x01\0", "an icon", _MAGICK),
    (rb"(?:ID3|fLaC)" + _BINARY, "a sound file", _HEAR),
    (rb"(?:OggS|RIFF)" + _BINARY, "a sound or video file", _HEAR),
    (rb"\x7fELF", "a program", "name the rows"),
)
_READ = {"a Parquet file": "parquet", "an Excel workbook": "excel"}
_KINDS = [(re.compile(sign, re.DOTALL), Kind(_READ.get(name, "other"), name, way)) for sign, name, way in _SIGNS]


def kind_of(start: bytes) -> Kind | None:
    """What the first START_BYTES of a file say it is; None for what may be text."""
    image = image_type(start)
    if image is not None:
        return Kind("image", f"a picture ({image})", "put pictures into a folder of their own, or name --image-column")
    return next((kind for sign, kind in _KINDS if sign.match(start)), None)


def markup(start: bytes) -> Kind | None:
    """A web page or other XML, which is text. A sign-in or an error often comes in place of what was asked for,
    and some programs call a page with a table in it .xls."""
    found = re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:(!doctype html|html\b)|\?xml\b|svg\b)", start, re.IGNORECASE)
    if found is None:
        return None
    return Kind("other", "a web page (is it a sign-in or an error?)" if found[1] else "XML", "fetch the file again")


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
