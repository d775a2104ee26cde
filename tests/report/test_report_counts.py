"""Counting in bounded memory says what counting everything would say."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doubleword.report.counts import Histogram, Tally
from doubleword.report.same_prompts import Repeats

numbers = st.one_of(st.integers(-1000, 10**6), st.floats(-1e12, 1e12), st.floats(allow_nan=True, allow_infinity=True))


@given(st.lists(numbers, max_size=60))
def test_every_number_is_in_one_bin_that_holds_it(found: list[float]) -> None:
    counts = Histogram()
    for number in found:
        counts.add(number)
    finite = [number for number in found if abs(number) < Histogram.LARGEST]
    bars = counts.bars()
    assert sum(count for _, _, count in bars) == counts.count == len(finite)
    assert len(bars) <= Histogram.BARS + 3
    for (start, end, _), (later, _, _) in pairwise(bars):
        assert start <= end <= later or math.isclose(end, later)


def test_a_histogram_of_many_different_numbers_stays_small_and_true() -> None:
    counts = Histogram()
    for number in range(100_000):
        counts.add(number * 7)
    assert len(counts._bins) <= Histogram.EXACT
    assert (counts.least, counts.most, counts.count) == (0, 699_993, 100_000)
    assert sum(count for _, _, count in counts.bars()) == 100_000
    assert abs(counts.at(0.5) - 350_000) < 5_000


def test_a_far_outlier_does_not_flatten_the_rest() -> None:
    counts = Histogram()
    for number in [*range(200), 1_000_000]:
        counts.add(number)
    bars = counts.bars()
    assert bars[-1][1:] == (math.inf, bars[-1][2])
    assert len(bars) > 10


def test_whole_numbers_have_bins_of_whole_numbers() -> None:
    counts = Histogram()
    for year in range(1990, 2026):
        counts.add(year)
    assert counts.bars()[0] == (1990, 1991, 2)
    few = Histogram()
    for stars in (1, 5, 5, 3):
        few.add(stars)
    assert few.bars() == [(1, 1, 1), (3, 3, 1), (5, 5, 2)]


def test_a_tally_names_a_bounded_number_of_kinds_and_loses_no_count() -> None:
    tally = Tally(["never"])
    for number in range(20_000):
        tally.add(f"text {number}" if number % 2 else "often")
    assert len(tally.counts) <= Tally.KINDS
    bars = tally.bars()
    assert bars[0] == ("often", 10_000)
    assert sum(bar.rows for bar in bars) == 20_000
    assert not Tally().is_telling


def test_prose_is_not_told_by_frequency_and_labels_are() -> None:
    labels, prose = Tally(), Tally()
    for number in range(1000):
        labels.add(("good", "bad", "mixed")[number % 3])
        prose.add(f"sentence {number}" if number > 20 else "the same")
    assert labels.is_telling
    assert not prose.is_telling


def test_repeats_count_every_row_of_a_prompt_with_two_answers() -> None:
    repeats = Repeats()
    for line, (prompt, answer) in enumerate([(1, "a"), (2, "a"), (1, "a "), (2, "b"), (2, "c"), (3, "a")], 1):
        repeats.add(prompt, line, answer, f"prompt {prompt}".__str__)
    assert (repeats.prompts, len(repeats.differing), repeats.rows) == (2, 1, 3)
    assert repeats.most(5)[0].answers == [("a", 1, 2), ("b", 1, 4), ("c", 1, 5)]
