"""What comes back is data: not run, not a file name, not a terminal's command, not a spreadsheet's formula."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local_server.settings import FailRule
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer, text
from support.running import SCRIPTS, Ran, chat_line, json_lines, run, run_process, write_requests

ALWAYS = 100_000
# Escapes that set a title, move the cursor, clear the screen and ring; C1 forms; a reversed reading direction; NUL.
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[1;31mred\x9b31m\x9d0;t\x9c\r\b\x7f\x00\u202egnp.exe\u2066\u200f\u2028 end"
TROUBLESOME = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FORMULAS = ["=1+1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(\"http://x\",\"y\")", "＝1+1", "-", "=cmd|'/c calc'!A0"]  # fmt: skip # noqa: E501, RUF001


def assert_clean(ran: Ran) -> None:
    for shown in (ran.out, ran.err):
        found = TROUBLESOME.search(shown)
        assert found is None, (found, shown)
    assert ran.code != 1, ran.err


def answers(trouble: Trouble, texts: dict[str, str]) -> None:
    """The models' answers are exactly these, whatever the server has."""

    def effect(exchange: Exchange) -> None:
        answer = exchange.forward()
        lines = [json.loads(raw) for raw in answer.body.splitlines()]
        for line in lines:
            line["response"]["body"]["choices"][0]["message"]["content"] = texts[line["custom_id"]]
        exchange.send(answer.with_body(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))

    trouble.strike(Fault("answers", "content", times=ALWAYS), answers=effect)


def requests_with(*prompts: str) -> Path:
    path = Path("r.jsonl")
    path.write_text("".join(chat_line(f"id-{n}", prompt) for n, prompt in enumerate(prompts)))
    return path


# --- the terminal ---


@pytest.mark.parametrize(
    ("status", "as_json"),
    [(400, False), (401, False), (404, False), (503, False), (307, False), (400, True), (429, True)],
)
def test_a_servers_error_text_reaches_no_terminal_with_control_characters(
    trouble: Trouble, status: int, as_json: bool
) -> None:
    words = json.dumps({"error": {"message": EVIL, "code": EVIL}}) if as_json else EVIL
    answer = Answer(status, {"content-type": "application/json" if as_json else "text/plain"}, words.encode())
    trouble.strike(Fault("evil", "any", times=ALWAYS), evil=lambda exchange: exchange.send(answer))
    requests = write_requests(Path("r.jsonl"), 2)

    commands: dict[str, list[str | Path]] = {"list_models": [], "upload": [requests], "list_batches": ["--json"]}
    for command, arguments in commands.items():
        ran = trouble.run(command, *arguments)
        assert ran.code != 0
        assert_clean(ran)
    assert_clean(trouble.run("run_batch", requests, "--json", "--timeout-seconds", "60"))


def test_ids_statuses_models_and_metadata_of_a_hostile_server_are_shown_clean(trouble: Trouble) -> None:
    trouble.submit(write_requests(Path("r.jsonl"), 2))
    batch = {"id": f"x{EVIL}", "status": EVIL, "request_counts": {"total": 1}, "metadata": {"dwb_job": EVIL}}
    body = json.dumps({"object": "list", "data": [batch], "has_more": False}).encode()
    answer = Answer(200, {"content-type": "application/json"}, body)
    trouble.strike(Fault("evil", "any", times=ALWAYS), evil=lambda exchange: exchange.send(answer))

    for command in ("list_models", "list_batches"):
        ran = trouble.run(command)
        assert (ran.code, "x" in ran.out) in ((0, True), (6, False))  # an id that can be none is no answer
        assert_clean(ran._replace(out=ran.out.replace("\t", " ")))  # the table's columns are tabs


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_shown_pairs_are_clean_although_prompts_and_answers_are_not(trouble: Trouble, flags: tuple[str, ...]) -> None:
    requests = requests_with(f"prompt {EVIL}", "two")
    answers(trouble, {"id-0": EVIL, "id-1": "fine"})

    ran = trouble.run("run_batch", requests, "--show", "2", *flags)

    assert ran.code == 0, ran.err
    assert "red" in ran.err
    assert "end" in ran.err
    assert_clean(ran)
    kept = [
        line["response"]["body"]["choices"][0]["message"]["content"] for line in json_lines(Path("r.results.jsonl"))
    ]
    assert kept == [EVIL, "fine"], "the file holds what the model said, to the byte"


