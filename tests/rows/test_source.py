"""Rows from every kind of source, the same ids each time, and templates."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubleword.base.failures import BadInput, WrongUsage
from doubleword.job.record_file import from_dict
from doubleword.request_file.images import image_address
from doubleword.rows.source import Row, Source, describe
from doubleword.rows.source_moved import located
from doubleword.rows.stdin import kept_stdin
from support.pictures import GIF, JPEG, PNG, WEBP

BASE64 = base64.b64encode(PNG).decode()


def rows(name: str, content: bytes | str, **options: Any) -> list[Row]:
    path = Path(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(describe(path, **options).read())


def cells(name: str, content: bytes | str, **options: Any) -> list[dict[str, Any]]:
    return [row.cells for row in rows(name, content, **options)]


def refusal(name: str, content: bytes | str, **options: Any) -> str:
    with pytest.raises(BadInput) as failure:
        rows(name, content, **options)
    return failure.value.what


# --- tables ----------------------------------------------------------------------------------------


def test_quoted_line_breaks_commas_and_quotes_stay_in_their_cell_and_lines_are_physical() -> None:
    assert rows("a.csv", 'id,text\n1,"a\nb, ""c"""\n2,d\n') == [
        Row(2, {"id": "1", "text": 'a\nb, "c"'}, "row-000001"),
        Row(4, {"id": "2", "text": "d"}, "row-000002"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "x,y\n1,é\n", {}),
        ("a.csv", "\ufeffx,y\r\n1,é\r\n", {}),
        ("a.csv", "x;y\n1;é\n", {}),
        ("a.csv", "x|y\n1|é\n", {}),
        ("a.csv", "x#y\n1#é\n", {"delimiter": "#"}),
        ("a.tsv", "x\ty\n1\té\n", {}),
        ("a.tab", "x\ty\n1\té\n", {}),
        ("a.txt", "x\ty\n1\té\n", {"form": "tsv"}),
        ("a.csv", "x,y\n1,é\n".encode("cp1252"), {"encoding": "cp1252"}),
        ("a.csv", "x,y\n1,é\n".encode("utf-16"), {}),
        ("a.csv", "x,y\n\n1,é\n\n", {}),
        ("a.csv", "x,y\r1,é\r", {}),
        ("a.jsonl", '{"x": "1", "y": "é"}\n', {}),
        ("a.ndjson", '\ufeff{"x": "1", "y": "é"}\r\n\r\n', {}),
        ("a.json", '[{"x": "1", "y": "é"}]', {}),
    ],
)
def test_the_same_rows_whatever_they_are_written_in(name: str, content: bytes | str, options: dict[str, Any]) -> None:
    assert cells(name, content, **options) == [{"x": "1", "y": "é"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('a,b\n1,2\n"x\ny",2\n3\n', "a.csv line 5: 1 cells where the header (line 1) has 2"),
        ("a,b\n1,2,3\n", "line 2: 3 cells"),
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3: unexpected end of data"),
        ('a,b\n"1"x,2\n', "line 2: "),
        ("a,a\n1,2\n", "line 1: columns 1, 2 have the same header"),
        ("", "is empty"),
        (b"a,b\n1,2\n3,\xe9\n", "byte 0xe9 is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(content: bytes | str, says: str) -> None:
    assert says in refusal("a.csv", content)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"x": 1}\n\noops\n', "a.jsonl line 3: not JSON"),
        ("a.jsonl", '{"x": 1}\n"text"\n', 'line 2: "text"; expected a JSON object'),
        ("a.jsonl", b'{"x": 1}\n{"x": "\xe9"}\n', "byte 0xe9 is not UTF-8"),
        ("a.json", '{"x": 1} 5', "a JSON array of objects was expected"),
        ("a.json", '[{"x": 1}, 5]', "a JSON array of objects was expected"),
        ("a.json", '[{"x": 1},\n {"x": }]', "line 2: not JSON"),
        ("a.json", '[{"x": 1},\n', "line 2"),
        ("a.json", "", "a JSON array"),
    ],
)
def test_json_that_cannot_be_read_is_refused_with_its_line(name: str, content: bytes | str, says: str) -> None:
    assert says in refusal(name, content)


