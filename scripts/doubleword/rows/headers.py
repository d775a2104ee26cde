"""Headers: when two names mean one column, and which headers a table can have."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence

from ..base.failures import BadInput
from ..base.text import safe


def folded(name: str) -> str:
    """The name as names are compared: Unicode NFC, trimmed, each run of white space one space, nothing invisible."""
    if name.isascii() and name.isprintable() and "  " not in name:
        return name.strip()
    visible = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
    return " ".join(visible.split())


def _bare(name: str) -> str:
    """The letters and digits alone, without case: names that are equal so are one slip of the hand apart."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def shown(name: str) -> str:
    """A header for an error: what cannot be seen in it (a line break, a no-break space) is escaped."""
    clean = safe(name, 60)
    return clean if clean == name else safe(ascii(name)[1:-1] if not name.isprintable() else repr(name), 80)


def meant(name: str, headers: Sequence[str], flag: str = "") -> str | None:
    """The header that is meant by a name, given by a flag or within braces, or None. Raises BadInput where two are."""
    if name in headers:
        return name
    wanted = folded(name)
    found = [header for header in headers if folded(header) == wanted]
    if len(found) > 1:
        raise BadInput(
            f"{_said(name, flag)} may be {' or '.join(f'{{{shown(header)}}}' for header in found)}",
            "give the columns names that differ in more than spaces",
        )
    return found[0] if found else None


def _said(name: str, flag: str) -> str:
    return f"{flag} {shown(name)!r}" if flag else f"{{{shown(name)}}}"


# A member of a JSON object, as prompts show it: `{"text": "..."}` is no slip of {text}.
_MEMBER = re.compile(r"""\s*(["']).*?\1\s*:""", re.DOTALL)


def refuse_near(name: str, headers: Iterable[str], flag: str = "") -> None:
    """Raises BadInput if a header differs from the name in nothing but case, spaces or punctuation."""
    wanted = "" if _MEMBER.match(name) else _bare(name)
    near = [header for header in headers if _bare(header) == wanted] if wanted else []
    if near:
        there, plain = " and ".join(f"{{{shown(header)}}}" for header in near), folded(near[0])
        way = f"write {{{plain}}}, or {{{{{shown(name)}}}}} for the text itself"
        if flag:
            way = f"{flag} {shlex.quote(safe(plain))}"
        elif safe(plain) != plain or "{" in plain or "}" in plain:
            way = "give that column a plain name"
        raise BadInput(f"{_said(name, flag)} is no column, but {there} {'is' if len(near) == 1 else 'are'}", way)


def checked(path: str, line: int, names: Sequence[str]) -> list[str]:
    """The headers of a table without the empty ones at its end, whose cells must be empty, too."""
    headers = list(names)
    while len(headers) > 1 and not headers[-1].strip():
        headers.pop()
    if len(names) > 1 and not any(name.strip() for name in names):
        raise BadInput(f"{safe(path)} line {line}: none of its cells has a header", "write the headers there")
    places: dict[str, list[int]] = {}
    for number, name in enumerate(headers, 1):
        places.setdefault(name, []).append(number)
    for name, found in places.items():
        if len(found) > 1:
            columns = f"columns {', '.join(map(str, found[:10]))}"
            what, way = f"the same header, {shown(name)!r}", "rename all but one"
            if not name.strip():
                what, way = "no header", "give each a name of its own"
            raise BadInput(f"{safe(path)} line {line}: {columns} have {what}", way)
    return headers