def test_the_errors_file_and_its_summary_are_clean(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(fail=[FailRule.parse("refuse=400")])
    requests = requests_with("refuse", "refuse too")
    reason = {"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": EVIL}}

    def evil(exchange: Exchange) -> None:
        answer = exchange.forward()
        lines = [json.loads(line) | {"error": {"code": None, "message": json.dumps(reason)}}
                 for line in answer.body.splitlines()]  # fmt: skip
        exchange.send(answer.with_body(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))

    trouble.strike(Fault("evil", "content", times=ALWAYS), evil=evil)

    ran = trouble.run("run_batch", requests)

    assert ran.code == 9, ran.err
    assert_clean(ran)
    errors = Path("r.errors.jsonl").read_text(encoding="utf-8")
    assert "red" in errors
    assert TROUBLESOME.search(errors) is None


# --- the spreadsheet ---


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_no_answer_becomes_a_formula_and_source_cells_stay_as_they_were(trouble: Trouble, kind: str) -> None:
    source = Path("s.csv")
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([str(n), cell] for n, cell in enumerate(FORMULAS))])
    made = trouble.run("create_batch_file", "r.jsonl", "--input", source, "--model", "echo", "--prompt", "Say {text}",
                       "--id-column", "id")  # fmt: skip
    assert made.code == 0, made.err
    before = source.read_bytes()
    ids = [line["custom_id"] for line in json_lines(Path("r.jsonl"))]
    texts = dict(zip(ids, FORMULAS, strict=True))
    answers(trouble, texts)
    out = Path(f"out{kind}")

    ran = trouble.run("run_batch", "r.jsonl", "--output", out)

    assert ran.code == 0, ran.err
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ","))
    assert [row["text"] for row in rows] == FORMULAS
    # What ends a cell under another delimiter makes the sign behind it the first of one: guarded there, too.
    inner = {"\r=1": "\r'=1"} | ({"\t=1": "\t'=1"} if kind == ".csv" else {})
    assert [row["answer"] for row in rows] == [f"'{inner.get(formula, formula)}" for formula in FORMULAS]
    assert source.read_bytes() == before


def test_plain_numbers_in_answers_stay_numbers(trouble: Trouble) -> None:
    requests = requests_with("a", "b", "c")
    answers(trouble, {"id-0": "-5", "id-1": "+3.25", "id-2": "-1e-7"})

    assert trouble.run("run_batch", requests, "--output", "out.csv").code == 0

    with Path("out.csv").open(newline="") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == ["-5", "+3.25", "-1e-7"]


# --- file names ---

EVIL_IDS = ["../../x", "/tmp/owned", "..", "a/b\\c", "con:.txt", "x" * 300, "nul\x00byte", "-rf", "~/x", "a\nb"]


@pytest.mark.parametrize("evil", EVIL_IDS)
def test_ids_of_the_server_never_become_a_path(trouble: Trouble, tmp_path: Path, evil: str) -> None:
    """The server calls its batches by hostile names; all that is written stays beside the request file."""
    requests = write_requests(Path("r.jsonl"), 2)
    names: dict[str, str] = {}

    def renamed(exchange: Exchange) -> None:
        for ours, theirs in names.items():
            exchange.request.target = exchange.request.target.replace(ours, theirs)
        answer = exchange.forward()
        if exchange.route in ("submit", "batch", "list_batches") and answer.status < 300:
            found = json.loads(answer.body)
            for batch in found.get("data", [found]):
                names[re.sub(r"[^\w.~-]", lambda c: "".join(f"%{b:02X}" for b in c[0].encode()), evil)] = batch["id"]
                batch["id"] = evil
            answer = answer.with_body(json.dumps(found).encode())
        exchange.send(answer)

    trouble.strike(Fault("renamed", "any", times=ALWAYS), renamed=renamed)

    def files() -> set[Path]:
        """Without the server's, and the locks, which are called by hashes and lie in the user's state folder."""
        return {path for path in tmp_path.rglob("*") if not {"server", ".local"} & set(path.parts)}

    outside = files()

    ran = trouble.run("run_batch", requests, "--timeout-seconds", "120")

    assert_clean(ran)
    new = files() - outside
    assert {path.relative_to(Path.cwd()).parts[0] for path in new} <= {
        "r.job", "r.results.jsonl", "r.errors.jsonl",
    }  # fmt: skip
    assert ran.code in (0, 3, 6, 8), ran.err


