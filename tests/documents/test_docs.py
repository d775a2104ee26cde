"""Docs are code: what the documents show must be what the scripts accept and do."""

from __future__ import annotations

import ast
import csv
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from documents import shipped
from doubleword.base.failures import EXIT_CODES, VERSION, ExitCode
from local_server.app import LocalServer
from local_server.settings import REHEARSAL_PRICE, ModelSpec
from support.documents import DOCUMENTS, ROOT, blocks, commands
from support.judge import MODEL, Judge
from support.running import COMMANDS, FastClock, Ran, run, run_process

ALL_COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
WITH_FLAGS = [command for command in ALL_COMMANDS if any(a.startswith("--") for a in command.arguments)]


def frontmatter() -> dict[str, object]:
    text = (ROOT / "SKILL.md").read_text("utf-8")
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_scanner_finds_the_commands_it_is_to_check() -> None:
    assert len(COMMANDS) == 11
    assert {command.script for command in ALL_COMMANDS} == set(COMMANDS)
    assert len(ALL_COMMANDS) >= 40
    assert len(WITH_FLAGS) >= 10


@pytest.mark.parametrize("command", WITH_FLAGS, ids=lambda c: c.where)
def test_every_flag_a_document_shows_is_accepted(command: object) -> None:
    assert hasattr(command, "arguments")
    help_text = run(command.script, "--help").out  # type: ignore[attr-defined]
    for argument in command.arguments:
        if argument.startswith("--"):
            assert re.search(rf"(?<![\w-]){re.escape(argument.split('=')[0])}(?![\w-])", help_text), argument


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_script_is_its_docstring_with_the_exit_codes_and_its_examples_are_sound(name: str) -> None:
    helped = run_process(name, "--help")
    assert helped.code == 0
    assert EXIT_CODES.strip() in helped.out
    docstring = (ROOT / f"scripts/{name}.py").read_text("utf-8").split('"""')[1]
    assert docstring.strip() in helped.out
    examples = re.findall(rf"^  {name}\.py (.*)$|^  {name}\.py$", docstring, re.MULTILINE)
    assert examples
    for example in examples:
        for argument in shlex.split(example):
            if argument.startswith("--"):
                assert re.search(rf"(?<![\w-]){re.escape(argument)}(?![\w-])", helped.out.split("options:")[1]), (
                    argument
                )


def test_the_exit_codes_in_the_skill_are_those_of_the_scripts() -> None:
    table = re.findall(r"^\| (\d+) \|", (ROOT / "SKILL.md").read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in table] == [int(code) for code in ExitCode]
    assert [int(line.split()[0]) for line in EXIT_CODES.splitlines()[1:]] == [int(code) for code in ExitCode]


