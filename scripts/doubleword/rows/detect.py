"""How a source is read: what is not said by hand is told by its first bytes and its name."""

from __future__ import annotations

import csv
import glob
import re
import shlex
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ..base.failures import BadInput, WrongUsage
from ..base.files import open_regular, unused
from ..base.json_text import NotJson, read_json
from ..base.text import safe
from .excel_rows import sheet_of
from .file_kind import Form, encoding_of, kind_of, markup, no_rows, not_text, what_nul_means
from .headers import folded
from .left_out import Tally
from .readers import format_named
from .text_file import no_mark, require_encoding

SAMPLE_BYTES = 64 * 1024
_BINARY = ("parquet", "excel")


def form_of(
    path: Path,
    form: str | None,
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    match: str | None,
    recursive: bool,
    tally: Tally,
) -> Form:
    """The form of a source. Of a folder without a format it is "": what its files are tells. `tally` hears of guesses.

    Raises WrongUsage for a flag that does not go with the source, BadInput for a file that is no text.
    """
    if encoding is not None:
        require_encoding(encoding)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise WrongUsage("--delimiter is one character, no quote and no line end", r"for a tab: --delimiter $'\t'")
    known = Form(path=str(path.resolve()), format=form or "", encoding=encoding or "utf-8", sheet=sheet)
    known = replace(known, match=match, recursive=recursive)
    if path.is_dir():
        _require(not form or form in ("texts", "images"), f"--format {form}", path, "a folder: texts or images")
        _require(delimiter is None, "--delimiter", path, "a folder")
        _require(sheet is None, "--sheet", path, "a folder")
        return known
    _require(match is None and not recursive, "--match" if match else "--recursive", path, "a file")
    _require(form not in ("texts", "images"), f"--format {form}", path, "a file")
    if not path.exists():
        raise _no_source(path)
    with open_regular(path) as file:
        start = file.read(SAMPLE_BYTES)
    known = replace(known, format=_format(path, form, start))
    _require(sheet is None or known.format == "excel", "--sheet", path, known.format)
    _require(delimiter is None or known.format in ("csv", "tsv", "lines"), "--delimiter", path, known.format)
    _require(encoding is None or known.format not in _BINARY, "--encoding", path, known.format)
    if known.format in _BINARY:
        return replace(known, sheet=sheet_of(path, sheet)) if known.format == "excel" else known
    return _of_text(known, start, form, delimiter, encoding, tally)


def _no_source(path: Path) -> BadInput:
    """What is to be said where no source lies: some name several files, or one that lies elsewhere."""
    way = "check the path"
    if glob.has_magic(path.name) and path.parent.is_dir():
        way = f"--input {shlex.quote(safe(path.parent))} --match {shlex.quote(safe(path.name))}"
    address = re.match(r"[a-z][a-z0-9+]+:/([^?#]*)", str(path))
    if address:
        rows = unused(f"rows{Path(address[1]).suffix}")
        url = shlex.quote(safe(path).replace(":/", "://", 1))
        way = f"fetch it first: curl -fL -o {shlex.quote(safe(rows))} {url}"
    return BadInput(f"there is no file {safe(path)}", way)


def _require(fits: bool, flag: str, path: Path, is_a: str) -> None:
    if not fits:
        raise WrongUsage(f"{flag} does not go with {safe(path)}, which is {is_a}", "leave it out")


def _format(path: Path, form: str | None, start: bytes) -> str:
    """A format, from the bytes first: a workbook that is called .csv is a workbook."""
    kind = kind_of(start)
    if kind is not None:
        if kind.kind not in _BINARY or form not in (None, kind.kind):
            raise not_text(path, kind)
        return kind.kind
    named = form or format_named(path.name)
    page = markup(start) if form in (None, *_BINARY) else None
    if page is not None:
        raise no_rows(path, page)
    if named is None and b"\0" in start and encoding_of(start) is None:
        raise BadInput(f"{safe(path)} is no text (by its bytes)", what_nul_means(start))
    if named is None:
        raise WrongUsage(
            f"cannot tell the format of {safe(path)} by its name", "say --format csv, tsv, jsonl, json or lines"
        )
    if named in _BINARY:
        is_a = "Parquet file" if named == "parquet" else "workbook"
        raise BadInput(f"{safe(path)} is no {is_a} (by its bytes)", "check the path, or say what it is: --format")
    return named


def _of_text(
    known: Form, start: bytes, form: str | None, delimiter: str | None, encoding: str | None, tally: Tally
) -> Form:
    marked = encoding_of(start)
    if marked is not None:
        known = replace(known, encoding=_by_mark(marked, encoding, start[:4], tally))
    elif (wrong := no_mark(known.path, known.encoding)) is not None:
        raise wrong
    text = start.decode(known.encoding, "replace").removeprefix("\ufeff")
    if len(start) == SAMPLE_BYTES:  # the last line is cut
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    _require_not_drawn(known, form, text)
    if encoding is None and marked is None and re.search(rb"\x1b\$[@B]", start):
        raise BadInput(f"{safe(known.path)} is Japanese in ISO-2022-JP (by its bytes)", "--encoding iso2022_jp")
    if form is None:
        is_table = known.format == "lines" and delimiter is not None
        known = replace(known, format="csv" if is_table else _by_text(known.format, text, tally))
    if known.format not in ("csv", "tsv"):
        _require(delimiter is None, "--delimiter", Path(known.path), known.format)
        return known
    chosen, others = _sniffed(text, delimiter, "\t" if known.format == "tsv" else ",")
    for other in others:
        tally.doubt(f"cells are taken to be divided by {chosen!r}; {other!r} would fit as well (--delimiter)", "line 1")
    apart = re.search(f'{re.escape(chosen)} +"[^"{re.escape(chosen)}\r\n]', text)
    if apart is not None and chosen != "\t":
        line = len(re.findall(r"\r\n|\n|\r", text[: apart.start()])) + 1
        tally.doubt("a space stands before a quote, which is read as a character then", f"line {line}")
    return replace(known, format="csv", delimiter=chosen)


