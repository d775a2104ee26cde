"""report.py: the figures are those of the files, what was written by others is inert, and the page stays small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cached_property
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from doubleword.request_file.expected import choice_format
from local_server.app import LocalServer
from results.report_jobs import Failed, made_job, result_line
from support.running import json_lines, run, run_process, write_requests

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    "<!-- \u2028\u2029 --> \u202egnp.exe \x00\x1b[31m & \" ' <svg onload=alert(2)> ]]> <style>*{display:none}</style>"
)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Page(HTMLParser):
    """What a browser finds in the page: elements with their attributes, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.words = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in self.texts:
            self.texts[self._within][-1] += data
        else:
            self.words += data + " "

    @cached_property
    def data(self) -> dict[str, Any]:
        found = json.loads(self.texts["script"][0])
        assert isinstance(found, dict)
        return found

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return [dict(zip(self.data["columns"], row, strict=True)) for row in self.data["rows"]]


def page_of(requests: Path, *flags: str) -> Page:
    ran = run("report", requests, *flags)
    assert ran.code == 0, ran.err
    written = Path(ran.lines[0])
    assert written.stat().st_size < 5_000_000
    return Page(written.read_text("utf-8"))


def reviews(count: int) -> list[dict[str, str]]:
    return [{"text": f"review number {n}"} for n in range(count)]


# --- what it says ---


def test_the_figures_are_those_of_the_files() -> None:
    outcomes = ["good"] * 5 + ["bad"] * 3 + [Failed("http_500", "overloaded", 500), Failed("not_returned", "missing")]
    requests = made_job(reviews(13), [*outcomes, result_line("", "go", finish="length"), result_line("", " "), None])

    facts = run("report", requests, "--json").facts
    counts = {name: facts[name] for name in ("answered", "cut", "empty", "failed", "missing", "waiting")}
    assert counts == {"answered": 8, "cut": 1, "empty": 1, "failed": 1, "missing": 1, "waiting": 1}
    assert facts["requests"] == 13
    assert facts["errors"] == {"http_500": 1, "not_returned": 1, "empty": 1}
    assert facts["answers"] == {"good": 5, "bad": 3, "go": 1}
    lines = json_lines(Path("reviews.results.jsonl"))
    usage = [line["response"]["body"]["usage"] for line in lines]
    assert facts["prompt_tokens"] == sum(one["prompt_tokens"] for one in usage)
    assert facts["completion_tokens"] == sum(one["completion_tokens"] for one in usage)
    assert facts["next"] is None

    page = page_of(requests)
    shown = {attributes["data-count"]: tag for tag, attributes in page.elements if "data-count" in attributes}
    assert set(shown) == set(counts)
    assert [row["kind"] for row in page.rows].count("") == 9
    assert page.rows[0]["answer"] == "good"
    assert page.rows[0]["prompt"] == "review number 0", "the part of the prompt that differs from row to row"
    assert page.data["start"] == "Mood of: "


def test_after_a_trial_the_answers_are_shown_and_the_rest_is_not_called_missing() -> None:
    waiting = Failed("not_submitted", "missing: not submitted")
    outcomes: list[str | Failed | dict[str, Any] | None] = [waiting] * 3_000
    outcomes[700] = outcomes[2_100] = "good"
    requests = made_job(reviews(3_000), outcomes)
    facts = run("report", requests, "--json").facts
    assert (facts["answered"], facts["waiting"], facts["missing"], facts["errors"]) == (2, 2_998, 0, {})
    page = page_of(requests)
    assert [row["number"] for row in page.rows] == [701, 2_101]
    assert "All 2 requests have an answer. Not sent yet: 2,998." in page.words


def test_a_whole_job_on_a_server_becomes_a_page(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 12)
    assert run("run_batch", requests).code == 0
    facts = run("report", requests, "--json").facts
    assert (facts["answered"], facts["requests"], facts["failed"]) == (12, 12, 0)
    page = page_of(requests)
    assert len(page.rows) == 12
    assert "All 12 requests have an answer." in page.words
    assert "completed" in page.words, "the batch and its status"


