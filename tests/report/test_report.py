"""report.py: the figures are those of the files, what was written by others is inert, and the page stays small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from functools import cached_property
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from doubleword.request_file.answer_form import choice_format
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.report_jobs import HOSTILE, Failed, made_job, result_line
from support.running import json_lines, run, run_process, write_requests

PNG, PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(16), bytes(4) + b"IEND\xaeB`\x82"
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
    assert "upload.py" in facts["next"], "of this job nothing is uploaded"

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
    {"response": {"body": {"choices": [{"message": {"content": "an answer"}}], "created": 1e308}}},
    {"response": {"body": {"data": [{"embedding": [0.5, -1, 2]}], "object": "list"}}},
    {"response": {"body": {"output": [{"content": [{"text": "an answer of responses"}]}], "created_at": 1795812009}}},
    {"response": {"body": {"content": [{"text": "an answer of messages"}], "usage": {"output_tokens": 4}}}},
]


def test_lines_of_any_shape_are_shown_or_counted_as_empty() -> None:
    requests = made_job(reviews(len(ODD)), ODD)
    facts = run("report", requests, "--json").facts
    assert (facts["answered"], facts["failed"]) == (4, 4)
    answers = [row["answer"] for row in page_of(requests).rows if not row["kind"]]
    assert answers[0] == "an answer"
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


def test_requests_that_differ_in_their_id_alone_are_the_same_prompt_however_the_id_is_written() -> None:
    made = made_job(reviews(6), ["yes", "no", "yes", "no", "maybe", "ok"])
    body = json_lines(made)[0]["body"]
    ids = ["a", 'b"2', "b\\3", "plain", "other", "last"]
    lines = [{"custom_id": i, "method": "POST", "url": "/v1/chat/completions", "body": body} for i in ids[:3]]
    lines += [{"method": "POST", "url": "/v1/chat/completions", "body": body, "custom_id": i} for i in ids[3:]]
    requests = Path("foreign.jsonl")
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("create_batch_file", "--check", requests).code == 0
    shutil.copytree("reviews.job", "foreign.job")
    Path("foreign.job/record.json").write_text(
        Path("foreign.job/record.json").read_text().replace("reviews", "foreign")
    )
    answers = [result_line(i, answer) for i, answer in zip(ids, ["yes", "no", "yes", "no", "maybe", "ok"], strict=True)]
    Path("foreign.results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    facts = run("report", requests, "--json")
    assert facts.code == 0, facts.err
    assert (facts.facts["repeated_prompts"], facts.facts["differing_prompts"]) == (1, 1)


def test_a_vector_that_is_none_is_shown_or_an_error_but_never_a_crash() -> None:
    bodies: list[Any] = [[{"embedding": 1.5, "index": 0}], [{"embedding": None}], [{"embedding": {"x": 1}}], [7], "x"]
    outcomes = [{"response": {"body": {"object": "list", "data": data}}} for data in bodies]
    ran = run("report", made_job(reviews(5), outcomes), "--json")
    assert ran.code == 0, ran.err
    assert ran.facts["results"] + sum(ran.facts["errors"].values()) == 5


def test_the_text_says_what_it_cost_and_results_that_are_gone_are_fetched_again(server: LocalServer) -> None:
    wanted = ["--prompt", "hi", "--model", "echo", "--choices", "a,b", "--max-tokens", "9", "--temperature", "0"]
    assert run("create_batch_file", "r.jsonl", *wanted).code == 0
    assert run("run_batch", "r.jsonl").code == 0
    text = run("report", "r.jsonl", "--text").out
    assert "Cost, as the service says: " in text
    assert "Tokens: " in text
    assert run("report", "r.jsonl", "--json").facts["job"] == "r.job"
    Path("r.results.jsonl").unlink()
    gone = run("report", "r.jsonl", "--text")
    assert (gone.code, "download.py r.jsonl" in gone.err) == (3, True)


def test_half_a_key_is_never_shown_where_a_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-secret-of-the-user"
    monkeypatch.setenv("DOUBLEWORD_API_KEY", key)
    rows = [{"text": "z" * 90 + key} for _ in range(4)]
    outcomes: list[Any] = ["x" * 75 + key, "y" * 195 + key, Failed("http_400", "w" * 490 + key), "x" * 75]
    requests = made_job(rows, outcomes)
    page_of(requests)
    shown = Path("reviews.report.html").read_text("utf-8") + run("report", requests, "--text").out
    assert "sk-s" not in shown


def test_cells_are_never_those_of_another_row() -> None:
    requests = made_job(
        [{"text": f"t {n}", "kind": f"k {n}"} for n in range(3)], ["a", "b", "c"], prompt="{kind} {text}"
    )
    for path in (requests, Path("reviews.results.jsonl")):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    page = page_of(requests)
    assert page.data["source"] == []
    assert all(not row["cells"] for row in page.rows)


def test_words_that_read_like_an_image_change_no_name() -> None:
    Path("0.png").write_bytes(PNG + PNG_END)
    rows = [{"text": "see (an image) here", "photo": "0.png"}, {"text": "none", "photo": "0.png"}]
    prompts = [row["prompt"] for row in page_of(made_job(rows, ["a", "b"], "--image-column", "photo")).rows]
    assert prompts[0].count("(an image)") == 2
    assert prompts[1].endswith("(an image: 0.png)")


def test_images_are_named_by_their_files_and_the_columns_of_the_prompt_are_kept_for_each_row() -> None:
    Path("pictures").mkdir()
    rows = []
    for n in range(4):
        Path(f"pictures/{n}.png").write_bytes(PNG + bytes([n]) + PNG_END)
        shown = json.dumps([f"pictures/{n}.png", "pictures/0.png"]) if n == 3 else f"pictures/{n}.png"
        rows.append({"text": f"card {n}", "kind": "front" if n % 2 else "back", "photo": shown})
    requests = made_job(rows, ["a", "b", "c", "d"], "--image-column", "photo", prompt="Describe the {kind} of {text}!")
    page = page_of(requests)
    assert page.data["source"] == ["kind", "text", "photo"]
    assert [row["cells"][:2] for row in page.rows] == [[row["kind"], row["text"]] for row in rows]
    assert page.rows[1]["prompt"].endswith("(an image: pictures/1.png)")
    assert page.rows[3]["prompt"].endswith("(an image: pictures/3.png)\n(an image: pictures/0.png)")
    assert [attributes for _, attributes in page.elements if attributes.get("class") == "hole"] != []

    folder = Path("folder.jsonl")
    asked = ("--input", "pictures", "--model", "m", "--prompt", "What is it?")
    assert run("create_batch_file", folder, *asked).code == 0
    ids = [line["custom_id"] for line in json_lines(folder)]
    Path("folder.results.jsonl").write_text("".join(json.dumps(result_line(i, "it")) + "\n" for i in ids))
    assert [row["prompt"] for row in page_of(folder).rows] == [f"(an image: {n}.png)" for n in range(4)]
    Path("reviews.source.jsonl").write_text("{}\n")
    changed = page_of(requests)
    assert changed.data["source"] == [], "the source is another now: nothing of it is shown"
    assert "(an image)" in changed.rows[0]["prompt"]


def test_numbers_and_enums_that_may_be_null_or_stand_elsewhere_in_the_schema_are_counted() -> None:
    properties = {
        "n": {"type": ["number", "null"]},
        "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "r": {"$ref": "#/$defs/grade"},
        "e": {"anyOf": [{"enum": ["x", "y", "z"]}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "odd"]}},
    }
    grade = {"enum": ["low", "high", "none"]}
    Path("s.json").write_text(json.dumps({"type": "object", "properties": properties, "$defs": {"grade": grade}}))
    answers = [{"n": n / 2, "a": None if n == 3 else n, "r": "low", "e": "x", "tags": ["new", "old"]} for n in range(6)]
    requests = made_job(reviews(6), [json.dumps(answer) for answer in answers], "--schema", "s.json")
    text = run("report", requests, "--text").out
    assert "n: 0 to 2.5, median 1" in text
    assert "a: 0 to 5, median 2" in text
    assert "r: 6 (100 %) low; 0 (0 %) high; 0 (0 %) none" in text
    assert "z" in text.split("  e: ")[1].splitlines()[0]
    assert "tags: 6 (100 %) new; 6 (100 %) old; 0 (0 %) odd" in text
    assert page_of(requests).rows[4]["values"][:2] == ["2", "4"], "2.0 is 2"


def test_an_optional_property_that_no_answer_gave_has_no_figures() -> None:
    Path("s.json").write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}))
    requests = made_job(reviews(3), ['{"a": "x"}'] * 3, "--schema", "s.json")
    assert "  b: none\n" in run("report", requests, "--text").out
    assert len(page_of(requests).rows) == 3


def test_vectors_are_told_by_how_many_numbers_they_hold() -> None:
    outcomes = [{"response": {"body": {"data": [{"embedding": [0.5] * 16}], "object": "list"}}}] * 3
    text = run("report", made_job(reviews(3), outcomes), "--text").out
    assert "numbers of a vector: each 16" in text
    assert "characters" not in text


def test_what_still_runs_is_not_called_missing() -> None:
    requests = made_job(reviews(3), ["a", Failed("running", "missing: running"), Failed("http_500", "no")])
    facts = run("report", requests, "--json").facts
    assert (facts["running"], facts["missing"], facts["failed"], facts["errors"]) == (1, 0, 1, {"http_500": 1})
    assert "Still running: 1." in page_of(requests).words


def test_the_figures_are_those_of_a_download_after_a_trial_a_retry_and_answers_taken_from_another_job(
    server: LocalServer,
) -> None:
    server.app.settings.fail.append(FailRule.parse("made of 7=503"))
    Path("rows.csv").write_text("text\n" + "".join(f"made of {n}\n" for n in range(12)))
    asked = ("--input", "rows.csv", "--model", "echo", "--prompt", "Say: {text}", "--max-tokens", "6")
    assert run("create_batch_file", "first.jsonl", *asked, "--limit", "4").code == 0
    assert run("run_batch", "first.jsonl").code == 0
    assert run("create_batch_file", "r.jsonl", *asked, "--reuse", "first.jsonl").code == 0
    assert run("run_batch", "r.jsonl", "--trial", "2").code == 8
    assert run("run_batch", "r.jsonl").code == 9
    server.app.settings.fail.clear()
    assert run("retry_failed", "r.jsonl").code == 0
    done = run("run_batch", "r.jsonl", "--json")
    facts, told = run("report", "r.jsonl", "--json").facts, done.facts
    assert facts["results"] == told["results"] == 12
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (told["prompt_tokens"], told["completion_tokens"])
    assert facts["cut"] + facts["cut_without_answer"] == told["cut"] == 12
    words = page_of(Path("r.jsonl")).words
    assert "Taken from earlier jobs 4 answers" in " ".join(words.split())
    assert "trial" in words
    assert "retry" in words


def test_tokens_and_cuts_of_answers_that_were_none_are_counted(server: LocalServer) -> None:
    Path("rows.csv").write_text("text\none\ntwo\n")
    Path("s.json").write_text(
        json.dumps({"type": "object", "properties": {"why": {"type": "string", "minLength": 99}}})
    )
    asked = ("--input", "rows.csv", "--model", "echo", "--prompt", "{text}", "--schema", "s.json", "--max-tokens", "3")
    assert run("create_batch_file", "r.jsonl", *asked).code == 0
    told = run("run_batch", "r.jsonl", "--json").facts
    facts = run("report", "r.jsonl", "--json").facts
    assert facts["completion_tokens"] == told["completion_tokens"] == 6
    assert (facts["results"], facts["cut_without_answer"], told["cut"]) == (0, 2, 2)


def test_a_raw_id_is_taken_where_it_was_downloaded(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("run_batch", requests).code == 0
    batch = json.loads(Path("r.job/record.json").read_text())
    found = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", json.dumps(batch["attempts"]))
    batch_id = next(i for i in found if run("download", i).code == 0)
    assert run("report", batch_id, "--json").facts["results"] == 3
    assert run("report", "1" * 8 + batch_id[8:]).code == 3


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


def test_columns_of_hostile_cells_leave_the_page_small() -> None:
    rows = [dict.fromkeys(("a", "b", "c", "d", "e"), f"{'<' * 120}{n}") for n in range(12_500)]
    failed: list[str | Failed | dict[str, Any] | None] = [Failed("http_500", "<" * 500, 500)] * 12_500
    page = page_of(made_job(rows, failed, prompt="{a} {b} {c} {d} {e}"))
    assert len(page.data["source"]) == len(page.rows[0]["cells"]) == 4
    assert page.rows[0]["cells"][0]


def test_it_needs_no_network_and_no_requests_package() -> None:
    requests = made_job(reviews(2), ["a", "b"])
    Path("blocked").mkdir()
    Path("blocked/requests.py").write_text("raise SystemExit('requests was imported')")
    Path("blocked/socket.py").write_text("raise SystemExit('socket was imported')")
    ran = run_process("report", requests, env={"PYTHONPATH": "blocked"})
    assert ran.code == 0, ran.err
