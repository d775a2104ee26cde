"""How a job begins: what may be replaced, what its record knows from the start, and names that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from doubleword.base.failures import ExitCode
from doubleword.base.own_files import own_folder
from doubleword.job.job import Job
from doubleword.request_file.answer_form import Expected, expected_in
from local_server.app import LocalServer
from support.oracle import LocalOracle
from support.running import FastClock, Ran, chat_line, run, write_requests


def create(name: str = "r.jsonl", *flags: str | Path, source: str = "t.csv", prompt: str = "{text}") -> Ran:
    if source == "t.csv":
        Path(source).write_text("id,text\n1,good\n2,bad\n")
    return run("create_batch_file", name, "--input", source, "--model", "echo", "--prompt", prompt, *flags)


def test_a_request_file_tells_what_every_answer_must_be() -> None:
    create("r.jsonl", "--choices", "good,bad")
    assert expected_in(Path("r.jsonl")) == Expected(choices=("good", "bad"))
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "object"}}}
    Path("s.json").write_text(json.dumps(schema))
    create("s.jsonl", "--schema", "s.json")
    assert expected_in(Path("s.jsonl")) == Expected(schema=schema, columns=("b", "a"))
    create("t.jsonl")
    assert expected_in(Path("t.jsonl")) is None


def test_a_request_file_made_elsewhere_is_known_by_what_it_asks_for(server: LocalServer) -> None:
    del server
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "enum": ["a", "b"]}}}
    lines = [chat_line(f"r{n}", "x", response_format=asked) for n in range(20)]
    Path("same.jsonl").write_text("".join(lines))
    Path("mixed.jsonl").write_text("".join(lines) + chat_line("other", "x"))
    assert run("upload", "same.jsonl").code == run("upload", "mixed.jsonl").code == 0
    assert expected_in(Path("same.jsonl")) == Expected(choices=("a", "b"))
    assert expected_in(Path("mixed.jsonl")) is None


def test_nothing_is_replaced_while_another_copy_is_at_work_on_the_job() -> None:
    """It may be uploading the file that is there, so the lock comes before the check and is kept over the rename."""
    create()
    before = Path("r.jsonl").read_bytes()
    other, clock = Job.need(Path("r.jsonl")), FastClock()
    with other.locked(clock):
        assert create(prompt="New: {text}").code == ExitCode.TEMPORARY
    assert Path("r.jsonl").read_bytes() == before
    assert not list(Path().glob(".*"))


def test_rows_are_never_replaced_by_their_requests() -> None:
    Path("rows.jsonl").write_text('{"text": "x"}\n')
    Path("link.jsonl").symlink_to("rows.jsonl")
    for name in ("rows.jsonl", "link.jsonl"):
        ran = create(name, source="rows.jsonl")
        assert (ran.code, "would be one of the rows" in ran.err) == (ExitCode.BAD_INPUT, True)
    assert Path("rows.jsonl").read_text() == '{"text": "x"}\n'
    assert not list(Path().glob("*.job"))


def test_a_request_file_made_by_hand_is_not_replaced_by_itself(server: LocalServer) -> None:
    del server
    Path("r.jsonl").write_text(chat_line("a", "x"))
    assert run("create_batch_file", "r.jsonl", "--input", "r.jsonl", "--model", "n").code == ExitCode.BAD_INPUT
    assert run("upload", "r.jsonl").code == 0
    assert run("create_batch_file", "r.jsonl", "--input", "r.jsonl", "--model", "n").code == ExitCode.BAD_INPUT
    assert Path("r.jsonl").read_text() == chat_line("a", "x")


def test_requests_are_not_written_among_the_rows_of_a_folder() -> None:
    Path("texts/deep").mkdir(parents=True)
    Path("texts/a.txt").write_text("x")
    for name in ("texts/r.jsonl", "texts/../texts/r.jsonl"):
        assert "would be one of the rows" in create(name, source="texts").err
    assert create("r.jsonl", source="texts").code == 0


def test_a_broken_link_or_a_folder_in_the_way_is_not_replaced() -> None:
    Path("r.jsonl").symlink_to("nowhere")
    assert create().code == ExitCode.BAD_INPUT
    assert not Path("nowhere").exists()
    Path("d.jsonl").mkdir()
    assert create("d.jsonl").code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("name", ["x" * 245 + ".jsonl", "漢" * 81 + ".jsonl", "x" * 300 + ".jsonl"])
def test_a_name_too_long_for_the_files_beside_it_is_refused_at_the_start(name: str, server: LocalServer) -> None:
    del server
    ran = create(name)
    assert (ran.code, "the name is too long" in ran.err) == (ExitCode.BAD_INPUT, True)
    if len(name.encode()) <= 255:
        Path(name).write_text(chat_line("a", "x"))
        ran = run("upload", name)
        assert (ran.code, "the name is too long" in ran.err) == (ExitCode.BAD_INPUT, True)


def test_a_missing_folder_is_named() -> None:
    assert "there is no folder no" in create("no/r.jsonl").err


def test_a_request_file_edited_after_its_upload_is_not_submitted(server: LocalServer) -> None:
    del server
    create()
    assert run("upload", "r.jsonl").code == 0
    Path("r.jsonl").write_bytes(Path("r.jsonl").read_bytes().replace(b"good", b"evil"))
    ran = run("run_batch", "r.jsonl")
    assert (ran.code, "changed since it was uploaded" in ran.err) == (ExitCode.BAD_INPUT, True)


@pytest.mark.parametrize("command", ["run_batch", "upload", "create_batch", "download", "retry_failed", "cancel_batch"])
def test_a_request_file_in_a_folder_that_is_called_like_a_jobs_is_refused_by_every_command(
    server: LocalServer, oracle: LocalOracle, command: str
) -> None:
    del server
    Path("nightly.job").mkdir()
    write_requests(Path("nightly.job/reviews.jsonl"), 3, "right {n}")
    write_requests(Path("reviews.jsonl"), 5, "wrong {n}")

    for _ in range(2):
        ran = run(command, "nightly.job/reviews.jsonl")
        assert ran.code == 3, ran.err
        assert "move it out of nightly.job" in ran.err
    assert not oracle.batches()
    assert [path.name for path in Path("nightly.job").iterdir()] == ["reviews.jsonl"]


def test_in_a_jobs_folder_only_its_own_files_name_it(server: LocalServer, oracle: LocalOracle) -> None:
    del server
    assert run("upload", write_requests(Path("reviews.jsonl"), 2)).code == 0
    write_requests(Path("reviews.job/attempt-7.jsonl"), 3, "another {n}")

    assert run("run_batch", "reviews.job/attempt-7.jsonl").code == 3
    assert not oracle.batches()
    assert run("run_batch", "reviews.job/record.json").code == 0


def test_within_a_jobs_folder_its_files_are_no_request_files(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    assert run("run_batch", write_requests(Path("r.jsonl"), 20), "--trial", "3").code == 8
    monkeypatch.chdir("r.job")
    (attempt,) = Path().glob("attempt-1*.jsonl")

    for command in ("run_batch", "upload"):
        refused = run(command, attempt)
        assert refused.code == 3, refused.err
        assert "move it out of r.job" in refused.err
    assert len(oracle.batches()) == 1
    assert not list(Path().glob("*.job"))


def test_a_request_file_that_is_submitted_between_the_check_and_the_rename_stays(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert create().code == 0
    before, real, ran = Path("r.jsonl").read_bytes(), own_folder, list[int]()

    def meanwhile(*arguments: Any) -> Path:
        if not ran:
            ran.append(run("upload", "r.jsonl").code)
            ran.append(run("create_batch", "r.jsonl").code)
        return real(*arguments)

    monkeypatch.setattr("doubleword.job.begin.own_folder", meanwhile)
    refused = create(prompt="New: {text}")

    assert ran == [0, 0]
    assert (refused.code, "was already uploaded with other content" in refused.err) == (ExitCode.BAD_INPUT, True)
    assert Path("r.jsonl").read_bytes() == before


def test_a_job_whose_names_were_written_in_another_form_on_the_way_goes_on(server: LocalServer) -> None:
    del server
    composed, apart = "r\u00e9sum\u00e9", "re\u0301sume\u0301"
    assert run("upload", write_requests(Path(f"{composed}.jsonl"), 3)).code == 0
    Path(f"{composed}.jsonl").rename(f"{apart}.jsonl")
    Path(f"{composed}.job").rename(f"{apart}.job")
    done = run("run_batch", f"{apart}.jsonl")
    assert done.code == 0, done.err
    assert done.lines == [f"{apart}.results.jsonl"]
    for path in [*Path().glob("r*")]:
        path.rename(normalize("NFC", path.name))
    assert run("download", f"{composed}.jsonl").code == 0
    for path in [*Path().glob("r*")]:
        path.rename(normalize("NFD", path.name))
    assert run("download", f"{apart}.job").code == 0
    Path(f"{apart}.job").rename("other.job")
    Path(f"{apart}.jsonl").rename("other.jsonl")
    assert run("run_batch", "other.jsonl").code == 3
