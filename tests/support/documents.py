"""Reading the documents as data: code blocks, commands in them and in running text, tables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([ROOT / "SKILL.md", ROOT / "README.md", *(ROOT / "references").glob("*.md")])


class Block(NamedTuple):
    document: Path
    language: str
    text: str


class Command(NamedTuple):
    """A call of one of our scripts as a document shows it."""

    where: str
    script: str
    arguments: list[str]


def blocks(document: Path) -> list[Block]:
    """The fenced code blocks, also those indented within a list."""
    found = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(document, m[2], re.sub(rf"^{m[1]}", "", m[3], flags=re.MULTILINE)) for m in found]


def commands(document: Path) -> list[Command]:
    """Every call of a script with arguments or without, from code blocks and from `inline code`."""
    text = document.read_text("utf-8")
    spans = [line.removeprefix("$ ") for block in blocks(document) for line in block.text.splitlines()]
    spans += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for span in spans:
        match = re.match(r"(?:\S*python3?\S* )?(?:\S*/)?(\w+)\.py\b(.*)", span)
        if match and (ROOT / "scripts" / f"{match[1]}.py").exists():
            found.append(Command(f"{document.name}: {span}", match[1], shlex.split(match[2])))
    return found
