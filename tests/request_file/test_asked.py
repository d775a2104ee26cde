"""What is asked for: choices, schemas, parameters, texts from files, images; and what is wrong with a flag."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from doubleword.base.failures import ExitCode
from doubleword.request_file.answer_form import Expected, choice_format, expected_of
from support.pictures import PNG
from support.running import Ran, chat_line, run

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "why": {"type": "object", "properties": {"words": {}}}},
    "required": ["mood"],
}


def create(*flags: str | Path, rows: str = "id,text\n1,good\n2,bad\n", prompt: str = "{text}") -> Ran:
    """create_batch_file.py r.jsonl over some rows, with more flags."""
    Path("t.csv").write_text(rows, "utf-8")
    asked = ["--prompt", prompt] if prompt else []
    return run("create_batch_file", "r.jsonl", "--input", "t.csv", "--model", "m", *asked, *flags)


def body(*flags: str | Path, **more: str) -> dict[str, Any]:
    """The first body of what was made."""
    ran = create(*flags, **more)
    assert ran.code == 0, ran.err
    made = json.loads(Path("r.jsonl").read_text("utf-8").splitlines()[0])["body"]
    assert isinstance(made, dict)
    return made


def refused(*flags: str | Path, code: int = ExitCode.USAGE, **more: str) -> str:
    """What is said of wrong flags; nothing is written."""
    ran = create(*flags, **more)
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert not Path("r.jsonl").exists()
    return ran.err


# --- choices ---------------------------------------------------------------------------------------


def test_choices_are_asked_for_by_a_schema_and_read_back_from_the_body() -> None:
    made = body("--choices", "positive,negative, neutral")
    named = made["response_format"]["json_schema"]
    assert named == choice_format(("positive", "negative", "neutral"))
    assert named["schema"]["properties"]["answer"]["enum"] == ["positive", "negative", "neutral"]
    assert expected_of(made) == Expected(choices=("positive", "negative", "neutral"))
    assert expected_of(body("--choices", "a,b", "--endpoint", "responses")) == Expected(choices=("a", "b"))


def test_a_choice_with_a_comma_or_quotes_is_quoted_as_in_csv() -> None:
    found = expected_of(body("--choices", 'yes,"yes, but", "say ""no"""'))
    assert found == Expected(choices=("yes", "yes, but", 'say "no"'))


@pytest.mark.parametrize(
    "choices",
    ["ä,a\u0308", "a,a\u200b", "a,\u200b", "", " ", ",", "a,,b", "a,", "a,b,a", "a\nb", '"a', 'a,"b"c', "a;b;c", "a|b"],
)
def test_choices_that_are_none_are_wrong_usage_with_the_flags_name(choices: str) -> None:
    assert "--choices" in refused("--choices", choices)


def test_one_choice_that_is_several_or_a_file_is_refused() -> None:
    for choices in ("a\uff0cb", "labels.txt", "@labels"):
        assert "one choice alone; expected words between commas" in refused("--choices", choices)


@pytest.mark.parametrize("endpoint", ["completions", "embeddings", "messages"])
def test_choices_go_only_with_an_endpoint_that_can_be_told(endpoint: str) -> None:
    said = refused("--choices", "a,b", "--endpoint", endpoint)
    assert f"--choices does not go with /v1/{endpoint}, only with /v1/chat/completions, /v1/responses" in said


def test_choices_and_a_schema_are_one_too_many() -> None:
    Path("s.json").write_text(json.dumps(SCHEMA))
    assert "--choices and --schema" in refused("--choices", "a,b", "--schema", "s.json")
    assert "set the same parameter" in refused("--choices", "a,b", "--set", "response_format={}")


@pytest.mark.parametrize(
    "given",
    [None, [], {}, {"response_format": {"type": "json_object"}}, {"response_format": 5}, {"text": {"format": 1}}],
)
def test_a_body_that_asks_for_no_form_expects_nothing(given: Any) -> None:
    assert expected_of(given) is None


