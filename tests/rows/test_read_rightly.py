"""Files that people hand in: read as they look, or refused with the line and the next step."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import time
import zipfile
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from doubleword.base.failures import BadInput, Failure, WrongUsage
from doubleword.request_file.template import Template
from doubleword.rows import excel_rows
from doubleword.rows.cell_to_text import text, value
from doubleword.rows.file_kind import Form
from doubleword.rows.left_out import Tally
from doubleword.rows.source import Source, describe
from support.pictures import PNG


def write(name: str, content: bytes | str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(name: str, content: bytes | str, **options: Any) -> list[dict[str, Any]]:
    return [row.cells for row in describe(write(name, content), **options).read()]


def refusal(name: str, content: bytes | str, **options: Any) -> Failure:
    with pytest.raises(Failure) as failure:
        cells(name, content, **options)
    return failure.value


def notes(source: Source, tally: Tally | None = None) -> list[str]:
    tally = tally or Tally()
    list(source.read(tally=tally))
    return tally.notes()


# --- what is no text is never read as one ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said", "way"),
    [
        ("a.csv", "<!DOCTYPE html>\n<html><title>Sign in</title></html>\n", "a web page (is it a sign-in", "fetch"),
        ("a.txt", "\n <HTML>\n<p>502 Bad Gateway</p></HTML>\n", "a web page (is it a sign-in", "--format lines"),
        ("a.jsonl", "<html></html>\n", "a web page", "fetch"),
        ("a.xls", "<html><table><tr><td>id</td></tr></table></html>", "a web page", "spreadsheet program"),
        ("a.xlsx", '<?xml version="1.0"?>\n<Workbook/>', "is XML, no rows", "spreadsheet program"),
        ("a.npy", b"\x93NUMPY\x01\x00", "a NumPy array", "pandas"),
        ("a.csv", b"\x80\x04\x95\x0e\0\0", "a pickle of Python's", "pandas"),
        ("a.arrow", b"\xff\xff\xff\xff\x10\0\0\0", "an Arrow stream", "pyarrow"),
        ("a.dta", b"<stata_dta>\0\0\0\0\0", "is no text (by its bytes)", "export it as CSV"),
        ("a.csv", "| id | text |\n|---|:-:|\n| 1 | a |\n", "a table drawn with lines: line 2 is no row", "sed -e 2d"),
        ("a.txt", "| id | text |\n|---|:-:|\n| 1 | a |\n", "a table drawn with lines", "--format lines"),
        ("a.txt", "+----+---+\n| id | t |\n+----+---+\n|  1 | a |\n", "a table drawn with lines", "mysql --batch"),
        ("a.csv", " id | t \n----+---\n  1 | a\n(1 row)\n", "a table drawn with lines", "psql --csv"),
        ("a.csv", "| id | text |\r|---|:-:|\r| 1 | a |\r", "a table drawn with lines: line 2 is no row", "sed -e 2d"),
        ("a.txt", b"\xff\xfe\0\0\0\0\xff\xff", "a.txt line 1: the bytes there are not utf-32", "mend the file"),
        ("a.txt", b"\xff\xfe{", "a.txt line 1: the bytes there are not utf-16", "mend the file"),
        ("a.csv", "id,text\n1,\u3042\n".encode("iso2022_jp"), "Japanese in ISO-2022-JP", "--encoding iso2022_jp"),
    ],
)
def test_what_is_neither_rows_nor_lines_is_refused_with_a_way_on(
    name: str, content: bytes | str, said: str, way: str
) -> None:
    failure = refusal(name, content)
    assert said in failure.what
    assert way in failure.next_step


def test_the_way_on_from_a_markdown_table_and_from_escaped_quotes_leads_to_the_rows() -> None:
    for name, content, expected in [
        ("m.csv", "| id | text |\n|---|:-:|\n| 1 | a b |\n", {"id": "1", "text": "a b"}),
        ("q.csv", 'id,text\n1,"he said \\"hi\\", twice"\n', {"id": "1", "text": 'he said "hi", twice'}),
    ]:
        way = refusal(name, content).next_step
        subprocess.run(["bash", "-c", way[way.index("sed ") :]], check=True)
        assert [row.cells for row in describe(Path(way.split("> ")[1])).read()] == [expected]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "| id | text |\n|---|:-:|\n| 1 | a b |\n"),
        ("rows.csv", 'id,text\n1,"he said \\"hi\\", twice"\n'),
        ("rows.jsonl", '{"n": 1,\n "data": [{"a": 1}]}\n'),
    ],
)
def test_no_command_that_is_named_writes_over_a_file_that_is_there(name: str, content: str) -> None:
    Path("rows-2" + name[4:]).touch()
    Path(name).write_text(content)
    with pytest.raises(BadInput) as failure:
        list(describe(Path(name), form="json" if name == "rows.jsonl" else None).read())
    assert failure.value.next_step.endswith(f" > rows-3{name[4:]}")


def test_the_command_that_fetches_rows_is_one_for_a_shell() -> None:
    with pytest.raises(BadInput) as failure:
        describe(Path("https://x.example/a.csv?dl=1&t=b.c"))
    assert failure.value.next_step == "fetch it first: curl -fL -o rows.csv 'https://x.example/a.csv?dl=1&t=b.c'"


def test_a_long_line_of_spaces_is_looked_at_once() -> None:
    before = time.process_time()
    assert cells("a.csv", "a,b\n" + " " * 60_000 + "x,1\n") == [{"a": " " * 60_000 + "x", "b": "1"}]
    assert time.process_time() - before < 2


def test_a_mark_that_contradicts_the_byte_order_that_was_named_is_right() -> None:
    for encoding in ("utf-16-be", "utf-16-le", "utf-16"):
        assert cells("a.csv", "id,text\n1,a\n".encode("utf-16"), encoding=encoding) == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize("name", ["rows.csv.txt", "rows.csv.bak", "rows.CSV ", "rows.2024.csv", "rows.json.csv"])
def test_the_ending_before_the_last_tells_the_format_where_the_last_does_not(name: str) -> None:
    assert cells(name, "id,text\n1,a\n") == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize(
    ("header", "named", "said"),
    [
        ("{text}", "text", "give that column a plain name"),
        ("te\x01xt", "text", "give that column a plain name"),
        ("id text", "text", "(cells are divided by ','; --delimiter names another)"),
    ],
)
def test_a_header_that_cannot_be_written_in_braces_is_to_be_renamed(header: str, named: str, said: str) -> None:
    source = describe(write("a.csv", f"{header}\na\n"))
    with pytest.raises(BadInput) as failure:
        Template(f"{{{named}}}", source.column_named, source.headers)
    assert said in f"{failure.value.what} {failure.value.next_step}"


def test_a_header_in_quotes_is_a_column_as_it_is_written() -> None:
    source = describe(write("a.csv", "id,'text'\n1,a\n"))
    assert Template("{'text'} {'x'}", source.column_named, source.headers).columns == ["'text'"]


def test_a_web_page_may_be_read_as_lines_where_that_is_said() -> None:
    assert cells("a.txt", "<html>\n</html>\n", form="lines") == [{"text": "<html>"}, {"text": "</html>"}]


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("d/*.txt", "--input d --match '*.txt'"),
        ("https://a.example/a.csv", "curl -fL -o rows.csv https://a.example/a.csv"),
        ("none.csv", "check the path"),
    ],
)
def test_a_source_that_is_not_there_may_be_a_pattern_or_an_address(path: str, way: str) -> None:
    Path("d").mkdir()
    with pytest.raises(BadInput) as failure:
        describe(Path(path))
    assert way in failure.value.next_step


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
@pytest.mark.parametrize(
    "content", ['{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n', '[{"id": 1, "text": "a"},\n{"id": 2, "text": "b"}]']
)
def test_json_that_is_called_a_table_is_json_and_that_is_said(name: str, content: str) -> None:
    tally = Tally()
    assert [row.cells["text"] for row in describe(write(name, content), tally=tally).read()] == ["a", "b"]
    assert "the file is read as JSON" in tally.notes()[0]


def office(*names: str) -> bytes:
    path = Path("made.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("encoding", [None, "latin-1"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl", "a.json", "a.pdf", "a.csv.gz", "folder/a.txt"])
@pytest.mark.parametrize(
    ("content", "way"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "pdftotext"),
        (gzip.compress(b"a,b\n"), "gunzip"),
        (b"BZh91AY&SY\0", "bunzip2"),
        (b"\xfd7zXZ\x00\x00", "unxz"),
        (b"\x28\xb5\x2f\xfd\x04", "unzstd"),
        (office("word/document.xml"), "pandoc"),
        (office("ppt/slides.xml"), "pdftotext"),
        (office("rows.csv"), "unzip"),
        (b"{\\rtf1\\ansi hello}", "pandoc"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", ".xlsx or .csv"),
        (PNG, "--image-column"),
        (b"II*\x00....", "magick"),
        ("one line\ntwo lines\nthree\n".encode("utf-16-le"), "--encoding utf-16-le"),
        ("one line\ntwo lines\nthree\n".encode("utf-16-be"), "--encoding utf-16-be"),
        ("数据分析\n中文内容\n".encode("utf-16-le"), "--encoding utf-16-le"),
        ("one line\ntwo lines\n".encode("utf-32-le"), "--encoding utf-32-le"),
        ("😀 one\n".encode("utf-16-be"), "--encoding utf-16-be"),
        (b"a,b\n1,\x00\n", "CSV, JSONL or text"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"3,\0\n", ""),
    ],
    ids=lambda made: made if isinstance(made, str) else "",
)
def test_what_is_no_text_is_refused_with_what_makes_text_of_it(
    name: str, content: bytes, way: str, encoding: str | None
) -> None:
    path = write(name, content)
    if name.startswith("folder/"):
        path = path.parent
        if content == PNG:
            return  # a folder of one picture, whatever its name

    def every_text() -> list[str]:
        return [text(row.cells["text"]) for row in describe(path, encoding=encoding).read()]

    with pytest.raises((BadInput, WrongUsage)) as failure:
        every_text()
    if isinstance(failure.value, BadInput):
        assert way in failure.value.next_step + failure.value.what
    else:  # a name that says nothing, and bytes that may be a text
        assert "cannot tell the format" in failure.value.what


def test_a_text_that_speaks_of_pdfs_is_a_text() -> None:
    assert cells("a.csv", "text\nIt begins with %PDF-1.4\n") == [{"text": "It begins with %PDF-1.4"}]
    assert cells("a.txt", "BMW is a car\nID3 is a tag\nOggS\n")[0] == {"text": "BMW is a car"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt", "folder/a.txt"])
def test_a_mark_tells_the_encoding(name: str, encoding: str) -> None:
    content = {"csv": "text\nhé", "jsonl": '{"text": "hé"}', "json": '[{"text": "hé"}]'}.get(name[2:], "hé")
    mark = "" if encoding in ("utf-16", "utf-32", "utf-8-sig") else "\ufeff"
    path = write(name, (mark + content).encode(encoding))
    source = describe(path.parent if "/" in name else path)
    assert [row.cells["text"] for row in source.read()] == ["hé"]


def test_utf_16_without_a_mark_is_read_where_it_is_named() -> None:
    assert cells("a.csv", "a,b\n1,é\n".encode("utf-16-le"), encoding="utf-16-le") == [{"a": "1", "b": "é"}]


@pytest.mark.parametrize("encoding", ["hex", "rot13", "zip", "undefined", "klingon", "punycode", "IDNA", ""])
def test_what_is_no_encoding_of_texts_is_wrong_usage(encoding: str) -> None:
    with pytest.raises(WrongUsage, match="encoding"):
        describe(write("a.csv", "a\né\n"), encoding=encoding)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("a.csv", "a,b\n" + "1,x\n" * 899, ",y\n"), ("a.txt", "x\n" * 900, "\n"), ("a.jsonl", '{"a": "x"}\n' * 900, "\n")],
)
def test_a_byte_that_does_not_decode_is_named_with_its_line_and_what_it_is_elsewhere(
    name: str, before: str, after: str
) -> None:
    failure = refusal(name, before.encode() + b"caf\xe9" + after.encode())
    assert "line 901: byte 0xe9 is not UTF-8 (the word is 'café' in cp1252, " in failure.what
    assert "--encoding cp1252" in failure.next_step


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.json"])
def test_the_start_of_a_wide_text_that_does_not_decode_is_refused_too(name: str) -> None:
    content = {"a.jsonl": '{"a": "b"}', "a.json": '[{"a": "b"}]'}.get(name, "b").encode("utf-32")
    assert "line 1: byte 0xff is not utf-32" in refusal(name, content + b"\xff\xff\xff\xff" + content).what


def test_an_encoding_that_needs_a_mark_is_refused_without_one() -> None:
    for path in (write("a.csv", "a,b\n1,2\n"), write("a.txt", "abcd"), write("folder/a.txt", "abcd").parent):
        with pytest.raises(BadInput) as failure:
            [text(row.cells["text"]) for row in describe(path, encoding="utf-16").read()]
        assert "--encoding utf-16-le" in failure.value.next_step


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r"])
def test_a_delimiter_is_one_character_that_can_be_one(delimiter: str) -> None:
    with pytest.raises(WrongUsage, match="--delimiter"):
        describe(write("a.csv", "a\n1\n"), delimiter=delimiter)


def test_words_that_begin_as_other_files_do_are_words() -> None:
    assert cells("a.csv", "ID3,naïve\n1,2\n") == [{"ID3": "1", "naïve": "2"}]
    assert cells("a.txt", "ORC é\nRIFF ü\n")[0] == {"text": "ORC é"}


def test_a_flag_that_does_not_go_with_the_source_is_named() -> None:
    write("folder/a.txt", "x")
    made: list[tuple[Path, dict[str, Any], str]] = [
        (write("a.csv", "a\n1\n"), {"sheet": "1"}, "--sheet"),
        (Path("a.csv"), {"match": "*"}, "--match"),
        (Path("a.csv"), {"recursive": True}, "--recursive"),
        (Path("folder"), {"delimiter": ";"}, "--delimiter"),
        (write("a.jsonl", "{}"), {"delimiter": ";"}, "--delimiter"),
    ]
    for path, options, flag in made:
        with pytest.raises(WrongUsage, match=flag):
            describe(path, **options)


# --- tables ----------------------------------------------------------------------------------------


def test_a_quote_in_a_tab_file_that_is_closed_800_lines_later_is_a_character() -> None:
    lines = [f"{n}\tt{n}" for n in range(1, 1001)]
    lines[99], lines[899] = '100\t"I never said', '900\tthat he took it."'
    source = describe(write("a.tsv", "id\ttext\n" + "\n".join(lines)))
    found = [row.cells["text"] for row in source.read()]
    assert len(found) == 1000
    assert (found[99], found[899]) == ('"I never said', 'that he took it."')
    (note,) = notes(source)
    assert "101" in note


def test_the_same_quote_in_a_csv_is_doubted_with_its_line() -> None:
    lines = [f"{n},t{n}" for n in range(1, 1001)]
    lines[99], lines[899] = '100,"I never said', '900,that he took it."'
    (note,) = notes(describe(write("a.csv", "id,text\n" + "\n".join(lines))))
    assert "a quote missing" in note
    assert "101" in note


def swallowing(row: str, text_first: bool) -> str:
    """A thousand rows with ids made by `row`, of which an open quote swallows 800."""
    lines = [(row.format(n, n * 7919 % 65536), f"t{n}") for n in range(1, 1001)]
    lines[99], lines[899] = (lines[99][0], '"I never said'), (lines[899][0], 'that he took it."')
    if text_first:
        return "text,id\n" + "".join(f"{text},{made}\n" for made, text in lines)
    return "id,text\n" + "".join(f"{made},{text}\n" for made, text in lines)


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("row", ["{1:04x}", "B0{1:05X}", "{1:08x}-{0:04d}", "Ann {0}", "Émile", "{1:b}x"])
def test_a_quote_that_swallows_rows_is_doubted_whatever_the_other_cells_are(row: str, text_first: bool) -> None:
    (note,) = notes(describe(write("a.csv", swallowing(row, text_first))))
    assert "a quote missing" in note
    assert "101" in note


@pytest.mark.parametrize("text_first", [False, True])
def test_many_swallowed_rows_are_doubted_though_no_two_cells_are_alike(text_first: bool) -> None:
    names = ["Ann", "Li Wei", "Jo-Ann Smith", "O'Hara, Jr."[:6], "x y z 1"]
    content = swallowing("{0}", text_first)
    for number in range(1000, 0, -1):
        name = names[number % 5]
        content = content.replace(f",{number}\n", f",{name}\n").replace(f"\n{number},", f"\n{name},")
    assert "a quote missing" in "".join(notes(describe(write("a.csv", content))))


@pytest.mark.parametrize(
    "content",
    [
        'text,id\n"I never said,1\nfine,2\nthat he took it.",3\nx,4\n',
        "text\n1\n2\n" + '"open\n' + "words\n" * 50 + 'closed"\n3\n',
        'a;b;c\n1;"x;p\n2;y;q\n3;w";r\n',
        'sku,text\nB01,"x\nC77,y"\nD5A,z\n',
    ],
)
def test_few_swallowed_rows_or_one_column_are_doubted_too(content: str) -> None:
    assert "a quote missing" in "".join(notes(describe(write("a.csv", content))))


@pytest.mark.parametrize(
    "cell",
    ["Hello,\nyours, Bob", "one\ntwo\nthree", "- a, b\n- c, d", "\n\n", "x\n", "Dear Ann,\n\nI am well, thanks\nBob"],
)
def test_a_cell_of_several_lines_is_no_doubt(cell: str) -> None:
    source = describe(write("a.csv", f'id,text\n1,"{cell}"\n2,x\n'))
    assert [row.cells["text"] for row in source.read()] == [cell, "x"]
    assert notes(source) == []


def test_a_spreadsheets_tab_file_may_hold_line_ends_and_tabs_in_quotes_and_it_is_said() -> None:
    source = describe(write("a.tsv", 'id\ttext\n1\t"first\nsecond"\n2\t"a\tb"\n3\t"say ""x"""\n'))
    assert [row.cells["text"] for row in source.read()] == ["first\nsecond", "a\tb", 'say "x"']
    assert [row.line for row in source.read()] == [2, 4, 5]
    assert "2, 4" in notes(source)[0]


