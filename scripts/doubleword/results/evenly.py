"""Which of many are picked, so that they are spread evenly? For a trial, and for the rows of the page."""

from __future__ import annotations


class Evenly:
    """Picks `wanted` of `total` things that come one after the other, each the last of its stretch."""

    def __init__(self, wanted: int, total: int) -> None:
        self.wanted, self.total, self._at = wanted, max(1, total), 0

    def take(self) -> bool:
        """Whether the next one is picked."""
        self._at += 1
        return self._at * self.wanted // self.total > (self._at - 1) * self.wanted // self.total