def test_schemas_of_files_made_elsewhere_are_understood() -> None:
    def asked(schema: Any, name: str = "x") -> Expected | None:
        return expected_of(
            {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}
        )

    assert asked({"type": "string", "enum": ["a", "b"]}) == Expected(choices=("a", "b"))
    one = {"properties": {"answer": {"enum": ["a", "b"]}}}
    assert asked(one) == Expected(schema=one, columns=("answer",))
    assert asked(one, "choice") == Expected(choices=("a", "b"))
    pointed = {"$ref": "#/$defs/Row", "$defs": {"Row": {"properties": {"b": {}, "a": {}}}}}
    assert asked(pointed) == Expected(schema=pointed, columns=("b", "a"))
    around = {"$ref": "#", "allOf": [{"properties": {"a": {}}}], "properties": {"b": {}}}
    assert asked(around) == Expected(schema=around, columns=("a", "b"))
    listed = {"type": "array", "items": {}}
    assert asked(listed) == Expected(schema=listed)


# --- schemas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", ["json_schema", "response_format", "whole", "text", "responses"])
def test_a_wrapper_around_a_schema_is_kept_as_written(around: str) -> None:
    named = {"name": "mood", "description": "The mood.", "strict": False, "schema": SCHEMA}
    chat = {"type": "json_schema", "json_schema": named}
    written = {
        "json_schema": named,
        "response_format": chat,
        "whole": {"response_format": chat},
        "text": {"text": {"format": {"type": "json_schema", **named}}},
        "responses": {"type": "json_schema", **named},
    }[around]
    Path("s.json").write_text(json.dumps(written))
    assert body("--schema", "s.json")["response_format"] == chat
    made = body("--schema", "s.json", "--endpoint", "responses")
    assert made["text"] == {"format": {"type": "json_schema", **named}}
    assert expected_of(made) == Expected(schema=SCHEMA, columns=("mood", "why"))


@pytest.mark.parametrize(
    "written",
    [
        *("{}", "[1]", "5", "{", "", "NaN", '{"type": "objekt"}', '{"type": "json_object"}', '{"type": "json_schema"}'),
        *('{"schema": {}}', '{"name": "x"}', '{"a": 1, "a": 2}', '{"properties": []}', "\xff"),
    ],
)
def test_a_file_that_is_no_schema_is_refused_with_the_flags_name(written: str) -> None:
    Path("s.json").write_bytes(written.encode("latin-1"))
    assert "--schema s.json" in refused("--schema", "s.json", code=ExitCode.BAD_INPUT)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("#/$defs/Any", None),
        ("#/$defs/Moods", "'#/$defs/Moods' names nothing in it"),
        ("https://x.example/mood.json", "lies elsewhere, where no model looks"),
        ("mood.json#/x", "lies elsewhere"),
        ("#/$defs/Mood", None),
        ("https://x.example/own.json#/$defs/Mood", None),
        ("#", None),
    ],
)
def test_a_schema_that_refers_to_what_is_not_in_it_is_refused(reference: str, said: str | None) -> None:
    schema: dict[str, Any] = {"$id": "https://x.example/own.json"}
    named = {"Mood": {"enum": ["good", "bad"]}, "Any": True}
    schema |= {"type": "object", "properties": {"m": {"$ref": reference}}, "$defs": named}
    Path("s.json").write_text(json.dumps(schema))
    if said is None:
        assert body("--schema", "s.json")
    else:
        assert said in refused("--schema", "s.json", code=ExitCode.BAD_INPUT)


def test_what_a_template_file_holds_beside_messages_is_not_lost_silently() -> None:
    turns = [{"role": "user", "content": "{text}"}]
    Path("t.json").write_text(json.dumps({"messages": turns, "temperature": 0.5}))
    assert "stands 'temperature', which would be lost" in refused(
        "--template", "t.json", prompt="", code=ExitCode.BAD_INPUT
    )
    Path("t.json").write_text(json.dumps({"messages": turns}))
    assert body("--template", "t.json", prompt="")["messages"][0]["content"] == "good"


def test_the_place_in_a_file_of_several_lines_is_its_line() -> None:
    Path("s.json").write_text('{\n "type": "object",\n"required"}\n')
    assert "at line 3 column 11" in refused("--schema", "s.json", code=ExitCode.BAD_INPUT)


def test_a_cell_that_says_null_is_sent_and_that_is_said() -> None:
    rows = "id,text\n1,NULL\n2,\\N\n3,nullable\nNaN,x\n4,NULL\n"
    ran = create(rows=rows)
    assert ran.code == 0
    assert "note: a cell that is used says NULL, which is sent as any text is (2 x: 2, 6)" in ran.err
    assert "says \\N, which" in ran.err
    assert "NaN" not in ran.err