def test_the_answers_of_a_trial_become_a_page(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 30)
    assert run("run_batch", requests, "--trial", "3").code in (0, 8, 9)
    facts = run("report", requests, "--json").facts
    assert (facts["answered"], facts["waiting"], facts["missing"]) == (3, 27, 0)
    assert len(page_of(requests).rows) == 3


def test_the_prompt_is_shown_with_its_columns_marked() -> None:
    rows = [{"product": f"kettle {n}", "text": f"it {'boils' if n % 2 else 'leaks'} {n}"} for n in range(8)]
    requests = made_job(rows, ["ok"] * 8, prompt="Review of {product}: {text}. Mood?")
    page = page_of(requests)
    assert [attributes for _, attributes in page.elements if attributes.get("class") == "hole"] == [
        {"class": "hole"}
    ] * 2
    assert re.search(r"Review of\s+product\s+:\s+text\s+\. Mood\?", page.words)
    Path("reviews.source.jsonl").unlink()
    assert "Review of" in page_of(requests).words, "without the source: the ends that all prompts share"


def test_choices_that_no_answer_took_are_shown_and_numbers_of_a_schema_are_counted() -> None:
    properties = {"mood": {"enum": ["good", "bad", "mixed"]}, "score": {"type": "number"}, "why": {"type": "string"}}
    Path("s.json").write_text(json.dumps({"type": "object", "properties": properties}))
    answers = [
        json.dumps({"mood": "good" if n % 3 else "bad", "score": n / 10, "why": f"because {n}"}) for n in range(30)
    ]
    answers[4] = f"```json\n{answers[4]}\n```"
    requests = made_job(reviews(30), [*answers[:-1], "no object"], "--schema", "s.json")
    page = page_of(requests)
    labels = [
        str(attributes["aria-label"]) for tag, attributes in page.elements if tag == "svg" and attributes.get("role")
    ]
    assert any("good: 19, 66 %; bad: 10, 34 %; mixed: 0, 0 %" in label for label in labels), labels
    assert any(label.startswith("score.") for label in labels)
    assert "not the form that was asked for" in page.words.lower()
    assert page.data["fields"] == ["mood", "score", "why"]
    assert page.rows[4]["values"] == ["good", "0.4", "because 4"]


def test_rows_with_the_same_prompt_and_different_answers_are_pointed_out() -> None:
    rows = reviews(10)
    for place in (3, 7, 9):
        rows[place] = rows[1]
    rows[8] = rows[2]
    answers = ["good"] * 10
    answers[7] = "bad"
    requests = made_job(rows, answers)
    facts = run("report", requests, "--json").facts
    assert (facts["repeated_prompts"], facts["differing_prompts"]) == (2, 1)
    page = page_of(requests)
    assert [page.data["rows"][index][0] for index in page.data["repeated"]] == [2, 4, 8, 10]
    text = run("report", requests, "--text").out
    assert "1 prompt in 4 rows" in text
    assert "3 x good (line 2); 1 x bad (line 8)" in text


def test_the_text_has_at_most_forty_lines_and_no_control_characters() -> None:
    kinds = [Failed(f"kind_{n}", HOSTILE) for n in range(30)]
    answers = [f"label {n % 25}" for n in range(100)]
    requests = made_job(reviews(130), [*kinds, *answers], "--max-tokens", "9", "--temperature", "0", "--top-p", "1")
    ran = run("report", requests, "--text")
    assert ran.code == 0
    assert len(ran.lines) <= 40
    assert not UNSEEN.search(ran.out.replace("\n", ""))
    assert not Path("reviews.report.html").exists()