def test_unicode_text_of_a_spreadsheet_is_a_table() -> None:
    tally = Tally()
    source = describe(write("a.txt", "id\ttext\r\n1\tgood\r\n".encode("utf-16")), tally=tally)
    assert [row.cells for row in source.read()] == [{"id": "1", "text": "good"}]
    assert "--format lines" in tally.notes()[0]
    assert cells("b.txt", "one\ttab here\nnone there\n")[0] == {"text": "one\ttab here"}
    assert cells("c.txt", "a\tb\n1\t2\n", form="lines")[0] == {"text": "a\tb"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
def test_cells_of_several_lines_do_not_hide_a_table_with_tabs(encoding: str) -> None:
    content = 'id\ttext\r\n1\tgrün\r\n2\t"two\nlines"\r\n3\t"a\tb"\r\n'
    assert [row["text"] for row in cells("a.txt", content.encode(encoding))] == ["grün", "two\nlines", "a\tb"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"text": "a"}\n{"text": "b"}\n', "--format jsonl"),
        ("id,text\n1,a\n2,b\n", "--format csv"),
        ('id,text\n1,"a, b"\n2,b\n3,c\n', "--format csv"),
        ("id\ttext\tz\n1\ta\n2\tb\tc\n", "--format tsv"),
        ("Text\ngood\nbad\n", "a header"),
        ("id;text\n1;a\n", "a header"),
        ("Hello, you\nand, well, I\nand none\n", ""),
        ("one\ntwo\n", ""),
    ],
)
def test_lines_that_may_be_something_else_are_lines_and_it_is_said(content: str, says: str) -> None:
    tally = Tally()
    source = describe(write("a.txt", content), tally=tally)
    assert source.format == "lines"
    assert says in "".join(tally.notes())
    assert bool(tally.notes()) == bool(says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id,text,text\n1,2,3\n", "columns 2, 3 have the same header, 'text'"),
        ("id,,,text\n1,2,3,4\n", "columns 2, 3 have no header"),
        ("id,text,,\n1,a,,\n2,b,,x\n", "line 3: 'x' stands in column 4, which has no header"),
        ("id,text\n1\n", "line 2: 1 cells where the header (line 1) has 2"),
        ('id,text\n1,"a\n', "line 2: unexpected end of data: a quote that opens there is never closed"),
        ("\n\n", "is empty"),
    ],
)
def test_a_table_that_does_not_fit_its_header_is_refused(content: str, says: str) -> None:
    failure = refusal("a.csv", content)
    assert says in failure.what
    assert failure.next_step


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.csv", "id,text\n1,a\n2,b,c\n3\n4,d,\n5,e,,f\n", [3, 4, 6]),
        ("a.csv", 'id,text\n1,"a"b\n2,ok\n3,"c"d\n4\n', [2, 4, 5]),
        ("a.tsv", "id\ttext\n1\n2\ta\n3\n", [2, 4]),
        ("a.jsonl", '{"a": 1}\n{oops\n[]\n{"a": 1}\n"x"\n{"a":1}{"a":2}\n', [2, 3, 5, 6]),
        ("a.csv", b"text\ncaf\xe9\nok\nna\xefve\n", [2, 4]),
        ("a.jsonl", b'{"a": "\xe9"}\n{"a": "x"}\n{"a": "\xff\xfe"}\n', [1, 3]),
    ],
)
def test_all_rows_that_cannot_be_read_are_told_together(name: str, content: bytes | str, lines: list[int]) -> None:
    failure = refusal(name, content)
    found = [problem.line for problem in failure.problems]
    if name == "a.csv" and lines == [2, 4, 5]:  # quotes are told by the reader, cells by who reads the header
        found += [5]
    assert found == lines
    assert f"line {lines[0]}: " in failure.what
    assert failure.problems[0].text.startswith(f"line {lines[0]}: ")


