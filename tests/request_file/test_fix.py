"""--check and --fix as a person needs them: what was changed, where it is in their own file, and what to do next."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pytest

from doubleword.base.failures import ExitCode
from local_server.app import LocalServer
from support.running import chat_line, run


def mended(content: str, code: int = 0) -> tuple[str, str]:
    """What --fix says of a file, and what it wrote."""
    Path("theirs.jsonl").write_bytes(content.encode())
    ran = run("create_batch_file", "theirs.jsonl", "--fix", "mended.jsonl")
    assert ran.code == code, ran.err
    assert Path("theirs.jsonl").read_bytes() == content.encode()
    return ran.err, Path("mended.jsonl").read_text()


def number(line: str, custom_id: int) -> str:
    return line.replace('"custom_id": "x"', f'"custom_id": {custom_id}')


def test_every_change_is_told_by_its_line_and_id() -> None:
    content = chat_line("a", "hi") + "\n" + number(chat_line("x", "ho"), 7) + chat_line("a", "hi")
    said, made = mended(content + chat_line("b", "so")[:-1] + "\r\n")
    assert "mended.jsonl: written; " in said
    assert "fix: line 2: blank, removed" in said
    assert 'fix: line 3: custom_id 7 made text, "7"' in said
    assert "fix: line 4: a: removed, identical to line 1" in said
    assert "fix: line 5: b: CRLF made LF" in said
    assert [json.loads(line)["custom_id"] for line in made.splitlines()] == ["a", "7", "b"]


def test_numbers_written_as_text_are_made_numbers_where_a_text_is_none() -> None:
    content = chat_line("a", "hi", max_tokens="100", temperature="0.5", stop="9", top_p="7")
    said, made = mended(content, ExitCode.BAD_INPUT)
    body = json.loads(made)["body"]
    assert (body["max_tokens"], body["temperature"], body["stop"], body["top_p"]) == (100, 0.5, "9", "7")
    assert 'fix: line 1: a: body.max_tokens "100" made a number, 100' in said
    assert "still has 1 problem" in said
    assert "body.top_p" in said


def test_whole_numbers_with_a_point_are_made_whole_where_others_are_wrong() -> None:
    said, made = mended(chat_line("a", "hi", max_tokens=512.0, temperature=1.0, seed="7.0"))
    body = json.loads(made)["body"]
    assert [repr(body[key]) for key in ("max_tokens", "temperature", "seed")] == ["512", "1.0", "7"]
    assert "fix: line 1: a: body.max_tokens 512.0 made a number, 512" in said


@pytest.mark.parametrize(
    "url", ["/chat/completions", "https://api.openai.com/v1/chat/completions", "v1/chat/completions/"]
)
def test_an_address_of_another_service_is_made_that_of_the_endpoint(url: str) -> None:
    content = chat_line("a", "hi").replace('"/v1/chat/completions"', json.dumps(url))
    Path("r.jsonl").write_text(content)
    assert "--fix" in run("create_batch_file", "--check", "r.jsonl").err.partition("next: ")[2]
    said, made = mended(content)
    assert json.loads(made)["url"] == "/v1/chat/completions"
    assert f"fix: line 1: a: url {url} made /v1/chat/completions" in said


@pytest.mark.parametrize("url", ["/v1/chat", "https://x.example/chat/completions?v=1", 7, None])
def test_an_address_that_is_no_endpoints_stays(url: object) -> None:
    said, _ = mended(chat_line("a", "hi").replace('"/v1/chat/completions"', json.dumps(url)), ExitCode.BAD_INPUT)
    assert "nothing to mend" in said


def test_files_that_were_joined_mark_and_all_are_mended() -> None:
    content = chat_line("a", "hi") + "\ufeff" + chat_line("b", "ho") + "\ufeff" + chat_line("a", "hi")
    Path("r.jsonl").write_text(content)
    ran = run("create_batch_file", "--check", "r.jsonl")
    assert "a byte order mark, which cannot be seen (were files joined there?)" in ran.err
    assert "--fix" in ran.err.partition("next: ")[2]
    said, made = mended(content)
    assert [json.loads(line)["custom_id"] for line in made.splitlines()] == ["a", "b"]
    assert "fix: line 2: byte order mark removed" in said
    assert "fix: line 3: a: removed, identical to line 1" in said


def test_who_made_the_file_is_to_be_told_of_a_request_that_was_removed() -> None:
    said, _ = mended(chat_line("a", "hi") + chat_line("a", "hi"))
    assert "fix: tell whoever made the file what was removed: perhaps another request was meant" in said


def test_the_changes_are_in_the_json_object() -> None:
    Path("theirs.jsonl").write_text(chat_line("a", "hi") + "\n" + chat_line("b", "hi"))
    facts = run("create_batch_file", "theirs.jsonl", "--fix", "mended.jsonl", "--json").facts
    assert "line 2: blank, removed" in facts["notes"]
    assert facts["fixed"] == ["blank lines removed (1)"]


def test_many_changes_of_a_kind_are_cut_after_twenty() -> None:
    said, _ = mended("".join(chat_line(f"a{n}", "x")[:-1] + "\r\n" for n in range(50)))
    assert said.count("CRLF made LF") == 20
    assert "and more of this kind: CRLF line ends made LF" in said
    assert "CRLF line ends made LF (50)" in said


def test_what_is_left_has_the_line_of_both_files() -> None:
    same = chat_line("a", "hi")
    bad = chat_line("bad", "hi", temperature=9)
    said, _ = mended("\n\n" + same + same + bad + same + bad.replace("bad", "worse"), ExitCode.BAD_INPUT)
    assert "mended.jsonl was written, and still has 2 problems" in said
    assert "line 2 (line 5 before --fix): body.temperature: 9" in said
    assert "line 3 (line 7 before --fix): body.temperature: 9" in said


def test_a_file_that_is_in_the_way_is_not_written_and_that_is_said() -> None:
    Path("theirs.jsonl").write_text(chat_line("a", "hi"))
    for out in ("theirs.jsonl", "no folder/x.jsonl"):
        ran = run("create_batch_file", "theirs.jsonl", "--fix", out)
        assert (ran.code, f"{out} was not written" in ran.err) == (ExitCode.BAD_INPUT, True)


def test_a_repeated_id_has_both_numbers_of_its_first_line() -> None:
    bad = chat_line("y", "hi") + "\n" + chat_line("y", "ho")
    said, _ = mended("\n\n" + chat_line("x", "hi") + bad, ExitCode.BAD_INPUT)
    assert 'line 3 (line 6 before --fix): custom_id: duplicate "y" (first on line 2 (line 4 before --fix))' in said


@pytest.mark.parametrize("content", ["\n\n", '{"a": 1}\n'])
def test_that_a_file_was_written_is_said_though_nothing_in_it_can_be_used(content: str) -> None:
    said, _ = mended(content, ExitCode.BAD_INPUT)
    assert "error: mended.jsonl was written, and still has" in said
    assert "line 3 before" not in said


def test_the_same_fix_again_changes_nothing_and_another_replaces_nothing() -> None:
    Path("theirs.jsonl").write_text(chat_line("a", "hi") + "\n")
    first = run("create_batch_file", "theirs.jsonl", "--fix", "mended.jsonl")
    mended = Path("mended.jsonl").read_bytes()
    again = run("create_batch_file", "theirs.jsonl", "--fix", "mended.jsonl")
    assert (again.code, again.out, Path("mended.jsonl").read_bytes()) == (first.code, first.out, mended)
    Path("theirs.jsonl").write_text(chat_line("b", "hi") + "\n")
    assert run("create_batch_file", "theirs.jsonl", "--fix", "mended.jsonl").code == 3
    assert Path("mended.jsonl").read_bytes() == mended


def test_fix_is_advised_only_where_it_mends_something_and_under_a_free_name() -> None:
    Path("r.fixed.jsonl").touch()
    Path("r.jsonl").write_text(chat_line("a", "x") * 2 + chat_line("a", "y"))
    words = shlex.split(run("create_batch_file", "--check", "r.jsonl").err.partition("next: ")[2])
    assert words[-2:] == ["--fix", "r.fixed-2.jsonl"]
    err = run("create_batch_file", *words[2:]).err
    assert "still has 1 problem (1 duplicate_id)" in err
    assert "--fix r" not in err.partition("next: ")[2]


BOTH = chat_line("a", "grün") + chat_line("b", "blau")


@pytest.mark.parametrize("check", ["--check", "upload"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_powershell_writes_is_mended_as_the_error_says(
    encoding: str, end: str, check: str, server: LocalServer
) -> None:
    Path("r.jsonl").write_bytes(BOTH.replace("\n", end).encode(encoding))
    ran = run("upload", "r.jsonl") if check == "upload" else run("create_batch_file", "--check", "r.jsonl")
    assert (ran.code, "a request file is in UTF-8" in ran.err) == (ExitCode.BAD_INPUT, True)
    assert run("create_batch_file", *shlex.split(ran.err.partition("next: ")[2])[2:]).code == 0
    assert Path("r.fixed.jsonl").read_text("utf-8") == BOTH


REQUESTS = [json.loads(chat_line(custom_id, "hi")) for custom_id in "ab"]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(REQUESTS),
        json.dumps(REQUESTS, indent=1),
        "\n".join(json.dumps(request, indent=2) for request in REQUESTS),
        ",\n".join(json.dumps(request) for request in REQUESTS),
    ],
)
def test_requests_that_are_not_one_a_line_are_made_so_by_the_next_command(content: str) -> None:
    Path("r.jsonl").write_text(content)
    for given in (["--check", "r.jsonl"], ["r.jsonl", "--fix", "x.jsonl"]):
        ran = run("create_batch_file", *given)
        assert ran.code == ExitCode.BAD_INPUT
    assert run("create_batch_file", *shlex.split(ran.err.partition("next: ")[2])[2:]).code == 0
    assert [json.loads(line) for line in Path("r.requests.jsonl").read_text().splitlines()] == REQUESTS


@pytest.mark.parametrize(
    ("content", "said", "way"),
    [
        (gzip.compress(b"{}", mtime=0), "compressed (gzip)", "gunzip < r.jsonl > plain-r.jsonl"),
        (b"PAR1....", "a Parquet file", "--input"),
        (b"%PDF-1.7", "a PDF", "pdftotext"),
        (
            b"<!DOCTYPE html>\n<title>Sign in</title>\n",
            "is a web page (is it a sign-in or an error?)",
            "fetch the file again",
        ),
        (chat_line("a", "x").encode("utf-16-le"), "UTF-16-LE without a mark", "iconv -f utf-16-le"),
    ],
)
def test_what_is_no_request_file_is_known_by_its_bytes(content: bytes, said: str, way: str) -> None:
    Path("r.jsonl").write_bytes(content)
    for given in (["--check", "r.jsonl"], ["r.jsonl", "--fix", "x.jsonl"]):
        ran = run("create_batch_file", *given)
        assert ran.code == ExitCode.BAD_INPUT
        assert said in ran.err
        assert way in ran.err
        assert not Path("x.jsonl").exists()


@pytest.mark.parametrize("check", ["--check", "upload"])
def test_the_next_step_is_the_command_that_mends(check: str, server: LocalServer) -> None:
    del server
    Path("their file.jsonl").write_text(number(chat_line("x", "hi"), 7))
    given = ["their file.jsonl", "--json"]
    ran = run("upload", *given) if check == "upload" else run("create_batch_file", "--check", *given)
    assert ran.code == ExitCode.BAD_INPUT
    error = json.loads(ran.err)["error"]
    assert "; --fix mends what needs no guessing" in error["what"]
    words = shlex.split(error["next"])
    assert words[1].endswith("create_batch_file.py")
    assert run("create_batch_file", *words[2:]).code == 0
    assert "7" in Path("their file.fixed.jsonl").read_text()


def test_what_cannot_be_mended_is_to_be_checked_again() -> None:
    Path("r.jsonl").write_text(chat_line("a", "hi", temperature=9))
    err = run("create_batch_file", "--check", "r.jsonl").err
    assert "; mend the lines named, then check again" in err
    assert run("create_batch_file", *shlex.split(err.partition("next: ")[2])[2:]).code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "id,text\n1,good\n2,bad\n"),
        ("rows.jsonl", '{"id": 1, "text": "good"}\n{"id": 2, "text": "bad"}\n'),
        ("rows.txt", "good\nbad\n"),
    ],
)
@pytest.mark.parametrize("check", ["--check", "upload"])
def test_rows_in_place_of_requests_are_told_with_the_command(
    name: str, content: str, check: str, server: LocalServer
) -> None:
    del server
    Path(name).write_text(content)
    ran = run("upload", name) if check == "upload" else run("create_batch_file", "--check", name)
    assert (ran.code, "these are rows, no requests" in ran.err) == (ExitCode.BAD_INPUT, True)
    command = ran.err.partition("next: ")[2].strip()
    words = [{"ASK ABOUT {COLUMN}": "Mood: {text}", "MODEL": "echo"}.get(word, word) for word in shlex.split(command)]
    made = run("create_batch_file", *words[2:])
    assert (made.code, made.out.count("\n")) == (0, 1), made.err


def test_requests_that_are_the_source_are_mended_as_requests() -> None:
    Path("theirs.jsonl").write_text(chat_line("a", "x") * 2)
    err = run("create_batch_file", "r.jsonl", "--input", "theirs.jsonl", "--model", "n").err
    assert "theirs.jsonl --fix " in err
    assert "--id-column" not in err


def test_an_empty_file_and_a_line_too_long_for_a_part_say_what_to_do() -> None:
    Path("r.jsonl").write_text("\n")
    assert "next: put requests into it" in run("create_batch_file", "--check", "r.jsonl").err
    Path("r.jsonl").write_text(chat_line("a", "x"))
    err = run("create_batch_file", "--check", "r.jsonl", "--part-bytes", "10").err
    assert "(--part-bytes)" in err


def test_a_dry_run_goes_neither_with_a_check_nor_with_a_fix() -> None:
    Path("r.jsonl").write_text(chat_line("a", "x"))
    assert run("create_batch_file", "r.jsonl", "--fix", "out.jsonl", "--dry-run").code == ExitCode.USAGE
    assert not Path("out.jsonl").exists()


def test_a_request_that_is_cut_off_is_no_row() -> None:
    Path("r.jsonl").write_text(chat_line("a", "hi")[:60])
    err = run("create_batch_file", "--check", "r.jsonl").err
    assert "these are rows" not in err
    assert "mend the lines named" in err


def test_a_bad_id_column_is_mended_in_the_flags() -> None:
    Path("t.csv").write_text("id,text\na,x\na,y\n")
    ran = run(
        "create_batch_file", "r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--id-column", "id"
    )
    assert "name another --id-column" in ran.err
    assert "--fix" not in ran.err
