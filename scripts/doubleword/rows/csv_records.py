"""The records of CSV and TSV: what lies between two line ends that are not quoted."""

from __future__ import annotations

import csv
import re
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..base.files import BLOCK_BYTES, LINE_BYTES, open_regular, unused
from ..base.text import safe
from .file_kind import Form
from .left_out import Tally
from .text_file import BadLines, line_ends, opened

LOOK_AHEAD = 256  # lines of a TSV that are searched for the end of a quote
MANY_LINES = 20  # of a cell, where a table has one column
MANY_DELIMITERS = 8  # in the whole lines of a cell, each with as many as a row: no text has that by chance
OPEN_QUOTE = "a quote that does not enclose a whole cell on its line is read as a character"
TAB_IN_QUOTES = "tabs or line ends within quotes belong to their cell; is a quote too much there?"
SWALLOWED = "a quoted cell holds lines that look like rows; is a quote missing there?"


class Record(NamedTuple):
    """What lies between two line ends that are not quoted. `raw` is its text with its line end, if it was asked for."""

    line: int
    cells: list[str]
    raw: str


def _names_delimiter(cells: list[str]) -> bool:
    """Whether it is the first line `sep=;`, which is for Excel."""
    return len(cells) == 2 and cells[0].lower() == "sep=" and not cells[1]


def records(form: Form, tally: Tally, keep: bool) -> Iterator[Record]:
    """Every record, blank lines (no cells) too. With `keep` each has its raw text."""
    with opened(form, line_ends(form)) as file:
        found = _tab_records(file, tally) if form.delimiter == "\t" else _csv_records(form, file, tally, keep)
        for record in found:
            if record.line > 1 or not _names_delimiter(record.cells):
                yield record
                continue
            tally.leave_out("line that names the delimiter", 1)
            if keep:
                yield record._replace(cells=[])


def held_back(lines: Iterable[str], held: list[str]) -> Iterator[str]:
    """The same lines, each held as it passes."""
    for text in lines:
        held.append(text)
        yield text


def _csv_records(form: Form, lines: Iterable[str], tally: Tally, keep: bool) -> Iterator[Record]:
    csv.field_size_limit(LINE_BYTES)
    held: list[str] = []
    reader = csv.reader(held_back(lines, held) if keep else lines, delimiter=form.delimiter, strict=True)
    line, bad, whole = 1, BadLines(form.path), False
    while not whole:
        try:
            for cells in reader:
                if reader.line_num > line:
                    _judge_swallowed(line, cells, form.delimiter, tally)
                yield Record(line, cells, "".join(held) if keep else "")
                held.clear()
                line = reader.line_num + 1
            whole = True
        except csv.Error as error:  # it goes on with the next line
            bad.add(line, *_wrong_quotes(str(error), form))
            held.clear()
            line = reader.line_num + 1
    bad.require_none()


def _wrong_quotes(error: str, form: Form) -> tuple[str, str]:
    """What is wrong, and the next step."""
    if "new-line" in error:
        return "a carriage return alone stands there, unquoted", "end all lines alike, or quote that cell"
    if "unexpected end" in error:
        return f"{safe(error)}: a quote that opens there is never closed", "close it, or double it"
    with open_regular(Path(form.path)) as file:
        escaped = b'\\"' in file.read(BLOCK_BYTES)
    way = """a quote within quotes is written twice in CSV, not \\": sed 's/\\\\"/""/g' """
    way += f"{shlex.quote(safe(form.path))} > {unused('rows.csv')}"
    return f"the quotes there are wrong ({safe(error)})", way if escaped else "mend the quotes there"


def _judge_swallowed(line: int, cells: list[str], delimiter: str, tally: Tally) -> None:
    """Doubts a quoted cell whose lines have the form of this table's rows."""
    for column, cell in enumerate(cells):
        # The last line is cut at `column` if it is a row, so most texts of many lines need no splitting.
        last = cell.rfind("\n")
        if last >= 0 and cell.count(delimiter, last) == column and _like_rows(cells, column, delimiter):
            tally.doubt(SWALLOWED, line)


def _like_rows(cells: list[str], column: int, delimiter: str) -> bool:
    """Whether the cell in `column` could be the end of a row, whole rows and the beginning of one.

    What its lines have in common with the row tells: in a table of one column their number alone, else enough
    delimiters in the right places, or another cell that looks like that of the row.
    """
    width = len(cells)
    first, *inner, last = cells[column].split("\n")
    if width == 1:
        return len(inner) >= MANY_LINES
    # Delimiters are counted before anything is split: texts of many lines are common, and read twice as fast so.
    if first.count(delimiter) != width - 1 - column or not all(text.count(delimiter) == width - 1 for text in inner):
        return False
    if len(inner) * (width - 1) >= MANY_DELIMITERS:
        return True
    rows = [[*cells[:column], *first.split(delimiter)], *(text.split(delimiter) for text in inner)]
    rows.append([*last.split(delimiter), *cells[column + 1 :]])
    return any(
        _alike([cell.strip() for cell in there]) for at, there in enumerate(zip(*rows, strict=True)) if at != column
    )


