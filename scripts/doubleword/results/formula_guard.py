"""Cells that a spreadsheet would run as a formula. What a model or a server wrote is data, and stays it."""

from __future__ import annotations

import re

SIGNS = "-=+@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"  # full-width and small forms, too
_SIGN = f"[{SIGNS}]"
# What programs skip before a formula, or do not show: white space, control characters, marks of width and direction.
_SKIPPED = "[\\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
_FORMULA = re.compile(f"[\t\r\n]|{_SKIPPED}*{_SIGN}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?|-Infinity")
_BULLETED = re.compile(r"\s*- [^(!|=]*")  # calls nothing, names no other sheet or program

# Read with another delimiter than it was written with, a cell falls apart, and the rest of it may be a formula. One in
# quotes does so, too, where it is not the first of its line: its quotes are only characters then.
# The sign stands first, and what is before it is looked at then: texts are long, and signs are few.
_LATER = re.compile(rf"{_SIGN}(?<=[^\w=+\-@].)")
_ENDS = ";,\t\r\n"  # of cells, in the tables that spreadsheets open
_WITHIN = re.compile(f"([{_ENDS}])((?![{_ENDS}]){_SKIPPED})*({_SIGN}[^{_ENDS}]*)")
_OPERAND, _PLACE = r"\$?\w[\w.$]*", r"\$?[A-Za-z]{1,3}\$?\d{1,7}"
# Within a text only what does something is a formula, since lists, smileys and programs are full of signs. At the
# start of a line: `=` before a value, and what calls a program. Elsewhere also a call, a bracket, another sheet; a
# place in the sheet, or sums, without a space after the sign.
_RUNS_LINE = re.compile(r"[=\uff1d\ufe66]\s*[\w(\"'{$#+\-@.\[]|.*\w\|.*!")
_RUNS = re.compile(
    rf"{_RUNS_LINE.pattern}"
    r"|.*(?:\w\(|[\w')]!['\w$#]|\|)"
    r"|.\([\w$\"'+\-(]"
    rf"|.(?:{_PLACE}|{_OPERAND}(?:[-+*/^&<>]{_OPERAND})+)%?\s*\Z"
)


_BYTES = (b"-", b"=", b"+", b"@", b"\xef")  # of the signs in UTF-8, the first of each
# Of each byte whether it may end a cell (`;`), or begin a sign or, beyond ASCII, what is skipped before one (`=`).
_BEGINS = {sign.encode()[0] for sign in SIGNS + "\xa0\u061c\u180e\u200b\u3000\ufeff"}
_SORTS = bytes(59 if chr(byte) in _ENDS else 61 if byte in _BEGINS else 46 for byte in range(256))
_UNSEEN = bytes({*range(0x20 + 1), 0x7F}.difference(_ENDS.encode()))


def sign_in(cell: bytes) -> bool:
    """Whether there may be a sign in a cell in UTF-8, or it begins as a formula may."""
    return cell[:1] in (b"\t", b"\r", b"\n") or any(map(cell.__contains__, _BYTES))


def may_run(cell: bytes) -> bool:
    """Whether `guarded` may change a cell in UTF-8. Most long texts have signs, few in such a place: this takes a tenth
    of the time that the expressions take."""
    return cell[:1] in (b"\t", b"\r", b"\n") or b";=" in (b";" + cell).translate(_SORTS, _UNSEEN)


def enclosed(cell: str) -> str:
    """A cell that is to be quoted whatever the delimiter is; "" for one that need not be."""
    return '"' + cell.replace('"', '""') + '"' if _has_later(cell, cell[:1] == "'") else ""


def _has_later(cell: str, start: int) -> bool:
    """Whether from there on a sign stands behind a character that may end a cell."""
    return any(map(cell.__contains__, SIGNS)) and _LATER.search(cell, start + 1) is not None


def guarded(cell: str, delimiter: str = "") -> str:
    """The cell, with a `'` before each place where a spreadsheet would run it, read with this delimiter or another.

    Numbers and bulleted texts stay as they are.
    """
    starts = _FORMULA.match(cell)
    if _has_later(cell, 0):
        cell = _WITHIN.sub(lambda found: _within(found, delimiter), cell)
    if not starts or _NUMBER.fullmatch(cell) or _BULLETED.fullmatch(cell):
        return cell
    return "'" + cell


def _within(found: re.Match[str], delimiter: str) -> str:
    runs = found[1] != delimiter and (_RUNS_LINE if found[1] in "\r\n" else _RUNS).match(found[3])
    return f"{found[0][: -len(found[3])]}'{found[3]}" if runs else found[0]
