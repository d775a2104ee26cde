"""Every reader against an independent one: the same rows and cells, or an error; what is left out is counted."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import python_calamine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubleword.base.failures import BadInput
from doubleword.rows.cell_to_text import text
from doubleword.rows.excel_rows import _Workbook
from doubleword.rows.left_out import Tally
from doubleword.rows.source import Row, Source, describe

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Counts(Counter[str]):
    """What a test has read so far, as the end of the run shows it."""

    node: pytest.Item

    def show(self) -> None:
        figures = ", ".join(f"{self[what]:,} {what}" for what in ("files", "refused", "rows", "cells", "left out"))
        self.node.user_properties[:] = [("figures", f"{self.node.name}: {figures}")]


counts = Counts()


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    counts.clear()
    counts.node = request.node


def read(path: Path, **options: Any) -> tuple[Source, list[Row], Tally]:
    counts["files"] += 1
    counts["refused"] += 1
    counts.show()
    source, tally = describe(path, **options), Tally()
    found = list(source.read(tally=tally))
    assert tally.rows == len(found)
    counts["refused"] -= 1
    counts["rows"] += len(found)
    counts["cells"] += sum(len(row.cells) for row in found)
    counts["left out"] += sum(tally.left_out.values())
    counts.show()
    return source, found, tally


# Cells with everything that a table may trip over, and headers that are plain.
nasty = st.text(alphabet=st.sampled_from("ab1 ,;\t|\"'\n\r=é漢🙂\u2028\x85{}[]"), max_size=8)
headers = st.lists(st.sampled_from(["id", "text", "a b", "größe", "x.y", "n"]), min_size=1, max_size=4, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(headers)
    row = st.lists(nasty, min_size=len(names), max_size=len(names))
    return names, draw(st.lists(row, min_size=1, max_size=6))


@given(
    table=tables(),
    delimiter=st.sampled_from(",;|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    blank=st.booleans(),
)
@quick
def test_a_csv_is_what_pandas_reads_in_it(
    table: tuple[list[str], list[list[str]]], delimiter: str, quoting: Any, end: str, encoding: str, blank: bool
) -> None:
    names, rows = table
    made = io.StringIO(newline="")
    returns = any("\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if returns else quoting  # Python before 3.13 leaves a \r bare
    writer = csv.writer(made, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(names)
    for row in rows:
        writer.writerow(row)
        made.write(end if blank else "")
    Path("t.csv").write_bytes(made.getvalue().encode(encoding))
    _, found, tally = read(Path("t.csv"), delimiter=delimiter)
    theirs = pandas.read_csv(
        "t.csv", sep=delimiter, dtype=str, keep_default_na=False, encoding=encoding, engine="python"
    )
    if not returns and len(names) > 1:  # pandas makes \n of a quoted \r, and takes a row of "" for a blank line
        assert [list(row.cells.values()) for row in found] == theirs.to_numpy().tolist()
    assert [list(row.cells.values()) for row in found] == rows
    assert all(list(row.cells) == names for row in found)
    assert sum(tally.left_out.values()) == (len(rows) if blank else 0)


@given(table=tables(), ragged=st.integers(0, 5), cut=st.booleans())
@quick
def test_a_damaged_csv_gives_all_its_rows_or_an_error_with_a_line(
    table: tuple[list[str], list[list[str]]], ragged: int, cut: bool
) -> None:
    names, rows = table
    rows = [list(row) for row in rows]
    rows[ragged % len(rows)].append("one too many")
    made = io.StringIO(newline="")
    csv.writer(made, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    Path("t.csv").write_text(made.getvalue() + ('"torn' if cut else ""), "utf-8", newline="")
    with pytest.raises(BadInput, match=r"line \d+"):
        read(Path("t.csv"), delimiter=",")


tab_cells = st.text(alphabet=st.sampled_from("ab1 ,\"'é漢"), max_size=6)


@given(rows=st.lists(st.lists(tab_cells, min_size=2, max_size=2), min_size=1, max_size=8))
@quick
def test_in_a_tab_file_every_line_is_a_row_whatever_its_quotes(rows: list[list[str]]) -> None:
    Path("t.tsv").write_text("a\tb\n" + "".join("\t".join(row) + "\n" for row in rows), "utf-8")
    _, found, _ = read(Path("t.tsv"))
    assert len(found) == len(rows)

    def plain(cell: str) -> str:
        inner = cell[1:-1].replace('""', "")
        enclosed = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
        return cell[1:-1].replace('""', '"') if enclosed else cell

    assert [list(row.cells.values()) for row in found] == [[plain(cell) for cell in row] for row in rows]


@given(table=tables())
@quick
def test_a_tab_file_written_by_a_spreadsheet_keeps_its_line_ends_within_cells(
    table: tuple[list[str], list[list[str]]],
) -> None:
    names, rows = table
    made = io.StringIO(newline="")
    csv.writer(made, dialect="excel-tab", quoting=csv.QUOTE_ALL).writerows([names, *rows])
    Path("t.tsv").write_text(made.getvalue(), "utf-8", newline="")
    try:
        _, found, tally = read(Path("t.tsv"))
    except BadInput as error:
        assert "line " in error.what  # noqa: PT017
        return
    if [list(row.cells.values()) for row in found] != rows:
        # Line ends within quotes are guessed at, which is said; in one column every line is a row.
        assert tally.notes() or len(names) == 1
        assert any("\r" in cell or "\n" in cell for row in rows for cell in row)


json_cells = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | nasty,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(nasty, inner, max_size=2),
    max_leaves=4,
)
objects = st.lists(st.dictionaries(nasty, json_cells, max_size=4), min_size=1, max_size=6)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(made=objects, ascii_only=st.booleans(), blank=st.booleans())
@quick
def test_json_lines_are_the_objects_that_were_written(made: list[Any], ascii_only: bool, blank: bool) -> None:
    lines = "".join(json.dumps(each, ensure_ascii=ascii_only) + ("\n\n" if blank else "\n") for each in made)
    Path("t.jsonl").write_text(lines, "utf-8")
    source, found, tally = read(Path("t.jsonl"))
    assert same([row.cells for row in found], made)
    assert source.columns == list(dict.fromkeys(key for each in made for key in each))
    assert tally.left_out == ({"blank line": len(made)} if blank else {})


@given(arrays=st.lists(objects, min_size=1, max_size=3), indent=st.sampled_from([None, 1]), tear=st.integers(1, 9))
@quick
def test_json_arrays_are_read_to_their_end_or_refused(arrays: list[list[Any]], indent: Any, tear: int) -> None:
    written = "\n".join(json.dumps(array, indent=indent) for array in arrays)
    Path("t.json").write_text(written, "utf-8")
    assert same([row.cells for row in read(Path("t.json"))[1]], [each for array in arrays for each in array])
    torn = min(tear, len(json.dumps(arrays[-1], indent=indent)) - 1)
    Path("t.json").write_text(written[:-torn], "utf-8")
    with pytest.raises(BadInput, match=r"line \d+"):
        read(Path("t.json"))


@given(content=st.text(alphabet=st.sampled_from("ab \té\n\u2028\x0b\x85"), min_size=1, max_size=30))
@quick
def test_lines_read_and_lines_left_out_are_the_lines_there_are(content: str) -> None:
    Path("t.txt").write_text(content, "utf-8", newline="")
    _, found, tally = read(Path("t.txt"), form="lines")
    there = content.split("\n")
    there = there[:-1] if there[-1] == "" else there
    assert [row.cells["text"] for row in found] == [line for line in there if line.strip()]
    assert len(found) + sum(tally.left_out.values()) == len(there)


columns: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (pyarrow.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pyarrow.float64(), st.floats()),
    (pyarrow.string(), nasty),
    (pyarrow.bool_(), st.booleans()),
    (pyarrow.date32(), st.dates()),
    (pyarrow.timestamp("us"), st.datetimes()),
    (pyarrow.timestamp("us", "UTC"), st.datetimes(timezones=st.just(timezone.utc))),
    (pyarrow.timestamp("ns"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),  # noqa: DTZ001
    (pyarrow.time64("us"), st.times()),
    (pyarrow.decimal128(20, 4), st.decimals(-(10**9), 10**9, places=4)),
    (pyarrow.binary(), st.binary(max_size=6)),
    (pyarrow.list_(pyarrow.int32()), st.lists(st.integers(0, 9), max_size=3)),
]


@given(data=st.data(), kinds=st.lists(st.sampled_from(range(len(columns))), min_size=1, max_size=4))
@quick
def test_parquet_cells_are_the_values_that_were_written(data: st.DataObject, kinds: list[int]) -> None:
    count = data.draw(st.integers(1, 5))
    made = {
        f"c{index}": data.draw(st.lists(st.none() | columns[kind][1], min_size=count, max_size=count))
        for index, kind in enumerate(kinds)
    }
    schema = pyarrow.schema([(f"c{index}", columns[kind][0]) for index, kind in enumerate(kinds)])
    pyarrow.parquet.write_table(pyarrow.table(made, schema), "t.parquet")
    source, found, _ = read(Path("t.parquet"))
    assert source.columns == list(made)
    assert len(found) == count
    for name, values in made.items():
        assert same([row.cells[name] for row in found], values)
        assert [text(row.cells[name]) for row in found] == [expected_text(value) for value in values]


def expected_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return text(value)
    return value if isinstance(value, str) else json.dumps(value)


sheet_cells = (
    st.none()
    | st.text(alphabet=st.sampled_from("ab1 ,é漢"), min_size=1, max_size=6)
    | st.integers(-(10**14), 10**14)
    | st.decimals(-1000, 1000, places=2).map(float)
    | st.booleans()
    | st.dates(date(1901, 1, 1), date(2200, 1, 1))
    | st.datetimes(datetime(1901, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(microsecond=0))  # noqa: DTZ001
)


@given(rows=st.lists(st.lists(sheet_cells, min_size=3, max_size=3), min_size=1, max_size=5), above=st.integers(0, 2))
@settings(quick, max_examples=60)
def test_a_workbook_is_the_same_by_either_package_and_its_empty_rows_are_counted(
    rows: list[list[Any]], above: int
) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for _ in range(above):
        sheet.append([])
    for row in [["id", "text", "n"], *rows]:
        sheet.append(row)
    book.save("t.xlsx")
    by_calamine = read(Path("t.xlsx"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
        by_openpyxl = read(Path("t.xlsx"))
    cells = [row.cells for row in by_calamine[1]]
    assert cells == [row.cells for row in by_openpyxl[1]]
    expected = [[plain_cell(cell) for cell in row] for row in rows]
    expected = [row for row in expected if any(cell is not None and str(cell).strip() for cell in row)]
    assert [list(row.values()) for row in cells] == expected
    assert sum(by_calamine[2].left_out.values()) >= len(rows) - len(expected) - trailing(rows)
    assert python_calamine.CalamineWorkbook.from_path("t.xlsx").sheet_names == _Workbook("t.xlsx").sheets


def plain_cell(cell: Any) -> Any:
    if isinstance(cell, str) and not cell.strip():
        return None
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def trailing(rows: list[list[Any]]) -> int:
    """Empty rows at the end: a workbook may not even hold them."""
    count = 0
    for row in reversed(rows):
        if any(cell is not None for cell in row):
            break
        count += 1
    return count


names = st.text(alphabet=st.sampled_from("ab.-é"), min_size=1, max_size=5).filter(lambda n: n not in (".", ".."))
files = st.dictionaries(
    names, st.sampled_from([b"a text", "é".encode(), b"%PDF-1.4", b"\x89PNG\r\n\x1a\n..", b"\0\1\2"]), max_size=8
)


@given(made=files, subfolders=st.integers(0, 2), dangling=st.booleans(), form=st.sampled_from(["texts", "images"]))
@quick
def test_files_that_are_rows_and_what_is_left_out_are_what_a_folder_holds(
    made: dict[str, bytes], subfolders: int, dangling: bool, form: str
) -> None:
    shutil.rmtree("folder", ignore_errors=True)
    Path("folder").mkdir()
    for name, content in made.items():
        Path("folder", name).write_bytes(content)
    for number in range(subfolders):
        Path("folder", f"sub{number}").mkdir()
    if dangling:
        os.symlink("/nowhere/at/all", "folder/dangling")
    try:
        source, found, tally = read(Path("folder"), form=form)
    except BadInput as error:
        assert "holds no" in error.what  # noqa: PT017
        return
    assert len(found) + sum(tally.left_out.values()) == len(made) + subfolders + dangling
    sign = b"\x89PNG" if form == "images" else (b"a", "é".encode())
    visible = sorted(name for name in made if not name.startswith("."))
    assert [row.cells["file"] for row in found] == [name for name in visible if made[name].startswith(sign)]
    assert source.count() == len(found)
