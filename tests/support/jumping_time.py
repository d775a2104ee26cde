"""Time that jumps ahead instead of being waited for. Loaded into scripts under test, too, so it stands alone."""

from __future__ import annotations

import time
from collections.abc import Callable

# As they were before anybody put a jumping time in their place.
_now, _monotonic, _sleep = time.time, time.monotonic, time.sleep


class JumpingTime:
    """A clock on which waits cost next to nothing: time jumps ahead, and the server gets a moment to work."""

    def __init__(self, moment: float = 0.01, speed: float = 1.0) -> None:
        """A wait really takes its seconds divided by `speed`, and `moment` at most; a busy server needs more of it."""
        self.moment, self.speed = moment, speed
        self.ahead = 0.0
        self.set_by = 0.0  # what somebody has set the clock of the day by
        self.slept: list[float] = []
        self.on_sleep: list[Callable[[], None]] = []  # called when time has jumped, before the real wait

    def now(self) -> float:
        return _now() + self.ahead + self.set_by

    def monotonic(self) -> float:
        return _monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += max(0.0, seconds)
        for act in self.on_sleep:
            act()
        _sleep(min(max(0.0, seconds) / self.speed, self.moment))
