"""Flags, paths and settings that cannot be meant: refused before anything is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.jobs import made_from_rows
from support.running import run, write_requests


def test_a_missing_file_is_bad_input_everywhere(server: LocalServer) -> None:
    for command in ("upload", "create_batch", "poll", "download", "run_batch", "retry_failed", "cancel_batch"):
        done = run(command, "nosuch.jsonl")
        assert done.code == 3, command
        assert "no file nosuch.jsonl" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload", "r.jsonl", "--jobs", "0"),
        ("run_batch", "r.jsonl", "--part-requests", "-1"),
        ("run_batch", "r.jsonl", "--timeout-seconds", "nan"),
        ("list_batches", "--limit", "-1"),
    ],
)
def test_a_number_out_of_range_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    write_requests(Path("r.jsonl"), 1)
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cancel_batch", "r.jsonl", "s.jsonl", "--resume"), "--resume takes one request file"),
        (("download", "r.jsonl", "--source", "rows.csv"), "--source and --id-column go together"),
        (("download", "r.jsonl", "--id-column", "id"), "--source and --id-column go together"),
        (("download", "r.jsonl", "--id-prefix", "p-"), "--source and --id-column go together"),
    ],
)
def test_flags_that_belong_together_or_exclude_one_another_are_told(
    server: LocalServer, arguments: tuple[str, ...], said: str
) -> None:
    made_from_rows("r.jsonl")
    made_from_rows("s.jsonl")
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_whoever_names_rows_that_were_moved_is_told_where_they_are_found(server: LocalServer) -> None:
    made_from_rows("r.jsonl")
    assert run("run_batch", "r.jsonl").code == 0
    Path("away").mkdir()
    moved = Path("rows.csv").rename("away/rows.csv")
    for more in ((), ("--id-column", "id")):
        refused = run("download", "r.jsonl", "--source", moved, *more, "--output", "x.csv")
        assert refused.code == 2, refused.err
        assert "put beside the request file" in " ".join(refused.err.split())
    moved.rename("again.csv")
    assert run("download", "r.jsonl", "--output", "x.csv").code == 0


def test_a_search_for_models_takes_any_case(server: LocalServer) -> None:
    assert run("list_models", "--search", "ECHO").lines == run("list_models", "--search", "echo").lines != []


def test_a_base_url_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "some-key")
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://[abc")
    assert run("list_models").code == 2


def test_a_prompt_without_a_column_a_wrong_id_column_and_rows_in_place_of_requests_are_said_plainly(
    server: LocalServer,
) -> None:
    made_from_rows()
    same = ["--input", "rows.csv", "--model", "echo", "--prompt", "One word", "--max-tokens", "5"]
    warned = run("create_batch_file", "same.jsonl", *same, "--json")
    assert warned.code == 0
    assert "all 20 requests ask the same" in warned.facts["warnings"][0]
    wrong = run(
        "create_batch_file", "x.jsonl", "--input", "rows.csv", "--model", "m", "--prompt", "{text}", "--id-column", "nr"
    )
    assert wrong.code == 3
    assert "no column 'nr' for --id-column; there are: id, text" in wrong.err
    refused = run("upload", "rows.csv")
    assert refused.code == 3
    assert "create_batch_file.py rows.jsonl --input rows.csv" in refused.err


def test_without_a_key_any_model_will_do_until_there_is_one(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("rows.csv").write_text("id,text\n1,a\n2,b\n")
    key = os.environ["DOUBLEWORD_API_KEY"]
    monkeypatch.delenv("DOUBLEWORD_API_KEY")
    asked = ["create_batch_file", "r.jsonl", "--input", "rows.csv", "--prompt", "{text}"]
    none = run(*asked)
    assert (none.code, "--model MODEL will do" in none.err) == (2, True)
    assert run(*asked, "--model", "MODEL").code == 0
    assert run("run_batch", "r.jsonl").code == 4
    monkeypatch.setenv("DOUBLEWORD_API_KEY", key)
    assert run("run_batch", "r.jsonl").code == 3
    assert run(*asked, "--model", "echo").code == 0
    assert run("run_batch", "r.jsonl").code == 0