@pytest.mark.parametrize("cell", ["\u200b", "\ufeff", "\u00ad \u200d", " \u2060"])
def test_a_cell_in_which_nothing_can_be_seen_is_empty(cell: str) -> None:
    err = refused(rows=f"id,text\n1,{cell}\n2,a\u200bb\n", code=ExitCode.BAD_INPUT)
    assert "1 row with an empty cell" in err


def test_a_schema_that_is_not_there_is_named_with_its_flag() -> None:
    assert "--schema: there is no file s.json" in refused("--schema", "s.json", code=ExitCode.BAD_INPUT)


# --- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--temperature", "5"], "--temperature 5.0: expected a number from 0 to 2"),
        (["--temperature", "nan"], "--temperature NaN: expected a number"),
        (["--temperature", "-1"], "--temperature -1.0: expected a number"),
        (["--top-p", "2"], "--top-p 2.0: expected"),
        (["--max-tokens", "0"], "--max-tokens 0: expected an integer of at least 1"),
        (["--max-tokens", "-5"], "--max-tokens -5: expected"),
        (["--set", "temperature=9"], "--set temperature=9: expected a number"),
        (["--set", "stream=true"], "--set stream=true: expected false"),
        (["--set", "n=3"], "--set n=3: expected 1: one answer a request is taken; use seed"),
        (["--set", "seed=x"], "--set seed=x: x is no JSON"),
        (["--set", "x=NaN"], "--set x=NaN: NaN is no JSON"),
        (["--set", "x=1e999"], "--set x=1e999: 1e999 is no JSON"),
        (["--set", 'x={"a":1,"a":2}'], "is no JSON"),
        (["--set", "=1"], "--set =1: expected KEY=JSON"),
        (["--set", 'completion_window="1h"'], "--completion-window of run_batch.py"),
        (["--set", "model=1"], "use --model"),
        (["--set", "messages=[]"], "use --prompt"),
        (["--set", "thinking={}"], "--set thinking={}: expected no such parameter: use reasoning_effort"),
        (["--set", "seed=1", "--set", "seed=2"], "set the same parameter"),
        (["--set", "max_tokens=1", "--max-tokens", "2"], "--set max_tokens and --max-tokens set the same parameter"),
        (["--set", "max_completion_tokens=1", "--max-tokens", "2"], "set the same parameter"),
        (["--set", "temperature=1", "--temperature", "1"], "set the same parameter"),
        (["--temperature", "9", "--top-p", "9"], "--temperature 9.0: expected a number from 0 to 2; --top-p 9.0"),
        (["--reasoning-effort", "huge"], "--reasoning-effort"),
        (["--reasoning-effort", "low", "--endpoint", "completions"], "--reasoning-effort does not go with"),
        (["--reasoning-effort", "low", "--endpoint", "embeddings"], "--reasoning-effort does not go with"),
        (["--max-tokens", "5", "--endpoint", "embeddings"], "--max-tokens does not go with /v1/embeddings"),
        (["--temperature", "1", "--endpoint", "embeddings"], "--temperature does not go with"),
        (["--stop", "x", "--endpoint", "responses"], "--stop does not go with"),
        (["--endpoint", "messages"], "--max-tokens is missing"),
        (["--model", " "], "--model"),
        (["--system", ""], "--system is empty"),
        (["--system", "@s.txt"], "--system-file s.txt"),
    ],
)
def test_a_wrong_flag_is_one_error_that_names_it_whatever_the_rows_are(flags: list[str], said: str) -> None:
    given = [flag for flag in flags if flags[0] != "--model"]
    if flags[0] == "--model":
        Path("t.csv").write_text("text\nx\n")
        ran = run("create_batch_file", "r.jsonl", "--input", "t.csv", "--prompt", "{text}", *flags)
        assert (ran.code, "--model" in ran.err) == (ExitCode.USAGE, True)
        return
    err = refused(*given, rows="text\n" + "x\n" * 50)
    assert said in err
    assert "line " not in err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", "a list of tools"),
        ("[]", "a list of tools"),
        ("[{}]", "a list of tools"),
        ("[", "is not JSON"),
        ('["f"]', "a list of tools"),
    ],
)
def test_a_wrong_tools_file_is_one_error_that_names_the_flag(written: str, said: str) -> None:
    Path("tools.json").write_text(written)
    err = refused("--tools", "tools.json", code=ExitCode.BAD_INPUT)
    assert "--tools tools.json" in err
    assert said in err


