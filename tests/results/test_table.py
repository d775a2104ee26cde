"""The table that was asked for: its columns, its form, to the byte, and all of it checked before anything is paid."""

from __future__ import annotations

import csv
import json
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from doubleword.request_file.answer_form import choice_format
from doubleword.results import line_outcome, table_file, table_lines
from doubleword.results.formula_guard import enclosed, guarded
from doubleword.results.table_answers import in_order
from doubleword.rows.csv_dialect import Dialect
from local_server.app import LocalServer
from support.canned import answer_with, chat_body
from support.pictures import GIF, PNG
from support.running import Ran, chat_line, json_lines, run

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["city"],
}


def made(source: Path, prompt: str = "{text}", *flags: str, model: str = "canned", name: str = "r.jsonl") -> Ran:
    ran = run("create_batch_file", name, "--input", source, "--model", model, "--prompt", prompt, *flags)
    assert ran.code == 0, ran.err
    return ran


def rows(count: int = 3, name: str = "rows.csv") -> Path:
    path = Path(name)
    path.write_text("id,text\n" + "".join(f"k{n},t{n}\n" for n in range(count)))
    return path


def delivered(*flags: str | Path, code: int = 0, name: str = "r.jsonl") -> Ran:
    ran = run("run_batch", name, *flags)
    assert ran.code == code, ran.err
    return ran


def paid() -> bool:
    """Whether the server has a batch."""
    return any(found["batch_id"] for found in run("list_batches", "--json").facts["batches"])


# --- to the byte ---

ROWS = [["id", "text"], ["1", "plain"], ["2", 'with ""quotes"", and comma'], ["3", "two\r\nlines"], ["4", "ümläut €"]]


def spelled(delimiter: str, end: str, quote_all: bool, last_end: bool = True) -> str:
    def cell(text: str) -> str:
        special = any(c in text for c in (delimiter, '"', "\n", "\r"))
        return f'"{text}"' if quote_all or special else text

    text = end.join(delimiter.join(map(cell, row)) for row in ROWS)
    return text + (end if last_end else "")


@pytest.mark.parametrize("quote_all", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("delimiter", "encoding", "mark"),
    [
        (",", "utf-8", b""),
        (",", "utf-8", b"\xef\xbb\xbf"),
        (";", "cp1252", b""),
        (";", "utf-8", b"\xef\xbb\xbf"),
        (",", "utf-16-le", b"\xff\xfe"),
        ("\t", "utf-16-be", b"\xfe\xff"),
        ("|", "utf-8", b""),
    ],
)
def test_a_table_is_its_source_byte_for_byte_but_for_the_added_column(
    server: LocalServer, delimiter: str, encoding: str, mark: bytes, end: str, quote_all: bool
) -> None:
    answer_with(server, lambda text: f"A{len(text)}")
    ending = "tsv" if delimiter == "\t" else "csv"
    source = Path(f"rows.{ending}")
    original = mark + spelled(delimiter, end, quote_all).encode(encoding)
    source.write_bytes(original)
    flags = ["--encoding", "cp1252"] if encoding == "cp1252" else []
    made(source, "{text}", "--id-column", "id", *flags)

    delivered("--output", f"out.{ending}")

    text = Path(f"out.{ending}").read_bytes()[len(mark) :].decode(encoding)
    found = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
    assert [row[-1] for row in found] == ["answer", "A5", "A24", "A10", "A8"]
    added = [f'"{row[-1]}"' if quote_all else row[-1] for row in found]
    for cell in added:
        text = text.replace(f"{delimiter}{cell}{end}", end, 1)
    assert mark + text.encode(encoding) == original


