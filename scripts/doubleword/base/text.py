"""Foreign text made safe to show, and the words of commands, counts and times."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# Zero-width joiners are not printable, yet Persian words and joined emoji need them.
_KEPT = {"\u200c", "\u200d"}


def without_key(text: str) -> str:
    """The text with the API key blotted out: a server or a proxy may quote it back."""
    key = os.environ.get("DOUBLEWORD_API_KEY", "").strip()
    return text.replace(key, "***") if len(key) >= 8 else text


def safe(text: object, limit: int = 500) -> str:
    """Foreign text for a terminal or a record: one line, no control characters, no key, at most `limit` long.

    Control characters include terminal escapes and the marks that reverse the reading direction.
    """
    cleaned = "".join(c if c.isprintable() or c in _KEPT else " " for c in without_key(str(text)[: limit * 4]))
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def utc(seconds: float | None) -> str:
    """Unix seconds as `2026-11-24 08:21:07Z`, or `-`."""
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def plural(count: int, noun: str) -> str:
    """`1 request`, `2 requests`, `2 batches`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's')) else 's'}"


def next_command(script: str, *arguments: str | Path) -> str:
    """The exact command line that runs a sibling script from where this one was started."""
    import shlex
    import shutil

    folder = Path(sys.argv[0]).parent
    if not (folder / script).exists():  # not started as one of the scripts
        folder = Path(__file__).parent.parent.parent
    python = sys.executable or "python3"
    known = shutil.which("python3")
    if known and Path(known).parent == Path(python).parent:
        python = "python3"  # the short name, where it finds the same interpreter
    # A path that begins with a dash would be taken for a flag.
    words = [f"./{a}" if isinstance(a, Path) and str(a).startswith("-") else str(a) for a in arguments]
    return shlex.join([python, str(folder / script), *words])


def whole_number(text: str) -> int:
    """A flag's value that must be a whole number, 1 or more."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A flag's value in seconds: 0 or more, and an end."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number