def test_a_json_array_larger_than_the_reading_block_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doubleword.rows.json_rows.BLOCK_BYTES", 64)
    made = [{"n": n, "text": "x, ] } [ é" * (n % 40), "in": {"a": [1, {"b": "}"}]}} for n in range(200)]
    assert cells("a.json", json.dumps(made, indent=1, ensure_ascii=False)) == made
    assert cells("b.json", json.dumps(made)) == made
    lines = [row.line for row in rows("c.json", json.dumps([{"a": 1}, {"b": 2}], indent=1))]
    assert lines == [2, 5]


def test_lines_are_rows_with_a_text() -> None:
    assert rows("a.txt", " one \r\n\ntwo\u2028still two") == [
        Row(1, {"text": " one "}, "row-000001"),
        Row(3, {"text": "two\u2028still two"}, "row-000002"),
    ]


def test_an_unknown_format_or_encoding_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match="cannot tell the format"):
        rows("a.xyz", "x")
    with pytest.raises(WrongUsage, match="no encoding"):
        rows("a.csv", "x\n1\n", encoding="klingon")
    with pytest.raises(WrongUsage, match="one character"):
        rows("a.csv", "x\n1\n", delimiter=";;")


@pytest.mark.parametrize("what", ["fifo", "missing"])
def test_what_is_no_plain_file_is_refused_at_once(what: str) -> None:
    if what == "fifo":
        os.mkfifo("x.csv")
    with pytest.raises(BadInput):
        describe(Path("x.csv"))


# --- folders and images ----------------------------------------------------------------------------


def test_a_folder_of_texts_gives_a_row_a_file() -> None:
    folder = Path("notes")
    folder.mkdir()
    (folder / "b.txt").write_text("second", "utf-8")
    (folder / "a.md").write_text("\ufefffirst", "utf-8")
    (folder / ".hidden").write_text("no", "utf-8")
    source = describe(folder)
    assert [row.cells for row in source.read()] == [
        {"file": "a.md", "text": "first"},
        {"file": "b.txt", "text": "second"},
    ]
    assert source.columns == ["file", "text"]
    before = source.sha256
    (folder / "a.md").write_text("changed", "utf-8")
    assert describe(folder).sha256 != before


def test_an_empty_folder_is_refused() -> None:
    Path("none").mkdir()
    with pytest.raises(BadInput, match="holds no files"):
        describe(Path("none"))


@pytest.mark.parametrize(("content", "kind"), [(PNG, "png"), (JPEG, "jpeg"), (GIF, "gif"), (WEBP, "webp")])
def test_an_image_is_known_by_its_bytes_and_becomes_a_data_address(content: bytes, kind: str) -> None:
    Path("folder").mkdir()
    Path("folder/picture.dat").write_bytes(content)
    assert describe(Path("folder")).format == "images"
    address = image_address("picture.dat", Path("folder"))
    assert address == f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def test_an_image_that_is_none_or_too_large_or_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.png").write_bytes(b"<html>")
    with pytest.raises(BadInput, match="is no PNG"):
        image_address("a.png", Path())
    with pytest.raises(BadInput, match="no file"):
        image_address("b.png", Path())
    Path("b.png").write_bytes(PNG)
    monkeypatch.setattr("doubleword.request_file.images.IMAGE_BYTES", len(PNG) - 1)
    with pytest.raises(BadInput, match="more than"):
        image_address("b.png", Path())
    monkeypatch.setattr("doubleword.request_file.images.IMAGE_BYTES", len(PNG))
    assert image_address("b.png", Path()).startswith("data:image/png")


def test_a_web_address_stays_as_it_is() -> None:
    for address in ("https://x.example/a.png", "http://x.example/a?b={c}&d=é"):
        assert image_address(address, Path()) == address
    assert image_address("HTTPS://X.example/a.png", Path()) == "https://X.example/a.png"