def test_hundreds_of_bad_rows_are_counted_and_twenty_shown() -> None:
    failure = refusal("a.csv", "id,text\n" + "1\n" * 300)
    assert len(failure.problems) == 20
    assert "and 299 more" in failure.what


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_at_the_end_of_every_line_are_left_out_and_counted(end: str) -> None:
    source = describe(write("a.csv", end.join(["id;text", "1;a;", '2;"b;c";;', "3;d", ""])))
    assert [list(row.cells.values()) for row in source.read()] == [["1", "a"], ["2", "b;c"], ["3", "d"]]
    assert notes(source) == ["left out: 2 x line end with empty cells beyond the header (2, 3)"]
    assert [raw for _, raw in source.read_written()] == [f"1;a{end}", f'2;"b;c"{end}', f"3;d{end}"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_the_line_of_a_byte_is_that_of_the_rows_whatever_ends_them(name: str, end: str) -> None:
    content = end.join(["text"] * 900 + ["caf\xe9", "x"]).encode("latin-1")
    assert "line 901: byte 0xe9" in refusal(name, content).what


def test_another_encoding_is_not_advised_where_the_rest_is_utf_8() -> None:
    for content in (b"text\ncaf\xc3\xa9\ncaf\xe9\n", b"text\ncaf\xe9\ncaf\xc3\xa9\n"):
        failure = refusal("a.csv", content)
        assert "0xe9 is not UTF-8" in failure.what
        assert "--encoding" not in failure.next_step
        assert "mend what is named" in failure.next_step
    failure = refusal("a.csv", b"id,text\n1,\xc3")
    assert "cut off" in failure.what
    assert "--encoding" not in failure.next_step
    assert "--encoding cp1252" in refusal("a.csv", b"text\ncaf\xe9\n").next_step
    few = b"text\n" + b"caf\xe9\n" * 3 + b"\xc3\xa9\n"  # a line in another encoding may be UTF-8 by chance
    assert "--encoding cp1252" in refusal("a.csv", few).next_step


@pytest.mark.parametrize(("encoding", "word"), [("cp1251", "Привет"), ("gb18030", "天气"), ("cp932", "日本語")])
def test_a_word_that_is_not_utf_8_is_shown_as_other_encodings_have_it(encoding: str, word: str) -> None:
    failure = refusal("a.csv", f"id,text\n1,{word}, {word}\n".encode(encoding))
    assert f"{word!r} in {encoding}" in failure.what
    assert "or the one in which it reads right" in failure.next_step


def test_another_encoding_is_not_advised_where_the_mark_would_overrule_it() -> None:
    failure = refusal("a.csv", b"\xef\xbb\xbfid,text\n1,gr\xfcn\n")
    assert "--encoding" not in failure.next_step
    command = failure.next_step.split("take the mark off: ")[1].replace("OUT", "b.csv")
    subprocess.run(command, shell=True, check=True)
    assert [row.cells["text"] for row in describe(Path("b.csv"), encoding="cp1252").read()] == ["grün"]


def test_empty_columns_at_the_end_are_left_out_and_counted() -> None:
    source = describe(write("a.csv", "id,text,,\n1,a,,\n2,b\n"))
    assert [row.cells for row in source.read()] == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]
    assert source.columns == ["id", "text"]
    assert notes(source) == ["left out: 2 x column without a header and without cells (3, 4)"]


