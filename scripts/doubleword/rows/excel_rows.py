"""Excel workbooks, where python-calamine or openpyxl is installed. Both give the same cells."""

from __future__ import annotations

import html
import io
import posixpath
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, time
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from ..base.failures import BadInput, WrongUsage
from ..base.files import BLOCK_BYTES, open_regular
from ..base.text import safe
from .cell_to_text import is_empty, text
from .file_kind import Form
from .headers import checked
from .left_out import Tally

_FAULTS = frozenset({"#N/A", "#DIV/0!", "#NULL!", "#NAME?", "#NUM!", "#REF!", "#VALUE!"})


class _Workbook:
    """The sheets of a workbook by either package. Raises BadInput where there is none, or it cannot be read."""

    def __init__(self, path: str) -> None:
        calamine, openpyxl = _packages()
        self._calamine, self._path = calamine is not None, path
        self.sheets: list[str] = []  # those with cells, not charts, in their order
        self.shown: list[str] = []  # those that are not hidden
        with open_regular(Path(path)) as file:  # by its name a package may take it for another kind
            content = io.BytesIO(file.read())
        try:
            if self._calamine:
                self._book: Any = calamine.CalamineWorkbook.from_filelike(content)
                for each in self._book.sheets_metadata:
                    if each.typ == calamine.SheetTypeEnum.WorkSheet:
                        self._add(each.name, str(each.visible))
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what it does not need to know: validations, styles
                    self._book = openpyxl.load_workbook(content, read_only=True, data_only=True)
                for sheet in self._book.worksheets:
                    self._add(sheet.title, sheet.sheet_state)
        except Exception as error:  # noqa: BLE001 - each package has a dozen of its own
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> BadInput:
        what = f"{safe(self._path)} cannot be read as a workbook: {safe(error)}"
        return BadInput(what, "save it as .xlsx anew, or export it to CSV")

    def _add(self, name: str, state: str) -> None:
        self.sheets.append(name)
        if "hidden" not in state.lower():
            self.shown.append(name)

    def rows(self, sheet: str) -> Iterator[Sequence[Any]]:
        """The cells of every row from row 1 and column A on."""
        try:
            if self._calamine:
                opened = self._book.get_sheet_by_name(sheet)
                left = [None] * (opened.start[1] if opened.start else 0)  # it leaves out empty columns, not rows
                yield from ([*left, *cells] for cells in opened.iter_rows())
                return
            from openpyxl.utils.escape import unescape  # type: ignore[import-untyped,unused-ignore]

            for cells in self._book[sheet].iter_rows(min_row=1, min_col=1, values_only=True):
                yield [unescape(cell) if cell.__class__ is str and "_x" in cell else cell for cell in cells]
        except Exception as error:  # noqa: BLE001 - a damaged part is found only when it is read
            raise self._unreadable(error) from None


def _packages() -> tuple[Any, Any]:
    """python_calamine or openpyxl, the first that is there."""
    with suppress(ImportError):
        return import_module("python_calamine"), None
    with suppress(ImportError):
        return None, import_module("openpyxl")
    raise BadInput(
        "reading Excel needs the package python-calamine or openpyxl",
        "pip install python-calamine, or save the sheet as CSV (UTF-8)",
    )


def sheet_of(path: Path, wanted: str | None) -> str:
    """The sheet that is read: by its name, or its number from 1; without one, the first that is not hidden."""
    book = _Workbook(str(path))
    sheets = book.sheets
    if not sheets:
        raise BadInput(f"{safe(path)} has no sheets with rows", "check the path")
    if wanted is None:
        return (book.shown or sheets)[0]
    if wanted in sheets:
        return wanted
    if wanted.isdecimal() and 1 <= int(wanted) <= len(sheets):
        return sheets[int(wanted) - 1]
    raise WrongUsage(f"--sheet {safe(wanted, 60)!r}: {safe(path)} has no such sheet; there are: {_listed(sheets)}")


def _listed(sheets: Sequence[str]) -> str:
    return ", ".join(repr(safe(name, 40)) for name in sheets[:20])


def other_sheets(form: Form) -> str:
    """Where else a column may be, for an error; empty where there is one sheet alone."""
    others = [name for name in _Workbook(form.path).sheets if name != form.sheet]
    return f"in the sheet {safe(form.sheet, 40)!r}; other sheets, for --sheet: {_listed(others)}" if others else ""


def headers(form: Form) -> list[str]:
    return _Table(form, Tally()).headers