@pytest.mark.parametrize(
    "cell",
    [
        BASE64,
        base64.encodebytes(PNG * 3).decode(),
        repr(base64.b64encode(PNG)),
        f"data:image/png;base64,{BASE64}",
        f"DATA:image/jpeg;base64,{BASE64}\n",
        f"data:;base64,{BASE64}",
        PNG,
        {"bytes": BASE64, "path": None},
        json.dumps({"bytes": BASE64, "path": "gone.png"}),
        '{"path": "a.png"}',
        {"bytes": PNG, "path": "gone.png"},
        {"bytes": None, "path": "a.png"},
        "folder/../a.png",
        "absolute",
    ],
)
def test_a_cell_may_be_a_picture_or_name_one_below_the_source(cell: Any) -> None:
    Path("a.png").write_bytes(PNG)
    cell = str(Path("a.png").resolve()) if cell == "absolute" else cell
    assert image_address(cell, Path().resolve()).startswith("data:image/png;base64,iVBORw0KGgo")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("../private.png", "lies outside"),
        ("folder/../../private.png", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("x." * 5000, "is no path, web address or base64"),
        ("x" * 300 + ".png", "is no path, web address or base64"),
        (base64.b64encode(b"BM" + bytes(100)).decode(), "the cell's base64 is no PNG, JPEG, GIF or WebP"),
        (BASE64[:40], "its end is missing"),
        (BASE64[:43], "is no whole base64"),
        ("data:image/png;base64,!!!!", "is no whole base64"),
        ("data:image/png;base64,", "is no path, web address or base64"),
        ("data:image/png,abc", "is no path, web address or base64"),
        ("data:image/svg+xml;base64,AAAA", "is no PNG"),
        ("https://", "is no path, web address or base64"),
        ("https://x.example/y z.png", "is no path, web address or base64"),
        ("s3://bucket/a.png", "is no path, web address or base64"),
        ('{"path": "../private.png"}', "lies outside"),
        ("0123456789abcdef" * 4, "there is no file"),
        ("iVBORw0KGgo" + "A" * 300, "is no whole base64"),
        ("UklGR" + "A" * 399, "is no PNG"),
        ("A" * 400, "is no PNG"),  # longer than the name of any file
        (f"{'A' * 300}/{'b' * 299}", "is no PNG"),
        ("a\0b", "is no path"),
        (b"%PDF-1.4", "but a PDF"),
        ({"other": 1}, "is no path, web address or base64"),
        ("doc.pdf", "pdftoppm"),
        ("page.jpg", "but a web page (is it a sign-in or an error?) fetch the file again"),
        ("drawn.svg", "but XML"),
    ],
)
def test_a_cell_that_is_no_picture_is_refused_with_what_it_is(cell: Any, says: str) -> None:
    Path("doc.pdf").write_bytes(b"%PDF-1.4 and so on")
    Path("page.jpg").write_text("<!doctype html><title>404</title>")
    Path("drawn.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(BadInput) as failure:
        image_address(cell, Path().resolve())
    assert says in f"{failure.value.what} {failure.value.next_step}"


@pytest.mark.parametrize(
    ("cell", "way"),
    [
        ("https://a.example/x.png,https://a.example/y.png", "JSON list"),
        ("https://a.example/x.png; https://a.example/y.png", "JSON list"),
        ("https://a.example/x.png\nhttps://a.example/y.png", "JSON list"),
        ("['p.png', 'q.png']", "JSON list"),
        ("https://a.example/x y.png", "%20"),
        ("file:///tmp/p.png", "by its path"),
        ("s3://bucket/a.png", "download them"),
        ("blob:https://a.example/1", "download them"),
        ("www.example.com/a.png", "is https://www.example.com/a.png meant?"),
        ("//cdn.example.com/a.png", "is https://cdn.example.com/a.png meant?"),
    ],
)
def test_a_cell_that_nearly_names_a_picture_says_how_to_name_it(cell: str, way: str) -> None:
    with pytest.raises(BadInput) as failure:
        image_address(cell, Path().resolve())
    assert way in failure.value.next_step


def test_addresses_that_hold_another_address_are_one() -> None:
    for address in (
        "https://web.archive.org/web/2020/https://a.example/x.png",
        "https://a.example/?u=https://b.example/,1",
    ):
        assert image_address(address, Path()) == address


def test_a_picture_may_be_named_as_windows_does() -> None:
    Path("sub").mkdir()
    Path("sub/a.png").write_bytes(PNG)
    expected = image_address("sub/a.png", Path().resolve())
    assert image_address("sub\\a.png", Path().resolve()) == expected
    with pytest.raises(BadInput, match="lies outside"):
        image_address("..\\..\\etc", Path("sub").resolve())


@pytest.mark.parametrize("content", [PNG[:8], PNG[:-12], JPEG[:-2], GIF[:-3], WEBP[:-1], b"RIFF....WEBP"])
def test_a_picture_that_is_cut_off_is_refused(content: bytes) -> None:
    Path("a.png").write_bytes(content)
    for cell in ("a.png", content, base64.b64encode(content).decode()):
        if isinstance(cell, bytes) or cell == "a.png" or len(cell) > 16:
            with pytest.raises(BadInput, match="its end is missing"):
                image_address(cell, Path())


def test_what_stands_after_the_end_of_a_picture_does_no_harm() -> None:
    for content in (PNG, JPEG, GIF, WEBP):
        assert image_address(content + b"\0\0\n", Path()).startswith("data:image/")


# --- which rows, and their ids ---------------------------------------------------------------------

TEN = "name,text\n" + "".join(f"n{i},t{i}\n" for i in range(10))


def ids(**options: Any) -> list[str | None]:
    return [row.custom_id for row in rows("ten.csv", TEN, **options)]


def test_ids_come_from_the_column_or_the_row() -> None:
    assert ids()[8:] == ["row-000009", "row-000010"]
    assert ids(id_column="name")[:2] == ["n0", "n1"]
    assert [r.custom_id for r in rows("a.jsonl", '{"k": {"id": 7}}\n{"k": 1}\n', id_column="k.id")] == ["7", ""]


def test_a_limit_leaves_the_other_rows_without_a_request() -> None:
    assert ids(limit=3) == ["row-000001", "row-000002", "row-000003", *[None] * 7]
    assert ids(limit=99) == ids()


def test_a_sample_has_exactly_so_many_rows_and_the_same_seed_gives_the_same() -> None:
    drawn = ids(sample=4, seed=7)
    assert len([i for i in drawn if i]) == 4
    assert drawn == ids(sample=4, seed=7)
    assert len({tuple(map(str, ids(sample=4, seed=seed))) for seed in range(20)}) > 10
    assert None not in ids(sample=10)
    assert None not in ids(sample=50)


def test_every_row_is_drawn_about_as_often() -> None:
    rows("ten.csv", TEN)
    source = describe(Path("ten.csv"), sample=3)
    drawn = [0] * 10
    for seed in range(600):
        for number, row in enumerate(replace(source, seed=seed).read()):
            drawn[number] += row.custom_id is not None
    assert sum(drawn) == 1800
    assert all(120 < times < 240 for times in drawn)


def test_each_of_several_used_cells_may_be_the_empty_one() -> None:
    found = rows("a.csv", "a,b\n1,x\n,y\n3,\n4,z\n", used=("a", "b"), empty="skip")
    assert [row.custom_id for row in found] == ["row-000001", None, None, "row-000004"]


def test_rows_with_an_empty_used_cell_are_skipped_if_asked() -> None:
    content = "a,b\nx,1\n ,2\ny,\n"
    assert [r.custom_id for r in rows("e.csv", content, used=("a",), empty="skip")] == [
        "row-000001",
        None,
        "row-000003",
    ]
    assert [r.custom_id for r in rows("e.csv", content, used=("a",), empty="keep")][1] == "row-000002"


@given(limit=st.none() | st.integers(1, 12), skip=st.booleans(), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_requests_alone_gives_what_reading_all_rows_gives(limit: int | None, skip: bool, data: Any) -> None:
    texts = data.draw(st.lists(st.sampled_from(["", "x", "a,b", 'q"', "é\n"]), max_size=12))
    sample = None if limit else data.draw(st.none() | st.integers(1, 12))
    Path("h.jsonl").write_text("".join(json.dumps({"t": t}) + "\n" for t in texts), "utf-8")
    source = describe(Path("h.jsonl"), limit=limit, sample=sample, used=("t",), empty="skip" if skip else "keep")
    everything = list(source.read())
    assert len(everything) == len(texts)
    assert list(source.read(requests_only=True)) == [row for row in everything if row.custom_id is not None]


def test_the_headers_of_json_are_those_of_every_row() -> None:
    Path("a.jsonl").write_text('{"a": 1}\n{"b": 1, "a": 2}\n', "utf-8")
    assert describe(Path("a.jsonl")).columns == ["a", "b"]
    Path("a.csv").write_text('"x, y",z\n1,2\n', "utf-8")
    assert describe(Path("a.csv")).columns == ["x, y", "z"]


def test_parquet_rows_are_read_where_pyarrow_is_installed() -> None:
    try:
        import pyarrow
    except ImportError:
        Path("a.parquet").write_bytes(b"PAR1")
        with pytest.raises(BadInput, match="pyarrow"):
            list(describe(Path("a.parquet")).read())
        return
    import pyarrow.parquet

    table = pyarrow.table({"id": [1, 2], "text": ["a", None]})
    pyarrow.parquet.write_table(table, "a.parquet")
    source = describe(Path("a.parquet"), id_column="id")
    assert list(source.read()) == [Row(1, {"id": 1, "text": "a"}, "1"), Row(2, {"id": 2, "text": None}, "2")]
    assert source.columns == ["id", "text"]


def test_stdin_is_kept_under_a_name_of_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    def given_on_stdin(content: bytes, form: str | None = None) -> Path:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with kept_stdin(Path("reviews.job"), form) as kept:
            return kept

    first = given_on_stdin(b"a,b\n1,2\n")
    assert first.name.startswith("input-")
    assert first.suffix == ".csv"
    assert first.read_bytes() == b"a,b\n1,2\n"
    assert given_on_stdin(b"a,b\n1,2\n") == first
    assert given_on_stdin(b"a,b\n1,3\n") != first
    assert given_on_stdin(b' {"a": 1}\n').suffix == ".jsonl"
    assert given_on_stdin(b"[\n]").suffix == ".json"
    assert given_on_stdin(b"one\n", "lines").suffix == ".txt"
    assert given_on_stdin(b"\xef\xbb\xbf{}\n").suffix == ".jsonl"
    with pytest.raises(BadInput, match="empty"):
        given_on_stdin(b"")
    assert len(list(Path("reviews.job").iterdir())) == 6


def test_a_copy_of_stdin_has_its_name_only_when_it_is_whole_and_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            block = super().read(10)
            if not block:
                raise KeyboardInterrupt
            return block

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Torn(b"a,b\n" * 20)))
    with pytest.raises(KeyboardInterrupt), kept_stdin(Path("reviews.job"), None):
        pass
    assert not Path("reviews.job").exists()

    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def noted(name: str, call: Any) -> Any:
        def noting(*given: Any) -> None:
            done.append(name)
            call(*given)

        return noting

    monkeypatch.setattr(os, "fsync", noted("fsync", sync))
    monkeypatch.setattr(os, "replace", noted("replace", rename))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    with kept_stdin(Path("reviews.job"), None):
        pass
    assert done[0] == "fsync"
    assert "replace" not in done[: done.index("fsync")]
    assert done[-1] == "fsync"
    kept = next(Path("reviews.job").iterdir())
    kept.write_bytes(b"another's")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    with pytest.raises(BadInput, match="in the way"), kept_stdin(Path("reviews.job"), None):
        pass
    assert kept.read_bytes() == b"another's"


