"""Whether two messages say the same thing: the same place and the same names and numbers, in whatever words."""

from __future__ import annotations

import re

# A parser's own position inside a line: part of its words, not of what is wrong.
POSITION = re.compile(r" (?:at|on/near) line \d+ column \d+|(?: at)? byte offset \d+| column \d+")
LINE = re.compile(r"\bline (\d+)", re.I)
NAME = re.compile(r"`([^`]+)`|'([^']+)'|\"([^\"]+)\"")
PATH = re.compile(r"/v\d/[\w/-]+")
ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])")


def same_meaning(recorded: str, actual: str) -> bool:
    """True where the texts are equal, or name the same line, the same fields and values, the same numbers."""
    if recorded == actual:
        return True
    if bool(recorded.strip()) != bool(actual.strip()):
        return False
    recorded, actual = POSITION.sub("", recorded), POSITION.sub("", actual)
    if any(kind.findall(recorded) != kind.findall(actual) for kind in (LINE, ID, PATH)):
        return False
    if not all(name in actual for name in _names(recorded)):
        return False
    return set(NUMBER.findall(recorded)) <= set(NUMBER.findall(actual))


def _names(text: str) -> set[str]:
    return {next(name for name in found if name) for found in NAME.findall(text)}
