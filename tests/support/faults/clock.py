"""The script's time in the fault suite."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.running import FastClock


class FaultClock(FastClock):
    """The script's time. A thousand seconds pass in one, so that the server, which runs at that speed, keeps up."""

    SPEED = 1000.0
    LONGEST_SLEEP = 0.03

    def __init__(self) -> None:
        super().__init__()
        self.on_sleep: list[Callable[[], None]] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += max(0.0, seconds)
        for act in self.on_sleep:
            act()
        time.sleep(min(max(seconds, 0.0) / self.SPEED, self.LONGEST_SLEEP))