def test_a_copy_of_stdin_is_removed_if_nothing_came_of_it_and_errors_speak_of_stdin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for there in (False, True):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1\n")))
        with pytest.raises(BadInput) as failure, kept_stdin(Path("r.job"), None) as kept:
            list(describe(kept).read())
        assert failure.value.what.startswith("stdin line 2: 1 cells")
        assert "--format lines" in failure.value.next_step
        assert Path("r.job").exists() == there
        assert not there or Path("r.job", "record.json").exists()
        Path("r.job").mkdir(exist_ok=True)
        Path("r.job", "record.json").touch()
    content = b"a\n1\n"
    for _ in range(2):  # what an earlier run keeps stays
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with kept_stdin(Path("r.job"), None) as first:
            pass
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(BadInput), kept_stdin(Path("r.job"), None):
        raise BadInput("no")
    assert first.read_bytes() == content


def test_a_command_that_is_named_for_stdin_reads_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'id,text\n1,"he said \\"hi\\", twice"\n')))
    with pytest.raises(BadInput) as failure, kept_stdin(Path("r.job"), "csv") as kept:
        list(describe(kept, form="csv").read())
    assert failure.value.next_step.startswith("write it to a FILE, then: a quote within quotes")
    assert failure.value.next_step.endswith(" FILE > rows.csv")


