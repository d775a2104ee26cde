"""Foreign text made safe to show, and the words of commands, counts and times."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

SHORTEST_KEY = 8  # anything shorter is no key, and would be found in too many words

# Zero-width joiners are not printable, yet Persian words and joined emoji need them.
_KEPT = {"\u200c", "\u200d"}

# What acts on a terminal or on its reader instead of being shown: control characters (C1, too, such as U+009B, which
# begins an escape sequence), marks that turn the reading direction, invisible characters and foreign line ends.
ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

NO_TEXT = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs: bytes of a file name, or a server's nonsense


def is_windows() -> bool:
    return os.name == "nt"


def escaped(text: str) -> str:
    """Each character as JSON escapes it: `\\u001b`."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def without_key(text: str, cut: bool = False) -> str:
    """Foreign text with the API key blotted out: a server or a proxy may quote it back, plainly or as part of a URL.

    With `cut` the text is the beginning of a longer one, so its end may be the beginning of the key: that goes, too.
    What the scripts write themselves does not come here: with a key such as "requests" it would be damaged.
    """
    key = os.environ.get("DOUBLEWORD_API_KEY", "").strip()
    if len(key) < SHORTEST_KEY:
        return text
    from urllib.parse import quote

    for form in (key, quote(key, safe=""), quote(key)):
        text = text.replace(form, "***")
    if cut:
        length = next((n for n in range(len(key) - 1, 2, -1) if text.endswith(key[:n])), 0)
        text = text[: len(text) - length] + "***" if length else text
    return text


def holds_key(text: str) -> bool:
    """Whether foreign text quotes the key: an id that does is no id."""
    return without_key(text) != text


def safe(text: object, limit: int = 500, cut: bool = False) -> str:
    """Foreign text for people, the record or --json: one line, no control characters, no key, at most `limit` long.

    `cut` says that the text is the beginning of a longer one.
    """
    blotted = without_key(str(text), cut)  # before anything is cut off: half a key would not be known for one
    cleaned = "".join(c if c.isprintable() or c in _KEPT else _shown(c) for c in blotted[: limit * 4])
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def _shown(character: str) -> str:
    # Half of a surrogate pair is a byte of a file name that is no text: without it the name could not be known.
    return escaped(character) if NO_TEXT.match(character) else " "


def utc(seconds: float | None) -> str:
    """Unix seconds as `2026-11-24 08:21:07Z`, or `-`; also for what is no time of this calendar."""
    try:
        return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


def plural(count: int, noun: str) -> str:
    """`1 request`, `2 requests`, `2 batches`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's')) else 's'}"


def _interpreter() -> list[str]:
    """What runs a script as this one is run: the short name, where it finds the same interpreter."""
    import shutil

    if Path(sys.prefix).parent.name.startswith("environments-"):  # of uv, for this script alone
        return ["uv", "run"]
    python = sys.executable or "python3"
    known = shutil.which("python3")
    return ["python3" if known and Path(known).parent == Path(python).parent else python]


def next_command(script: str, *arguments: str | Path) -> str:
    """The exact command line that runs a sibling script from where this one was started."""
    import shlex

    folder = Path(sys.argv[0]).parent
    if not (folder / script).exists():  # not started as one of the scripts
        folder = Path(__file__).parent.parent.parent
    # A path that begins with a dash would be taken for a flag.
    words = [f"./{a}" if isinstance(a, Path) and str(a).startswith("-") else str(a) for a in arguments]
    words = [*_interpreter(), str(folder / script), *words]
    if is_windows():
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)
