"""Counts over any number of answers in bounded memory: tallies, histograms, and each property of a schema by itself."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from ..base.json_text import fields
from ..base.text import without_key
from ..request_file.answer_form import Expected, properties, referred

PROPERTIES = 12  # of a schema, that get a chart
ROW_VALUES = 4  # and a column in the table


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
        self.counts = Counter(dict.fromkeys(self.expected, 0))
        self.total = self.unnamed = 0

    def add(self, text: str) -> None:
        self.total += 1
        self.lengths.add(len(text))
        kind = without_key(text).strip()[: self.LABEL]
        if kind in self.counts or len(self.counts) < self.KINDS:
            self.counts[kind] += 1
        else:
            self.unnamed += 1

    def bars(self) -> list[Bar]:
        """The most frequent ones, and one bar for all others together."""
        shown = [Bar(kind, count) for kind, count in self.counts.most_common(self.SHOWN)]
        rest = self.total - sum(bar.rows for bar in shown)
        if rest:
            others = f"{len(self.counts) - self.SHOWN:,}" if not self.unnamed else f"over {self.KINDS - self.SHOWN:,}"
            shown.append(Bar(f"{others} others", rest))
        return shown

    @property
    def is_telling(self) -> bool:
        """Whether frequency says something: few kinds make up at least half, as labels do and prose does not."""
        repeated = sum(count for _, count in self.counts.most_common(self.SHOWN) if count > 1)
        return bool(self.expected) or repeated * 2 >= self.total > 0


class Histogram:
    """Where numbers lie. Exact up to EXACT different ones, then by bins whose width doubles as the range grows."""

    EXACT = 1_000
    BARS = 24
    LARGEST = 1e300  # beyond it a float's arithmetic ends

    def __init__(self) -> None:
        self.count = 0
        self.least, self.most = math.inf, -math.inf
        self._width = 0.0  # 0 as long as `_bins` holds the numbers themselves
        self._bins = Counter[float]()

    def add(self, number: float) -> None:
        """Takes a finite number; any other is left out."""
        if not -self.LARGEST < number < self.LARGEST:
            return
        self.count += 1
        self.least, self.most = min(self.least, number), max(self.most, number)
        self._put(number, 1)
        if len(self._bins) > self.EXACT:
            needed = 2.0 ** math.ceil(math.log2((self.most - self.least) / (self.EXACT / 4)))
            self._width = max(needed, self._width * 2)
            narrower, self._bins = self._bins, Counter()
            for place, count in narrower.items():
                self._put(place, count)

    def _put(self, number: float, count: int) -> None:
        self._bins[math.floor(number / self._width) * self._width if self._width else number] += count

    def at(self, share: float) -> float:
        """The number that this share of all numbers does not exceed: 0.5 is the median."""
        left = share * self.count
        for number in sorted(self._bins):
            left -= self._bins[number]
            if left <= 0:
                return number
        return self.most

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
        first, last = math.floor(self.least / width), math.floor(top / width)
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


class Answers:
    """Answers by frequency and length; of a schema, each of its properties; vectors by their length."""

    def __init__(self, expected: Expected | None) -> None:
        self.whole = Tally(expected.choices if expected else ())
        self.vectors = Histogram()
        schema = expected.schema if expected and not expected.choices else None
        found = properties(schema) if schema else {}
        self.properties = {name: _counts(_plain(found[name], schema)) for name in islice(found, PROPERTIES)}

    def add(self, value: Any, text: str, is_vector: bool) -> list[str]:
        """Counts one answer; returns what the schema's first properties hold, as text."""
        if is_vector:
            self.vectors.add(len(value))
            return []
        self.whole.add(text)
        if not isinstance(value, dict):
            return []
        for name, counts in self.properties.items():
            found = value.get(name)
            if isinstance(counts, Histogram):
                if isinstance(found, int | float) and not isinstance(found, bool):
                    counts.add(found)
            elif found is not None:
                for item in found if isinstance(found, list) else [found]:
                    counts.add(_written(item))
        return [_written(value.get(name)) for name in islice(self.properties, ROW_VALUES)]


def _counts(about: dict[str, Any]) -> Tally | Histogram:
    """How the values of one property are counted."""
    words = about.get("enum")
    if isinstance(words, list):
        return Tally(_written(word) for word in words if word is not None)
    kinds = _without_null(about.get("type"))
    if kinds and set(kinds) <= {"number", "integer"}:
        return Histogram()
    return Tally(["true", "false"] if kinds == ["boolean"] else ())


def _plain(about: Any, root: Any) -> dict[str, Any]:
    """What is said of a property, references followed and the alternative null left out."""
    for _ in range(10):
        found = fields(about)
        parts = found.get("anyOf", found.get("oneOf", found.get("allOf")))
        others = [part for part in parts if fields(part).get("type") != "null"] if isinstance(parts, list) else []
        if isinstance(found.get("$ref"), str):
            about = referred(found["$ref"], root)
        elif len(others) == 1:
            about = others[0]
        elif fields(found.get("items")) and _without_null(found.get("type")) == ["array"]:
            about = {key: value for key, value in _plain(found["items"], root).items() if key == "enum"}
        else:
            return found
    return {}


def _without_null(kinds: Any) -> list[Any]:
    return [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind not in ("null", None)]


def _written(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 3.0 is the integer 3
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