def rows(form: Form, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row of the sheet, cells) of each row below the header. Rows without a cell are left out."""
    # The XML of the sheet is read once more for it: a third of the time of a reading.
    table, (hidden, without_value) = _Table(form, tally), _untold(form) if tally.heard else (set(), set())
    for number, cells in table.rest:
        if all(is_empty(cell) for cell in cells):
            tally.leave_out("empty row", number)
            continue
        if number in hidden:
            tally.doubt("a row that is hidden in the sheet (by a filter?) is read as the others are", f"row {number}")
        if number in without_value:
            tally.doubt(_EMPTY_FORMULA, f"row {number}")
        for column, cell in enumerate(cells):
            if column not in table.columns and not is_empty(cell):
                raise BadInput(
                    f"{safe(form.path)} row {number}: {safe(cell, 40)!r} stands in column {_letters(column)}, "
                    "which has no header (a merged cell?)",
                    f"write a name into {_letters(column)}{table.line}, or empty that column",
                )
        yield number, {name: cells[at] if at < len(cells) else None for at, name in table.columns.items()}


class _Table:
    """A sheet: the first row with a cell is its header."""

    def __init__(self, form: Form, tally: Tally) -> None:
        book = _Workbook(form.path)
        for name in book.sheets:
            if name != form.sheet:
                tally.leave_out("other sheet (--sheet)", name)
        self.rest = ((n, [_plain(cell) for cell in cells]) for n, cells in enumerate(book.rows(form.sheet or ""), 1))
        for line, cells in self.rest:
            self.line, self.columns = line, {at: text(cell) for at, cell in enumerate(cells) if not is_empty(cell)}
            if self.columns:
                break
            tally.leave_out("empty row", line)
        else:
            what = f"{safe(form.path)}: the sheet {safe(form.sheet, 60)!r} is empty"
            raise BadInput(what, f"name another by --sheet; there are: {_listed(book.sheets)}")
        self.headers = checked(form.path, self.line, list(self.columns.values()))


_EMPTY_FORMULA = "a formula whose value is not in the file is read as empty: open and save it in a spreadsheet program"
_TARGETS = "xl/_rels/workbook.xml.rels"
_HIDDEN = re.compile(rb'<(?:\w+:)?row\s(?=[^>]*\bhidden="(?:1|true)")[^>]*?\br="(\d+)"')
# A formula without the value that it had: a file that a program wrote, and no spreadsheet has opened since.
_NO_VALUE = re.compile(
    rb'<(?:\w+:)?c\s(?:[^>]*?\s)?r="[A-Z]+(\d+)"[^>]*>\s*<(?:\w+:)?f(?:\s[^>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*'
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>|</(?:\w+:)?c>)"
)


def _untold(form: Form) -> tuple[set[int], set[int]]:
    """What neither package tells: the rows that are hidden, and those with a formula that has no value. Nothing where
    the file is made in another way."""
    hidden, without_value = set[int](), set[int]()
    try:
        with open_regular(Path(form.path)) as file, ZipFile(file) as archive:
            sheets, targets = _tags(archive, "xl/workbook.xml", "sheet"), _tags(archive, _TARGETS, "Relationship")
            key = next(sheet["id"] for sheet in sheets if sheet["name"] == form.sheet)
            target = next(target["Target"] for target in targets if target["Id"] == key)
            rest = b""
            with archive.open(posixpath.join("/xl", target)[1:]) as rows_of:
                while block := rows_of.read(BLOCK_BYTES):
                    whole, _, rest = (rest + block).rpartition(b"row>")
                    hidden.update(map(int, _HIDDEN.findall(whole)))
                    without_value.update(map(int, _NO_VALUE.findall(whole)))
            hidden.update(map(int, _HIDDEN.findall(rest)))
    except (BadZipFile, KeyError, StopIteration, OSError, RuntimeError, ValueError, zlib.error):
        pass
    return hidden, without_value


def _tags(archive: ZipFile, name: str, tag: str) -> list[dict[str, str]]:
    """The attributes of every tag of that name in a small part of a workbook, without their name spaces."""
    with archive.open(name) as file:
        text = file.read(BLOCK_BYTES).decode("utf-8", "replace")
    tags = re.findall(rf"<(?:\w+:)?{tag}\s[^>]*", text)
    return [{key: html.unescape(value) for key, value in re.findall(r'(\w+)="([^"]*)"', each)} for each in tags]


def _plain(cell: Any) -> Any:
    """The same value whichever package read it: whole numbers are whole, midnights are days, faults are nothing."""
    if cell is None or (cell.__class__ is str and (not cell.strip() or cell in _FAULTS)):
        return None
    if cell.__class__ is float:
        return int(cell) if cell.is_integer() and abs(cell) < 1e21 else cell
    if cell.__class__ is datetime and cell.time() == time():
        return cell.date()
    return cell


def _letters(column: int) -> str:
    """A column as a spreadsheet names it: 0 is A, 26 AA."""
    return (_letters(column // 26 - 1) if column > 25 else "") + chr(65 + column % 26)
