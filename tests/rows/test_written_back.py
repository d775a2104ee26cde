"""Tables written back as they stand in the file: byte for byte, whatever their dialect."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from doubleword.base.failures import BadInput
from doubleword.rows.csv_records import records
from doubleword.rows.left_out import Tally
from doubleword.rows.source import Source, describe

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def written_back(source: Source) -> bytes:
    dialect = source.dialect
    text = "".join(record.raw for record in records(source, Tally(), keep=True))
    return dialect.mark + text.encode(dialect.encoding)


MARKS = {"utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-32-le": b"\xff\xfe\0\0"}


def as_text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else raw.decode()


def rows_unread(source: Source) -> list[tuple[tuple[int, str | None] | None, str]]:
    """What `read_written` gives without the cells: each row's line and id, and its text."""
    return [(row and (row.line, row.custom_id), as_text(raw)) for row, raw in source.read_written(unread=True)]


@given(
    rows=st.lists(
        st.lists(st.text(alphabet=st.sampled_from('ab ,;\t|"\n\ré'), max_size=6), min_size=2, max_size=2), max_size=6
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16-le", "utf-16-be", "utf-32-le", "utf-16-le bare"]),
    blanks=st.integers(0, 2),
    cut=st.booleans(),
)
@quick
def test_rows_written_back_with_nothing_added_are_the_same_bytes(
    rows: list[list[str]], delimiter: str, quoting: int, end: str, encoding: str, blanks: int, cut: bool
) -> None:
    if any(c in cell for row in rows for cell in row for c in "\r\n"):
        quoting = csv.QUOTE_ALL  # Python before 3.13 quotes no line end but its own
    made = io.StringIO(newline="")
    writer = csv.writer(made, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(["id", "text"])
    made.write(end * blanks)
    writer.writerows(rows)
    text = made.getvalue()
    text = text[: -len(end)] if cut else text
    codec = encoding.removesuffix(" bare").removesuffix("-sig")
    content = (b"" if "bare" in encoding else MARKS.get(encoding, b"")) + text.encode(codec)
    Path("t.csv").write_bytes(content)
    given_encoding = codec if codec == "cp1252" or "bare" in encoding else None
    source = describe(Path("t.csv"), delimiter=delimiter, encoding=given_encoding)
    assert written_back(source) == content
    assert source.dialect.quotes_all == (quoting != csv.QUOTE_MINIMAL)
    try:
        found = list(source.read())
    except BadInput:  # a tab file whose quotes cannot be told: refused with its line
        assert delimiter == "\t"
        return
    written = list(source.read_written())
    assert [row for row, _ in written if row is not None] == found
    assert content.decode(source.dialect.encoding).endswith("".join(as_text(raw) for _, raw in written))
    assert rows_unread(source) == [(row and (row.line, row.custom_id), raw) for row, raw in written]
    if delimiter != "\t":
        assert [list(row.cells.values()) for row in found] == rows


@given(
    content=st.text(alphabet=st.sampled_from('a",;\n\r é'), max_size=60), start=st.sampled_from(["x,y", "x", "x,y,"])
)
@example(content='5" x,"a\nb"\n1,2', start="x,y")
@example(content='1,2,\n\n"a",""""\n3\n', start="x,y")
@example(content='"\n\n"\n\n"" a\n', start="x")
@quick
def test_rows_whose_cells_are_not_read_are_the_same(content: str, start: str) -> None:
    Path("t.csv").write_bytes(f"{start}\n{content}".encode())
    try:
        source = describe(Path("t.csv"), delimiter=",")
        written = list(source.read_written())
    except BadInput:  # what is not read is not written either
        return
    assert rows_unread(source) == [(row and (row.line, row.custom_id), raw) for row, raw in written]


@given(content=st.text(alphabet=st.sampled_from('a"\t\n '), min_size=1, max_size=40))
@quick
def test_a_tab_file_with_any_quotes_is_written_back_as_it_stands(content: str) -> None:
    Path("t.tsv").write_text("x\ty\n" + content, "utf-8", newline="")
    assert written_back(describe(Path("t.tsv"))) == b"x\ty\n" + content.encode()


@pytest.mark.parametrize(
    ("content", "cell", "expected"),
    [
        ("a,b\n1,2\n", "x, y", '"x, y"'),
        ("a,b\n1,2\n", "x; y", "x; y"),
        ("a;b\n1;2\n", "x; y", '"x; y"'),
        ('"a","b"\n1,2\n', "x", '"x"'),
        ('a,"b"\n1,2\n', "x", "x"),
        ("a,b\n1,2\n", 'say "x"', '"say ""x"""'),
        ("a,b\n1,2\n", "x\ny", '"x\ny"'),
        ("a,b\n1,2\n", "", ""),
    ],
)
def test_a_new_cell_is_quoted_as_its_table_quotes(content: str, cell: str, expected: str) -> None:
    Path("t.csv").write_text(content, "utf-8")
    assert describe(Path("t.csv")).dialect.quoted(cell) == expected


def test_a_dialect_knows_encoding_mark_and_line_end() -> None:
    Path("t.csv").write_bytes("a;b\r\n1;2\r\n".encode("utf-16"))
    dialect = describe(Path("t.csv")).dialect
    assert (dialect.encoding, dialect.mark, dialect.delimiter, dialect.line_end) == (
        "utf-16-le",
        b"\xff\xfe",
        ";",
        "\r\n",
    )
    Path("t.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    dialect = describe(Path("t.csv")).dialect
    assert (dialect.encoding, dialect.mark, dialect.line_end) == ("utf-8", b"\xef\xbb\xbf", "\n")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_a_line_that_names_the_delimiter_is_no_row_and_stays(delimiter: str, end: str) -> None:
    content = f"sep={delimiter}{end}id{delimiter}text{end}1{delimiter}a{end}".encode()
    Path("t.csv").write_bytes(content)
    source, tally = describe(Path("t.csv")), Tally()
    assert [row.cells for row in source.read(tally=tally)] == [{"id": "1", "text": "a"}]
    assert tally.left_out == {"line that names the delimiter": 1}
    assert written_back(source) == content
    assert source.dialect.line_end == end


def test_one_empty_cell_is_no_blank_line() -> None:
    Path("t.csv").write_text('a\nx\n""\n', "utf-8")
    source = describe(Path("t.csv"))
    assert [row.cells for row in source.read()] == [{"a": "x"}, {"a": ""}]
