"""Cells that a spreadsheet would run as a formula. What a model or a server wrote is data, and stays it."""

from __future__ import annotations

import re

# How a formula may begin, in its full-width form too; before it some programs skip white space.
_FORMULA = re.compile("[ \u00a0]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_BULLETED = re.compile(r"\s*- [^(!|=]*")  # calls nothing, names no other sheet or program


def guarded(cell: str) -> str:
    """The cell, with a leading `'` if a spreadsheet would run it; numbers and bulleted texts stay as they are."""
    if not _FORMULA.match(cell) or _NUMBER.fullmatch(cell) or _BULLETED.fullmatch(cell):
        return cell
    return "'" + cell
