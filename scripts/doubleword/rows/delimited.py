"""CSV and TSV: records and their cells, and how a table is written, so that rows can be written back as they stand."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import BadInput
from ..base.files import LINE_BYTES, open_regular
from ..base.text import safe
from .form import Form
from .headers import checked
from .recognise import MARKS
from .tally import Tally
from .text_file import is_wide, line_ends, opened, undecodable

LOOK_AHEAD = 256  # lines of a TSV that are searched for the end of a quote
OPEN_QUOTE = "a quote that does not enclose a whole cell on its line is read as a character"
TAB_IN_QUOTES = "tabs or line ends within quotes belong to their cell; is a quote too much there?"
SWALLOWED = "a quoted cell holds lines that look like rows; is a quote missing there?"


class Record(NamedTuple):
    """What lies between two line ends that are not quoted. `raw` is its text with its line end, if it was asked for."""

    line: int
    cells: list[str]
    raw: str


# --- rows -------------------------------------------------------------------------------------------


def rows(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells by header) of each row. A header line is needed; blank lines are left out."""
    records = _records(form, tally, keep=False)
    headers, width = _header(form, records, tally)
    for line, cells, _ in records:
        if len(cells) == width:
            if len(headers) < width and any(cells[len(headers) :]):
                raise _no_header(form, line, len(headers), cells)
            yield line, dict(zip(headers, cells, strict=False))
        elif not cells:
            tally.leave_out("blank line", line)
        elif len(headers) <= len(cells) < width:  # the empty columns at the end are not even there
            yield line, dict(zip(headers, cells, strict=False))
        else:
            raise BadInput(
                f"{safe(form.path)} line {line}: {len(cells)} cells where the header has {width}",
                f"mend that line (is a cell with {form.delimiter!r} or a line end not quoted?), "
                f"or say --delimiter (now {form.delimiter!r})",
            )


def headers(form: Form) -> list[str]:
    return _header(form, _records(form, Tally(), keep=False), Tally())[0]


def _header(form: Form, records: Iterator[Record], tally: Tally) -> tuple[list[str], int]:
    """The headers, and how many cells the line had."""
    for line, cells, _ in records:
        if cells:
            found = checked(form.path, line, cells)
            for column in range(len(found), len(cells)):
                tally.leave_out("column without a header and without cells", column + 1)
            return found, len(cells)
        tally.leave_out("blank line", line)
    raise BadInput(f"{safe(form.path)} is empty; a line of headers was expected", "check the path")


def _no_header(form: Form, line: int, known: int, cells: list[str]) -> BadInput:
    column = next(number for number, cell in enumerate(cells, 1) if number > known and cell)
    what = f"{safe(cells[column - 1], 40)!r} stands in column {column}, which has no header"
    return BadInput(
        f"{safe(form.path)} line {line}: {what}",
        "give that column a header, or empty it",
    )


# A first line `sep=;` is for Excel.
_NAMES_DELIMITER = ["sep=", ""]


# --- records ----------------------------------------------------------------------------------------


def _records(form: Form, tally: Tally, keep: bool) -> Iterator[Record]:
    """Every record, blank lines (no cells) too. With `keep` each has its raw text."""
    try:
        with opened(form, line_ends(form)) as file:
            for record in (
                _tab_records(file, tally) if form.delimiter == "\t" else _csv_records(form, file, tally, keep)
            ):
                if record.line > 1 or record.cells != _NAMES_DELIMITER:
                    yield record
                    continue
                tally.leave_out("line that names the delimiter", 1)
                if keep:
                    yield record._replace(cells=[])
    except UnicodeError:
        raise undecodable(form.path, form.encoding) from None