# --- where a source lies now -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ten.csv", "job/ten.csv", "job/data/ten.csv", "notes"])
def test_a_source_is_found_where_it_lies_now(name: str) -> None:
    Path("job/data").mkdir(parents=True)
    path = Path(name)
    if name == "notes":
        path.mkdir()
        (path / "a.txt").write_text("x", "utf-8")
    else:
        path.write_text(TEN, "utf-8")
    source = describe(path).kept_for(Path("job"))
    assert os.path.isabs(source.path) != name.startswith("job/")
    again = from_dict(Source, json.loads(json.dumps(asdict(source))))
    Path("job").rename("elsewhere")
    if not name.startswith("job/"):
        path.rename(Path("elsewhere") / "renamed")
    found = located(again, Path("elsewhere"))
    assert Path(found.path).is_relative_to(Path("elsewhere").resolve())
    assert list(found.read()) == list(replace(found).read())
    assert found.columns in (["name", "text"], ["file", "text"])


def test_a_source_that_changed_or_is_gone_is_said_so() -> None:
    Path("ten.csv").write_text(TEN, "utf-8")
    source = describe(Path("ten.csv"))
    Path("ten.csv").write_text(TEN.replace("t1", "T1"), "utf-8")
    with pytest.raises(BadInput, match="has changed"):
        located(source, Path())
    Path("copy.csv").write_text(TEN, "utf-8")
    assert Path(located(source, Path()).path).name == "copy.csv"
    Path("copy.csv").unlink()
    Path("ten.csv").unlink()
    with pytest.raises(BadInput, match="is gone"):
        located(source, Path())