@pytest.mark.parametrize(
    "turns", ["5", "[]", "{}", '[{"role": "robot", "content": "x"}]', '[{"content": "{text}"}]', '["{text}"]', "[}"]
)
def test_a_wrong_template_file_is_one_error_that_names_the_flag(turns: str) -> None:
    Path("turns.json").write_text(turns)
    assert "--template turns.json" in refused("--template", "turns.json", code=ExitCode.BAD_INPUT, prompt="")


@pytest.mark.parametrize(
    "written", ["responses", "/v1/responses/", "https://api.doubleword.ai/v1/responses", "v1/responses"]
)
def test_an_endpoint_may_be_written_as_its_whole_address(written: str) -> None:
    assert "--endpoint https://x.example/v1/chat: expected" in refused("--endpoint", "https://x.example/v1/chat")
    assert "input" in body("--endpoint", written)


def test_reasoning_effort_is_called_what_the_endpoint_calls_it() -> None:
    assert body("--reasoning-effort", "xhigh")["reasoning_effort"] == "xhigh"
    assert body("--reasoning-effort", "none", "--endpoint", "responses")["reasoning"] == {"effort": "none"}


@pytest.mark.parametrize("value", ["---", "-", "--nothing=x", "-1", "- a"])
def test_a_value_may_begin_with_a_dash(value: str) -> None:
    assert body("--stop", value, "--stop", "b")["stop"] == [value, "b"]


def test_two_dashes_alone_are_no_value() -> None:
    assert "--stop" in refused("--stop", "--")
    assert "--system" in refused("--system=--")


def test_a_flag_without_its_value_does_not_take_the_next_flag_for_it() -> None:
    assert "expected one argument" in refused("--stop", "--json")


@pytest.mark.parametrize(
    "flags",
    [
        ["--model", "n"],
        ["--input", "t.csv"],
        ["--system", "a", "--system", "a"],
        ["--limit", "1", "--limit", "2"],
        ["--choices", "a,b", "--choices", "c,d"],
        ["--schema", "a.json", "--schema", "b.json"],
        ["--empty", "keep", "--empty=skip"],
    ],
)
def test_a_flag_that_takes_one_value_is_refused_when_given_twice(flags: list[str]) -> None:
    assert f"{flags[0]} is given twice" in refused(*flags)


def test_every_script_refuses_a_flag_given_twice() -> None:
    ran = run("poll", "r.jsonl", "--timeout-seconds", "1", "--timeout-seconds", "2")
    assert (ran.code, "--timeout-seconds is given twice" in ran.err) == (ExitCode.USAGE, True)


def test_flags_set_in_requests_made_elsewhere_are_called_what_their_endpoint_calls_them() -> None:
    create("--endpoint", "responses")
    Path("r.jsonl").rename("theirs.jsonl")
    assert run("create_batch_file", "s.jsonl", "--input", "theirs.jsonl", "--max-tokens", "5").code == 0
    assert json.loads(Path("s.jsonl").read_text().splitlines()[0])["body"]["max_output_tokens"] == 5


# --- texts from files ------------------------------------------------------------------------------


def rewritten(content: str, *flags: str, code: int = 0) -> Ran:
    """create_batch_file.py r.jsonl over requests made elsewhere."""
    Path("theirs.jsonl").write_text(content)
    ran = run("create_batch_file", "r.jsonl", "--input", "theirs.jsonl", *flags)
    assert ran.code == code, ran.err
    return ran


def test_a_number_with_more_digits_than_a_float_has_stays_in_requests_made_elsewhere() -> None:
    line = chat_line("a", "hi", x=0.5).replace("0.5", "0.12345678901234567891")
    rewritten(line, "--model", "n")
    assert '"x": 0.12345678901234567891' in Path("r.jsonl").read_text()


