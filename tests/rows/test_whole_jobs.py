"""From each kind of source to the table of its answers, and once more after the folder has moved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from doubleword.rows.cell_to_text import text
from doubleword.rows.source import describe
from local_server.app import LocalServer
from support.pictures import PNG
from support.running import run


def _csv(folder: Path) -> list[str]:
    (folder / "rows.csv").write_bytes('id;text\r\n1;"a\r\nb"\r\n\r\n2;é\r\n'.encode("cp1252"))
    return ["--input", "rows.csv", "--encoding", "cp1252", "--prompt", "M: {text}"]


def _tsv(folder: Path) -> list[str]:
    (folder / "rows.txt").write_bytes('id\ttext\r\n1\t"open\r\n2\tb\r\n'.encode("utf-16"))
    return ["--input", "rows.txt", "--prompt", "M: {text}"]


def _parquet(folder: Path) -> list[str]:
    table = pyarrow.table({"d": [date(2024, 1, 5), None], "p": [Decimal("1.50"), Decimal("2.00")], "t": ["a", "b"]})
    pyarrow.parquet.write_table(table, folder / "rows.parquet_rows")
    return ["--input", "rows.parquet_rows", "--prompt", "M: {p} {t}"]


def _excel(folder: Path) -> list[str]:
    book = openpyxl.Workbook()
    for row in [["id", "d", "t"], [1, date(2024, 1, 5), "a"], [], [2, None, "b"]]:
        book.active.append(row)
    book.save(folder / "rows.xlsx")
    return ["--input", "rows.xlsx", "--prompt", "M: {t}", "--id-column", "id"]


def _json(folder: Path) -> list[str]:
    (folder / "rows.json").write_text('[{"t": {"x": 1}}]\n[{"t": {"x": 2}}]', "utf-8")
    return ["--input", "rows.json", "--prompt", "M: {t.x}"]


def _texts(folder: Path) -> list[str]:
    (folder / "texts" / "old").mkdir(parents=True)
    (folder / "texts" / "a.txt").write_text("a", "utf-8")
    (folder / "texts" / "bad.txt").write_bytes(b"caf\xe9")
    (folder / "texts" / "old" / "b.txt").write_text("b", "utf-8")
    return ["--input", "texts", "--recursive", "--empty", "skip", "--prompt", "M: {text}"]


def _images(folder: Path) -> list[str]:
    (folder / "pictures").mkdir()
    for name, content in [("a.png", PNG), ("b.png", b"<html>"), ("c.png", PNG), ("notes.txt", b"x")]:
        (folder / "pictures" / name).write_bytes(content)
    return ["--input", "pictures", "--empty", "skip", "--prompt", "What is it?"]


def _image_column(folder: Path) -> list[str]:
    (folder / "a.png").write_bytes(PNG)
    (folder / "rows.csv").write_text("p,t\na.png,1\ngone.png,2\na.png,3\n", "utf-8")
    return ["--input", "rows.csv", "--image-column", "p", "--empty", "skip", "--prompt", "What is {t}?"]


def rows_of(name: str, source: Callable[[Path], list[str]]) -> list[list[str]]:
    table = describe(Path(name), encoding="cp1252" if source is _csv else None)
    return [[str(cell) for cell in row.cells.values()] for row in table.read()]


@pytest.mark.parametrize("source", [_csv, _tsv, _parquet, _excel, _json, _texts, _images, _image_column])
def test_every_row_of_a_source_is_in_its_table_with_its_answer(
    server: LocalServer, source: Callable[[Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("job").mkdir()
    made = source(Path("job"))
    monkeypatch.chdir("job")
    created = run("create_batch_file", "r.jsonl", *made, "--model", "echo", "--json")
    assert created.code == 0, created.err
    assert bool(created.facts["notes"]) == (source not in (_parquet, _json))
    ran = run("run_batch", "r.jsonl", "--output", "out.csv")
    assert ran.code in (0, 9), ran.err
    requests = [json.loads(line) for line in Path("r.jsonl").read_text("utf-8").splitlines()]
    assert len(requests) == 2
    first = Path("out.csv").read_bytes()
    answered = [row for row in rows_of("out.csv", source) if any("[local echo]" in cell for cell in row)]
    skipped = 1 if source in (_texts, _images, _image_column) else 0
    assert len(answered) == 2
    assert len(rows_of("out.csv", source)) == 2 + skipped
    os.chdir("..")
    Path("job").rename("moved")
    os.chdir("moved")
    Path("out.csv").unlink()
    again = run("download", "r.jsonl", "--output", "out.csv")
    assert again.code in (0, 9), again.err
    assert Path("out.csv").read_bytes() == first


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_files_whose_names_are_no_text_are_told_apart_in_the_table(server: LocalServer, ending: str) -> None:
    Path("in").mkdir()
    for name in (b"n\xff.txt", b"n\xfe.txt", "é.txt".encode()):
        Path("in", os.fsdecode(name)).write_text("x")
    assert run("create_batch_file", "r.jsonl", *["--input", "in", "--model", "echo", "--prompt", "{text}"]).code == 0
    ran = run("run_batch", "r.jsonl", "--output", f"out.{ending}")
    assert ran.code == 0, ran.err
    made = Path(f"out.{ending}").read_text("utf-8")
    assert all(name in made for name in ("n\\udcff.txt", "n\\udcfe.txt", "é.txt"))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_numbers_without_an_end_are_words_in_prompt_and_table(server: LocalServer, ending: str) -> None:
    made = {"n": [1.5, float("inf"), float("-inf")], "l": [[0.5], [float("inf")], None]}
    pyarrow.parquet.write_table(pyarrow.table(made), "in.parquet")
    created = run("create_batch_file", "r.jsonl", "--input", "in.parquet", "--model", "echo", "--prompt", "{n}")
    assert created.code == 0, created.err
    lines = Path("r.jsonl").read_text("utf-8").splitlines()
    asked = [json.loads(line)["body"]["messages"][0]["content"] for line in lines]
    assert asked == ["1.5", "Infinity", "-Infinity"]
    ran = run("run_batch", "r.jsonl", "--output", f"out.{ending}")
    assert ran.code == 0, ran.err
    rows = [list(row.cells.values())[:2] for row in describe(Path(f"out.{ending}")).read()]
    assert [text(row[0]) for row in rows] == ["1.5", "Infinity", "-Infinity"]
    assert [text(row[1]) for row in rows] == ["[0.5]", '["Infinity"]', ""]