def _csv_records(form: Form, lines: Iterable[str], tally: Tally, keep: bool) -> Iterator[Record]:
    csv.field_size_limit(LINE_BYTES)
    held: list[str] = []

    def held_back() -> Iterator[str]:
        for text in lines:
            held.append(text)
            yield text

    reader = csv.reader(held_back() if keep else lines, delimiter=form.delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if reader.line_num > line:
                _judge_swallowed(line, cells, form.delimiter, tally)
            yield Record(line, cells, "".join(held))
            held.clear()
            line = reader.line_num + 1
    except csv.Error as error:
        what, way = f"the quotes there are wrong ({safe(error)})", "mend the quotes there"
        if "new-line" in str(error):
            what, way = "a carriage return alone stands there, unquoted", "end all lines alike, or quote that cell"
        elif "unexpected end" in str(error):
            what, way = f"{safe(error)}: a quote that opens there is never closed", "close it, or double it"
        raise BadInput(f"{safe(form.path)} line {line}: {what}", way) from None


def _judge_swallowed(line: int, cells: list[str], delimiter: str, tally: Tally) -> None:
    """Doubts a quoted cell whose further lines have the form of this table's rows."""
    for column, cell in enumerate(cells):
        if "\n" not in cell:
            continue
        first, *more = cell.split("\n")
        shape = _shape(first.split(delimiter)[0] if column == 0 else cells[0])
        if _like_rows(shape, column, len(cells), more, delimiter):
            tally.doubt(SWALLOWED, line)


def _like_rows(shape: str, column: int, width: int, lines: list[str], delimiter: str) -> bool:
    """Whether lines could be rows: as many cells, the first like those of that column, the last one cut at `column`."""
    *inner, last = lines
    if last.count(delimiter) != column or len(inner) < (0 if column else 20 if width == 1 else 1):
        return False
    # Delimiters are counted before anything is split: texts of many lines are common, and read twice as fast so.
    alike = all(text.count(delimiter) == width - 1 for text in inner)
    alike = alike and all(_shape(text.split(delimiter)[0]) == shape for text in inner)
    return alike and (column == 0 or _shape(last.split(delimiter)[0]) == shape)


def _shape(cell: str) -> str:
    """The kinds of characters of a cell, each run once: `row-12` and `id-7` are alike, `12` and `word` are not."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", cell.strip()))


# In a tab file a quote is a quote only around a whole cell on its line: `"I never said` is a text.
_ENCLOSED = re.compile(r'"[^"]*(?:""[^"]*)*"')


def _tab_records(lines: Iterable[str], tally: Tally) -> Iterator[Record]:
    """Records of a file with tabs. Spreadsheets write line ends into quoted cells; elsewhere quotes are characters."""
    ahead = deque[str]()
    rest = iter(lines)
    width = number = 0

    def look(index: int) -> str | None:
        while len(ahead) <= index:
            following = next(rest, None)
            if following is None:
                return None
            ahead.append(following)
        return ahead[index]

    while (text := look(0)) is not None:
        number += 1
        bare = text[: len(text) - len(_end(text))]
        raw, taken = bare.split("\t"), 1
        if '"' in bare:
            raw, taken = _quoted(text, raw, width, look)
            _judge_quotes(number, raw, taken, tally)
        whole = "".join(ahead.popleft() for _ in range(taken))
        yield Record(number, [_unquoted(cell) for cell in raw] if bare else [], whole)
        number += taken - 1
        width = width or (len(raw) if bare and raw != _NAMES_DELIMITER else 0)


def _quoted(text: str, plain: list[str], width: int, look: Any) -> tuple[list[str], int]:
    """(raw cells, lines taken) of a line with quotes in it, whose cells between tabs are `plain`."""
    split = _split(text[: len(text) - len(_end(text))], "\t")
    opens = any(cell.startswith('"') and not _ENCLOSED.fullmatch(cell) for cell in split)
    if not opens or width <= 1:
        return (split if len(split) == width or not width else plain), 1
    joined, fits = text, len(plain) == width
    for index in range(1, LOOK_AHEAD):
        following = look(index)
        if following is None:
            break
        joined += following
        fits = fits and following.count("\t") == width - 1
        if '"' in following:
            cells = _split(joined[: len(joined) - len(_end(joined))], "\t")
            if all(not cell.startswith('"') or _ENCLOSED.fullmatch(cell) for cell in cells):
                # Where every line is a row by itself, the quotes are characters.
                return (plain, 1) if fits or len(cells) != width else (cells, index + 1)
    return plain, 1


def _judge_quotes(number: int, raw: list[str], taken: int, tally: Tally) -> None:
    if taken > 1 or any("\t" in cell for cell in raw):
        tally.doubt(TAB_IN_QUOTES, number)
    elif any(cell.startswith('"') and not _ENCLOSED.fullmatch(cell) for cell in raw):
        tally.doubt(OPEN_QUOTE, number)


def _end(text: str) -> str:
    """The line end of a line: LF, CRLF, CR, or nothing at the end of a file."""
    return "\r\n" if text.endswith("\r\n") else text[-1:] if text.endswith(("\n", "\r")) else ""


def _split(text: str, delimiter: str) -> list[str]:
    """The cells of a record as they are written, quotes and all."""
    cells, position = [], 0
    while True:
        found = _ENCLOSED.match(text, position)
        end = found.end() if found else -1
        if not (end == len(text) or (found and text[end] == delimiter)):
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
        cells.append(text[position:end])
        if end == len(text):
            return cells
        position = end + 1


def _unquoted(raw: str) -> str:
    if raw.startswith('"') and _ENCLOSED.fullmatch(raw):
        return raw[1:-1].replace('""', '"')
    return raw


# --- as it stands in the file -----------------------------------------------------------------------


class RawRow(NamedTuple):
    """A record as it stands in the file. `delimiter.join(cells) + end` is its text; what is no row has no cells.

    The first with cells is the header. Together, encoded and with the mark before them, they are the file's bytes.
    A row may lack cells at its end, where the header is empty.
    """

    line: int
    cells: list[str]  # each with its quotes
    end: str  # \n, \r\n, \r, or nothing at the end of the file; without cells, the whole line


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    encoding: str  # with its byte order named, and writing no mark
    mark: bytes  # at the start of the file; may be empty
    delimiter: str
    line_end: str  # of the header
    quotes_all: bool  # each cell of the header is quoted

    def quoted(self, cell: str) -> str:
        """A new cell as this table would write it."""
        if not self.quotes_all and not any(c in cell for c in (self.delimiter, '"', "\n", "\r")):
            return cell
        return '"' + cell.replace('"', '""') + '"'

    def text(self, cells: list[str]) -> str:
        """A row of cells, quoted already, without its end. One empty cell is no blank line."""
        return '""' if cells == [""] else self.delimiter.join(cells)


def dialect(form: Form) -> Dialect:
    """How the table of a source is written."""
    with open_regular(Path(form.path)) as file:
        start = file.read(4)
    mark = next((mark for mark, _ in MARKS if start.startswith(mark) and _goes_with(form.encoding, mark)), b"")
    encoding = form.encoding.lower().replace("_", "-")
    if is_wide(encoding) and not encoding.endswith(("le", "be")):
        encoding += "-be" if mark in (b"\xfe\xff", b"\x00\x00\xfe\xff") else "-le"
    encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    header = next((row for row in raw_rows(form) if row.cells), RawRow(1, [], "\n"))
    quotes_all = bool(header.cells) and all(_ENCLOSED.fullmatch(cell) for cell in header.cells)
    return Dialect(encoding, mark, form.delimiter, header.end or "\n", quotes_all)


def _goes_with(encoding: str, mark: bytes) -> bool:
    name = encoding.lower().replace("_", "-")
    return is_wide(name) if mark != b"\xef\xbb\xbf" else name in ("utf-8", "utf-8-sig")


def raw_rows(form: Form) -> Iterator[RawRow]:
    """Every record of the file, in order: header, rows, and blank lines."""
    for line, cells, raw in _records(form, Tally(), keep=True):
        end = _end(raw) if cells else raw
        text = raw[: len(raw) - len(end)]
        yield RawRow(line, _split(text, form.delimiter) if cells else [], end)


def sniffed(start: str, given: str | None, default: str) -> tuple[str, list[str]]:
    """(delimiter, others that would fit as well) for a table that begins so. Spreadsheets of many countries use `;`."""
    named = re.match(r"sep=(.)[\r\n]", start)
    if given is not None or named is not None:
        return given or (named[1] if named else default), []
    lines = re.findall(r"[^\r\n]*(?:\r\n|\n|\r|$)", start)[:50]
    widths = {delimiter: _width(lines, delimiter) for delimiter in dict.fromkeys(chain(default, ",;\t|"))}
    fitting = [delimiter for delimiter, width in widths.items() if width > 1]
    if not fitting:
        return _most_frequent(lines[0], default), []
    chosen = max(fitting, key=lambda d: widths[d])  # of equals the first, the default
    return chosen, [d for d in fitting if d != chosen]


def _most_frequent(header: str, default: str) -> str:
    return default if default in header else max(default + ",;\t|", key=header.count)


def _width(lines: list[str], delimiter: str) -> int:
    """How many cells each of the first records has; 0 if they differ."""
    try:
        found = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return 0
    return found[0] if found and len(set(found[:-1])) <= 1 and len(set(found[:2])) == 1 else 0
