"""What of a source became a row, and what did not: rows and what is left out add up to what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..base.text import safe

SHOWN = 3  # places named of each reason


@dataclass
class _Places:
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: object) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(safe(place, 80))

    def __str__(self) -> str:
        return f"{', '.join(self.first)}{', …' if self.count > len(self.first) else ''}"


class Tally:
    """Filled while rows are read. A reason is a noun phrase in the singular; a place a line number or a file's name."""

    def __init__(self, heard: bool = True) -> None:
        """`heard`: somebody reads the notes; what only they tell need not be looked for otherwise."""
        self.rows, self.heard = 0, heard
        self.unreadable: list[int] = []  # rows, from 1, without a request since a picture or text cannot be read
        self._left_out: dict[str, _Places] = {}  # what is there and is no row
        self._skipped: dict[str, _Places] = {}  # rows without a request
        self._doubts: dict[str, _Places] = {}  # read in one of two ways

    def leave_out(self, reason: str, place: object) -> None:
        self._left_out.setdefault(reason, _Places()).add(place)

    def skip(self, reason: str, place: object) -> None:
        self._skipped.setdefault(reason, _Places()).add(place)

    def doubt(self, what: str, place: object) -> None:
        """`what` is a whole sentence: how it was read, and what else it may be."""
        self._doubts.setdefault(what, _Places()).add(place)

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many of each reason."""
        return {reason: places.count for reason, places in self._left_out.items()}

    def notes(self) -> list[str]:
        """What a person must hear of it, a line each."""
        lines = [f"left out: {places.count} x {reason} ({places})" for reason, places in self._left_out.items()]
        lines += [f"no request for {places.count} x {reason} ({places})" for reason, places in self._skipped.items()]
        lines += [f"{what} ({f'{p.count} x: ' if p.count > 1 else ''}{p})" for what, p in self._doubts.items()]
        return lines
