"""tests/data/reviews.csv, the demo's input, holds enough of every kind of cell that has broken a CSV join before."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

REVIEWS = Path(__file__).parent.parent / "data" / "reviews.csv"
COLUMNS = ["id", "product", "rating", "language", "text"]
AT_LEAST_OF_EACH_KIND = 20
# The demo answers these with a small model that knows little but English.
DEMO_ROWS = 24

EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
CJK = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")


def is_right_to_left_or_cjk(text: str) -> bool:
    right_to_left = any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)
    return right_to_left or CJK.search(text) is not None


KINDS: dict[str, Callable[[str], bool]] = {
    "commas and quotes": lambda text: "," in text and '"' in text,
    "line breaks": lambda text: "\n" in text,
    "emoji": lambda text: EMOJI.search(text) is not None,
    "right-to-left or CJK": is_right_to_left_or_cjk,
    "begins like a formula": lambda text: text.startswith(("=", "+", "-", "@")),
}


def reviews() -> list[dict[str, str]]:
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_there_are_300_rows_with_all_columns_filled() -> None:
    rows = reviews()

    assert len(rows) == 300
    for row in rows:
        assert list(row) == COLUMNS
        assert all(row.values()), row


def test_ids_are_unique_and_no_two_texts_are_the_same() -> None:
    rows = reviews()

    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["text"] for row in rows}) == len(rows)


def test_ratings_run_from_1_to_5_and_all_occur() -> None:
    assert {row["rating"] for row in reviews()} == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_special_kind_of_cell_occurs_often_enough(kind: str) -> None:
    count = sum(KINDS[kind](row["text"]) for row in reviews())

    assert count >= AT_LEAST_OF_EACH_KIND, f"{kind}: {count}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_of_the_demo_hold_every_kind_too(kind: str) -> None:
    assert sum(KINDS[kind](row["text"]) for row in reviews()[:DEMO_ROWS]) >= 2


def test_the_rows_of_the_demo_are_short_and_mostly_english() -> None:
    rows = reviews()[:DEMO_ROWS]

    assert max(len(row["text"]) for row in rows) <= 120
    assert sum(row["language"] == "en" for row in rows) >= 20


def test_the_file_is_what_a_csv_writer_would_write_from_its_rows() -> None:
    # RFC 4180 quoting, UTF-8 without a byte order mark, LF line ends, in one comparison.
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(reviews())

    assert REVIEWS.read_bytes() == written.getvalue().encode("utf-8")
