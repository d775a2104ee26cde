"""Each room of scripts/doubleword imports only what stands below it, and inside a room there is no circle."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from support.documents import ROOT

# From the bottom up: a room may import those before it. `commands` are scripts/*.py; the three before them a file each.
FOLDERS = ("base", "rows", "request_file", "job", "service", "results", "report")
ROOMS = (*FOLDERS, "exit_code", "engine", "whole_job", "commands")
PACKAGE = "doubleword"


class Arrow(NamedTuple):
    """One import of ours: files without their ending, from the folder of scripts, and the line it stands on."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return f"{'/'.join(self.source)}.py line {self.line} imports {'.'.join(self.target)}"


def room(file: tuple[str, ...]) -> str:
    return file[1] if file[0] == PACKAGE and len(file) > 1 else "commands"


def exists(scripts: Path, file: tuple[str, ...]) -> bool:
    path = scripts.joinpath(*file)
    return path.is_dir() or path.with_suffix(".py").exists()


@cache
def imports(code: str) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def arrows(scripts: Path) -> Iterator[Arrow]:
    """Every import of a file of ours, wherever in the code it stands, also one for types alone."""
    for path in sorted(scripts.rglob("*.py")):
        source = path.relative_to(scripts).with_suffix("").parts
        for node in imports(path.read_text("utf-8")):
            for target in targets(node, source):
                # `from .api import Api` names something in a file, `from . import api` the file.
                while target and not exists(scripts, target):
                    target = target[:-1]
                if target and target != (PACKAGE,):
                    yield Arrow(source, target, node.lineno)


def targets(node: ast.Import | ast.ImportFrom, source: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(node, ast.Import):
        return [tuple(alias.name.split(".")) for alias in node.names]
    base = source[: len(source) - node.level] if node.level else ()
    base += tuple(node.module.split(".")) if node.module else ()
    return [(*base, alias.name) for alias in node.names]


def violations(scripts: Path) -> list[str]:
    found = list(arrows(scripts))
    unknown = {room(arrow.source) for arrow in found} | {room(arrow.target) for arrow in found}
    problems = [f"{name} is no room" for name in sorted(unknown - set(ROOMS))]
    if problems:
        return problems
    inside: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for arrow in found:
        here, there = (ROOMS.index(room(file)) for file in (arrow.source, arrow.target))
        if (
            there > here
            or arrow.target[:2] == (PACKAGE, ROOMS[here]) == arrow.target
            or here == there == len(ROOMS) - 1
        ):
            problems.append(str(arrow))
        elif here == there:
            inside.setdefault(arrow.source, set()).add(arrow.target)
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        problems.append(f"a circle: {' -> '.join('/'.join(file) for file in error.args[1])}")
    return problems


def test_imports_run_downwards_only() -> None:
    assert len(list(arrows(ROOT / "scripts"))) > 100, "the test does not see the imports"
    assert violations(ROOT / "scripts") == []


PLANTED = {
    "up by a relative import": ("doubleword/base/text.py", "from ..rows.cell_to_text import anything"),
    "up by the folder": ("doubleword/rows/cell_to_text.py", "from .. import results"),
    "up within a function": ("doubleword/job/record.py", "def late():\n    from ..service.api import Api"),
    "up for a type alone": ("doubleword/request_file/lines.py", "if False:\n    from ..job.job import Job"),
    "up by its whole name": ("doubleword/service/api.py", "import doubleword.results.results_and_errors"),
    "to a command": ("doubleword/results/results_and_errors.py", "import run_batch"),
    "from a command to another": ("poll.py", "from run_batch import main"),
    "a room itself": ("doubleword/service/api.py", "from . import submit"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_an_arrow_that_goes_up_or_a_circle_is_found(tmp_path: Path, planted: str) -> None:
    file, line = PLANTED[planted]
    scripts = shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    with (scripts / file).open("a", encoding="utf-8") as code:
        code.write(f"\n{line}\n")
    (problem,) = violations(scripts)
    assert file.removesuffix(".py") in problem


def test_the_picture_in_the_readme_has_the_rooms_from_the_top_down_and_every_module_in_its_room() -> None:
    picture = re.search(r"```text\n(whole_job\.py .*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert picture
    drawn: dict[str, set[str]] = {}
    for room_of, names in re.findall(r"^([\w/.]*) +(.+)$", picture[1], re.MULTILINE):
        room_of, modules = room_of or list(drawn)[-1], re.sub(r"\(.*\)", "", names).split()
        drawn[room_of] = drawn.get(room_of, set()) | set(modules)
    package = ROOT / "scripts" / PACKAGE
    files = [f"{name}.py" for name in reversed(ROOMS) if (package / f"{name}.py").exists()]
    assert list(drawn) == [*files, *(f"{name}/" for name in reversed(FOLDERS))]
    for name in FOLDERS:
        assert drawn[f"{name}/"] == {path.stem for path in (package / name).glob("*.py")} - {"__init__"}