def _require_not_drawn(known: Form, form: str | None, text: str) -> None:
    """Raises BadInput for a table as a person sees it, in Markdown or from a data base: its lines are no rows."""
    lines = re.split(r"\r\n|\n|\r", text, maxsplit=2)[:2]
    at = next((number for number, line in enumerate(lines, 1) if _RULE.fullmatch(line.strip())), 0)
    if not at or known.format not in ("csv", "tsv", *(("lines",) if form is None else ())):
        return
    if at == 1 or "+" in lines[0] or "|" not in lines[1]:
        way = "let the program write CSV: psql --csv, sqlite3 -csv -header, mysql --batch (which writes tabs: .tsv)"
    else:
        take = r"sed -e 2d -e 's/^ *| *//' -e 's/ *| *$//' -e 's/ *| */|/g'"
        way = f"make a table of it: {take} {shlex.quote(safe(known.path))} > {unused('rows.csv')}"
    if known.format == "lines":
        way += "; its lines as they are: --format lines"
    raise BadInput(f"{safe(known.path)} is a table drawn with lines: line {at} is no row", way)


_RULE = re.compile(r"(?=.*[|+])(?=.*--)[|+:=\s-]+")


def _by_mark(marked: str, encoding: str | None, start: bytes, tally: Tally) -> str:
    """The encoding of a text with a mark: the mark's, but where a byte order is named for the same family."""
    family = marked[:6].replace("utf-8-", "utf-8")
    if encoding is not None and encoding.lower().replace("_", "-").startswith(family):
        return encoding if start.decode(encoding, "replace")[:1] == "\ufeff" and family != "utf-8" else marked
    if encoding is not None:
        mark = f"the mark of {marked[:6].rstrip('-')}"
        tally.doubt(f"the file begins with {mark}, and is read so, not as {encoding}", "line 1")
    return marked


def _by_text(named: str, text: str, tally: Tally) -> str:
    """The format of a text whose name says `named`: arrays, lines of objects and tables with tabs show it."""
    first = text.lstrip()[:1]
    start = text.lstrip().partition("\n")[0]
    if named in ("csv", "tsv") and (_is_object(start) or re.match(r"\[\s*\{", text.lstrip())):
        tally.doubt("the file is read as JSON, which it is by its first line; --format csv for a table", "line 1")
        return "json" if first == "[" else "jsonl"
    if named == "jsonl" and first == "[":
        return "json"
    if named == "json" and first == "{" and _is_object(start):
        return "jsonl" if text.lstrip().partition("\n")[2].lstrip()[:1] == "{" else named
    return _of_lines(text, tally) if named == "lines" else named


def _of_lines(text: str, tally: Tally) -> str:
    """A table with tabs, or lines; what else lines may be is said."""
    lines = [line for line in re.split(r"\r\n|\n|\r", text)[:50] if line]
    if len(lines) > 1 and _divided(text, lines, "\t"):
        tally.doubt("the file is read as a table with tabs, since its lines are so; --format lines for lines", "line 1")
        return "tsv"
    first, looks = lines[0] if lines else "", ""
    if _is_object(first):
        looks = "though it is JSON; --format jsonl for rows with keys"
    elif "\t" in first and sum("\t" in line for line in lines) * 2 > len(lines):
        looks = "tabs and all; --format tsv for a table, of which some rows are ragged"
    elif len(lines) > 2 and any(_divided(text, lines, delimiter) for delimiter in ",;"):
        looks = "though they look like rows of a table; --format csv for that"
    elif "text" in (folded(cell).strip('"').lower() for cell in re.split(r"[\t,;]", first)):
        looks = "the first one, too, though it may be a header; --format csv for that"
    if looks:
        tally.doubt(f"each line is a text, {looks}", "line 1")
    return "lines"


def _divided(text: str, lines: list[str], delimiter: str) -> bool:
    """Whether all lines have as many cells; or all records, in which quoted cells may hold delimiters and line ends."""
    if delimiter not in lines[0]:
        return False
    return len({line.count(delimiter) for line in lines}) == 1 or _width(text, delimiter) > 1


def _is_object(line: str) -> bool:
    try:
        return isinstance(read_json(line), dict)
    except NotJson:
        return False


def _sniffed(start: str, given: str | None, default: str) -> tuple[str, list[str]]:
    """(delimiter, others that would fit as well) for a table that begins so. Spreadsheets of many countries use `;`."""
    named = re.match(r"sep=(.)[\r\n]", start, re.IGNORECASE)
    if given is not None or named is not None:
        return given or (named[1] if named else default), []
    widths = {delimiter: _width(start, delimiter) for delimiter in dict.fromkeys(chain(default, ",;\t|"))}
    fitting = [delimiter for delimiter, cells in widths.items() if cells > 1]
    if not fitting:
        header = re.split(r"[\r\n]", start, maxsplit=1)[0]
        return default if default in header else max(default + ",;\t|", key=header.count), []
    chosen = max(fitting, key=lambda d: widths[d])  # of equals the first, the default
    return chosen, [d for d in fitting if d != chosen]


def _width(start: str, delimiter: str) -> int:
    """How many cells each record has, of those on the first 50 lines of a text; 0 if they differ."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\n|\r|$)", start)[:50]
    try:
        found = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return 0
    return found[0] if found and len(set(found[:-1])) <= 1 and len(set(found[:2])) == 1 else 0
