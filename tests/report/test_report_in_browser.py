"""The page of report.py in a real Chromium: its figures, search, filters, keyboard, accessibility, and no request.

Needs Debian's package chromium (or CHROMIUM, a path), and playwright and axe-playwright-python from the extra `dev`.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.report_jobs import HOSTILE, Failed, made_job, result_line
from support.running import run

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--disable-quic", "--allow-file-access-from-files"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """The page, open, with what it said and asked for meanwhile."""

    def __init__(self, browser: Any, requests: Path, width: int = 1200, scheme: str = "light") -> None:
        ran = run("report", requests)
        assert ran.code == 0, ran.err
        viewport = {"width": width, "height": 800}
        self.page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = Path(ran.lines[0]).resolve().as_uri()
        self.page.goto(self.address)

    def close(self) -> None:
        assert self.said == []
        assert self.asked == [self.address]
        self.page.context.close()

    @property
    def found(self) -> str:
        return str(self.page.inner_text("#found"))

    def column(self, name: str) -> list[str]:
        return [str(text) for text in self.page.locator(f"#body td.c-{name}").all_inner_texts()]


def reviews(count: int = 120) -> Path:
    """A job with every kind of outcome; row 5 has the prompt of row 3, and another answer."""
    chance = random.Random(7)
    rows = [{"text": f"review {n}: {chance.choice(['kettle', 'lamp', 'mat'])}"} for n in range(1, count + 1)]
    rows[4] = rows[2]
    outcomes: list[Any] = [result_line("", ["good", "bad", "mixed"][n % 3], n, tokens=3 + n % 40) for n in range(count)]
    outcomes[10] = Failed("http_500", "the model is overloaded", 500)
    outcomes[20] = Failed("not_returned", "missing: not returned")
    outcomes[30] = result_line("", "go", finish="length")
    return made_job(rows, outcomes, "--max-tokens", "9")


def test_the_numbers_on_the_page_are_those_of_the_files(chromium: Any) -> None:
    requests = reviews()
    facts = run("report", requests, "--json").facts
    tab = Tab(chromium, requests)
    for kind in ("answered", "cut", "empty", "failed", "missing"):
        shown = str(tab.page.inner_text(f"[data-count={kind}]"))
        assert shown.split()[0] == str(facts[kind]), kind
    assert tab.found == "120 of 120 rows"
    picture = tab.page.get_by_role("img", name="Answers by frequency")
    for answer, count in facts["answers"].items():
        assert f"{answer}: {count}," in picture.get_attribute("aria-label")
    tab.close()


def test_every_kind_of_outcome_has_a_fill_of_its_own(chromium: Any) -> None:
    outcomes: list[Any] = ["a", result_line("", "go", finish="length"), result_line("", " "), Failed("http_500", "no")]
    outcomes += [Failed("not_returned", "no"), Failed("running", "no"), None]
    tab = Tab(chromium, made_job([{"text": f"t {n}"} for n in range(7)], outcomes))
    look = "found => { const s = getComputedStyle(found); return s.fill + s.stroke + s.strokeDasharray; }"
    fills = {
        kind: tab.page.locator(f"div:has(> [data-count={kind}]) svg rect").first.evaluate(look)
        for kind in ("answered", "cut", "empty", "failed", "missing", "running", "waiting")
    }
    assert len(set(fills.values())) == len(fills), fills
    assert "rgb(0, 0, 0)none" not in " ".join(fills.values()), "a fill that the style does not know is black"
    tab.close()


def test_search_filters_and_sorting_find_the_rows(chromium: Any) -> None:
    tab = Tab(chromium, reviews())
    tab.page.fill("#search", "Mood of: review 17:")
    assert tab.found == "1 of 120 rows", "the prompt's own words beside what was filled in"
    tab.page.fill("#search", "review 17:")
    assert tab.found == "1 of 120 rows"
    assert tab.page.locator("#body mark").count() == 1
    tab.page.click("text=Clear")
    assert tab.found == "120 of 120 rows"
    offered = tab.page.get_by_label("Answer", exact=True).inner_text()
    assert "overloaded" not in offered, "an error is no answer"
    tab.page.get_by_label("Answer", exact=True).select_option(label="mixed (39)")
    assert set(tab.column("answer")) == {"mixed", "same prompt, other answers\nmixed"} or set(tab.column("answer")) == {
        "mixed"
    }
    tab.page.click("text=Clear")
    tab.page.select_option("#show", label="server error (1)")
    assert tab.column("number") == ["11"]
    assert "the model is overloaded" in tab.column("answer")[0]
    tab.page.select_option("#show", label="Same prompt, other answers (2)")
    assert tab.column("number") == ["3", "5"]
    tab.page.click("text=Clear")
    tab.page.fill("#search", "overloaded")
    tab.page.select_option("#where", label="the prompt")
    assert tab.found == "0 of 120 rows"
    tab.page.click("text=Clear")
    tokens = tab.page.locator("th button", has_text="Tokens")
    tokens.click()
    assert tab.column("tokens") == sorted(tab.column("tokens"), key=int)
    tokens.click()
    assert tab.column("tokens") == sorted(tab.column("tokens"), key=int, reverse=True)
    assert tab.page.locator("th.c-tokens").get_attribute("aria-sort") == "descending"
    tab.close()


def of_two_shops() -> Path:
    """A job with a schema, of whose prompt's columns one has few values."""
    Path("s.json").write_text('{"type": "object", "properties": {"mood": {"enum": ["good", "bad", "null"]}}}')
    rows = [{"text": f"note {n}", "shop": ["Rome", "Oslo", ""][n % 3]} for n in range(30)]
    outcomes: list[Any] = [f'{{"mood": "{["good", "null"][n % 2]}"}}' for n in range(30)]
    outcomes[5] = Failed("http_500", "overloaded", 500)
    outcomes[6], outcomes[12] = Failed("not_returned", "missing"), Failed("running", "missing: running")
    return made_job(rows, outcomes, "--schema", "s.json", "--empty", "keep", prompt="Of {shop}: {text}?")