@pytest.mark.parametrize(
    ("content", "delimiter", "said"),
    [
        ("a,b\n1,2\n", ",", False),
        ("a;b\n1,5;2\n", ";", False),
        ("name;price, EUR;text\na;1,5;b\n", ";", True),
        ('"a;b",c\n1,2\n', ",", False),
        ("text\nhello; you\n", ",", False),
        ('"a\nb";c\n1;2\n', ";", False),
    ],
)
def test_the_delimiter_is_told_from_the_first_rows_and_doubt_is_said(content: str, delimiter: str, said: bool) -> None:
    tally = Tally()
    assert describe(write("a.csv", content), tally=tally).delimiter == delimiter
    assert bool(tally.notes()) == said


# --- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}]\n[{"a": 2}]',
        '[{"a": 1}] [] [{"a": 2}]\n',
        '[{"a":1},{"a":2}]',
        '{\n "a": 1\n}\n{\n "a": 2\n}\n',
        '[{"a": 1}]\n{"a": 2}',
        '{"a": 1} [{"a": 2}]',
    ],
)
def test_every_object_of_a_json_file_is_read_in_arrays_or_not(content: str) -> None:
    assert cells("a.json", content) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"a": 1}]\n[{"a": 2}', 2),
        ('[{"a": 1}]\ntorn', 2),
        ('[{"a": 1}\n {"a": 2}]', 2),
        ('[{"a": 1},\n]', 2),
        ('[{"a": 1},,\n{"a": 2}]', 1),
        ("[" * 100_000, 1),
        ('[{"a": 1},\n{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", 2),
        ('[{"a": 1},\n{"a": ' + "9" * 5000 + "}]", 2),
        ('[{"a": 1},\n{"a": 1, "a": 2}]', 2),
        ('[{"a": 1},\n{"a": 1e400}]', 2),
        ('[{"a": 1},\n{"a":\n 1, x}]', 3),
    ],
)
def test_json_that_is_torn_or_hostile_is_an_error_with_its_line(content: str, line: int) -> None:
    assert f"a.json line {line}: " in refusal("a.json", content).what