ODD: list[Any] = [
    {"response": None},
    {"response": "text"},
    {"response": {"status_code": 200, "body": []}},
    {"response": {"body": {"choices": [None], "usage": "much", "created": "now"}}},
    {"response": {"body": {"choices": [{"message": {"content": "half a pair \ud800"}}], "created": 1e400}}},
    {"response": {"body": {"data": [{"embedding": [0.5, -1, 2]}], "object": "list"}}},
    {"response": {"body": {"output": [{"content": [{"text": "an answer of responses"}]}], "created_at": 1795812009}}},
    {"response": {"body": {"content": [{"text": "an answer of messages"}], "usage": {"output_tokens": 4}}}},
]


def test_lines_of_any_shape_are_shown_or_counted_as_empty() -> None:
    requests = made_job(reviews(len(ODD)), ODD)
    facts = run("report", requests, "--json").facts
    assert (facts["answered"], facts["failed"]) == (4, 4)
    answers = [row["answer"] for row in page_of(requests).rows if not row["kind"]]
    assert answers[0] == "half a pair ⟨U+D800⟩"
    assert answers[1].startswith("a vector of 3 numbers")
    assert answers[2:] == ["an answer of responses", "an answer of messages"]


def test_choices_are_counted_as_words_and_thinking_is_not_part_of_an_answer() -> None:
    fenced = '```json\n{"answer": "bad"}\n```'
    answers = ['{"answer": "good"}', "Good", "<think>hm</think>bad", fenced, '{"answer": "x"}']
    form = json.dumps(choice_format(("good", "bad", "mixed")))
    asked = f'response_format={{"type": "json_schema", "json_schema": {form}}}'
    facts = run("report", made_job(reviews(5), answers, "--set", asked), "--json").facts
    assert facts["answers"] == {"good": 2, "bad": 2, "mixed": 0}
    assert facts["errors"] == {"off_list": 1}
    thought = made_job(reviews(2), ["<think>long</think>\nyes", "yes"], name="thought")
    assert run("report", thought, "--json").facts["answers"] == {"yes": 2}


def test_a_job_in_which_everything_failed_becomes_a_page_too() -> None:
    requests = made_job(reviews(3), [Failed("http_500", "no")] * 3)
    assert "0 of 3 requests have an answer (0 %). Without one: 3 failed." in page_of(requests).words
    assert run("report", requests, "--text").code == 0


# --- what is in its way ---


def test_a_file_that_is_no_page_of_ours_is_never_replaced() -> None:
    requests = made_job(reviews(2), ["a", "b"])
    Path("mine.html").write_text("<!doctype html>mine")
    ran = run("report", requests, "--output", "mine.html")
    assert (ran.code, ran.out) == (3, "")
    assert "mine.html" in ran.err
    assert Path("mine.html").read_text() == "<!doctype html>mine"
    assert run("report", requests, "--output", "reviews.results.jsonl").code == 2
    assert run("report", requests).code == run("report", requests).code == 0, "a page of ours is made anew"


