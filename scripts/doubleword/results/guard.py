"""Cells that a spreadsheet would run as a formula. What a model or a server wrote is data, and stays it."""

from __future__ import annotations

import re

# How a formula may begin, in its full-width form too; before it programs skip white space, and what they do not show.
_FORMULA = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_BULLETED = re.compile(r"\s*- [^(!|=]*")  # calls nothing, names no other sheet or program


# Read with another delimiter than it was written with, a cell falls apart, and the rest of it may be a formula.
_LATER = re.compile("[,;|\t] *[=+\\-@]")


def enclosed(cell: str) -> str:
    """A cell that is to be quoted whatever the delimiter is; "" for one that need not be."""
    return '"' + cell.replace('"', '""') + '"' if _LATER.search(cell) else ""


def guarded(cell: str) -> str:
    """The cell, with a leading `'` if a spreadsheet would run it; numbers and bulleted texts stay as they are."""
    if not _FORMULA.match(cell) or _NUMBER.fullmatch(cell) or _BULLETED.fullmatch(cell):
        return cell
    return "'" + cell
