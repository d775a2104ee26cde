"""Cells that a spreadsheet would run as a formula. What a model or a server wrote is data, and stays it."""

from __future__ import annotations

import re

_SIGN = "[-=+@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"  # full-width and small forms, too
# What programs skip before a formula, or do not show: white space, control characters, marks of width and direction.
_SKIPPED = "[\\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
_FORMULA = re.compile(f"[\t\r\n]|{_SKIPPED}*{_SIGN}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_BULLETED = re.compile(r"\s*- [^(!|=]*")  # calls nothing, names no other sheet or program

# Read with another delimiter than it was written with, a cell falls apart, and the rest of it may be a formula. One in
# quotes does not, whether what stands before the sign is a space, a `;`, a tab or anything else.
_LATER = re.compile(rf"[^\w=+\-@]{_SIGN}")


def enclosed(cell: str) -> str:
    """A cell that is to be quoted whatever the delimiter is; "" for one that need not be."""
    return '"' + cell.replace('"', '""') + '"' if _LATER.search(cell, cell[:1] == "'") else ""


def guarded(cell: str) -> str:
    """The cell, with a leading `'` if a spreadsheet would run it; numbers and bulleted texts stay as they are."""
    if not _FORMULA.match(cell) or _NUMBER.fullmatch(cell) or _BULLETED.fullmatch(cell):
        return cell
    return "'" + cell