@pytest.mark.parametrize(
    ("content", "way"),
    [
        ('{"more": 1, "data": [{"a": 1}, {"a": 2}]}', """jq -c '.["data"][]' """),
        ('{"it\\u0027s": [{"a": 1}]}', "jq -c "),
        ('{"a": {"0": 1, "1": 2}, "b": {"0": 1, "1": 2}}', "orient='records'"),
        ('{"a": [1, 2], "b": [1, 2]}', "orient='records'"),
    ],
)
def test_one_object_that_holds_the_rows_is_told_from_a_row(content: str, way: str) -> None:
    assert way in refusal("a.json", content).next_step
    assert cells("a.json", '{\n"a": [1, 2],\n"b": {"c": 1}, "d": "x"}') == [{"a": [1, 2], "b": {"c": 1}, "d": "x"}]


def test_objects_over_several_lines_are_read_as_the_error_of_lines_says() -> None:
    content = '{\n "a": 1\n}\n{\n "a": 2\n}\n'
    assert "--format json" in refusal("a.jsonl", content).next_step
    assert cells("a.jsonl", content, form="json") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "bad",
    [
        '{"a": Infinity}',
        '{"a": [-Infinity]}',
        "[" * 100_000 + "]" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        '{"a": 1, "a": 2}',
        "{",
    ],
)
def test_json_lines_that_are_torn_or_hostile_are_an_error_with_their_line(bad: str) -> None:
    assert "a.jsonl line 3: " in refusal("a.jsonl", f'{{"a": 1}}\n\n{bad}\n').what


def test_the_bytes_say_whether_json_is_an_array_or_lines() -> None:
    assert cells("a.json", '{"a": 1}\n{"a": 2}\n') == cells("a.jsonl", '[{"a": 1},\n {"a": 2}]') == [{"a": 1}, {"a": 2}]


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (date(2024, 1, 5), "2024-01-05"),
        (datetime(2024, 1, 5, 10, 30), "2024-01-05T10:30:00"),  # noqa: DTZ001
        (timedelta(hours=1, minutes=30), "PT5400S"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        (float("nan"), ""),
        (Decimal("nan"), ""),
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": float("nan"), "d": date(2024, 1, 5)}, '{"a": null, "d": "2024-01-05"}'),
        ([Decimal("1.10"), b"x"], '[1.10, "x"]'),
        (b"text", "text"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ([float("inf"), float("nan")], '["Infinity", null]'),
        (b"\xff\x00", "/wA="),
    ],
)
def test_a_value_is_written_in_one_way(cell: Any, written: str) -> None:
    assert text(cell) == written


def test_a_key_within_a_cell_is_found_where_the_cell_is_an_object_or_the_text_of_one() -> None:
    row = {"a": {"b": {"c": 1}}, "t": '{"city": "Bonn", "deep": {"x": 2}}', "a.b": "its own", "n": "{"}
    assert [value(row, name) for name in ("a.b", "t.city", "t.deep.x", "n.x", "t.none")] == [
        "its own",
        "Bonn",
        2,
        None,
        None,
    ]


def test_nan_is_empty_and_parquet_dates_and_decimals_are_plain() -> None:
    source = describe(write("a.jsonl", '{"t": NaN}\n{"t": "x"}\n'), used=("t",), empty="skip")
    assert [row.custom_id for row in source.read()] == [None, "row-000002"]
    table = pyarrow.table({"d": [date(2024, 1, 5)], "p": [Decimal("12.50")], "raw": [b"\xff\x00"], "f": [float("nan")]})
    pyarrow.parquet.write_table(table, "a.parquet")
    (row,) = describe(Path("a.parquet"), id_column="d").read()
    assert row.custom_id == "2024-01-05"
    assert [text(cell) for cell in row.cells.values()] == ["2024-01-05", "12.50", "/wA=", ""]


def test_numbers_within_lists_and_objects_are_written_as_those_that_stand_alone_and_maps_are_objects() -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    real = pyarrow.float32()
    columns = {
        "list": pyarrow.array([[0.1, None], None, [], [0.3]], pyarrow.list_(real)),
        # Without None: pyarrow 25 cannot read that.
        "pair": pyarrow.array([[0.1, 0.2], [0, 1], [0.3, 0.4], [0.5, 0.6]], pyarrow.list_(real, 2)),
        "object": pyarrow.array([{"x": 0.1}, None, {"x": None}, {"x": 0.3}], pyarrow.struct([("x", real)])),
        "deep": pyarrow.array(
            [[{"x": [0.1]}], [None], [], None], pyarrow.list_(pyarrow.struct([("x", pyarrow.list_(real))]))
        ),
        "map": pyarrow.array([[("a", 0.1)], None, [], [("a", 1), ("a", 2)]], pyarrow.map_(pyarrow.string(), real)),
        "numbers": pyarrow.array([[(1, "a")], None, [], [(2, "b")]], pyarrow.map_(pyarrow.int64(), pyarrow.string())),
    }
    parquet.write_table(pyarrow.table(columns), "a.parquet")
    source = describe(Path("a.parquet"))
    assert [list(row.cells.values()) for row in source.read()] == [
        [[0.1, None], [0.1, 0.2], {"x": 0.1}, [{"x": [0.1]}], {"a": 0.1}, [(1, "a")]],
        [None, [0.0, 1.0], None, [None], None, None],
        [[], [0.3, 0.4], {"x": None}, [], {}, {}],
        [[0.3], [0.5, 0.6], {"x": 0.3}, None, [("a", 1.0), ("a", 2.0)], [(2, "b")]],
    ]
    assert source.column_named("map.a") == "map.a"


def test_the_command_that_unpacks_a_file_writes_over_nothing_and_changes_no_name() -> None:
    Path("OUTPUT.csv").write_text("id,text\n1,mine\n")
    Path("OUTPUT.csv.gz").write_bytes(gzip.compress(b"id,text\n1,a\n"))
    with pytest.raises(BadInput) as refused:
        describe(Path("OUTPUT.csv.gz"))
    assert refused.value.next_step == "gunzip < OUTPUT.csv.gz > OUTPUT-2.csv"
    Path("rows.csv").write_text("id\n")
    Path("data.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(BadInput) as refused:
        describe(Path("data.sqlite"))
    assert refused.value.next_step.endswith("> rows-2.csv")


def test_a_float_of_parquet_has_the_digits_it_was_written_with() -> None:
    column = pyarrow.array([0.1, None, 2.5, float("nan"), 1e-7], pyarrow.float32())
    pyarrow.parquet.write_table(pyarrow.table({"x": column}), "a.parquet")
    assert [text(row.cells["x"]) for row in describe(Path("a.parquet")).read()] == ["0.1", "", "2.5", "", "1e-07"]


def test_parquet_times_beyond_pythons_years_are_texts() -> None:
    far = pyarrow.array([4 * 10**14, None, 0], pyarrow.timestamp("ms"))
    days = pyarrow.array([10**7, 1, None], pyarrow.date32())
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2, 3], "t": far, "d": days}), "a.parquet")
    found = [[text(cell) for cell in row.cells.values()] for row in describe(Path("a.parquet")).read()]
    assert found == [
        ["1", "14645-06-30T15:06:40.000", "29349-01-26"],
        ["2", "", "1970-01-02"],
        ["3", "1970-01-01T00:00:00", ""],
    ]


