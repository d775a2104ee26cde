"""How far a long step is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from .console import hide_bar, is_quiet, say, show_bar

# Whole numbers: `12 of 300 requests`. Bytes are scaled, since nobody reads nine digits.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} {unit} [{elapsed}<{remaining}, {rate_fmt}]"


class Progress:
    """How far a long step is, with rate and ETA: a bar on a terminal where tqdm is installed, else a line now and then.

    Silent for the first two seconds, so that quick steps say nothing.
    """

    LINE_EVERY_SECONDS = 30.0  # in a log: a 200 MB upload on a slow line gives some ten lines

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._started = self._shown = 0.0  # counted from the first piece: what came before was waiting
        self._bar: Any = None
        if not is_quiet() and sys.stderr is not None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            form = {"bar_format": BAR} if total else {}
            scaled = unit == "B"
            self._bar = tqdm(total=total or None, desc=what, unit=unit, unit_scale=scaled, delay=2, leave=False, **form)
            show_bar(self._bar)

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
        self._started = self._started or now
        self._shown = self._shown or now
        if now - self._started < 2 or now - self._shown < self.LINE_EVERY_SECONDS:
            return
        self._shown = now
        rate = self._done / (now - self._started)
        text = f"{self._what}: {_scaled(self._done)} of {_scaled(self._total)} {self._unit}, {_scaled(rate)}/s"
        if rate and self._total >= self._done:
            text += f", {int((self._total - self._done) / rate)} s left"
        say(text)

    def close(self) -> None:
        if self._bar is not None:
            hide_bar(self._bar)
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _scaled(number: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if suffix == 'k' else limit):.1f}{suffix}"
    return f"{number:.0f}"