def test_a_job_without_results_says_the_command_that_gets_them(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("report", requests).code == 5, "no job yet"
    assert run("report", "missing.jsonl").code == 3
    assert run("upload", requests).code == 0
    ran = run("report", requests)
    assert (ran.code, ran.out) == (3, "")
    assert "create_batch.py r.jsonl" in ran.err
    assert not Path("r.report.html").exists()


def test_results_of_another_file_are_refused() -> None:
    requests = made_job(reviews(3), ["a", "b", "c"])
    Path("reviews.results.jsonl").write_text(json.dumps(result_line("other", "x")) + "\n")
    ran = run("report", requests)
    assert ran.code == 3
    assert "do not fit" in ran.err
    Path("reviews.results.jsonl").write_text("{torn\n")
    assert run("report", requests).code == 3


# --- what others wrote is inert ---


def test_hostile_texts_stay_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-secret-of-the-user"
    monkeypatch.setenv("DOUBLEWORD_API_KEY", key)
    plain = page_of(made_job(reviews(5), ["a", "a", Failed("http_400", "x"), "b", "c"], name="plain"))
    rows = [{"text": f"{HOSTILE} {n}"} for n in range(5)]
    rows[4] = rows[3]
    failed = Failed("http_400<script>", HOSTILE + key)
    hostile = page_of(made_job(rows, [HOSTILE, HOSTILE, failed, HOSTILE + "b", HOSTILE + key], name="evil"))

    assert [tag for tag, _ in hostile.elements if tag in ("script", "style", "img", "link", "iframe", "svg")].count(
        "img"
    ) == 0
    whole = Path("evil.report.html").read_text("utf-8")
    block = whole[whole.index('id="data">') + len('id="data">') :]
    assert "<" not in block[: block.index("</script>\n<script>")], "nothing in the data begins or ends an element"
    assert hostile.texts["script"][1:] == plain.texts["script"][1:]
    assert hostile.texts["style"] == plain.texts["style"]
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in plain.elements} | {"ul", "li", "section"}
    for _, attributes in hostile.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "href", "src")] or (
            attributes.get("href") == "#rows"
        )
    assert hostile.rows[0]["answer"].startswith("</script><script>document.title='owned'</script><img")
    assert not UNSEEN.search(whole)
    assert key not in whole
    assert "⟨U+202E⟩gnp.exe" in whole


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else() -> None:
    page = page_of(made_job(reviews(3), ["a", "b", "c"]))
    policy = next(str(a["content"]) for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"

    def hashed(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    assert rules["script-src"] == hashed(page.texts["script"][1])
    assert rules["style-src"] == hashed(page.texts["style"][0])
    assert page.elements[0][0] == "html"
    kinds = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert kinds == ["application/json", None]


# --- it stays small ---


def test_cells_of_a_megabyte_are_cut_and_the_page_says_so() -> None:
    rows = [{"text": f"{n} " + "<&\u2028é" * 50_000} for n in range(4)]
    requests = made_job(rows, ["<" * 1_000_000, "short", Failed("http_500", "x" * 1_000_000), "z" * 1_000_000])
    page = page_of(requests)
    first = page.rows[0]
    assert first["answerLength"] == 1_000_000
    assert 10_000 < len(first["answer"]) < 1_000_000
    assert page.rows[1]["answer"] == "short"


def test_many_rows_are_sampled_evenly_with_every_error() -> None:
    outcomes: list[str | Failed | dict[str, Any] | None] = ["good"] * 5_000
    for place in range(0, 5_000, 100):
        outcomes[place] = Failed("http_500", "overloaded", 500)
    page = page_of(made_job(reviews(5_000), outcomes))
    numbers = [row["number"] for row in page.rows]
    failed = [row["number"] for row in page.rows if row["kind"]]
    assert failed == list(range(1, 5_001, 100))
    assert 2_000 <= len(numbers) <= 2_050
    assert all(later - one <= 3 for one, later in pairwise(numbers))
    assert "an even sample, and every error" in page.words


def test_more_errors_than_the_page_can_hold_are_counted() -> None:
    outcomes: list[str | Failed | dict[str, Any] | None] = [Failed("http_500", "overloaded " * 200, 500)] * 13_000
    page = page_of(made_job(reviews(13_000), outcomes))
    shown = len(page.rows)
    assert 10_000 <= shown < 12_500
    assert f"all but {13_000 - shown:,} of the errors" in page.words


def test_it_needs_no_network_and_no_requests_package() -> None:
    requests = made_job(reviews(2), ["a", "b"])
    Path("blocked").mkdir()
    Path("blocked/requests.py").write_text("raise SystemExit('requests was imported')")
    Path("blocked/socket.py").write_text("raise SystemExit('socket was imported')")
    ran = run_process("report", requests, env={"PYTHONPATH": "blocked"})
    assert ran.code == 0, ran.err