def test_the_skill_is_short_and_its_frontmatter_is_what_the_validators_accept() -> None:
    text = (ROOT / "SKILL.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 10_000
    found = frontmatter()
    assert set(found) == {"name", "description", "license", "metadata"}
    assert found["name"] == "doubleword-batches"
    assert len(str(found["description"])) < 160
    assert "<" not in str(found["description"])
    assert "[" not in text.split("---\n")[1], "one validator refuses flow collections"


# What `requests` reads by itself, whether or not a script does.
NETWORK_VARIABLES = {"HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def environment_reads(source: str) -> Iterator[str]:
    """The variables that a script reads, in capitals; a read in a form that shows no name is a failure."""
    nodes = list(ast.walk(ast.parse(source)))
    lists = {
        node.targets[0].id: [item.value for item in node.value.elts if isinstance(item, ast.Constant)]
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Name)
    }
    loops = {
        node.target.id: node.iter
        for node in nodes
        if isinstance(node, (ast.comprehension, ast.For)) and isinstance(node.target, ast.Name)
    }
    named: dict[int, ast.expr] = {}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            named[id(node.func)] = node.args[0]  # os.getenv("X")
            named[id(node.func.value)] = node.args[0]  # os.environ.get("X")
        elif isinstance(node, ast.Subscript):
            named[id(node.value)] = node.slice
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "environb", "getenv"}, "name it os.environ"
        if not (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")):
            continue
        name = named.get(id(node))
        if isinstance(name, ast.Name) and isinstance(over := loops.get(name.id), ast.Name) and over.id in lists:
            yield from (str(value).upper() for value in lists[over.id])
        else:
            assert isinstance(name, ast.Constant), f"line {node.lineno}: which variable is read here?"
            yield str(name.value).upper()


def test_every_environment_variable_the_scripts_read_is_declared() -> None:
    metadata = frontmatter()["metadata"]
    assert isinstance(metadata, dict)
    declared = {entry["name"] for entry in metadata["openclaw"]["envVars"]}
    scripts = sorted((ROOT / "scripts").rglob("*.py"))
    read = {name for path in scripts for name in environment_reads(path.read_text("utf-8"))}
    assert read | NETWORK_VARIABLES == declared
    assert metadata["openclaw"]["primaryEnv"] in metadata["openclaw"]["requires"]["env"]


def test_the_scan_for_environment_variables_misses_no_form() -> None:
    source = 'os.environ["A"]; os.environ.get("B", ""); os.getenv("C")'
    assert sorted(environment_reads(source)) == ["A", "B", "C"]
    assert list(environment_reads('NAMES = ("d", "E")\n[os.environ.get(n) for n in NAMES]')) == ["D", "E"]
    for hidden in ("dict(os.environ)", "os.environ.get(name)", "from os import environ"):
        with pytest.raises(AssertionError):
            list(environment_reads(hidden))


def test_the_version_is_the_same_everywhere() -> None:
    metadata = frontmatter()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["version"] == VERSION
    assert re.search(rf'^version = "{VERSION}"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"## {VERSION} " in (ROOT / "references/changes.md").read_text()


def test_the_list_of_shipped_scripts_is_up_to_date() -> None:
    assert shipped.LIST.read_text() == shipped.checksums(), "run: python3 tests/documents/shipped.py"


def test_the_header_of_every_script_names_the_projects_dependencies() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    python = re.search(r'^requires-python = (".*")$', project, re.MULTILINE)
    needs = re.search(r"^dependencies = (\[.*\])$", project, re.MULTILINE)
    assert python
    assert needs
    header = f"# /// script\n# requires-python = {python[1]}\n# dependencies = {needs[1]}\n# ///\n"
    for name in COMMANDS:
        assert (ROOT / f"scripts/{name}.py").read_text("utf-8").startswith(f"#!/usr/bin/env python3\n{header}"), name


def test_every_json_block_parses() -> None:
    found = [block for document in DOCUMENTS for block in blocks(document) if block.language == "json"]
    assert found
    for block in found:
        json.loads(block.text)


def test_every_path_a_document_names_exists() -> None:
    names = set()
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        names |= set(re.findall(r"\b(?:scripts|references|tests)/[\w./-]*\w", text))
        names |= set(re.findall(r"\]\(([^)#:]+)\)", text))
    assert len(names) >= 10
    missing = [name for name in sorted(names) if not (ROOT / name).exists()]
    assert [name for name in missing if "NAME" not in name] == []


@pytest.fixture
def priced_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A local server on which MODEL has a price and keeps to choices, so that what is shown can be typed as it is."""
    models = {MODEL: ModelSpec(price=REHEARSAL_PRICE)}
    with Judge() as judge, LocalServer(tmp_path / "server", speed=200, upstream=judge.url, models=models) as running:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", running.base_url)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", running.key)
        shutil.copy(ROOT / "tests/data/reviews.csv", "reviews.csv")
        yield running


def run_shown(line: str) -> Ran:
    """A shown command line, run for real in this process; the code is the one that the documents give it."""
    words = shlex.split(line)
    done = run(Path(words[1]).stem, *words[2:], clock=FastClock(moment=0.2))  # the model needs real time
    assert done.code == (8 if "--trial" in words else 0), (line, done.err)
    return done


def test_the_worked_example_of_the_skill_runs_word_for_word(priced_server: LocalServer) -> None:
    lines = [
        line for block in blocks(ROOT / "SKILL.md") if block.language == "bash" for line in block.text.splitlines()
    ]
    shown = [line for line in lines if line.startswith("python3 ")]
    assert len(shown) == 4
    for line in shown:
        run_shown(line)
    with Path("labelled.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 301


def test_the_run_shown_in_the_readme_runs(priced_server: LocalServer) -> None:
    shown = [
        line.removeprefix("$ ")
        for block in blocks(ROOT / "README.md")
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ python3 ")
    ]
    assert len(shown) >= 3
    for line in shown:
        run_shown(line)


def test_both_lines_of_the_readme_are_what_ci_runs() -> None:
    ci = (ROOT / ".ci/run").read_text()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.search(r"^python3 tests/demo\.py$", readme, re.MULTILINE)
    assert re.search(r"^python3 -m venv .*pytest -n 3", readme, re.MULTILINE)
    assert "grep -m1 '^python3 tests/demo.py' README.md" in ci
    assert "grep -m1 '^python3 -m venv' README.md" in ci
