"""references/recipes.md: every command runs as it stands; what a converter would make is made up."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from local_server.models import EchoEmbed, text_of
from local_server.replies import Reply
from local_server.settings import REHEARSAL_PRICE, ModelSpec
from support.canned import chat_body
from support.documents import ROOT, blocks
from support.pictures import PNG
from support.running import run

RECIPES = ROOT / "references/recipes.md"


class Obliging:
    """Answers as the schema of a request has it; without one, with the length of what it was asked."""

    def __init__(self) -> None:
        self.spec = ModelSpec("CHAT", price=REHEARSAL_PRICE)

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        wanted = (request.get("response_format") or {}).get("json_schema")
        asked = text_of(request["messages"][-1])
        if wanted:
            properties = wanted["schema"]["properties"]
            found = {name: about["enum"][0] if "enum" in about else {"string": "Rome", "integer": 7}[about["type"]]
                     for name, about in properties.items()}  # fmt: skip
            return Reply(200, chat_body(json.dumps(found)))
        return Reply(200, chat_body(f"{len(asked)} characters"))


def tool(name: str, made: str) -> None:
    """A converter that stands in for one that may not be installed."""
    path = Path("bin") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport sys\nout = sys.argv[-1]\n{made}\n")
    path.chmod(0o755)


def run_line(line: str) -> None:
    found = re.match(r"python3 \{baseDir\}/scripts/(\w+)\.py (.*)", line)
    if found:
        ran = run(found[1], *shlex.split(found[2]))
        assert ran.code == 0, (line, ran.err)
        return
    if line.startswith("sqlite3") and not shutil.which("sqlite3"):
        return
    path = f"{Path('bin').absolute()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, (line, done.stderr)
    assert "rror" not in done.stderr


def test_every_command_of_the_recipes_runs_as_it_stands(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "OTHER"):
        server.app.registry.add(name, Obliging())
    server.app.registry.add("EMBEDDER", EchoEmbed(ModelSpec("EMBEDDINGS", price=REHEARSAL_PRICE)))
    Path("notes.csv").write_text("id,note\n1,the eternal one\n2,by the fjord\n")
    Path("reviews.csv").write_text("id,text,gold\n1,fine,good\n2,it broke,bad\n")
    Path("questions.csv").write_text("question\nWho?\nWhen?\n")
    Path("papers").mkdir()
    for name in ("a", "b"):
        (Path("papers") / f"{name}.pdf").write_bytes(b"%PDF-1.7")
    tool("pdftotext", "open(out, 'w').write('text of ' + out)")
    tool("pdftoppm", f"[open(f'{{out}}-{{n}}.png', 'wb').write({PNG!r} + out.encode() + bytes([n])) for n in (1, 2)]")

    for block in blocks(RECIPES):
        assert block.language == "bash"
        for line in block.text.splitlines():
            run_line(line)

    with Path("adverts.csv").open() as file:
        assert next(csv.reader(file)) == ["id", "city", "answer"]
    assert Path("voted.csv").read_text() == "1,good\n2,good\n"
    assert (
        Path("both.csv").read_text() == "id,text,gold,first,second\n1,fine,good,good,good\n2,it broke,bad,good,good\n"
    )
    assert sorted(path.name for path in Path().glob("?.txt")) == ["a.txt", "b.txt"]
    assert Path("answers/a.txt").read_text().endswith(" characters")
    assert len(Path("asked.csv").read_text().splitlines()) == 5
    assert "2 answers taken" in run("create_batch_file", "check.jsonl", *reuse()).err


def reuse() -> list[str]:
    flags = ["--input", "reviews.csv", "--id-column", "id", "--model", "MODEL", "--prompt", "Mood of: {text}"]
    return [*flags, "--choices", "good,bad", "--max-tokens", "50", "--reuse", "a.jsonl"]


def test_the_recipes_are_short() -> None:
    assert len(RECIPES.read_text("utf-8").splitlines()) <= 150