# --- files and paths ---


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_their_source_that_the_umask_leaves(
    trouble: Trouble, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = write_requests(Path("r.jsonl"), 2)
    requests.chmod(0o644)
    monkeypatch.setattr("doubleword.base.files._UMASK", mask)  # read once, when a script starts
    before = os.umask(mask)
    try:
        assert trouble.run("run_batch", requests, "--output", "out.csv").code == 0
    finally:
        os.umask(before)

    written = [path for path in Path().rglob("*") if path.is_file() and path != requests and "lock" not in path.name]
    assert {path.name for path in written} >= {"record.json", "r.results.jsonl", "out.csv"}
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) & ~(0o644 & ~mask) == 0, path


NAMES = ["with space.jsonl", "it's \"quoted\".jsonl", "-leading-dash.jsonl", "ünïcödé 評論 🙂.jsonl", "[a]*?.jsonl",
         "$(touch owned);`x`.jsonl", "tab\tnew\nline.jsonl", "no-ending", "%41.jsonl", "a.attempt-2.jsonl"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "folder"), [*((name, ".") for name in NAMES), ("r.jsonl", "fol der's ü"), (NAMES[2], "-f")]
)
def test_any_name_works_in_every_step_and_in_the_command_that_is_given_as_next(
    trouble: Trouble, name: str, folder: str
) -> None:
    Path(folder).mkdir(exist_ok=True)
    requests = write_requests(Path(folder, name), 2)
    given = ["--", str(requests)] if str(requests).startswith("-") else [str(requests)]

    ran = trouble.run("upload", "--json", *given)
    steps = 0
    while ran.code == 0 and ran.facts["next"]:
        assert_clean(ran)
        _, script, *arguments = shlex.split(ran.facts["next"])
        ran = trouble.run(Path(script).stem, "--json", *arguments)
        steps += 1

    assert (ran.code, steps) == (0, 2), ran.err
    assert ran.facts["results"] == 2
    assert not Path("owned").exists()
    stem = name.removesuffix(".jsonl")
    assert Path(folder, f"{stem}.results.jsonl").exists()


def test_the_scripts_take_such_names_as_real_processes_too(trouble: Trouble) -> None:
    name = "-ünïcödé it's.jsonl"
    write_requests(Path(name), 2)

    done = run_process("upload", "--", name, env={"LC_ALL": "C", "PYTHONIOENCODING": ""})

    assert done.code == 0, done.err
    assert run("list_batches", "--local").code == 0


def test_a_servers_text_in_an_error_is_one_line(trouble: Trouble) -> None:
    trouble.strike(Fault("long", "models"), long=lambda exchange: exchange.send(text(400, "a\nerror: b\n" * 3000)))

    ran = trouble.run("list_models")

    assert ran.code == 3
    assert len(ran.err.splitlines()) == 2
    assert len(ran.err) < 1000


def test_planted_folders_and_pipes_are_neither_written_through_nor_waited_on(trouble: Trouble) -> None:
    write_requests(Path("old.jsonl"), 3)
    assert trouble.run("run_batch", "old.jsonl").code == 0
    Path("old.results.jsonl").unlink()
    Path("t.txt").write_text("prompt number 1\nprompt number 2\n")
    rows = ["--format", "lines", "--prompt", "{text}", "--model", "echo", "--max-tokens", "50"]
    Path("elsewhere").mkdir()
    Path("planted.job").mkdir()
    Path("planted.job/spool").symlink_to("../elsewhere")
    refused = trouble.run("create_batch_file", "planted.jsonl", "--input", "t.txt", *rows, "--reuse", "old.jsonl")
    assert refused.code == 3, refused.err
    Path("n3.job").symlink_to("elsewhere")
    piped = subprocess.run(
        [sys.executable, str(SCRIPTS / "create_batch_file.py"), "n3.jsonl", "--input", "-", *rows],
        input="secret row\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert piped.returncode == 3, piped.stderr
    assert list(Path("elsewhere").iterdir()) == []
    (spool,) = Path("old.job/spool").glob("*.output.jsonl")
    spool.unlink()
    os.mkfifo(spool)
    waited = run_process(
        "create_batch_file", "new.jsonl", "--input", "t.txt", *rows, "--reuse", "old.jsonl", timeout=30
    )
    assert waited.code == 3, waited.err