@pytest.mark.parametrize(
    ("there", "flags", "made"),
    [
        ("max_completion_tokens", ["--max-tokens", "5"], {"max_tokens": 5}),
        ("max_tokens", ["--set", "max_completion_tokens=5"], {"max_completion_tokens": 5}),
        ("max_tokens", ["--max-tokens", "5"], {"max_tokens": 5}),
        ("max_tokens", ["--temperature", "1"], {"max_tokens": 900}),
    ],
)
def test_a_limit_that_is_set_anew_replaces_the_one_of_the_other_name(
    there: str, flags: list[str], made: dict[str, int]
) -> None:
    changes: dict[str, Any] = {there: 900}
    rewritten(chat_line("a", "hi", **changes), *flags)
    written = json.loads(Path("r.jsonl").read_text())["body"]
    assert {key: value for key, value in written.items() if key.endswith("tokens")} == made


def test_an_endpoint_that_requests_made_elsewhere_do_not_go_to_is_refused() -> None:
    ran = rewritten(chat_line("a", "hi"), "--endpoint", "responses", code=ExitCode.USAGE)
    assert "--endpoint: these rows are requests already, and keep where they go" in ran.err
    rewritten(chat_line("a", "hi"), "--endpoint", "chat/completions")


def test_a_prompt_that_no_file_can_be_called_is_a_prompt() -> None:
    prompt = "请用一个词回答这个问题" * 15 + ". A.B"
    assert body(prompt=prompt)["messages"] == [{"role": "user", "content": prompt}]


