"""How far a long step is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from .console import is_quiet


class Progress:
    """How far a long step is, with rate and ETA: a bar on a terminal, else a line now and then.

    Silent for the first two seconds, so that quick steps say nothing.
    """

    LINE_EVERY_SECONDS = 30.0  # in a log: a 200 MB upload on a slow line gives some ten lines

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._started = self._shown = 0.0  # counted from the first piece: what came before was waiting
        self.terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._wrote_line = False
        if self.terminal and not is_quiet():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total or None, desc=what, unit=unit, unit_scale=True, delay=2, leave=False)

    def add(self, amount: int) -> None:
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
            return
        now = time.monotonic()
        self._started = self._started or now
        self._shown = self._shown or now
        if now - self._started < 2 or now - self._shown < (0.5 if self.terminal else self.LINE_EVERY_SECONDS):
            return
        self._shown = now
        if is_quiet():
            return
        rate = self._done / (now - self._started)
        text = f"{self._what}: {_scaled(self._done)} of {_scaled(self._total)} {self._unit}, {_scaled(rate)}/s"
        if rate and self._total >= self._done:
            text += f", {int((self._total - self._done) / rate)} s left"
        sys.stderr.write(f"\r\x1b[K{text}" if self.terminal else text + "\n")
        sys.stderr.flush()
        self._wrote_line = self.terminal

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._wrote_line:
            sys.stderr.write("\r\x1b[K")
            self._wrote_line = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _scaled(number: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{number:.0f}"
