"""Every flag and command that SKILL.md names in passing is one that works, in the folder of somebody with a job."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from local_server.app import LocalServer
from support.documents import ROOT
from support.running import COMMANDS, run, write_requests

SKILL = (ROOT / "SKILL.md").read_text("utf-8")
INSTALL = (ROOT / "references/install.md").read_text("utf-8")
WANTED = [line.split("|")[1:3] for line in SKILL.split("| wanted |")[1].split("\n\n")[0].splitlines()[2:]]
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" + "1f15c4890000000d49444154789c6360000002000001"
    "e221bc330000000049454e44ae426082"
)


def spans(text: str) -> Iterator[str]:
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def fragments() -> list[tuple[str, str]]:
    """The flags of the table of wishes: (what is wanted, the flags)."""
    return [(wanted.strip(), span) for wanted, say in WANTED for span in spans(say) if span.startswith("--")]


def shown_commands() -> list[str]:
    """Every `script.py ARGUMENTS` in running text that is not part of a longer command."""
    found = [span for span in spans(SKILL) if re.match(r"\w+\.py \S", span)]
    return sorted({span for span in found if span.split(".py")[0] in COMMANDS})


@pytest.fixture
def folder(server: LocalServer) -> dict[str, str]:
    """The files that the examples name, a finished job, and what stands for the placeholders."""
    Path("rows.csv").write_text("sku,text,photo\na1,a kettle,pictures/a.png\nb2,a mat,pictures/b.png\n", "utf-8")
    for name in ("letters/one.txt", "letters/two.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("Dear shop,", "utf-8")
    for name in ("pictures/a.png", "pictures/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(PNG)
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet()):
        sheet.append(["sku", "text"])
        sheet.append(["a1", "a kettle"])
    book.save("rows.xlsx")
    Path("fields.json").write_text(json.dumps(schema), "utf-8")
    Path("prompt.txt").write_text("Mood of: {text}", "utf-8")
    Path("messages.json").write_text('[{"role": "user", "content": "Mood of: {text}"}]', "utf-8")
    write_requests(Path("made.jsonl"), 3, "made elsewhere {n}")
    made = ("--input", "rows.csv", "--id-column", "sku", "--model", "echo", "--prompt", "Mood of: {text}")
    for job in ("reviews.jsonl", "old.jsonl"):
        assert run("create_batch_file", job, *made, "--max-tokens", "9" if job == "old.jsonl" else "99").code == 0
        assert run("run_batch", job).code == 0
    record = json.loads(run("poll", "reviews.jsonl", "--json").out)
    return {"ID": next(iter(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", json.dumps(record))))}


def test_every_flag_of_the_table_of_wishes_makes_requests(folder: dict[str, str]) -> None:
    assert len(fragments()) >= 8
    for wanted, flags in fragments():
        words = shlex.split(flags.replace("letters`, with", "letters"))
        of_folder = set(words) & {"--match", "--recursive"}
        source = [] if "--input" in words else ["--input", "letters" if of_folder else "rows.csv"]
        text = "{file}" if "pictures" in words else "{text}"
        prompt = [] if set(words) & {"--prompt", "--prompt-file", "--template"} else ["--prompt", f"Mood of: {text}"]
        model = "echo-embed" if "/v1/embeddings" in words else "echo"
        look = [] if "--reuse" in words else ["--dry-run"]
        done = run("create_batch_file", "new.jsonl", "--model", model, *source, *prompt, *words, *look)
        assert done.code == 0, (wanted, flags, done.err)


def test_every_command_in_passing_is_taken(folder: dict[str, str]) -> None:
    commands = shown_commands()
    assert len(commands) >= 8
    for command in commands:
        script, *arguments = shlex.split(command)
        done = run(
            script.removesuffix(".py"), *[folder.get(word, "." if word == "DIR" else word) for word in arguments]
        )
        assert done.code in (0, 4, 7, 8, 9), (command, done.err)


@pytest.mark.parametrize("page", [SKILL, INSTALL], ids=["SKILL.md", "install.md"])
def test_every_flag_that_is_named_belongs_to_a_script(page: str) -> None:
    others = {"--as"}  # of `openclaw skills install`
    named = {word for span in spans(page) for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    helped = "".join(run(script, "--help").out for script in COMMANDS)
    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", helped)) | others
    assert len(named) >= 10
    assert named - known == set()
