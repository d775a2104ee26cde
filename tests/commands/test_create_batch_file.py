"""create_batch_file.py as its users meet it: what it writes, prints, refuses, and leaves alone."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from doubleword.base.failures import Clock, ExitCode
from doubleword.base.files import digest
from doubleword.job.job import Job
from doubleword.job.record import Upload
from doubleword.request_file import endpoints as known
from doubleword.rows import source as sources
from doubleword.rows.source_moved import located
from support.pictures import GIF, PNG
from support.running import COMMANDS, SCRIPTS, Ran, chat_line, run, run_process

REVIEWS = Path(__file__).parent.parent / "data" / "reviews.csv"
PROMPT = "Label this review: {text}"
KEYS = {"request_file", "requests", "bytes", "parts", "models", "endpoint", "input_tokens", "notes", "warnings"}
KEYS |= {"preview", "fixed", "job", "reused", "next"}


def create(*arguments: str | Path, **flags: Any) -> Ran:
    """create_batch_file.py r.jsonl --model m, with more flags: `prompt="..."` is --prompt."""
    given: list[str | Path] = list(arguments) or ["r.jsonl"]
    for name, value in ({"model": "m"} | flags).items():
        given += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return run("create_batch_file", *given)


def requests(name: str = "r.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_bytes().splitlines()]


def bodies(**flags: Any) -> list[dict[str, Any]]:
    ran = create(**flags)
    assert ran.code == 0, ran.err
    return [request["body"] for request in requests()]


def table(content: str = "id,text\n1,good\n2,bad\n", name: str = "t.csv") -> Path:
    Path(name).write_text(content, "utf-8", newline="")
    return Path(name)


# --- the straight path -----------------------------------------------------------------------------


def test_every_row_of_the_real_table_becomes_its_request() -> None:
    ran = create(input=REVIEWS, prompt=PROMPT, system="Be brief.", max_tokens=20, temperature=0)
    assert (ran.code, ran.out) == (ExitCode.DONE, "r.jsonl\n")
    with REVIEWS.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert requests() == [
        {
            "custom_id": f"row-{number:06d}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "m",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": PROMPT.replace("{text}", row["text"])},
                ],
                "max_tokens": 20,
                "temperature": 0.0,
            },
        }
        for number, row in enumerate(rows, 1)
    ]


def test_lines_begin_with_the_id_and_are_unescaped_utf_8() -> None:
    create(input=table("id,text\nä,日本 🙂\n"), prompt="{text}", id_column="id")
    assert Path("r.jsonl").read_bytes().startswith('{"custom_id": "ä", "method": "POST", "url": "/v1/'.encode())
    assert "日本 🙂".encode() in Path("r.jsonl").read_bytes()


def test_the_job_record_knows_where_the_rows_came_from() -> None:
    create(input=table(), prompt="{text}", id_column="id", limit=1)
    job = Job.need(Path("r.jsonl"))
    source = job.record.source
    assert source is not None
    assert source.path == "t.csv"  # relative, so that the folder can move
    assert source.sha256 == digest(Path("t.csv"))
    assert (source.format, source.id_column, source.limit, source.used) == ("csv", "id", 1, ("text",))
    assert job.requests.requests == 1


def test_the_rows_read_again_from_the_record_have_the_ids_of_the_requests() -> None:
    create(input=REVIEWS, prompt="{text} {product}", sample=24, seed=3)
    job = Job.need(Path("r.jsonl"))
    source = job.record.source
    assert source is not None
    again = [row.custom_id for row in source.read() if row.custom_id is not None]
    assert again == [request["custom_id"] for request in requests()]
    assert len(again) == 24
    assert located(source, Path.cwd()) == source


@pytest.mark.parametrize("flags", [{"input": REVIEWS}, {"input": REVIEWS, "dry_run": ""}, {"check": "r.jsonl"}])
def test_the_json_object_has_the_same_keys_every_time(flags: dict[str, Any]) -> None:
    create(input=REVIEWS, prompt="{text}")
    given = [w for k, v in flags.items() for w in (f"--{k.replace('_', '-')}", v) if w != ""]
    making = [] if "check" in flags else ["r.jsonl", "--model", "m", "--prompt", "{text}"]
    assert run("create_batch_file", *making, "--json", *given).facts.keys() == KEYS


def test_the_facts_name_sizes_and_the_next_command() -> None:
    facts = create("r.jsonl", "--json", input=REVIEWS, prompt="{text}", part_requests=100).facts
    assert (facts["requests"], facts["parts"], facts["models"]) == (300, 3, {"m": 300})
    assert facts["bytes"] == Path("r.jsonl").stat().st_size
    assert facts["next"].endswith("upload.py r.jsonl")
    assert facts["job"] == "r.job"
    assert facts["input_tokens"] > 300 * 15


def test_prompts_alone_are_a_request_each_and_are_no_templates() -> None:
    ran = run("create_batch_file", "r.jsonl", "--model", "m", "--prompt", "Name a {river}.", "--prompt", "{{x}}")
    assert ran.code == 0
    assert [r["body"]["messages"] for r in requests()] == [
        [{"role": "user", "content": "Name a {river}."}],
        [{"role": "user", "content": "{{x}}"}],
    ]
    assert [r["custom_id"] for r in requests()] == ["row-000001", "row-000002"]
    assert Job.need(Path("r.jsonl")).record.source is None


def test_stdin_is_kept_as_a_source_that_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"id,text\n1,good\n")))
    ran = create(input="-", prompt="{text}")
    assert ran.code == 0
    (kept,) = Path().glob("r.job/input-*.csv")
    assert str(kept) in ran.err
    source = Job.need(Path("r.jsonl")).record.source
    assert source is not None
    assert source.path == str(kept)


# --- bodies ----------------------------------------------------------------------------------------


ENDPOINTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/v1/completions": ({"max_tokens": 3, "stop": "x"}, {"prompt": "good", "max_tokens": 3, "stop": ["x"]}),
    "embeddings": ({"set": "dimensions=8"}, {"input": "good", "dimensions": 8}),
    "/v1/responses": (
        {"max_tokens": 3, "system": "S"},
        {"instructions": "S", "input": "good", "max_output_tokens": 3},
    ),
    "messages": (
        {"max_tokens": 3, "system": "S {id}", "stop": "x"},
        {
            "system": "S 1",
            "messages": [{"role": "user", "content": "good"}],
            "max_tokens": 3,
            "stop_sequences": ["x"],
        },
    ),
}


@pytest.mark.parametrize("url", ENDPOINTS)
def test_each_endpoint_gets_the_body_it_takes(url: str) -> None:
    flags, expected = ENDPOINTS[url]
    assert bodies(input=table(), prompt="{text}", limit=1, endpoint=url, **flags) == [{"model": "m"} | expected]


def test_parameters_come_as_they_are_given() -> None:
    ran = run(
        "create_batch_file",
        *["r.jsonl", "--input", str(table()), "--model", "m", "--prompt", "{text}", "--top-p", "0.5"],
        *["--stop", "a", "--stop", "b", "--set", 'reasoning_effort="low"', "--set", 'logit_bias={"5": 1}'],
    )
    assert ran.code == 0
    body = requests()[0]["body"]
    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == {
        "top_p": 0.5,
        "stop": ["a", "b"],
        "reasoning_effort": "low",
        "logit_bias": {"5": 1},
    }


def test_several_turns_come_from_a_template_file() -> None:
    turns = [
        {"role": "system", "content": "You know {id}."},
        {"role": "user", "content": [{"type": "text", "text": "{text}"}]},
        {"role": "assistant", "content": 'Like {"a": 1}'},
        {"role": "user", "content": "Go on."},
    ]
    Path("turns.json").write_text(json.dumps(turns))
    assert bodies(input=table(), template="turns.json", limit=1)[0]["messages"] == [
        {"role": "system", "content": "You know 1."},
        {"role": "user", "content": [{"type": "text", "text": "good"}]},
        *turns[2:],
    ]


def test_a_schema_makes_structured_output_and_a_bad_one_is_refused() -> None:
    schema = {"type": "object", "properties": {"label": {"enum": ["a", "{text}"]}}}
    Path("my label.json").write_text(json.dumps(schema))
    (body, _) = bodies(input=table(), prompt="{text}", schema="my label.json")
    named = {"name": "my_label", "schema": schema, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": named}
    Path("w.json").write_text(json.dumps({"name": "n", "schema": schema}))
    (body, _) = bodies(input="t.csv", prompt="{text}", schema="w.json", endpoint="responses")
    assert body["text"] == {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    for bad in ('{"type": "objekt"}', "[1]", "{", "5"):
        Path("bad.json").write_text(bad)
        assert create("b.jsonl", input="t.csv", prompt="{text}", schema="bad.json").code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("schema", "right"),
    [({"type": "object"}, True), ({"$ref": "#/x", "x": {}}, True), ({"kind": 1}, False), ([], False)],
)
def test_without_jsonschema_a_schema_is_judged_by_its_shape(
    schema: Any, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    Path("s.json").write_text(json.dumps(schema))
    assert (create(input=table(), prompt="{text}", schema="s.json").code == 0) == right


def test_tools_are_put_into_every_request() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    Path("tools.json").write_text(json.dumps(tools))
    assert all(body["tools"] == tools for body in bodies(input=table(), prompt="{text}", tools="tools.json"))


def test_an_image_stands_beside_the_text() -> None:
    Path("in").mkdir()
    Path("in/a.png").write_bytes(PNG)
    source = table("picture,text\na.png,one\nhttps://x.example/b.png,two\n", "in/t.csv")
    first, second = bodies(input=source, prompt="See {text}", image_column="picture")
    assert first["messages"][0]["content"] == [
        {"type": "text", "text": "See one"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
    ]
    assert second["messages"][0]["content"][1]["image_url"]["url"] == "https://x.example/b.png"
    (body, _) = bodies(input=source, prompt="See {text}", image_column="picture", endpoint="responses")
    assert body["input"][0]["content"][1] == {
        "type": "input_image",
        "image_url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
    }


def test_a_folder_of_images_and_one_of_texts_give_a_request_a_file() -> None:
    for folder, content in (("images", GIF), ("texts", b"words")):
        Path(folder).mkdir()
        for name in "ab":
            Path(folder, name).write_bytes(content)
    made = bodies(input="images", prompt="What is on {file}?")
    assert [m["messages"][0]["content"][0]["text"] for m in made] == ["What is on a?", "What is on b?"]
    assert made[0]["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/gif;base64,")
    made = bodies(input="texts", prompt="{file}: {text}")
    assert [m["messages"][0]["content"] for m in made] == ["a: words", "b: words"]


def test_an_image_that_cannot_be_read_is_named_with_its_row() -> None:
    ran = create(input=table("p\nnone.png\n"), prompt="x", image_column="p")
    assert ran.code == ExitCode.BAD_INPUT
    assert "line 2: there is no file" in ran.err


def test_a_request_file_made_elsewhere_keeps_its_ids_and_takes_what_is_set() -> None:
    create("theirs.jsonl", input=table(), prompt="{text}", id_column="id", temperature=1)
    made = bodies(input="theirs.jsonl", model="other", max_tokens=5)
    assert made[0] == {
        "model": "other",
        "messages": [{"role": "user", "content": "good"}],
        "temperature": 1.0,
        "max_tokens": 5,
    }
    assert [request["custom_id"] for request in requests()] == ["1", "2"]


# --- the same again, and what is in the way --------------------------------------------------------


def test_the_same_again_changes_nothing() -> None:
    create(input=table(), prompt="{text}")
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in map(Path, ("r.jsonl", "r.job/record.json"))
    }
    ran = create(input="t.csv", prompt="{text}")
    assert (ran.code, ran.out) == (0, "r.jsonl\n")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}


def test_something_else_replaces_what_was_not_uploaded_and_never_what_was() -> None:
    create(input=table(), prompt="{text}")
    assert create(input="t.csv", prompt="New: {text}").code == 0
    assert requests()[0]["body"]["messages"][0]["content"] == "New: good"
    job = Job.need(Path("r.jsonl"))
    with job.locked(Clock()):
        job.latest.parts[0].upload = Upload("x", "y")
        job.save()
    before = Path("r.jsonl").read_bytes(), Path("r.job/record.json").read_bytes()
    assert create(input="t.csv", prompt="New: {text}").code == 0
    ran = create(input="t.csv", prompt="Third: {text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "already uploaded" in ran.err
    assert before == (Path("r.jsonl").read_bytes(), Path("r.job/record.json").read_bytes())


def test_a_file_that_is_not_ours_is_never_overwritten() -> None:
    table('{"text": "x"}\n', "rows.jsonl")
    ran = create("rows.jsonl", input="rows.jsonl", prompt="{text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert Path("rows.jsonl").read_text() == '{"text": "x"}\n'
    create(input=table(), prompt="{text}")
    Path("r.jsonl").write_bytes(Path("r.jsonl").read_bytes() + b"\n")  # edited by hand
    assert create(input="t.csv", prompt="Other: {text}").code == ExitCode.BAD_INPUT


def test_a_failure_leaves_nothing_behind() -> None:
    before = set(Path().iterdir()) | {table('text\ngood\n""\n')}
    assert create(input="t.csv", prompt="{text}").code == ExitCode.BAD_INPUT
    assert create(input="t.csv", prompt="{text}", empty="keep", temperature=9).code == ExitCode.USAGE
    assert create(input="t.csv", prompt="{nope}").code == ExitCode.BAD_INPUT
    assert create("r.jsonl", "--dry-run", input="t.csv", prompt="{text}", empty="skip").code == 0
    assert set(Path().iterdir()) == before


# --- what is refused -------------------------------------------------------------------------------


def test_no_source_is_wrong_usage_and_shows_three_examples() -> None:
    for ran in (run("create_batch_file"), run("create_batch_file", "r.jsonl"), create("r.jsonl")):
        assert (ran.code, ran.out) == (ExitCode.USAGE, "")
        assert ran.err.count("\n  create_batch_file.py ") == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["r.csv", "--prompt", "x"],
        ["r.jsonl", "--input", "t.csv"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--prompt", "b"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--template", "t.json"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--limit", "0"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--limit", "1", "--sample", "1"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--part-requests", "50001"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--set", "user=me"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--set", "5"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--endpoint", "/v1/images"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--endpoint", "embeddings", "--system", "x"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--endpoint", "messages", "--schema", "s.json"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--nonsense"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--max-tokens", "many"],
        ["r.jsonl", "--input", "t.csv", "--prompt", "a", "--delimiter", "::"],
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_is_right(arguments: list[str]) -> None:
    table()
    Path("s.json").write_text('{"type": "object"}')
    ran = run("create_batch_file", "--model", "m", *arguments)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert "error: " in ran.err
    assert not Path("r.jsonl").exists()


OF_ROWS = [
    "--limit=1",
    "--sample=1",
    "--id-column=x",
    "--format=csv",
    "--delimiter=;",
    "--encoding=latin-1",
    "--sheet=2",
]
OF_ROWS += ["--match=*.x", "--recursive", "--empty=refuse", "--image-column=x", "--template=t.json"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *(([*["r.jsonl", "--prompt", "hi", "--model", "m"], flag], flag.partition("=")[0]) for flag in OF_ROWS),
        (["r.jsonl", "--prompt", "hi", "--model", "m", "--seed", "0"], "--seed"),
        (["r.jsonl", "--input", "t.csv", "--prompt", "{text}", "--model", "m", "--seed", "0"], "--seed"),
        (
            ["r.jsonl", "--input", "t.csv", "--prompt", "{text}", "--model", "m", "--dry-run", "--reuse", "old.jsonl"],
            "--reuse",
        ),
        (["--check", "t.jsonl", "--model", "m"], "--model"),
        (["--check", "t.jsonl", "--dry-run"], "--dry-run"),
        (["--check", "t.jsonl", "--seed", "0"], "--seed"),
        (["--check", "t.jsonl", "--fix", "u.jsonl"], "--fix"),
        (["r.jsonl", "--check", "t.jsonl"], "REQUESTS"),
        (["--check", "t.jsonl", "--input", "t.csv", "--prompt", "x"], "--input, --prompt"),
        (["t.jsonl", "--fix", "u.jsonl", "--set", "seed=1"], "--set"),
        (["t.jsonl", "--fix", "u.jsonl", "--empty", "skip", "--reuse", "o.jsonl"], "--empty, --reuse"),
        (["r.jsonl", "--input", "t.jsonl", "--model", "m", "--id-column", "custom_id"], "--id-column"),
        (["r.jsonl", "--input", "t.jsonl", "--model", "m", "--empty", "skip"], "--empty"),
        (["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", ""], "--prompt is empty"),
        (["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--stop="], "--stop is empty"),
        (["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--reuse", ""], "--reuse is empty"),
        ([""], "an argument is empty"),
        (
            ["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--set", "best_of=2"],
            "--set best_of=2",
        ),
        (
            ["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--set", 'extra_body={"n":3}'],
            "--set extra_body",
        ),
    ],
)
def test_a_flag_that_would_have_no_effect_is_refused_with_its_name(arguments: list[str], named: str) -> None:
    table()
    Path("t.jsonl").write_text(chat_line("a", "hi"))
    ran = run("create_batch_file", *arguments)
    assert (ran.code, ran.out) == (ExitCode.USAGE, ""), ran.err
    assert named in ran.err.partition("\n")[0]
    assert sorted(os.listdir()) == ["t.csv", "t.jsonl"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_argument_is_wrong_usage_everywhere(command: str) -> None:
    ran = run(command, "")
    assert (ran.code, "is empty" in ran.err) == (ExitCode.USAGE, True)


def test_what_looks_like_a_column_where_there_is_none_is_said() -> None:
    assert "there are no rows (--input), so sent as written: {text}" in create(prompt="Mood of: {text}").err
    ran = create("s.jsonl", "--set", 'metadata={"a": "{text}"}', input=table(), prompt="{id}")
    assert "parameters (--set, --stop, --choices) are no templates, so sent as written: {text}" in ran.err
    ran = create("u.jsonl", input=table(), prompt="{{text}} of {id}")
    assert "sent as written: {{text}} (one pair of" in ran.err
    assert requests("u.jsonl")[0]["body"]["messages"][0]["content"] == "{text} of 1"


def test_a_header_that_comes_again_is_said_with_its_line() -> None:
    for name, mark in (("t.csv", ""), ("u.csv", "\ufeff")):
        ran = create(f"{name}.jsonl", input=table(f"id,text\n1,a\n{mark}id,text\n2,b\n", name), prompt="{text}")
        assert "a row is the header once more; were files joined there? (3)" in ran.err
    assert "none of its cells has a header" in create("w.jsonl", input=table(",,\n1,2,3\n"), prompt="{text}").err


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_texts_of_the_command_line_are_utf_8_in_a_plain_locale_too() -> None:
    Path("t.csv").write_text("idé,text\n1,good\n", "utf-8")
    flags = ["--id-column", "idé", "--model", "m", "--prompt", "é {text}", "--system", "ü", "--choices", "ja,né"]
    ran = run_process("create_batch_file", "r.jsonl", "--input", "t.csv", *flags, env=PLAIN)
    assert ran.code == 0, ran.err
    assert requests()[0]["body"]["messages"] == [
        {"role": "system", "content": "ü"},
        {"role": "user", "content": "é good"},
    ]
    bad = [*flags[:5], os.fsdecode(b"caf\xe9 {text}")]
    assert run("create_batch_file", "s.jsonl", "--input", "t.csv", *bad).code == ExitCode.USAGE


def test_a_file_whose_name_is_no_text_can_be_checked() -> None:
    Path(os.fsdecode(b"b\xff.jsonl")).write_text(chat_line("a", "hi"))
    assert run("create_batch_file", "--check", os.fsdecode(b"b\xff.jsonl")).code == 0


def test_a_dry_run_of_rows_from_a_pipe_leaves_nothing_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\na\n")))
    ran = create("r.jsonl", "--dry-run", input="-", prompt="{text}")
    assert (ran.code, ran.out.count("\n")) == (0, 1)
    assert (os.listdir(), sorted(tmp_path.iterdir())) == ([], before)


def test_lines_from_a_pipe_are_told_the_flag() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            SCRIPTS / "create_batch_file.py",
            *["r.jsonl", "--input", "-", "--model", "m", "--prompt", "{text}"],
        ],
        input=b"one\ntwo, three\n",
        capture_output=True,
    )
    assert ran.returncode == ExitCode.BAD_INPUT
    assert b"plain lines: --format lines" in ran.stderr
    assert os.listdir() == []


def test_no_model_is_wrong_usage() -> None:
    ran = create(input=table(), prompt="{text}", model=None)
    assert ran.code == ExitCode.USAGE
    assert "--model" in ran.err


def test_spaces_around_the_name_of_a_model_are_none_of_it() -> None:
    assert {body["model"] for body in bodies(input=table(), prompt="{text}", model=" M\n")} == {"M"}
    assert create(input=table(), prompt="{text}", model=" ").code == ExitCode.USAGE


def test_an_unknown_name_in_the_template_is_refused_with_the_headers() -> None:
    ran = create(input=table(), prompt="{review}")
    assert (ran.code, ran.out) == (ExitCode.BAD_INPUT, "")
    assert "{review}" in ran.err
    assert "{id}, {text}" in ran.err


def test_a_name_that_only_some_json_rows_have_is_an_empty_cell_not_an_unknown_one() -> None:
    table('{"a": 1}\n{"b": 1}\n', "t.jsonl")
    ran = create(input="t.jsonl", prompt="{b}")
    assert "line 1: b: empty" in ran.err
    assert create(input="t.jsonl", prompt="{b}", empty="skip").code == 0
    assert [request["custom_id"] for request in requests()] == ["row-000002"]


def test_empty_cells_are_refused_with_every_line_kept_or_skipped() -> None:
    table("id,text\n" + "".join(f"{n},{'x' if n % 2 else ' '}\n" for n in range(60)))
    ran = create(input="t.csv", prompt="{text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "30 rows with an empty cell" in ran.err
    assert "  line 2: text: empty; expected a text\n  line 4: " in ran.err
    assert ran.err.count("expected a text") == 20
    assert len(bodies(input="t.csv", prompt="{text}", empty="keep")) == 60
    assert len(bodies(input="t.csv", prompt="{text}", empty="skip")) == 30


def test_problems_name_the_line_of_the_source() -> None:
    table('id,text\na,"two\nlines"\n\nb,x\na,y\n' + "z" * 65 + ",x\n")
    ran = create(input="t.csv", prompt="{text}", id_column="id")
    assert ran.code == ExitCode.BAD_INPUT
    assert 'line 6: custom_id: duplicate "a" (first on line 2)' in ran.err
    assert "line 7: custom_id: " in ran.err
    assert "2 problems (1 custom_id, 1 duplicate_id)" in ran.err


def test_an_error_with_json_is_one_json_line() -> None:
    ran = create("r.jsonl", "--json", input=table('text\n""\n'), prompt="{text}")
    error = json.loads(ran.err)["error"]
    assert (ran.code, ran.out, error["code"]) == (3, "", 3)
    assert error["problems"][0]["line"] == 2


def test_a_source_without_rows_is_refused() -> None:
    assert "no row" in create(input=table("id,text\n"), prompt="{text}").err
    assert "no row" in create(input=table("id,text\n1, \n"), prompt="{text}", empty="skip").err


def test_a_half_surrogate_pair_in_a_cell_is_refused_with_its_line() -> None:
    ran = create(input=table('{"t": "a"}\n{"t": "\\ud83d"}\n', "t.jsonl"), prompt="{t}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "line 2: half of a surrogate pair" in ran.err


def test_of_a_folder_the_file_is_named_in_place_of_a_line() -> None:
    Path("in").mkdir()
    for name, content in (("a.txt", "x"), ("blank.txt", " \n"), ("empty.txt", ""), ("same.txt", "x")):
        Path("in", name).write_text(content)
    ran = create("r.jsonl", "--json", input=Path("in"), prompt="{text}")
    assert [problem["text"].split(":")[0] for problem in json.loads(ran.err)["error"]["problems"]] == [
        "blank.txt",
        "empty.txt",
    ]
    ran = create("r.jsonl", "--empty", "skip", input=Path("in"), prompt="{text}")
    assert "no request for 2 x row with an empty cell in a column that is used (blank.txt, empty.txt)" in ran.err
    ran = create("r.jsonl", "--empty", "skip", "--id-column", "text", input=Path("in"), prompt="{text}")
    assert "same.txt: custom_id: duplicate" in ran.err


def test_a_file_name_that_is_no_text_is_named_with_the_way_on() -> None:
    Path("in").mkdir()
    for name in (b"in/caf\xe9.txt", b"in/a.txt"):
        Path(os.fsdecode(name)).write_text("x")
    for asked in (["--prompt", "{file}"], ["--prompt", "{text}", "--id-column", "file"]):
        ran = create("r.jsonl", *asked, input=Path("in"))
        assert ran.code == ExitCode.BAD_INPUT
        assert "caf\\udce9.txt: its name is not UTF-8" in ran.err
        assert "rename the file" in ran.err
    assert create(input=Path("in"), prompt="{text}").code == 0


def test_of_a_workbook_the_other_sheets_and_formulas_are_told() -> None:
    book = openpyxl.Workbook()
    for row in (["notes", "sum"], ["a", "=1+1"]):
        book.active.append(row)
    book.create_sheet("Rows").append(["text"])
    book.save("t.xlsx")
    ran = create(input="t.xlsx", prompt="{text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "there are: {notes}, {sum} in the sheet 'Sheet'; other sheets, for --sheet: 'Rows'" in ran.err
    assert "formulas until the workbook is saved in Excel" in create(input="t.xlsx", prompt="{sum}").err


def test_a_python_without_sqlite_makes_requests() -> None:
    Path("t.csv").write_text("text\na\n")
    script = str(SCRIPTS / "create_batch_file.py")
    words = [script, "r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}"]
    without = f"import runpy, sys; sys.modules['sqlite3'] = None; sys.argv = {words}; "
    without += f"runpy.run_path({script!r}, None, '__main__')"
    ran = subprocess.run([sys.executable, "-B", "-c", without], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_stdin_that_is_no_text_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"text\na\n"))))
    ran = create(input="-", prompt="{text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "stdin is compressed (gzip)" in ran.err
    assert "gunzip < FILE > OUT" in ran.err
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "my rows"])
def test_the_command_that_unpacks_works_whatever_the_file_is_called(name: str) -> None:
    Path(name).write_bytes(gzip.compress(b"text\na\n"))
    ran = create(input=name, prompt="{text}")
    command = ran.err.split("next: ")[1].strip()
    subprocess.run(command, shell=True, check=True)
    (made,) = set(os.listdir()) - {name}
    assert Path(made).read_bytes() == b"text\na\n"


def test_a_full_disk_is_noticed_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    ran = create(input=REVIEWS, prompt="{text}")
    assert ran.code == ExitCode.BAD_INPUT
    assert "10 bytes free" in ran.err
    assert not list(Path().glob("*.jsonl"))


def test_a_source_that_grows_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = table()
    read = sources.Source.read

    def meanwhile(*given: Any, **more: Any) -> Any:
        yield from read(*given, **more)
        with source.open("a") as other:
            other.write("3,late\n")

    monkeypatch.setattr(sources.Source, "read", meanwhile)
    ran = create(input=source, prompt="{text}")
    assert (ran.code, Path("r.jsonl").exists()) == (ExitCode.BAD_INPUT, False)
    assert "changed while it was read" in ran.err


def test_cell_text_is_never_expanded_again_and_formulas_stay() -> None:
    table('a,b\n{b},"=1+1 {a} {{b}}"\n')
    assert bodies(input="t.csv", prompt="{a} {b}")[0]["messages"][0]["content"] == "{b} =1+1 {a} {{b}}"


# --- a dry run, a check, a fix ---------------------------------------------------------------------


def test_a_dry_run_prints_the_first_requests_as_they_would_be_sent_and_writes_nothing() -> None:
    ran = create("r.jsonl", "--dry-run", input=REVIEWS, prompt=PROMPT)
    assert ran.code == 0
    assert not list(Path().iterdir())
    create(input=REVIEWS, prompt=PROMPT)
    assert ran.out == "".join(Path("r.jsonl").read_text("utf-8").splitlines(keepends=True)[:3])
    ran = create("r.jsonl", "--dry-run", "--json", input=REVIEWS, prompt=PROMPT)
    assert ran.facts["preview"] == requests()[:3]


def test_a_dry_run_finds_what_is_wrong_with_every_request_and_counts_them_all() -> None:
    ran = create("x.jsonl", "--dry-run", input=table("id,text\n" + "a,x\n" * 30), prompt="{text}", id_column="id")
    assert ran.code == ExitCode.BAD_INPUT
    assert "29 problems (29 duplicate_id)" in ran.err
    assert 'line 31: custom_id: duplicate "a" (first on line 2)' not in ran.err  # the first 20 alone
    assert 'line 3: custom_id: duplicate "a" (first on line 2)' in ran.err
    dry = create("x.jsonl", "--dry-run", "--json", input=REVIEWS, prompt=PROMPT, part_requests=100).facts
    made = create("x.jsonl", "--json", input=REVIEWS, prompt=PROMPT, part_requests=100).facts
    for key in ("requests", "bytes", "parts", "models", "input_tokens", "endpoint"):
        assert dry[key] == made[key]


@pytest.mark.parametrize("form", [["r.jsonl", "--check"], ["--check", "r.jsonl"]])
def test_a_check_says_whether_a_file_is_sound_and_writes_nothing(form: list[str]) -> None:
    create(input=REVIEWS, prompt=PROMPT)
    Path("r.job/record.json").unlink()
    before = set(Path().iterdir())
    ran = run("create_batch_file", *form)
    assert (ran.code, ran.out) == (0, "r.jsonl\n")
    assert "300 requests" in ran.err
    assert set(Path().iterdir()) == before
    Path("r.jsonl").write_bytes(b"oops\n")
    assert (run("create_batch_file", *form).code, run("create_batch_file", "--check", ".").code) == (3, 3)


def test_a_fix_mends_what_needs_no_guessing_and_says_so() -> None:
    def line(custom_id: Any, end: str = "\n") -> str:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "x": 0.1}
        return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}) + end

    content = "\ufeff" + line("a", "\r\n") + "\n" + line(7) + line("a", "\r\n") + line("b", "")
    Path("broken.jsonl").write_bytes(content.encode())
    ran = run("create_batch_file", "broken.jsonl", "--fix", "mended.jsonl", "--json")
    assert ran.code == 0
    assert ran.facts["fixed"] == [
        "byte order mark removed (1)",
        "CRLF line ends made LF (2)",
        "blank lines removed (1)",
        "newline added at the end (1)",
        "identical duplicate lines removed (1)",
        "custom_id that was a whole number made text (1)",
    ]
    assert Path("mended.jsonl").read_bytes() == (line("a") + line("7") + line("b")).encode()
    assert Path("broken.jsonl").read_bytes() == content.encode()
    Path("mended.jsonl").write_text("another's")
    assert run("create_batch_file", "broken.jsonl", "--fix", "mended.jsonl").code == ExitCode.BAD_INPUT
    assert Path("mended.jsonl").read_text() == "another's"
    assert run("create_batch_file", "broken.jsonl", "--fix", "broken.jsonl").code == ExitCode.BAD_INPUT


def test_a_fix_does_not_guess() -> None:
    bad = b'{"custom_id": "a", "custom_id": "b"}\n{"custom_id": 1.5}\n{"custom_id": true}\noops \n'
    Path("broken.jsonl").write_bytes(bad)
    ran = run("create_batch_file", "broken.jsonl", "--fix", "mended.jsonl")
    assert ran.code == ExitCode.BAD_INPUT
    assert "mended.jsonl: " in ran.err
    assert Path("mended.jsonl").read_bytes() == bad.replace(b"oops ", b"oops")


def test_help_is_the_docstring_with_the_exit_codes() -> None:
    ran = run("create_batch_file", "--help")
    assert ran.code == 0
    for word in ("Reads:", "Writes:", "Stdout:", "Examples:", "exit codes:", "--fix OUT"):
        assert word in ran.out
    endpoints = ", ".join(url.removeprefix("/v1/") for url in known.ENDPOINTS)  # the script has them spelled out
    assert f"/v1/ and one of {endpoints} " in " ".join(ran.out.split()) + " "