def _alike(cells: list[str]) -> bool:
    """Whether cells could be of one column: as `row-12` and `id-7`, or words as long as each other, such as hashes."""
    if len({_shape(cell) for cell in cells}) == 1:
        return bool(cells[0])
    return len({len(cell) for cell in cells}) == 1 and len(cells[0]) >= 3 and not any(" " in cell for cell in cells)


def _shape(cell: str) -> str:
    """The kinds of characters of a cell, each run once: of `row-12` it is `a-9`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", cell))


def whole_on_line(delimiter: str, width: int) -> Callable[[bytes], object]:
    """Tells whether a line of a CSV in UTF-8 is a record of so many cells by itself. One that is not may be, too."""
    sign = re.escape(delimiter).encode()
    cell = rb'(?:"[^"]*(?:""[^"]*)*"|[^"%b\r\n][^%b\r\n]*|)' % (sign, sign)
    return re.compile(rb"(?=[^\r\n])%b(?:%b%b){%d}\r?\n?" % (cell, sign, cell, width - 1)).fullmatch


# In a tab file a quote is a quote only around a whole cell on its line: `"I never said` is a text.
ENCLOSED = re.compile(r'"[^"]*(?:""[^"]*)*"')


class _Line(NamedTuple):
    """A line of a tab file that was read ahead."""

    text: str
    tabs: int
    closes: bool  # a quote in it may end a cell


_CLOSES = re.compile(r'"(?:\t|\r?\n|\r|\Z)')


def _tab_records(lines: Iterable[str], tally: Tally) -> Iterator[Record]:
    """Records of a file with tabs. Spreadsheets write line ends into quoted cells; elsewhere quotes are characters."""
    ahead, rest = deque[_Line](), iter(lines)
    width = number = 0

    def look(index: int) -> _Line | None:
        while len(ahead) <= index:
            text = next(rest, None)
            if text is None:
                return None
            ahead.append(_Line(text, text.count("\t"), _CLOSES.search(text) is not None))
        return ahead[index]

    while (text := ahead.popleft().text if ahead else next(rest, None)) is not None:
        number += 1
        bare = text[: len(text) - len(line_end(text))]
        cells = bare.split("\t") if bare else []
        if bare.startswith('"') or '\t"' in bare:
            cells, taken = _quoted(text, cells, width, look)
            _judge_quotes(number, cells, taken, tally)
            text += "".join(ahead.popleft().text for _ in range(taken))
            yield Record(number, [_unquoted(cell) for cell in cells], text)
            number += taken
        else:
            yield Record(number, cells, text)
        width = width or (0 if _names_delimiter(cells) else len(cells))


def _quoted(text: str, plain: list[str], width: int, look: Callable[[int], _Line | None]) -> tuple[list[str], int]:
    """(raw cells, further lines taken) of a line with quotes in it, whose cells between tabs are `plain`."""
    split = split_raw(text[: len(text) - len(line_end(text))], "\t")
    opens = any(cell.startswith('"') and not ENCLOSED.fullmatch(cell) for cell in split)
    if not opens or width <= 1:
        return (split if len(split) == width or not width else plain), 0
    joined, fits = [text], len(plain) == width
    for index in range(LOOK_AHEAD):
        following = look(index)
        if following is None:
            break
        joined.append(following.text)
        fits = fits and following.tabs == width - 1
        if following.closes:
            whole = "".join(joined)
            cells = split_raw(whole[: len(whole) - len(line_end(whole))], "\t")
            if all(not cell.startswith('"') or ENCLOSED.fullmatch(cell) for cell in cells):
                # Where every line is a row by itself, the quotes are characters.
                return (plain, 0) if fits or len(cells) != width else (cells, index + 1)
    return plain, 0


def _judge_quotes(number: int, raw: list[str], taken: int, tally: Tally) -> None:
    if taken or any("\t" in cell for cell in raw):
        tally.doubt(TAB_IN_QUOTES, number)
    elif any(cell.startswith('"') and not ENCLOSED.fullmatch(cell) for cell in raw):
        tally.doubt(OPEN_QUOTE, number)


def line_end(text: str) -> str:
    """The line end of a line: LF, CRLF, CR, or nothing at the end of a file."""
    return "\r\n" if text.endswith("\r\n") else text[-1:] if text.endswith(("\n", "\r")) else ""


def split_raw(text: str, delimiter: str) -> list[str]:
    """The cells of a record as they are written, quotes and all."""
    cells, position = [], 0
    while True:
        found = ENCLOSED.match(text, position)
        end = found.end() if found else -1
        if not (end == len(text) or (found and text[end] == delimiter)):
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
        cells.append(text[position:end])
        if end == len(text):
            return cells
        position = end + 1


def split_as_read(text: str, delimiter: str, cells: Sequence[str]) -> list[str]:
    """The cells of a record as written, which was read as `cells`: in a tab file some quotes are characters."""
    there = split_raw(text, delimiter)
    as_read = delimiter != "\t" or [*map(_unquoted, there[: len(cells)])] == [*cells]
    return there if as_read else text.split(delimiter)


def _unquoted(raw: str) -> str:
    if raw.startswith('"') and ENCLOSED.fullmatch(raw):
        return raw[1:-1].replace('""', '"')
    return raw