def test_parquet_times_keep_their_nanoseconds() -> None:
    table = pyarrow.table(
        {
            "n": pyarrow.array([1_704_447_000_123_456_789, 1_704_447_000_000_000_001, None], pyarrow.timestamp("ns")),
            "z": pyarrow.array([1_704_447_000_000_000_001, 0, None], pyarrow.timestamp("ns", "UTC")),
        }
    )
    pyarrow.parquet.write_table(table, "a.parquet")
    read = [list(row.cells.values()) for row in describe(Path("a.parquet")).read()]
    assert {type(cell) for row in read for cell in row} <= {str, datetime, type(None)}  # with pandas and without it
    rows = [[text(cell) for cell in row] for row in read]
    assert rows == [
        ["2024-01-05T09:30:00.123456789", "2024-01-05T09:30:00.000000001+00:00"],
        ["2024-01-05T09:30:00.000000001", "1970-01-01T00:00:00+00:00"],
        ["", ""],
    ]


# --- workbooks -------------------------------------------------------------------------------------


def workbook(*rows: list[Any], name: str = "a.xlsx", more: str = "") -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    for row in rows:
        sheet.append(row)
    if more:
        book.create_sheet(more).append(["other"])
    book.save("made.xlsx")
    return Path("made.xlsx").rename(name)


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_a_workbook_gives_numbers_dates_and_texts(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    path = workbook(
        ["id", "text", "d", "n"],
        [1, "good", date(2024, 1, 5), 2.5],
        [],
        [2.0, None, None, 0.1 + 0.2],
        ["#N/A", "x_x000D_"],
    )
    source = describe(path)
    assert [(row.line, [text(cell) for cell in row.cells.values()]) for row in source.read()] == [
        (2, ["1", "good", "2024-01-05", "2.5"]),
        (4, ["2", "", "", "0.3"]),
        (5, ["", "x\r", "", ""]),
    ]
    assert source.columns == ["id", "text", "d", "n"]
    assert notes(source) == ["left out: 1 x empty row (3)"]


def test_a_workbook_by_another_name_is_a_workbook_and_its_sheets_are_named() -> None:
    path = workbook(["text"], ["x"], name="a.csv", more="More")
    source = describe(path)
    assert (source.format, source.sheet) == ("excel", "Data")
    assert "More" in notes(source)[0]
    assert describe(path, sheet="More").columns == ["other"]
    assert describe(path, sheet="2").sheet == "More"
    with pytest.raises(WrongUsage, match="'Data', 'More'"):
        describe(path, sheet="3")


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_a_table_that_does_not_begin_in_the_first_cell_keeps_its_rows_and_columns(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    source = describe(workbook([], [None, "id", "text"], [None, 1, "a"]))
    assert [(row.line, row.cells) for row in source.read()] == [(3, {"id": 1, "text": "a"})]
    with pytest.raises(BadInput, match="row 3: 'x' stands in column A"):
        list(describe(workbook([], [None, "id", "text"], ["x", 1, "a"])).read())


def test_a_merged_header_cell_is_refused_with_its_place() -> None:
    path = workbook(["id", "Q1", None, "text"], [1, 2, 3, "x"])
    with pytest.raises(BadInput, match="row 2: '3' stands in column C, which has no header"):
        list(describe(path).read())


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_hidden_rows_of_a_sheet_are_read_and_said(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    book = openpyxl.Workbook()
    book.active.row_dimensions[2].hidden = True
    sheet = book.create_sheet('A & "B"')
    for number in range(1, 3001):
        sheet.append([f"row {number}"])
    for number in (3, 4, 2999, 3001):
        sheet.row_dimensions[number].hidden = True
    sheet["A3001"] = " "
    book.save("made.xlsx")
    source = describe(Path("made.xlsx"), sheet="2")
    assert len(list(source.read())) == 2999
    said = "a row that is hidden in the sheet (by a filter?) is read as the others are (3 x: row 3, row 4, row 2999)"
    assert said in notes(source)
    assert not any("hidden" in note for note in notes(describe(workbook(["text"], ["hidden"]))))


def test_what_only_a_note_tells_of_a_workbook_is_looked_for_where_notes_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, looked = describe(workbook(["text"], ["a"])), list[str]()
    untold = excel_rows._untold

    def looking(form: Form) -> Any:
        looked.append(form.path)
        return untold(form)

    monkeypatch.setattr(excel_rows, "_untold", looking)
    assert len(list(source.read())) == source.count() == 1
    assert source.column_named("text") == "text"
    assert looked == []
    list(source.read(tally=Tally()))
    assert looked == [source.path]


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_a_formula_without_its_value_is_empty_and_said(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    path = workbook(["n", "double"], *[[n, f"=A{n + 1}*2"] for n in range(1, 4)], [4, 8], [5, ""])
    source = describe(path)
    assert [row.cells["double"] for row in source.read()] == [None, None, None, 8, None]
    said = "a formula whose value is not in the file is read as empty: open and save it in a spreadsheet program"
    assert f"{said} (3 x: row 2, row 3, row 4)" in notes(source)
    with (
        zipfile.ZipFile(path) as before,
        zipfile.ZipFile("saved.xlsx", "w") as after,
    ):  # as a spreadsheet program saves it
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, re.sub(rb"</f><v\s*/?>(</v>)?", b"</f><v>6</v>", content))
    saved = describe(Path("saved.xlsx"))
    assert [row.cells["double"] for row in saved.read()] == [6, 6, 6, 8, None]
    assert not any("formula" in note for note in notes(saved))


def test_without_a_package_the_error_says_both_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(["text"], ["x"])

    def none(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("doubleword.rows.excel_rows.import_module", none)
    with pytest.raises(BadInput) as failure:
        describe(path)
    assert "pip install python-calamine" in failure.value.next_step
    assert "CSV" in failure.value.next_step


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_a_workbook_is_read_by_its_bytes_and_its_first_visible_sheet_is_taken(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    book = openpyxl.Workbook()
    book.active.append(["notes"])
    book.active.append(["not this"])
    if package != "openpyxl":  # which cannot read an empty one
        book.create_chartsheet("Chart", 0)
    rows = book.create_sheet("Rows")
    for cells_ in (["id", "text"], [1, "a"], [2, "#N/A"]):
        rows.append(cells_)
    book.worksheets[0].sheet_state = "hidden"
    book.save("made.xlsx")
    for name in ("a.xls", "a.xlsx", "a.csv", "a.dat"):
        source = describe(write(name, Path("made.xlsx").read_bytes()))
        assert [list(row.cells.values()) for row in source.read()] == [[1, "a"], [2, None]]
    assert notes(source) == ["left out: 1 x other sheet (--sheet) (Sheet)"]
    assert [row.cells for row in describe(Path("a.xls"), sheet="Sheet").read()] == [{"notes": "not this"}]
    assert source.headers() == "{id}, {text} in the sheet 'Rows'; other sheets, for --sheet: 'Sheet'"


@pytest.mark.parametrize("package", ["python-calamine", "openpyxl"])
def test_a_damaged_workbook_is_refused(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "openpyxl":
        monkeypatch.setattr("doubleword.rows.excel_rows._packages", lambda: (None, openpyxl))
    whole = workbook(["text"], *([f"x{n}"] for n in range(300))).read_bytes()
    assert "cannot be read as a workbook" in refusal("a.xlsx", whole[:2000]).what
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        at = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
    in_the_sheet = whole[: at + 300] + bytes(20) + whole[at + 320 :]
    assert "cannot be read as a workbook" in refusal("a.xlsx", in_the_sheet).what


# --- folders ---------------------------------------------------------------------------------------


def folder(**files: bytes | str) -> Path:
    for name, content in files.items():
        write("folder/" + name.replace("__", "/").replace("_", "."), content)
    return Path("folder")


def test_what_is_no_row_of_a_folder_is_counted_and_named() -> None:
    path = folder(a_txt="x", old__b_txt="y", Thumbs_db=b"\xd0\xcf\x11\xe0\0", _DS_Store=b"\0", c_pdf=b"%PDF-1.4\n\xe2")
    (path / "dangling").symlink_to("nowhere")
    (path / "linked").symlink_to("old")
    said = "\n".join(notes(describe(path)))
    for name in ("Thumbs.db", ".DS.Store", "dangling", "linked", "old", "c.pdf"):
        assert name in said
    assert [row.cells["file"] for row in describe(path, recursive=True).read()] == ["a.txt", "old/b.txt"]
    assert [row.cells["file"] for row in describe(path, recursive=True, match="b.*").read()] == ["old/b.txt"]
    assert [row.cells["file"] for row in describe(path, recursive=True, match="old/*").read()] == ["old/b.txt"]


def test_the_rows_of_a_folder_are_what_most_of_its_files_are() -> None:
    path = folder(a_png=PNG, b_png=b"<html>", notes_txt="x")
    source = describe(path)
    assert source.format == "images"
    assert [row.cells["file"] for row in source.read()] == ["a.png", "b.png"]
    assert "notes.txt" in notes(source)[0]
    with pytest.raises(BadInput, match="as many texts"):
        describe(folder(more_txt="y"))
    assert describe(path, form="texts").columns == ["file", "text"]


def test_a_text_in_utf_8_in_a_folder_that_is_said_to_be_in_another_encoding_is_told() -> None:
    path = folder(a_txt="Müll".encode("cp1252"), b_txt="Müll".encode(), c_txt=b"plain")
    said = [note for note in notes(describe(path, form="texts", encoding="cp1252")) if "UTF-8" in note]
    assert len(said) == 1
    assert "b.txt" in said[0]
    assert "a.txt" not in said[0]

    path = folder(a_txt="隆".encode("gbk"), b_txt="日本".encode())
    (one,) = [note for note in notes(describe(path, form="texts", encoding="gbk")) if "UTF-8" in note]
    assert one.endswith("though it is UTF-8 (b.txt)"), "two bytes of Chinese may be a letter of Europe"


@pytest.mark.parametrize("encoding", [None, "latin-1"])
def test_a_folder_of_pdfs_names_the_converter(encoding: str | None) -> None:
    with pytest.raises(BadInput) as failure:
        describe(folder(a_pdf=b"%PDF-1.4\n\xe2", b_pdf=b"%PDF-1.4\n\xe2"), encoding=encoding)
    assert "pdftotext" in failure.value.next_step
    assert "2 x" in failure.value.what


def test_a_folder_knows_what_it_holds() -> None:
    source = describe(folder(a_txt="x"))
    assert source.holds(Path("folder/new.jsonl"))
    assert not source.holds(Path("new.jsonl"))
    assert not describe(Path("folder"), match="*.txt").holds(Path("folder/new.jsonl"))


# --- names of columns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "name", "meant"),
    [
        ("text", "text", "text"),
        (" text ", "text", " text "),
        ("text", " text ", "text"),
        ('"a\nb"', "a b", "a\nb"),
        ("a\u00a0b", "a b", "a\u00a0b"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9", "e\u0301t\u00e9"),
        ("\u200btext", "text", "\u200btext"),
        ("text, text", "text", "text"),
        ("other", "text", None),
    ],
)
def test_a_header_is_meant_by_its_name_after_folding(headers: str, name: str, meant: str | None) -> None:
    source = describe(write("a.csv", f"{headers},z\n" + "1," * (headers.count(",") + 1) + "2\n"))
    assert source.column_named(name) == meant


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Comment (optional)", "Comment (Optional)"),
        ("Rating [1-5]", "Rating [1\u20135]"),
        ("user_id", "User ID"),
        ("text", "Text"),
        ("straße", "STRASSE"),
    ],
)
def test_a_name_that_is_nearly_a_header_is_refused_with_it(header: str, name: str) -> None:
    with pytest.raises(BadInput) as failure:
        describe(write("a.csv", f"{header},z\n1,2\n")).column_named(name)
    assert f"{{{header}}}" in failure.value.what


def test_json_in_a_prompt_is_no_slip_of_a_column() -> None:
    source = describe(write("a.csv", "text,label\n1,2\n"))
    for literal in ('"text": "..."', '"text" : ...', "'label': 'a or b'", '"text": "", "label": ""', ""):
        assert source.column_named(literal) is None


def test_a_flag_that_names_nearly_a_column_is_named() -> None:
    with pytest.raises(BadInput, match="--id-column 'ID' is no column") as failure:
        describe(write("a.csv", "id,label\n1,2\n")).column_named("ID", "--id-column")
    assert failure.value.next_step == "--id-column id"


def test_two_headers_that_may_be_meant_are_both_shown() -> None:
    with pytest.raises(BadInput, match=r"' text'.*'text '"):
        describe(write("a.csv", " text,text ,z\n1,2,3\n")).column_named("text")


def test_a_key_within_a_column_is_a_name_if_any_row_has_it() -> None:
    source = describe(write("a.csv", 'id,answer\n1,\n2,"{""city"": ""Bonn""}"\n'))
    assert source.column_named("answer.city") == "answer.city"
    assert source.column_named("answer.town") is None
    assert describe(write("a.jsonl", '{"k": {"id": 7}}\n')).column_named("k.id") == "k.id"


def test_the_notes_of_a_tally_name_the_first_places_and_count_the_rest() -> None:
    tally = Tally()
    for line in range(1, 6):
        tally.leave_out("blank line", line)
    assert tally.notes() == ["left out: 5 x blank line (1, 2, 3, …)"]
    assert json.dumps(dict(tally.left_out)) == '{"blank line": 5}'


def test_a_tab_file_of_open_quotes_is_read_in_time() -> None:
    lines = [f'{n}\t"I said {n}' for n in range(5000)]
    source = describe(write("a.tsv", 'id\t"te\txt"\n' + "\n".join(lines)))
    assert source.columns == ["id", "te\txt"]
    found = [row.cells["te\txt"] for row in source.read()]
    assert found == [line.partition("\t")[2] for line in lines]


def test_a_line_longer_than_any_request_is_refused_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doubleword.rows.text_file.LINE_BYTES", 300_000)
    content = "text\nshort\n" + "x" * 900_000 + "\n"
    assert "line 3 is longer than 300000 bytes" in refusal("a.csv", content).what
    assert "line 3 is longer" in refusal("a.txt", content).what
    assert len(cells("a.json", json.dumps([{"a": "x" * 900_000}]))) == 1
    assert len(cells("b.txt", "short\r" * 200_000)) == 200_000


# --- found by a second tester ---


def test_a_number_of_json_keeps_its_digits() -> None:
    long = ["12345678901234567.89", "0.1000000000000000055511151231257827", "0.1", "1.5e300", "12345678901234567890123"]
    rows = cells("a.jsonl", "".join(f'{{"n": {number}}}\n' for number in long))
    assert [text(row["n"]) for row in rows] == [*long[:3], "1.5e+300", long[4]]
    assert cells("a.json", f'[{{"n": {long[0]}}}]') == rows[:1]


def test_a_space_before_a_quote_is_said_where_it_makes_the_quote_a_character() -> None:
    source = describe(write("a.csv", 'id,text\n1, "good"\n2, "bad"\n'), tally=(tally := Tally()))
    assert [row.cells["text"] for row in source.read()] == [' "good"', ' "bad"']
    assert any("a space stands before a quote" in note and "line 2" in note for note in tally.notes())
    for content in ('id,text\n1,"he said, ""no"", "\n2,"x, "\n', 'id,text\n1,say "x"\n'):
        describe(write("a.csv", content), tally=(tally := Tally()))
        assert tally.notes() == []


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", "Sep=;"])
def test_the_line_that_names_the_delimiter_is_known_in_any_case(line: str) -> None:
    assert cells("a.csv", f"{line}\nid;text\n1;a,b\n") == [{"id": "1", "text": "a,b"}]


def test_texts_in_an_array_are_named_with_the_command_that_makes_rows_of_them() -> None:
    failure = refusal("a.json", '["one", "two"]')
    assert "an object must stand there" in failure.what
    assert failure.next_step.startswith("jq -c '.[] | {text: .}' ")


def test_a_link_that_leads_out_of_a_folder_is_left_out_and_named() -> None:
    write("elsewhere/private.txt", "a key")
    write("folder/a.txt", "text")
    Path("folder/b.txt").symlink_to("a.txt")
    Path("folder/c.txt").symlink_to("../elsewhere/private.txt")
    Path("by-another-name").symlink_to("folder")
    for name in ("folder", "by-another-name"):
        source, tally = describe(Path(name)), Tally()
        assert [row.cells["file"] for row in source.read(tally=tally)] == ["a.txt", "b.txt"]
        assert (
            "left out: 1 x link to a file outside of the folder (copied into it, it is read) (c.txt)" in tally.notes()
        )


def test_a_pattern_over_any_folders_takes_the_files_of_the_first_one_too() -> None:
    for name in ("folder/a.txt", "folder/below/b.txt", "folder/below/further/c.txt", "folder/d.md"):
        write(name, "text")
    source = describe(Path("folder"), match="**/*.txt", recursive=True)
    assert [row.cells["file"] for row in source.read()] == ["a.txt", "below/b.txt", "below/further/c.txt"]


def test_a_folder_whose_files_lie_below_says_recursive_whatever_the_pattern() -> None:
    path = write("folder/below/a.txt", "text").parents[1]
    with pytest.raises(BadInput) as failure:
        describe(path, match="*.txt")
    assert "--recursive" in failure.value.next_step


def test_what_git_keeps_in_place_of_a_large_file_is_known() -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n"
    for name in ("a.csv", "a.parquet", "a.txt", "a.xlsx"):
        assert refusal(name, pointer).next_step == "git lfs pull"


def test_parquet_times_that_cannot_be_written_are_numbers_and_those_of_unknown_zones_are_of_utc() -> None:
    made = {
        "far": pyarrow.array([4 * 10**14]).cast(pyarrow.timestamp("s")),
        "zone": pyarrow.array([1_704_456_000]).cast(pyarrow.timestamp("s", "No/Where")),
        "fine": pyarrow.array([1_704_456_000 * 10**9 + 1]).cast(pyarrow.timestamp("ns", "No/Where")),
    }
    pyarrow.parquet.write_table(pyarrow.table(made), "a.parquet")
    row = next(iter(describe(Path("a.parquet")).read())).cells
    assert text(row["far"]) == str(4 * 10**17)  # kept in milliseconds
    assert text(row["zone"]).startswith("2024-01-05T12:00:00")
    assert text(row["zone"]).endswith("Z")
    assert text(row["fine"]) == "2024-01-05T12:00:00.000000001Z"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"t": "a"}\n\ufeff{"t": "b"}\n'),
        ("a.json", '[{"t": "a"}]\n\ufeff[{"t": "b"}]\n'),
        ("a.jsonl", '\x1e{"t": "a"}\n\x1e{"t": "b"}\n'),
        ("a.json", '{"t": "a"},\n{"t": "b"}\n'),
        ("a.csv", "t,u\na,1\n\ufeffb,2\n"),
        ("a.txt", "a\n\ufeffb\n"),
    ],
)
def test_files_that_were_joined_are_read_through(name: str, content: str) -> None:
    assert [row.get("t", row.get("text")) for row in cells(name, content)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "way"),
    [
        ("a.jsonl", "id,text\n1,a\n", "--format csv"),
        ("a.json", "id,text\n1,a\n", "--format csv"),
        ("a.jsonl", "{'text': 'a'}\n", "json.dumps"),
        ("a.jsonl", '{"text": None}\n', "JSON has null"),
        ("a.jsonl", '{"text":"a"},\n{"text":"b"},\n', "--format json"),
        ("a.jsonl", '{"text":"a"}\n{"text":"b', "cut off"),
        ("a.json", '{"meta": {"n": 2}, "data": [{"t": 1}]}', """jq -c '.["data"][]' """),
        ("a.json", '{"data": {"errors": [{"m": 1}], "items": [{"t": 1}, {"t": 2}]}}', """'.["data"]["items"][]'"""),
    ],
)
def test_json_that_is_none_says_what_it_may_be(name: str, content: str, way: str) -> None:
    assert way in refusal(name, content).next_step


def test_one_object_with_a_list_deep_within_is_a_row() -> None:
    assert cells("a.json", '{"id": 1, "order": {"lines": [{"n": 2}]}}')[0]["id"] == 1


def test_what_editors_keep_beside_a_text_is_no_row_and_a_pattern_that_fits_nothing_is_explained() -> None:
    for name in ("a.txt", "a.txt~", "~$a.txt", "s/b.txt"):
        write(f"d/{name}", "x")
    source, tally = describe(Path("d")), Tally()
    assert [row.cells["file"] for row in source.read(tally=tally)] == ["a.txt"]
    assert tally.left_out["copy that an editor keeps"] == 2
    for pattern, way in [("*.txt,*.md", "one pattern"), ("s/*.txt", "or say --recursive")]:
        with pytest.raises(BadInput) as failure:
            describe(Path("d"), match=pattern)
        assert way in failure.value.next_step
