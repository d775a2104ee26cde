"""stdout carries the answer alone; everything a person reads goes to stderr, how far a long step is, too.

The one door to both: what would act on a terminal is escaped, and what a stream cannot encode, and a stream that is
closed, full or gone does not stop the work. Foreign text is blotted and cut before, by `text.safe`.
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterable

TYPE_CHECKING = False
from .failures import BadInput, Failure
from .text import ACTS, NO_TEXT, escaped

if TYPE_CHECKING:
    from typing import Any, TextIO


class _Voice:
    quiet = False
    as_json = False
    bars: list[Any] = []  # noqa: RUF012 - shown on stderr now: text must not run into them


def set_voice(as_json: bool, quiet: bool) -> None:
    _Voice.as_json, _Voice.quiet = as_json, quiet
    _Voice.bars.clear()


def say(text: str) -> None:
    """One line for people, on stderr; nothing with --quiet."""
    if not _Voice.quiet:
        to_people(text)


def to_people(text: str) -> None:
    """Text on stderr, with --quiet too. That it cannot be shown is no reason to fail."""
    try:
        _write(sys.stderr, text)
    except OSError:
        pass


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # started with it closed
        return
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_as_json.__name__)
    for bar in _Voice.bars:
        bar.clear()
    stream.write(ACTS.sub(lambda found: escaped(found[0]), text) + "\n")
    stream.flush()
    for bar in _Voice.bars:
        bar.refresh()


def _as_json(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding cannot hold becomes a JSON escape. File names stay the bytes that they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    is_byte = "\udc80" <= character <= "\udcff" and len("x".encode(error.encoding)) == 1  # none in UTF-16
    return bytes([ord(character) - 0xDC00]) if is_byte else escaped(character), error.start + 1


codecs.register_error(_as_json.__name__, _as_json)


def _json(value: object) -> str:
    import json

    # Bytes of file names that are no text would make it no JSON.
    return NO_TEXT.sub(lambda found: escaped(found[0]), json.dumps(value, ensure_ascii=False))


def answer(lines: Iterable[str], facts: dict[str, Any]) -> None:
    """The script's answer on stdout: its lines, or with --json the one object."""
    text = _json(facts) if _Voice.as_json else "\n".join(lines)
    if text:
        to_stdout(text)


def to_stdout(text: str) -> None:
    """Text on stdout. A reader that has left (`| head`) is no error; a full disk is one."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        # What is left in the buffer must not be tried again at exit: Python would complain and change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            what = f"the answer cannot be written to stdout: {error.strerror}"
            raise BadInput(what, "the work itself is done") from None


def report(failure: Failure) -> None:
    """A failure on stderr: prose, or with --json one JSON line."""
    shown = failure.problems[:20]
    if _Voice.as_json:
        listed = [problem.to_dict() for problem in shown]
        error = {"code": int(failure.code), "what": failure.what, "next": failure.next_step, "problems": listed}
        text = _json({"error": error})
    else:
        text = f"error: {failure.what}"
        text += "".join(f"\n  {problem.text}" for problem in shown)
        if failure.next_step:
            text += f"\nnext: {failure.next_step}"
    to_people(text)


def stand() -> None:
    """Takes the places of closed streams, before anything is opened."""
    for place in (0, 1, 2):
        try:
            os.fstat(place)
        except OSError:
            # Else a file of the job would get this number, and be written to by whoever takes it for a stream.
            os.open(os.devnull, os.O_RDWR)


# Whole numbers: `12 of 300 requests`. Bytes are scaled, since nobody reads nine digits.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} {unit} [{elapsed}<{remaining}, {rate_fmt}]"


class Progress:
    """How far a long step is, with rate and ETA: a bar on a terminal where tqdm is installed, else a line now and then.

    Silent for the first two seconds, so that quick steps say nothing.
    """

    LINE_EVERY_SECONDS = 30.0  # in a log: a 200 MB upload on a slow line gives some ten lines

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit, self._done = what, total, unit, 0
        self._started = self._shown = 0.0  # counted from the first piece: what came before was waiting
        self._bar: Any = None
        if not _Voice.quiet and sys.stderr is not None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            form = {"bar_format": BAR} if total else {}
            scaled = unit == "B"
            self._bar = tqdm(total=total or None, desc=what, unit=unit, unit_scale=scaled, delay=2, leave=False, **form)
            _Voice.bars.append(self._bar)

    @property
    def terminal(self) -> bool:
        """Whether a bar tells the counts, so that no line needs to."""
        return self._bar is not None

    def add(self, amount: int) -> None:
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
            return
        now = time.monotonic()
        self._started, self._shown = self._started or now, self._shown or now
        if now - self._started < 2 or now - self._shown < self.LINE_EVERY_SECONDS:
            return
        self._shown = now
        rate = self._done / (now - self._started)
        text = f"{self._what}: {_scaled(self._done)} of {_scaled(self._total)} {self._unit}, {_scaled(rate)}/s"
        if rate and self._total >= self._done:
            text += f", {int((self._total - self._done) / rate)} s left"
        say(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            _Voice.bars.remove(self._bar)
            self._bar.close()


def _scaled(number: float) -> str:
    for limit, unit, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if number >= limit:
            return f"{number / unit:.1f}{suffix}"
    return f"{number:.0f}"