def test_the_command_for_rows_that_are_bodies_alone_does_not_write_over_them() -> None:
    Path("requests.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    ran = run("create_batch_file", "r.jsonl", "--input", "requests.jsonl", "--model", "n")
    assert ran.err.rstrip().endswith("requests.jsonl > requests-2.jsonl")


@pytest.mark.skipif(shutil.which("jq") is None, reason="runs the command that is named, which is jq")
def test_rows_that_are_bodies_alone_are_made_requests_by_the_command_that_is_named() -> None:
    ran = rewritten('{"messages": [{"role": "user", "content": "hi"}]}\n' * 2, "--model", "n", code=ExitCode.USAGE)
    command = ran.err.partition("Then: ")[2].strip()
    subprocess.run(["bash", "-c", command], check=True)
    assert run("create_batch_file", "r.jsonl", "--input", "requests.jsonl", "--model", "n").code == 0
    assert [json.loads(line)["custom_id"] for line in Path("r.jsonl").read_text().splitlines()] == ["row-1", "row-2"]


def test_prompts_come_from_files_as_they_are_written() -> None:
    Path("p.txt").write_bytes('\ufeffLabel: {text}\r\n\r\nSay "it\'s" so.\n'.encode())
    Path("s.txt").write_text("You know {id}.\n")
    made = body("--prompt-file", "p.txt", "--system-file", "s.txt", prompt="")
    assert [turn["content"] for turn in made["messages"]] == ["You know 1.", 'Label: good\n\nSay "it\'s" so.']


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_tells_the_encoding_of_a_file_that_a_flag_names(encoding: str) -> None:
    Path("p.txt").write_text("Ask ü {text}", encoding)
    Path("s.json").write_text('{"type": "object", "properties": {"ü": {"type": "string"}}}', encoding)
    made = body("--prompt-file", "p.txt", "--schema", "s.json", prompt="")
    assert made["messages"][0]["content"] == "Ask ü good"
    assert list(made["response_format"]["json_schema"]["schema"]["properties"]) == ["ü"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7", "a PDF"),
        (gzip.compress(b"x", mtime=0), "gunzip"),
        ("ab".encode("utf-16-le"), "NUL"),
        (b"\xff\xfea", "as its mark says"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff", "UTF-8"),
        (b"a\0b", "NUL"),
    ],
)
def test_a_prompt_file_that_is_no_text_is_refused(content: bytes, said: str) -> None:
    Path("p.txt").write_bytes(content)
    err = refused("--prompt-file", "p.txt", prompt="", code=ExitCode.BAD_INPUT)
    assert "--prompt-file p.txt" in err
    assert said in err


def test_a_prompt_that_names_a_file_is_refused_with_the_way_on() -> None:
    Path("my prompt.txt").write_text("x")
    assert "--prompt-file p.txt" in refused(prompt="@p.txt")
    assert "--prompt-file my prompt.txt" in refused(prompt="@my prompt.txt")
    for name in ("my prompt.txt", "./my prompt.txt"):
        assert f"--prompt-file {name}" in refused(prompt=name)
        assert f"--system-file {name}" in refused("--system", name)
    Path("Summarize").write_text("x")
    assert body(prompt="Summarize")["messages"][0]["content"] == "Summarize"
    assert body(prompt="p.txt")["messages"][0]["content"] == "p.txt"
    assert body(prompt="@{text}")["messages"][0]["content"] == "@good"
    assert body(prompt="@all " + "word " * 200)["messages"][0]["content"].startswith("@all word")
    assert body(prompt="@everyone: {text}")["messages"][0]["content"] == "@everyone: good"


# --- images ----------------------------------------------------------------------------------------


def addresses(made: dict[str, Any]) -> list[str]:
    return [part["image_url"]["url"] for part in made["messages"][-1]["content"] if part["type"] == "image_url"]


def test_several_images_a_row_come_from_several_columns_or_a_list_in_a_cell() -> None:
    Path("a.png").write_bytes(PNG + b"a")
    Path("b.png").write_bytes(PNG + b"b")
    made = body("--image-column", "front", "--image-column", "back", rows="front,back,text\na.png,b.png,x\n")
    assert len(set(addresses(made))) == 2
    assert made["messages"][0]["content"][0] == {"type": "text", "text": "x"}
    listed = 'pictures,text\n"[""a.png"", ""b.png"", ""https://x.example/c.png""]",x\n'
    found = addresses(body("--image-column", "pictures", rows=listed))
    assert found[:2] == addresses(made)
    assert found[2] == "https://x.example/c.png"
    made = body("--image-column", "pictures", "--endpoint", "responses", rows=listed)
    assert [part["type"] for part in made["input"][0]["content"]] == [
        "input_text",
        "input_image",
        "input_image",
        "input_image",
    ]


def test_a_row_without_its_image_is_an_empty_cell() -> None:
    rows = "picture,text\nhttps://x.example/c.png,x\n,y\n[],z\n"
    err = refused("--image-column", "picture", rows=rows, code=ExitCode.BAD_INPUT)
    assert "2 rows with an empty cell" in err
    assert "  line 3: picture: empty; expected a picture\n" in err
    create("--image-column", "picture", "--empty", "keep", rows=rows)
    last = json.loads(Path("r.jsonl").read_text().splitlines()[2])["body"]
    assert last["messages"][0]["content"] == [{"type": "text", "text": "z"}]


def test_all_images_that_cannot_be_read_are_named_at_once() -> None:
    Path("no.png").write_text("words")
    rows = "picture,text\nnone.png,x\nno.png,y\nhttps://x.example/c.png,z\nalso.png,w\n"
    err = refused("--image-column", "picture", rows=rows, code=ExitCode.BAD_INPUT)
    assert "t.csv line 2: there is no file " in err
    assert "none.png (and 2 more like it)" in err
    for line in (2, 3, 5):
        assert f"  line {line}: picture: " in err


def test_images_stand_beside_the_last_turn_of_a_template() -> None:
    turns = [
        {"role": "user", "content": "Like this?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": "{text}"}]},
    ]
    Path("turns.json").write_text(json.dumps(turns))
    made = body(
        "--template", "turns.json", "--image-column", "p", prompt="", rows="p,text\nhttps://x.example/c.png,x\n"
    )
    assert made["messages"][2]["content"][0] == {"type": "text", "text": "x"}
    assert addresses(made) == ["https://x.example/c.png"]


# --- repeats ---------------------------------------------------------------------------------------


def test_rows_that_ask_the_same_are_said_where_they_are_more_than_a_tenth() -> None:
    many = create("--json", rows="id,text\n" + "".join(f"{n},{n % 5 and n}\n" for n in range(50)))
    assert "10 of 50 requests (20%) ask the same as another; 9 (18%) repeat an earlier one" in many.err
    few = create("--json", rows="id,text\n" + "".join(f"{n},{n and n - (n == 1)}\n" for n in range(50)))
    assert "ask the same" not in few.err
    Path("r.jsonl").write_text("".join(chat_line(f"a{n}", "the same") for n in range(4)))
    assert "4 of 4 requests (100%) ask the same" in run("create_batch_file", "--check", "r.jsonl").err
