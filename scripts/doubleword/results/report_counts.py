"""Counts over any number of rows in bounded memory: tallies, histograms, and prompts that occur more than once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple


class Bar(NamedTuple):
    """One bar of a chart: what it stands for, and how many rows."""

    label: str
    rows: int


class Tally:
    """How often each text occurs. Beyond KINDS different ones a new one is only counted, no longer named."""

    KINDS = 5_000
    SHOWN = 20
    LABEL = 200  # characters of a text that are kept; a kind of answer is shorter

    def __init__(self, expected: Iterable[str] = ()) -> None:
        """`expected`: texts that are shown also when none occurs."""
        self.expected = list(expected)
        self.lengths = Histogram()
        self.counts: dict[str, int] = dict.fromkeys(self.expected, 0)
        self.total = self.unnamed = 0

    def add(self, text: str) -> None:
        self.total += 1
        self.lengths.add(len(text))
        kind = text.strip()[: self.LABEL]
        if kind in self.counts or len(self.counts) < self.KINDS:
            self.counts[kind] = self.counts.get(kind, 0) + 1
        else:
            self.unnamed += 1

    def bars(self) -> list[Bar]:
        """The most frequent ones, and one bar for all others together."""
        ranked = sorted(self.counts.items(), key=lambda item: -item[1])
        shown = [Bar(kind, count) for kind, count in ranked[: self.SHOWN]]
        rest = self.total - sum(bar.rows for bar in shown)
        if rest:
            others = f"{len(ranked) - self.SHOWN:,}" if not self.unnamed else f"over {self.KINDS - self.SHOWN:,}"
            shown.append(Bar(f"{others} others", rest))
        return shown

    @property
    def is_telling(self) -> bool:
        """Whether frequency says something: few kinds make up at least half, as labels do and prose does not."""
        if self.expected:
            return True
        ranked = sorted(self.counts.values(), reverse=True)
        repeated = sum(count for count in ranked[: self.SHOWN] if count > 1)
        return repeated * 2 >= self.total > 0


class Histogram:
    """Where numbers lie. Exact up to EXACT different ones, then by bins whose width doubles as the range grows."""

    EXACT = 1_000
    BARS = 24
    LARGEST = 1e300  # beyond it a float's arithmetic ends

    def __init__(self) -> None:
        self.count, self.sum = 0, 0.0
        self.least, self.most = math.inf, -math.inf
        self._width = 0.0  # 0 as long as `_bins` holds the numbers themselves
        self._bins: dict[float, int] = {}

    def add(self, number: float) -> None:
        """Takes a finite number; any other is left out."""
        if not -self.LARGEST < number < self.LARGEST:
            return
        self.count += 1
        self.sum += number
        self.least, self.most = min(self.least, number), max(self.most, number)
        place = math.floor(number / self._width) * self._width if self._width else number
        self._bins[place] = self._bins.get(place, 0) + 1
        if len(self._bins) > self.EXACT:
            self._widen()

    def _widen(self) -> None:
        needed = 2.0 ** math.ceil(math.log2((self.most - self.least) / (self.EXACT / 4)))
        self._width = max(needed, self._width * 2)
        merged: dict[float, int] = {}
        for number, count in self._bins.items():
            place = math.floor(number / self._width) * self._width
            merged[place] = merged.get(place, 0) + count
        self._bins = merged

    def at(self, share: float) -> float:
        """The number that this share of all numbers does not exceed: 0.5 is the median."""
        left = share * self.count
        for number in sorted(self._bins):
            left -= self._bins[number]
            if left <= 0:
                return number
        return self.most

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else 0.0

    def bars(self) -> list[tuple[float, float, int]]:
        """(from, up to, count) of bins of a round width; the last one ends at infinity where few numbers lie far above
        all others. Of whole numbers "up to" is within the bin, so that a single number has both equal."""
        if not self.count:
            return []
        if len(self._bins) <= self.BARS // 2 and self._whole:
            return [(number, number, self._bins[number]) for number in sorted(self._bins)]
        top, high = self.most, self.at(0.99)
        if top - self.least > 2 * (high - self.least) > 0:
            top = high
        width = self._round_width(top)
        first = math.floor(self.least / width)
        last = math.floor(top / width)
        found = [0] * (last - first + 2)
        for number, count in self._bins.items():
            found[min(math.floor(number / width), last + 1) - first] += count
        inclusive = 1 if self._whole and width >= 1 else 0  # of whole numbers the last one within is named
        made = [((first + i) * width, (first + i + 1) * width - inclusive, n) for i, n in enumerate(found[:-1])]
        return [*made, ((last + 1) * width, math.inf, found[-1])] if found[-1] else made

    def _round_width(self, top: float) -> float:
        """1, 2 or 5 times a power of ten, so that about BARS bins hold everything; of whole numbers at least 1."""
        # Never so narrow that counting up from the least number ends in the same float.
        rough = max((top - self.least) / self.BARS, self._width, 1e-9 * max(abs(top), abs(self.least)), 1e-290)
        power = 10.0 ** math.floor(math.log10(rough))
        width = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        return max(1.0, width) if self._whole else width

    @property
    def _whole(self) -> bool:
        return all(number == int(number) for number in self._bins)


class Repeated(NamedTuple):
    """A filled-in prompt that several rows share: a row for each different answer, and how many rows gave it."""

    prompt: str
    answers: list[tuple[str, int, int]]  # answer, rows with it, the first row's line

    @property
    def rows(self) -> int:
        return sum(rows for _, rows, _ in self.answers)


class _Seen:
    """What is known of one prompt: the first answer, and once there is another one, all of them."""

    __slots__ = ("answer", "line", "others", "prompt", "rows", "text")

    def __init__(self, line: int, answer: int, text: str) -> None:
        self.line, self.answer, self.text, self.rows = line, answer, text, 1
        self.prompt = ""
        self.others: dict[int, tuple[str, int, int]] | None = None


class Repeats:
    """Prompts that occur more than once, and which of them got different answers."""

    PROMPTS = 100_000  # different ones that are remembered: 25 MB
    ANSWERS = 20  # different ones that are counted for a prompt; further ones count as the last
    TEXT = 80

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self.overflowed = False
        self.prompts = 0  # prompts that occur more than once
        self.differing: dict[int, _Seen] = {}

    def add(self, prompt: int, line: int, answer: str) -> bool:
        """Takes a row with an answer; `prompt` is a hash. True if its prompt just turned out to have two answers."""
        answer = answer.strip()
        mark = hash(answer)
        seen = self._seen.get(prompt)
        if seen is None:
            if len(self._seen) < self.PROMPTS:
                self._seen[prompt] = _Seen(line, mark, self._short(answer))
            else:
                self.overflowed = True
            return False
        self.prompts += seen.rows == 1
        seen.rows += 1
        if seen.others is None:
            if mark == seen.answer:
                return False
            seen.others = {}
            self.differing[prompt] = seen
        if mark != seen.answer and (mark in seen.others or len(seen.others) < self.ANSWERS):
            text, rows, first = seen.others.get(mark, (self._short(answer), 0, line))
            seen.others[mark] = (text, rows + 1, first)
        return not seen.prompt

    def _short(self, answer: str) -> str:
        return answer if len(answer) <= self.TEXT else answer[: self.TEXT - 1] + "…"

    def name(self, prompt: int, text: str) -> None:
        """The words of a prompt for which `add` was True."""
        self.differing[prompt].prompt = text

    @property
    def rows(self) -> int:
        """How many rows have a prompt that got different answers."""
        return sum(seen.rows for seen in self.differing.values())

    def most(self, count: int) -> list[Repeated]:
        """The prompts with different answers that most rows share."""
        ranked = sorted(self.differing.values(), key=lambda seen: -seen.rows)[:count]
        return [Repeated(seen.prompt, self._answers(seen)) for seen in ranked]

    @staticmethod
    def _answers(seen: _Seen) -> list[tuple[str, int, int]]:
        others = list((seen.others or {}).values())
        first = seen.rows - sum(rows for _, rows, _ in others)
        return sorted([(seen.text, first, seen.line), *others], key=lambda answer: -answer[1])
