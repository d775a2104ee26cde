"""stdout carries the answer alone; everything a person reads goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

TYPE_CHECKING = False
from .errors import Failure
from .text import without_key

if TYPE_CHECKING:
    from typing import Any


class _Voice:
    quiet = False
    as_json = False


def is_quiet() -> bool:
    return _Voice.quiet


def say(text: str) -> None:
    """One line for people, on stderr; nothing with --quiet."""
    if not _Voice.quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _json(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def answer(lines: Iterable[str], facts: dict[str, Any]) -> None:
    """The script's answer on stdout: its lines, or with --json the one object."""
    text = _json(facts) if _Voice.as_json else "\n".join(lines)
    if not text:
        return
    try:
        sys.stdout.write(without_key(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has left: not an error, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(failure: Failure) -> None:
    """A failure on stderr: prose, or with --json one JSON line."""
    shown = failure.problems[:20]
    if _Voice.as_json:
        error = {"code": int(failure.code), "what": failure.what, "next": failure.next_step, "problems": shown}
        text = _json({"error": error})
    else:
        text = f"error: {failure.what}"
        text += "".join(f"\n  {p['text']}" for p in shown)
        if failure.next_step:
            text += f"\nnext: {failure.next_step}"
    print(without_key(text), file=sys.stderr, flush=True)  # noqa: T201