# --- the description in a job record ---------------------------------------------------------------


def test_a_source_comes_back_from_the_record_as_it_was() -> None:
    rows("ten.csv", TEN)
    source = describe(Path("ten.csv"), sample=3, seed=2, id_column="name").using(["text"])
    kept = json.loads(json.dumps(asdict(source)))
    assert from_dict(Source, kept, "source") == source
    assert list(from_dict(Source, kept, "source").read()) == list(source.read())


@pytest.mark.parametrize("key", [*(field.name for field in fields(Source)), "other"])
@pytest.mark.parametrize("wrong", ["missing", {"of": "another type"}])
def test_a_damaged_source_names_the_key(key: str, wrong: Any) -> None:
    rows("ten.csv", TEN)
    kept = json.loads(json.dumps(asdict(describe(Path("ten.csv"))))) | {key: wrong}
    if wrong == "missing" and key != "other":
        del kept[key]
    with pytest.raises(ValueError, match=f"source.{key}"):
        from_dict(Source, kept, "source")


def test_the_columns_of_a_source_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows("ten.csv", TEN)
    source = describe(Path("ten.csv"))
    assert source.columns == ["name", "text"]
    monkeypatch.setattr("doubleword.rows.readers.headers", lambda _: pytest.fail("read again"))
    assert source.using(["text"]).columns == ["name", "text"]