def test_blank_lines_a_missing_last_end_and_empty_columns_at_the_end_stay(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.csv").write_bytes(b"id,text,,\r\n\r\n1,a,,\r\n2,b")
    made(Path("rows.csv"), "{text}", "--id-column", "id")
    delivered("--output", "out.csv")
    assert Path("out.csv").read_bytes() == b"id,text,,,answer\r\n\r\n1,a,,,A\r\n2,b,,,B"


def test_an_answer_that_the_encoding_cannot_hold_makes_it_utf_8_with_a_mark(server: LocalServer) -> None:
    answer_with(server, lambda text: "日本")
    Path("rows.csv").write_bytes("id;text\r\n1;für\r\n".encode("cp1252"))
    made(Path("rows.csv"), "{text}", "--encoding", "cp1252")
    ran = delivered("--output", "out.csv")
    assert Path("out.csv").read_bytes() == b"\xef\xbb\xbf" + "id;text;answer\r\n1;für;日本\r\n".encode()
    assert "UTF-8 with a mark" in ran.err


def test_a_table_with_tabs_that_is_named_csv_keeps_them(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("tabs.csv").write_text("id\ttext\n1\tone\n2\ttwo\n")
    made(Path("tabs.csv"))
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "id\ttext\tanswer\n1\tone\tONE\n2\ttwo\tTWO\n"


def test_a_csv_of_a_tsv_has_commas_and_a_tsv_of_a_csv_tabs(server: LocalServer) -> None:
    answer_with(server, lambda text: "a,b")
    made(rows(1))
    delivered("--output", "out.tsv")
    assert Path("out.tsv").read_text() == "id\ttext\tanswer\nk0\tt0\ta,b\n"
    Path("tabs.tsv").write_bytes(b"id\ttext\r\n1\ta,b\r\n")
    made(Path("tabs.tsv"), name="t.jsonl")
    delivered("--output", "t.csv", name="t.jsonl")
    assert Path("t.csv").read_bytes() == b'id,text,answer\r\n1,"a,b","a,b"\r\n'


def test_quotes_that_are_characters_in_a_tab_file_hold_no_two_cells_together(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.tsv").write_bytes(b'said\tby\tid\n"No\tbut yes"\t1\t\t\nplain\tme\t2\n"a\tb"\tc\t3\n')
    made(Path("rows.tsv"), "{id}:", "--id-column", "id")
    delivered("--output", "out.tsv")
    assert Path("out.tsv").read_bytes() == (
        b'said\tby\tid\tanswer\n"No\tbut yes"\t1\t1:\nplain\tme\t2\t2:\n"a\tb"\tc\t3\t3:\n'
    )
    delivered("--output", "picked.tsv", "--columns", "id,by,answer")
    assert Path("picked.tsv").read_bytes() == b'id\tby\tanswer\n1\tbut yes"\t1:\n2\tme\t2:\n3\tc\t3:\n'


def test_one_empty_cell_is_no_blank_line_of_a_table(server: LocalServer) -> None:
    answer_with(server, str.upper)
    made(rows(1))
    delivered("--output", "out.csv", "--columns", "error")
    assert Path("out.csv").read_text() == 'error\n""\n'


# --- columns ---


def test_columns_are_picked_and_ordered_and_some_come_on_request(server: LocalServer) -> None:
    answer_with(server, lambda text: chat_body(text.upper(), reasoning_content="hm"))
    made(rows(2), "{text}", "--id-column", "id")
    names = "answer,id,custom_id,error,finish_reason,prompt_tokens,completion_tokens,reasoning"
    delivered("--output", "out.csv", "--columns", names)
    assert Path("out.csv").read_text() == f"{names}\nT0,k0,k0,,stop,4,3,hm\nT1,k1,k1,,stop,4,3,hm\n"


def test_a_schema_gives_typed_columns_and_a_taken_name_a_prefix(server: LocalServer) -> None:
    answer_with(server, lambda text: json.dumps({"city": text, "people": 7, "tags": ["a", "b"]}))
    Path("s.json").write_text(json.dumps(SCHEMA))
    Path("rows.csv").write_text("city,n\nRome,1\nOslo,2\n")
    made(Path("rows.csv"), "{city}", "--schema", "s.json")
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == (
        'city,n,answer_city,people,tags\nRome,1,Rome,7,"[""a"", ""b""]"\nOslo,2,Oslo,7,"[""a"", ""b""]"\n'
    )
    delivered("--output", "out.jsonl")
    assert json_lines(Path("out.jsonl"))[0] == {
        "city": "Rome", "n": "1", "answer_city": "Rome", "people": 7, "tags": ["a", "b"]
    }  # fmt: skip
    delivered("--output", "out.parquet")
    table = pyarrow.parquet.read_table("out.parquet")
    assert table.schema.field("people").type == pyarrow.int64()
    assert table.column("tags").to_pylist() == [["a", "b"], ["a", "b"]]
    delivered("--output", "whole.jsonl", "--columns", "n,answer")
    assert json_lines(Path("whole.jsonl"))[1] == {
        "n": "2",
        "answer": {"city": "Oslo", "people": 7, "tags": ["a", "b"]},
    }


def test_a_name_for_an_answer_of_several_columns_is_refused_unless_it_is_picked(server: LocalServer) -> None:
    answer_with(server, lambda text: '{"city": "Oslo"}')
    Path("schema.json").write_text(json.dumps(SCHEMA))
    made(rows(1), "{text}", "--schema", "schema.json")
    refused = run("run_batch", "r.jsonl", "--output", "out.csv", "--answer-column", "place")
    assert (refused.code, "--answer-column place" in refused.err, "city,people,tags" in refused.err) == (2, True, True)
    assert not paid()
    delivered("--output", "out.csv", "--answer-column", "place", "--columns", "id,city,place")
    assert Path("out.csv").read_text() == 'id,city,place\nk0,Oslo,"{""city"": ""Oslo""}"\n'


def test_a_column_that_is_added_is_told_from_the_others_as_headers_are(server: LocalServer) -> None:
    made(rows(1), model="echo")
    refused = run("run_batch", "r.jsonl", "--output", "out.csv", "--answer-column", "text ")
    assert (refused.code, "new_text" in refused.err) == (3, True)
    assert not paid()


def test_an_error_column_is_there_only_if_a_row_has_no_answer(server: LocalServer) -> None:
    answer_with(server, lambda text: "" if text == "t1" else "fine")
    made(rows(2))
    ran = delivered("--output", "out.csv", code=9)
    assert Path("out.csv").read_text() == ("id,text,answer,error\nk0,t0,fine,\nk1,t1,,empty: the answer is empty\n")
    assert "1 of 2 requests answered, 0 failed, 0 missing, 0 cut short, 1 empty" in ran.err


def test_short_and_long_answers_and_errors_each_stand_in_their_own_row(server: LocalServer) -> None:
    said = ["yes", "long " * 40, "", " no\t", "yes", "two\nlines", "x" * 40, "x" * 41, "", "=1", "no"]
    answer_with(server, lambda text: said[int(text[1:])])
    made(rows(len(said)))
    delivered("--output", "out.jsonl", code=9)
    assert [row["answer"] or "" for row in json_lines(Path("out.jsonl"))] == said
    assert delivered("--output", "out.csv", "--json", code=9).facts["answers"] == {}
    found = [row[2] for row in csv.reader(Path("out.csv").read_bytes().decode().splitlines(keepends=True))][1:]
    assert found == ["'=1" if text == "=1" else text for text in said]


def test_rows_that_are_not_in_the_job_are_there_and_say_so(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.csv").write_text("id,text\n1,a\n2,\n3,c\n")
    made(Path("rows.csv"), "{text}", "--empty", "skip")
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "id,text,answer,error\n1,a,A,\n2,,,not in this job\n3,c,C,\n"


def test_rows_that_are_not_in_the_job_are_counted_whatever_columns_the_table_has(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.csv").write_text("id,text\n1,a\n2,\n3,c\n4,\n")
    made(Path("rows.csv"), "{text}", "--empty", "skip")
    ran = delivered("--output", "out.csv", "--columns", "id,answer")
    assert Path("out.csv").read_text() == "id,answer\n1,A\n2,\n3,C\n4,\n"
    assert "2 of its 4 rows had no request in this job, and have no answer" in ran.err
    made(rows(2), name="whole.jsonl")
    assert "no request in this job" not in delivered("--output", "whole.csv", name="whole.jsonl").err


def test_a_csv_of_a_workbook_is_like_any_other_and_how_excel_opens_it_is_said(server: LocalServer) -> None:
    answer_with(server, str.upper)
    book = openpyxl.Workbook()
    for row in (["Straße", "text"], ["für", "a"]):
        book.active.append(row)
    book.save("rows.xlsx")
    made(Path("rows.xlsx"))
    ran = delivered("--output", "out.csv")
    assert Path("out.csv").read_bytes() == "Straße,text,answer\nfür,a,A\n".encode()
    assert "Excel opens it by Data, From Text/CSV" in ran.err
    assert "Data, From Text/CSV" not in delivered("--output", "out.jsonl").err


def test_what_a_model_wrote_in_an_earlier_stage_is_no_formula_in_the_table_of_the_next(server: LocalServer) -> None:
    answer_with(server, lambda text: "=1+1" if text == "t0" else "fine")
    made(rows(1))
    delivered("--output", "out.jsonl")
    assert json_lines(Path("out.jsonl"))[0]["answer"] == "=1+1"
    made(Path("out.jsonl"), "{answer}", name="second.jsonl")
    ran = delivered("--output", "second.csv", "--answer-column", "second", name="second.jsonl")
    assert Path("second.csv").read_text().splitlines()[1].endswith(",'=1+1,fine")
    assert "1 cell" in ran.err
    delivered("--output", "second.csv", "--answer-column", "second", "--no-guard", name="second.jsonl")
    assert Path("second.csv").read_text().splitlines()[1].endswith(",=1+1,fine")


def test_the_cells_of_a_workbook_stay_as_they_were(server: LocalServer) -> None:
    answer_with(server, str.upper)
    book = openpyxl.Workbook()
    for row in (["phone", "text"], ["+49 30 1234", "a"]):
        book.worksheets[0].append(row)
    book.save("rows.xlsx")
    made(Path("rows.xlsx"))
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "phone,text,answer\n+49 30 1234,a,A\n"


def test_a_telephone_number_of_a_jsonl_source_stays_as_it_was(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.jsonl").write_text(json.dumps({"phone": "+49 30 1234", "text": "a"}) + "\n")
    made(Path("rows.jsonl"))
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "phone,text,answer\n+49 30 1234,a,A\n"


def test_the_jsonl_of_one_stage_is_the_source_of_the_next(server: LocalServer) -> None:
    answer_with(server, lambda text: json.dumps({"city": text, "n": 1}) if len(text) < 3 else f"- {text}")
    made(rows(2))
    delivered("--output", "one.jsonl")
    assert json_lines(Path("one.jsonl"))[0] == {"id": "k0", "text": "t0", "answer": {"city": "t0", "n": 1}}
    made(Path("one.jsonl"), "About {answer.city}", name="two.jsonl")
    delivered("--output", "two.rows.jsonl", "--answer-column", "advert", name="two.jsonl")
    assert [row["advert"] for row in json_lines(Path("two.rows.jsonl"))] == ["- About t0", "- About t1"]


def test_nul_is_left_out_of_a_table_of_text_which_the_next_stage_reads(server: LocalServer) -> None:
    answer_with(server, lambda text: "\0=1+1" if text == "t0" else f"a\0b{'c' * 600}")
    made(rows(2))
    ran = delivered("--output", "out.csv", "--columns", "answer")
    assert Path("out.csv").read_text() == f"answer\n'=1+1\nab{'c' * 600}\n"
    assert "2 cells held NUL" in ran.err
    made(Path("out.csv"), "{answer}", name="next.jsonl")
    delivered("--output", "out.jsonl", "--columns", "answer")
    assert json_lines(Path("out.jsonl"))[0]["answer"] == "\0=1+1"


def test_a_key_of_some_rows_that_others_hold_nested_is_in_the_jsonl_of_all(server: LocalServer) -> None:
    Path("rows.jsonl").write_text('{"t": 1, "a.b": 1}\n{"t": 2, "a": {"b": 2}}\n{"t": 3}\n')
    made(Path("rows.jsonl"), "{t}", model="echo")
    delivered("--output", "out.jsonl", "--columns", "t,a.b")
    assert json_lines(Path("out.jsonl")) == [{"t": 1, "a.b": 1}, {"t": 2, "a.b": 2}, {"t": 3}]


def test_a_text_with_an_example_of_json_in_it_stays_a_text(server: LocalServer) -> None:
    said = {"t0": '{"a": 1}', "t1": 'so: ```json\n{"a": 1}\n``` it is', "t2": '<think>x</think>```json\n{"a": 1}\n```'}
    answer_with(server, said.__getitem__)
    made(rows(3))
    delivered("--output", "out.jsonl")
    assert [row["answer"] for row in json_lines(Path("out.jsonl"))] == [{"a": 1}, said["t1"], {"a": 1}]


def test_vectors_are_arrays_and_counted(server: LocalServer) -> None:
    made(rows(2), "{text}", "--endpoint", "/v1/embeddings", model="echo-embed")
    ran = delivered("--output", "out.jsonl")
    assert [len(row["answer"]) for row in json_lines(Path("out.jsonl"))] == [8, 8]
    assert "2 vectors of 8 numbers" in ran.err
    delivered("--output", "out.parquet")
    assert pyarrow.parquet.read_table("out.parquet").schema.field("answer").type == pyarrow.list_(pyarrow.float64())


def test_the_columns_of_a_parquet_are_of_the_types_that_were_asked_for_whatever_came(server: LocalServer) -> None:
    whole = {"$ref": "#/$defs/whole"}
    asked = {
        "type": "object",
        "properties": {
            "nothing": {"type": ["integer", "null"]},
            "either": {"anyOf": [whole, {"type": "null"}]},
            "ratio": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "number"}},
            "place": {"type": "object", "properties": {"zip": {"enum": [1, 2, None]}, "next": {"$ref": "#"}}},
        },
        "$defs": {"whole": {"type": "integer"}},
    }
    came: dict[str, Any] = {"nothing": None, "either": None, "ratio": 3, "tags": [], "place": {"zip": None}}
    answer_with(server, lambda _: json.dumps(came))
    Path("schema.json").write_text(json.dumps(asked))
    made(rows(), "{text}", "--schema", "schema.json")
    delivered("--output", "out.parquet")
    types = {field.name: str(field.type) for field in pyarrow.parquet.read_schema("out.parquet")}
    assert (types["nothing"], types["either"], types["ratio"]) == ("int64", "int64", "double")
    assert types["tags"] == "list<element: double>"
    assert types["place"].startswith("struct<zip: int64")


def test_the_types_that_were_asked_for_stand_where_nothing_came_back(server: LocalServer) -> None:
    answer_with(server, lambda _: "no JSON")
    asked = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    Path("schema.json").write_text(json.dumps(asked))
    made(rows(), "{text}", "--schema", "schema.json")
    delivered("--output", "out.parquet", code=9)
    assert pyarrow.parquet.read_schema("out.parquet").field("n").type == pyarrow.int64()


def test_a_column_within_a_cell_of_a_csv_is_text_in_parquet(server: LocalServer) -> None:
    answer_with(server, lambda _: "yes")
    Path("rows.csv").write_text('id,meta\n1,"{""x"": 3, ""y"": [1]}"\n2,{}\n')
    made(Path("rows.csv"), "{meta}")
    delivered("--output", "out.parquet", "--columns", "id,meta.x,meta.y,answer")
    table = pyarrow.parquet.read_table("out.parquet")
    assert [table.column(name).to_pylist() for name in ("meta.x", "meta.y")] == [["3", None], ["[1]", None]]


def test_half_of_a_surrogate_pair_is_no_bar_to_parquet_wherever_it_stands(server: LocalServer) -> None:
    answer_with(server, lambda _: "yes")
    half, whole = {"t": "\ud800", "tags": ["\ud800"], "o": {"x": "\ud800"}}, {"t": "t", "tags": ["y"], "o": {"x": "z"}}
    found = [{"id": "1", "text": "a"} | half, {"id": "2", "text": "b"} | whole]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    made(Path("rows.jsonl"))
    delivered("--output", "out.parquet")
    rows = pyarrow.parquet.read_table("out.parquet", columns=["t", "tags", "o"]).to_pylist()
    assert rows == [{"t": "?", "tags": ["?"], "o": {"x": "?"}}, whole]


@pytest.mark.parametrize("odd", [{"\ud800": "x"}, {"o": {"\ud800": "x"}}])
def test_half_of_a_surrogate_pair_in_a_name_is_refused_for_parquet_before_paying(
    odd: dict[str, Any], server: LocalServer
) -> None:
    answer_with(server, lambda _: "yes")
    Path("rows.jsonl").write_text(json.dumps({"id": "1", "text": "a"} | odd) + "\n")
    made(Path("rows.jsonl"))
    assert "do not fit into Parquet" in delivered("--output", "out.parquet", code=3).err
    assert not paid()


@pytest.mark.parametrize("number", ["12345678901234567890123", "0.1234567890123456789", "3.0"])
def test_numbers_come_into_tables_with_their_digits(server: LocalServer, number: str) -> None:
    answer_with(server, lambda _: f'{{"n": {number}, "within": [{number}]}}')
    asked = {"type": "object", "properties": {"n": {"type": "number"}, "within": {"type": "array"}}}
    Path("schema.json").write_text(json.dumps(asked))
    made(rows(1), "{text}", "--schema", "schema.json")
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text().splitlines()[1] == f"k0,t0,{number},[{number}]"
    delivered("--output", "out.jsonl")
    assert f'"n": {number}, "within": [{number}]' in Path("out.jsonl").read_text()
    delivered("--output", "out.parquet")


def test_a_decimal_is_a_number_in_jsonl(server: LocalServer) -> None:
    answer_with(server, str.upper)
    price = pyarrow.array([Decimal("1.10"), Decimal("12345678901234567.89")])
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a", "b"], "price": price}), "rows.parquet_rows")
    made(Path("rows.parquet_rows"), "{id}")
    delivered("--output", "out.jsonl")
    found = Path("out.jsonl").read_text()
    assert '"price": 1.10,' in found
    assert '"price": 12345678901234567.89,' in found


def test_the_flags_of_a_table_are_remembered_together(server: LocalServer) -> None:
    answer_with(server, lambda text: json.dumps({"error": 1}) if text == "t1" else text)
    made(rows())
    delivered("--output", "one.csv", "--answer-column", "label", "--columns", "id,label", "--no-guard")
    assert run("download", "r.jsonl", "--output", "two.csv", "--answer-column", "mood").code == 0
    options = json.loads(Path("r.job/record.json").read_text())["options"]
    assert (options["output"], options["columns"], options["answer_column"]) == ("two.csv", None, "mood")
    assert options["no_guard"] is False


def test_a_parquet_source_keeps_its_types(server: LocalServer) -> None:
    answer_with(server, lambda text: "5")
    import datetime

    table = pyarrow.table({"d": [datetime.date(2024, 1, 5)], "text": ["x"], "n": pyarrow.array([3], pyarrow.int8())})
    pyarrow.parquet.write_table(table, "rows.parquet_rows")
    made(Path("rows.parquet_rows"))
    delivered("--output", "out.parquet")
    assert pyarrow.parquet.read_table("out.parquet").schema.types[:3] == table.schema.types
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "d,text,n,answer\n2024-01-05,x,3,5\n"


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_to_the_nanosecond_come_out_of_parquet_as_they_went_in(server: LocalServer, zone: str | None) -> None:
    times = pyarrow.array([1704416523456789123, None, 1704416523456789000], pyarrow.timestamp("ns", zone))
    table = pyarrow.table({"text": ["x", "y", "z"], "at": times})
    pyarrow.parquet.write_table(table, "rows.parquet")
    made(Path("rows.parquet"), model="echo")
    delivered("--output", "out.parquet", "--columns", "text,at")
    assert pyarrow.parquet.read_table("out.parquet").equals(table)


# --- what a spreadsheet would run ---


@pytest.mark.parametrize(
    "cell", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "－1", "-1+cmd|'/c'!A0", "- a=b",  # noqa: RUF001
             "- SUM(A1)", "-", "=\"x\"", "\x00=1+1", "\x00 \x01+A1", "\u200b=1",
             *(f"{chr(code)}=1" for code in [*range(33), *range(0x7F, 0xA1), 0xAD, 0x1680, 0x2009, 0x202F, 0x3000])]
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_guarded(cell: str) -> None:
    # What ends a cell under another delimiter makes the sign behind it the first of one.
    assert guarded(cell) == "'" + cell.replace(cell[0], cell[0] + "'" if cell[0] in "\t\r\n" else cell[0], 1)


@pytest.mark.parametrize("before", ["\t", ";", "\n", "\t\t", " \t", "\t\x00 ", "-;", "=\t"])
def test_a_formula_behind_a_delimiter_at_the_start_of_a_cell_is_guarded_twice(before: str) -> None:
    found = guarded(f"{before}=1+1", ",")
    assert found.endswith("'=1+1")
    assert found.startswith(before if before == ";" else "'")
    assert enclosed(found)


@pytest.mark.parametrize("cell", ["- first\n- second", "-5", "+3.5e2", "a=b", "", "'=1", "- von München, nach Köln"])
def test_numbers_and_bulleted_texts_are_no_formulas(cell: str) -> None:
    assert guarded(cell) == cell


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_answers_ids_and_errors_are_guarded_and_counted(server: LocalServer, ending: str) -> None:
    answer_with(server, lambda text: "=1+1")
    Path("r.jsonl").write_text(chat_line("=cmd()", "x", "canned") + chat_line("b", "y", "canned"))
    ran = delivered("--output", f"out.{ending}")
    delimiter = "\t" if ending == "tsv" else ","
    assert Path(f"out.{ending}").read_text().splitlines()[1:] == [f"'=cmd(){delimiter}'=1+1", f"b{delimiter}'=1+1"]
    assert "3 cells a spreadsheet would run" in ran.err
    delivered("--output", f"out.{ending}", "--no-guard")
    assert "'" not in Path(f"out.{ending}").read_text()


@pytest.mark.parametrize("before", ["ok;", "ok\t", "ok|", "ok ", "ok:", "ok; ", ";", "ok;\x00", "1-;"])
@pytest.mark.parametrize("sign", "=+-@")
def test_what_falls_apart_under_another_delimiter_is_in_quotes(before: str, sign: str) -> None:
    assert enclosed(f"{before}{sign}A1") == f'"{before}{sign}A1"'
    assert not enclosed("a@b.com e-mail C++ 1+1=2")


@pytest.mark.parametrize(
    "piece",
    ["=1+1", " =A1", "\x00=1", "+A1", "-1+1", "-(1+1)", "@SUM(A1)", "＝1", "=cmd|'/c x'!A0", "+cmd|'/c x'!A0"],  # noqa: RUF001
)
def test_a_formula_between_other_delimiters_is_guarded_within_its_cell(piece: str) -> None:
    sign = next(place for place, c in enumerate(piece) if c in "=+-@＝")  # noqa: RUF001
    held = f"{piece[:sign]}'{piece[sign:]}"
    assert guarded(f"ok;{piece};x", ",") == f"ok;{held};x"
    assert guarded(f"ok\t{piece}\t", ",") == f"ok\t{held}\t"
    assert guarded(f"ok;{piece}", ",") == f"ok;{held}"
    assert guarded(f"ok;{held};x", ",") == f"ok;{held};x"
    assert guarded(f"ok;{piece};x", ";") == f"ok;{piece};x"  # in quotes, under its own


@pytest.mark.parametrize("piece", ["=1+1", "= A1", "+cmd|'/c x'!A0"])
def test_a_formula_at_the_start_of_a_line_is_guarded(piece: str) -> None:
    assert guarded(f"so:\n{piece}\nx", ",") == f"so:\n'{piece}\nx"


@pytest.mark.parametrize(
    "text",
    ["well ;-) so", ";-(", "x; -5; +3.2", "from, -5 to 3", "first\n- Berlin (capital)\n- B12 - 5", "|a|\n|---|",
     "a\n====\nb", "a\n=> b", "hello;@bob", "code:\n@app.route('/')\n+ added(x)\n-x = f(1)", "Dear\n--\nBob"],
)  # fmt: skip
def test_lists_smileys_and_programs_within_a_text_are_no_formulas(text: str) -> None:
    assert guarded(text, ",") == text


def test_an_answer_that_falls_apart_under_another_delimiter_is_no_formula_there(server: LocalServer) -> None:
    answer_with(server, lambda _: "ok;=1+1")
    made(rows(1))
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == 'id,text,answer\nk0,t0,"ok;\'=1+1"\n'


def test_an_answer_column_that_is_not_in_the_table_may_have_any_name(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("rows.csv").write_text("id,answer\n1,a\n")
    made(Path("rows.csv"), "{answer}")
    delivered("--output", "out.csv", "--columns", "id,error")
    assert Path("out.csv").read_text() == "id,error\n1,\n"


def test_nothing_is_guarded_in_jsonl(server: LocalServer) -> None:
    answer_with(server, lambda text: "=1+1")
    made(rows(1))
    delivered("--output", "out.jsonl")
    assert json_lines(Path("out.jsonl"))[0]["answer"] == "=1+1"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_long_answers_come_into_each_form_as_short_ones_do(server: LocalServer, ending: str) -> None:
    ends = [
        "",
        "=1",
        ", so",
        ' "quoted"',
        "\ttab",
        "ok;=1+1",
        "\n=1+1",
        "ï“€”日本🐻",
        "＝1",  # noqa: RUF001
        "\\n \\",
        "\0\x7f",
        "<b>{}",
    ]
    texts = [begin + "words of an answer " * 40 + end for end in ends for begin in ("", "=", "\t", "- ", "日")]
    answer_with(server, lambda text: texts[int(text[1:])])
    made(rows(len(texts)))
    delivered("--output", f"out.{ending}")
    out = Path(f"out.{ending}")
    if ending == "jsonl":
        assert [row["answer"] for row in json_lines(out)] == texts
    elif ending == "parquet":
        assert pyarrow.parquet.read_table(out).column("answer").to_pylist() == texts
    else:
        delimiter = "\t" if ending == "tsv" else ","
        read = out.read_bytes().decode()
        found = list(csv.reader(read.splitlines(keepends=True), delimiter=delimiter))
        assert [row[2] for row in found[1:]] == [guarded(text.replace("\0", ""), delimiter) for text in texts]
        assert all(enclosed(row[2]) in read for row in found[1:])


def test_half_of_a_surrogate_pair_comes_into_a_table_as_its_escape() -> None:
    written = table_lines.Written()
    dialect = Dialect("utf-8", b"", ",", "\n", False)
    for text in ("a\ud800", "a\ud800" * 300):
        cell = table_lines._cell_in(dialect, True, written)(text, added=True)
        assert b"".join(table_file._encoded([cell], dialect)) == text.encode("utf-8", "backslashreplace")


# --- choices ---


def test_choices_are_one_column_and_tallied_and_what_is_off_the_list_can_be_retried(server: LocalServer) -> None:
    answer_with(server, lambda text: json.dumps({"answer": {"t0": "good", "t1": "bad", "t2": "so-so"}[text]}))
    asked = {"type": "json_schema", "json_schema": choice_format(("good", "bad"))}
    Path("r.jsonl").write_text("".join(chat_line(f"k{n}", f"t{n}", "canned", response_format=asked) for n in range(3)))
    ran = delivered("--output", "out.csv", code=9)
    assert Path("out.csv").read_text().splitlines()[:3] == ["custom_id,answer,error", "k0,good,", "k1,bad,"]
    assert "answers: 1 bad, 1 good" in ran.err
    (line,) = json_lines(Path("r.errors.jsonl"))
    assert (line["kind"], line["status"]) == ("off_list", 200)
    assert "so-so" in line["text"]
    answer_with(server, lambda text: '{"answer": "good"}')
    assert run("retry_failed", "r.jsonl").code == 0
    delivered("--output", "out.csv")
    assert Path("out.csv").read_text() == "custom_id,answer\nk0,good\nk1,bad\nk2,good\n"


# --- raw ids ---


def test_a_raw_batch_id_is_joined_to_its_rows_by_id_in_any_order(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("made.jsonl").write_text("".join(chat_line(f"sku:{n}", f"p{n}", "canned") for n in (3, 1, 2)))
    assert run("run_batch", "made.jsonl").code == 0
    batch = json.loads(Path("made.job/record.json").read_text())["attempts"][0]["parts"][0]["batch"]["id"]
    Path("rows.csv").write_bytes(b"sku;name\r\n1;a\r\n2;b\r\n3;c\r\n4;d\r\n")
    wrong = run("download", batch, "--source", "rows.csv", "--id-column", "sku", "--output", "out.csv")
    assert (wrong.code, "--id-prefix" in wrong.err) == (3, True)
    flags = ["--source", "rows.csv", "--id-column", "sku", "--id-prefix", "sku:", "--output", "out.csv"]
    ran = run("download", batch, *flags)
    assert ran.code == 0, ran.err
    assert "no row" not in ran.err
    assert Path("out.csv").read_bytes() == (
        b"sku;name;answer;error\r\n1;a;P1;\r\n2;b;P2;\r\n3;c;P3;\r\n4;d;;not in this job\r\n"
    )
    assert "1 of its 4 rows had no request" in ran.err
    assert run("download", batch, "--output", "again.csv").code == 0
    assert Path("again.csv").read_bytes() == Path("out.csv").read_bytes()


def test_requests_without_a_row_are_told_once(server: LocalServer) -> None:
    Path("made.jsonl").write_text("".join(chat_line(f"{n}", f"p{n}") for n in range(3)))
    assert run("run_batch", "made.jsonl").code == 0
    batch = json.loads(Path("made.job/record.json").read_text())["attempts"][0]["parts"][0]["batch"]["id"]
    Path("rows.csv").write_text("id\n1\n")
    ran = run("download", batch, "--source", "rows.csv", "--id-column", "id", "--output", "out.csv")
    assert ran.err.count("2 of the requests have no row in rows.csv; the table lacks them") == 1


def test_a_join_that_is_refused_leaves_the_one_before(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("made.jsonl").write_text("".join(chat_line(f"sku:{n}", f"p{n}", "canned") for n in (1, 2)))
    assert run("run_batch", "made.jsonl").code == 0
    batch = json.loads(Path("made.job/record.json").read_text())["attempts"][0]["parts"][0]["batch"]["id"]
    Path("rows.csv").write_text("sku\n1\n2\n")
    flags = ["--source", "rows.csv", "--id-column", "sku"]
    assert run("download", batch, *flags, "--id-prefix", "sku:", "--output", "out.csv").code == 0
    assert run("download", batch, *flags, "--output", "other.csv").code == 3
    assert run("download", batch, "--output", "again.csv").code == 0
    assert Path("again.csv").read_bytes() == Path("out.csv").read_bytes()


def test_a_join_whose_table_is_refused_is_not_kept_either(server: LocalServer) -> None:
    answer_with(server, str.upper)
    Path("made.jsonl").write_text("".join(chat_line(f"sku:{n}", f"p{n}", "canned") for n in (1, 2)))
    assert run("run_batch", "made.jsonl").code == 0
    batch = json.loads(Path("made.job/record.json").read_text())["attempts"][0]["parts"][0]["batch"]["id"]
    Path("rows.csv").write_text("sku\nsku:1\nsku:2\n")
    Path("other.csv").write_text("sku,no\n1,\n2,\n")
    first = ["--source", "rows.csv", "--id-column", "sku", "--output", "out.csv"]
    assert run("download", batch, *first).code == 0
    other = ["--source", "other.csv", "--output", "other.out.csv", "--id-prefix", "sku:"]
    assert run("download", batch, *other, "--id-column", "sku", "--columns", "nosuch").code == 2
    ran = run("download", batch, *other, "--id-column", "no")
    assert (ran.code, "no row has one there" in ran.err) == (3, True)
    assert run("download", batch, "--output", "again.csv").code == 0
    assert Path("again.csv").read_bytes() == Path("out.csv").read_bytes()


def test_what_is_next_may_be_pasted_whatever_the_names_are(server: LocalServer) -> None:
    answer_with(server, lambda text: text if text == "t0" else "")
    Path("rows.csv").write_text("-x,text\n1,t0\n2,t1\n")
    made(Path("rows.csv"))
    delivered("--output=-out.csv", "--columns=-x,-y", "--answer-column=-y", code=9)
    assert run("retry_failed", "r.jsonl").code == 0
    answer_with(server, str.upper)
    _, script, *flags = shlex.split(run("retry_failed", "r.jsonl", "--json").facts["next"])
    assert run(Path(script).stem, *flags).code == 0
    assert Path("-out.csv").read_text() == "-x,-y\n1,t0\n2,T1\n"


def test_what_was_paid_for_an_answer_that_is_none_is_in_its_row(server: LocalServer) -> None:
    answer_with(server, lambda text: chat_body("", "length", reasoning=f"hm {text}"))
    made(rows(1))
    asked = "finish_reason,prompt_tokens,completion_tokens,reasoning"
    delivered("--output", "out.csv", "--columns", f"id,{asked}", code=9)
    assert Path("out.csv").read_text() == f"id,{asked}\nk0,length,4,3,hm t0\n"


def test_the_object_of_a_run_has_the_same_keys_however_it_ends(server: LocalServer) -> None:
    made(rows(3), model="echo")
    trial = run("run_batch", "r.jsonl", "--trial", "1", "--json").facts
    waited = run("run_batch", "r.jsonl", "--timeout-seconds", "0", "--json").facts
    whole = run("run_batch", "r.jsonl", "--json").facts
    assert trial.keys() == waited.keys() == whole.keys()
    assert (trial["trial"], trial["rest"], whole["trial"], whole["rest"]) == (1, 2, None, None)


# --- before anything is paid ---


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--output", "out.txt"], 2, "--output"),
        (["--output", "nosuch/out.csv"], 3, "nosuch"),
        (["--output", "rows.csv"], 2, "--output"),
        (["--output", "r.results.jsonl"], 2, "--output"),
        (["--output", "r.jsonl"], 2, "--output"),
        (["--output", "r.job/out.csv"], 2, "--output"),
        (["--output", "foreign.csv"], 3, "foreign.csv"),
        (["--output", "out.csv", "--columns", "id,nosuch"], 2, "--columns"),
        (["--output", "out.csv", "--columns", "ID"], 2, "--columns"),
        (["--output", "out.csv", "--columns", "id,id"], 2, "--columns"),
        (["--output", "out.csv", "--columns", ""], 2, "--columns"),
        (["--output", "out.csv", "--answer-column", "text"], 3, "--answer-column new_text"),
        (
            ["--output", "out.csv", "--answer-column", "text", "--columns", "id,text"],
            3,
            "--answer-column new_text --columns id,new_text",
        ),
        (["--output", "out.csv", "--answer-column", "mood", "--columns", "id,text"], 2, "--columns id,text,mood"),
        (["--output", "out.csv", "--columns", "id,nosuch"], 2, "there are id,text,answer;"),
        (["--output", "out.csv", "--answer-column", ""], 2, "--answer-column"),
        (["--columns", "id,answer"], 2, "--columns with --output"),
        (["--no-guard"], 2, "--no-guard with --output"),
        (["--output", f"{'n' * 300}.csv"], 3, ""),
        (["--show", "-1"], 2, "--show"),
    ],
)
def test_what_could_only_fail_after_paying_is_refused_before(
    server: LocalServer, flags: list[str], code: int, words: str
) -> None:
    Path("foreign.csv").write_text("mine")
    made(rows(2), model="echo")
    ran = run("run_batch", "r.jsonl", *flags)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert not paid()


def test_a_row_that_cannot_be_read_stops_the_job_before_it_is_paid(server: LocalServer) -> None:
    made(rows(2), model="echo")
    Path("rows.csv").write_text("id,text\nk0,t0\nk1,other\n")
    ran = run("run_batch", "r.jsonl", "--output", "out.csv")
    assert (ran.code, "changed" in ran.err) == (3, True)
    assert not paid()


# --- while it runs ---


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_partial_table_holds_the_rows_answered_so_far_and_says_that_the_rest_is_running(
    server: LocalServer, ending: str
) -> None:
    made(rows(6), model="echo")
    ran = run("run_batch", "r.jsonl", "--trial", "2", "--output", f"out.{ending}", "--show", "2")
    assert ran.code == 8, ran.err
    assert "2 of 6 requests answered so far, 0 failed, 0 missing" in ran.err
    assert "4 not submitted yet, not missing" in ran.err
    assert ran.err.count("  -> [local echo]") == 2
    found: list[Any]
    if ending == "csv":
        found = Path("out.csv").read_text().splitlines()[1:]
    else:
        found = (
            json_lines(Path("out.jsonl"))
            if ending == "jsonl"
            else pyarrow.parquet.read_table("out.parquet").to_pylist()
        )
    assert len(found) == 2
    delivered("--output", f"out.{ending}")


# --- the summary ---


def test_the_summary_counts_what_is_zero_too_and_says_what_it_cost(server: LocalServer) -> None:
    answer_with(server, lambda text: "yes" if text == "t0" else "no")
    made(rows(3))
    ran = delivered("--show", "2")
    lines = ran.err.splitlines()
    assert "3 of 3 requests answered, 0 failed, 0 missing, 0 cut short, 0 empty" in lines
    assert "answers: 2 no, 1 yes" in lines
    assert "tokens: 12 prompt, 9 completion" in lines
    assert any(line.startswith("cost: ") and "estimated" in line for line in lines)


def test_shown_prompts_are_the_part_that_was_filled_in_from_its_end(server: LocalServer) -> None:
    answer_with(server, lambda text: "ok")
    path = Path("rows.csv")
    path.write_text("text\n" + "".join(f"{'x' * 400} end{n}\n" for n in range(9)))
    made(path, "Say in one word what the mood is of: {text}\nthank you")
    ran = delivered("--show", "3")
    shown = [line for line in ran.err.splitlines() if line.startswith("[row-")]
    assert [line[:12] for line in shown] == ["[row-000001]", "[row-000005]", "[row-000009]"]
    assert all("mood" not in line and "thank" not in line for line in shown)


def test_words_that_all_cells_have_in_common_are_shown_with_them(server: LocalServer) -> None:
    answer_with(server, lambda text: "ok")
    Path("rows.csv").write_text("text\n" + "".join(f"my order {n} is late\n" for n in range(9)))
    made(Path("rows.csv"), "Label this ticket: {text}")
    shown = [line for line in delivered("--show", "2").err.splitlines() if line.startswith("[row-")]
    assert shown == ["[row-000001] my order 0 is late", "[row-000009] my order 8 is late"]


def test_of_a_text_that_begins_with_thinking_the_rest_is_shown(server: LocalServer) -> None:
    answer_with(server, lambda text: f"<think>{'well, ' * 99}</think>\n\nyes")
    made(rows(1))
    assert delivered("--show", "1", "--json").facts["shown"][0]["answer"] == "yes"


def test_shown_pictures_have_the_names_of_their_files(server: LocalServer) -> None:
    answer_with(server, lambda text: "a cat")
    Path("pictures").mkdir()
    Path("pictures/one.png").write_bytes(PNG)
    Path("pictures/two.png").write_bytes(PNG + b"\0")
    Path("pictures/three.gif").write_bytes(GIF)
    flags = ["--model", "canned", "--prompt", "What is it?", "--json"]
    assert run("create_batch_file", "p.jsonl", "--input", "pictures", *flags).code == 0
    shown = delivered("--show", "3", "--json", name="p.jsonl").facts["shown"]
    assert [pair["prompt"] for pair in shown] == [f"(an image: {name})" for name in ("one.png", "three.gif", "two.png")]

    Path("rows.csv").write_text(
        "id,a,b\n1,pictures/one.png,https://example.com/x.png\n2,pictures/two.png,pictures/three.gif\n"
    )
    columns = ["--image-column", "a", "--image-column", "b"]
    assert run("create_batch_file", "q.jsonl", "--input", "rows.csv", *columns, *flags).code == 0
    shown = delivered("--show", "3", "--json", name="q.jsonl").facts["shown"]
    assert [pair["prompt"] for pair in shown] == [
        "(an image: pictures/one.png) (an image: https://example.com/x.png)",
        "(an image: pictures/two.png) (an image: pictures/three.gif)",
    ]


def test_the_answers_alone_can_be_had_when_the_source_has_changed(server: LocalServer) -> None:
    """They are paid for: what was done to the rows since is no reason to keep them back."""
    answer_with(server, lambda text: f"of {text}")
    made(rows(2))
    delivered()
    Path("rows.csv").write_text("id,text\nother,rows\n")
    refused = run("download", "r.jsonl", "--output", "out.csv")
    assert (refused.code, "--columns custom_id,answer" in refused.err) == (3, True)
    assert run("download", "r.jsonl", "--output", "out.csv", "--columns", "id,answer").code == 3
    ran = run("download", "r.jsonl", "--output", "out.csv", "--columns", "custom_id,answer")
    assert (ran.code, "has changed since" in ran.err) == (0, True)
    assert Path("out.csv").read_text() == "custom_id,answer\nrow-000001,of t0\nrow-000002,of t1\n"


@pytest.mark.parametrize(
    "text", ["a text\nof lines " * 40, 'said "x" — 日本 \\u0041' * 9, "<think>so</think> of which " * 5]
)
def test_a_text_that_the_merge_saw_is_in_the_table_as_one_that_is_read_with_care(text: str, tmp_path: Path) -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}
    line = {"custom_id": "row-1", "response": {"status_code": 200, "body": body}, "error": None}
    raw = json.dumps(line, separators=(",", ":")).encode()
    seen = line_outcome.outcome_of(raw, tmp_path, 0, None, {}).brief
    assert seen == line_outcome.PLAIN
    (tmp_path / "results").write_bytes(raw + b"\n")
    found = [in_order(tmp_path / "results", tmp_path / "none", None, briefs)("row-1") for briefs in ([], [seen])]
    assert [answer and answer.value for answer in found] == [text, text]


def test_an_id_within_a_body_does_not_make_an_answer_that_of_another_request(tmp_path: Path) -> None:
    """Short answers are told from the line by its id: that of the request whose answer failed may stand in it, too."""
    body = {"choices": [{"message": {"content": "yes"}}], "sources": {"custom_id": "row-1"}}
    results, errors = tmp_path / "r.results.jsonl", tmp_path / "r.errors.jsonl"
    line = {"id": "b", "custom_id": "row-2", "response": {"status_code": 200, "body": body}, "error": None}
    results.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    errors.write_text(json.dumps({"custom_id": "row-1", "kind": "http_500", "text": "no"}) + "\n")
    find = in_order(results, errors, None, ["yes"])
    first, second = find("row-1"), find("row-2")
    assert first is not None
    assert second is not None
    assert (first.value, first.error) == (None, "http_500: no")
    assert (second.value, second.error) == ("yes", "")