def test_columns_of_few_values_have_a_filter_each(chromium: Any) -> None:
    tab = Tab(chromium, of_two_shops())
    tab.page.get_by_label("shop", exact=True).select_option(label="Oslo (10)")
    assert tab.column("number") == [str(n + 1) for n in range(1, 30, 3)]
    tab.page.get_by_label("mood", exact=True).select_option(label="null (14)")
    assert tab.column("number") == [str(n + 1) for n in range(1, 30, 3) if n % 2]
    tab.page.click("text=Clear")
    tab.page.get_by_label("mood", exact=True).select_option(label="null (14)")
    assert "6" not in tab.column("number"), "a row without an answer has no value, not even one that reads null"
    tab.page.click("text=Clear")
    tab.page.get_by_label("shop", exact=True).select_option(label="(empty) (10)")
    assert tab.found == "10 of 30 rows"
    tab.page.click("text=Clear")
    tab.page.select_option("#where", label="shop")
    tab.page.fill("#search", "oslo")
    assert tab.found == "10 of 30 rows"
    tab.page.locator("#body button").first.click()
    assert "Oslo" in tab.page.inner_text("tr.opened")
    assert tab.page.get_by_label("text", exact=True).count() == 0, "30 different texts are searched, not filtered"
    tab.close()


def test_the_keyboard_alone_reaches_everything(chromium: Any) -> None:
    tab = Tab(chromium, reviews())
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.focus("#search")
    tab.page.keyboard.type("review 4:")
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("document.activeElement.matches('#body button')"):
            break
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#body tr.opened").count() == 1
    assert "Mood of: review 4:" in tab.page.inner_text("tr.opened")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("#body tr.opened").count() == 0
    tab.page.fill("#search", "")
    tab.page.focus("#next")
    tab.page.keyboard.press("Enter")
    assert tab.column("number")[0] == "51"
    tab.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "light")])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(chromium: Any, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = Tab(chromium, of_two_shops(), width, scheme)
    tab.page.locator("#body button").first.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(tab.page).response["violations"]
    told = [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found]
    assert not [one for one in told if one[1] in ("serious", "critical", "moderate")], told
    tab.page.context.close()


def test_what_a_model_or_a_server_wrote_runs_nothing(chromium: Any) -> None:
    column, values = "</script><img src=x onerror=alert(4)>", ["<svg onload=alert(5)>", "b"]
    rows = [{"text": f"{HOSTILE} {n}", column: values[n % 2]} for n in range(6)]
    rows[5] = rows[4]
    outcomes: list[Any] = [
        HOSTILE,
        HOSTILE + "b",
        Failed("constructor", HOSTILE),
        "x",
        HOSTILE,
        "</textarea><script>alert(1)",
    ]
    asked = ("--set", f'user="{"<script>alert(3)</script>"}"')
    tab = Tab(chromium, made_job(rows, outcomes, *asked, prompt="Of {text} in {%s}" % column))  # noqa: UP031
    tab.page.get_by_label(column, exact=True).select_option(label="<svg onload=alert(5)> (4)")
    assert tab.found == "4 of 6 rows"
    tab.page.get_by_label(column, exact=True).select_option(label="any")
    for button in range(6):
        tab.page.locator("#body button").nth(button).click()
    tab.page.fill("#search", "onerror=")
    assert tab.page.inner_text("#body [data-row='3'] .tag") == "constructor", "no name that every object has"
    assert tab.page.title().startswith("reviews.jsonl")
    assert tab.page.locator("img, main style, #table script, main script").count() == 0
    assert tab.page.locator("svg[onload]").count() == 0
    assert "</script><script>" in tab.page.inner_text("#body")
    # What is no script of the page's own does not run, even if it were in the page.
    tab.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    tab.page.wait_for_timeout(50)
    assert tab.page.title() != "1"
    tab.page.context.close()


def test_a_thousand_pages_of_text_and_hidden_columns_of_a_schema_are_shown(chromium: Any) -> None:
    Path("s.json").write_text(
        '{"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}, "n": {"type": "integer"}}}'
    )
    outcomes = [f'{{"mood": "{"good" if n % 2 else "bad"}", "n": {n}}}' for n in range(3_000)]
    requests = made_job([{"text": f"row {n} " + "word " * 900} for n in range(3_000)], outcomes, "--schema", "s.json")
    tab = Tab(chromium, requests)
    assert tab.found == "2,000 of 2,000 rows"
    tab.page.select_option("#where", label="mood")
    tab.page.fill("#search", "good")
    assert tab.found == "1,000 of 2,000 rows"
    tab.page.locator("#body button").first.click()
    assert "cut here" in tab.page.inner_text("tr.opened")
    tab.close()
