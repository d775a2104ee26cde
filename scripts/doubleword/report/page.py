"""The page: one HTML file that needs no network, made of a report and of page.html, page.css and page.js."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from string import Template as Slots

from ..base.files import whole_file
from ..base.text import utc
from ..job.next_step import next_step
from ..results.prompt_template import Template
from ..results.prompt_text import ROW_CELLS
from . import what_ran
from .charts import Html, columns, frequency, joined, outcome_bar, percent, spread, tag
from .counts import ROW_VALUES, Histogram, Tally
from .job_files import Report
from .page_rows import clean, in_script
from .same_prompts import Repeated
from .what_ran import KIND_NAMES, advice, kind_name, verdict

FILES = Path(__file__).parent
PROMPT_CHARACTERS = 8_000
REPEATED_SHOWN = 10
CUT = "Cut short: the answer ends at the token limit. A new job with a higher --max-tokens, or a briefer task, helps."
SHORTEST_SECONDS = 10  # what is over sooner has no course to draw
BY_FREQUENCY = "Answers by frequency"
REGION: dict[str, object] = {"tabindex": 0, "role": "region"}  # what can scroll must be reachable by keyboard


def write(report: Report, path: Path, before: Callable[[Path], None]) -> None:
    """Writes the page as `whole_file` does."""
    style, script = _file("page.css"), _file("page.js")
    main = tag("main", _head(report), _ran(report), _errors(report), _answers(report), _work(report), _repeats(report))
    page = Slots(_file("page.html")).substitute(
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=joined(f"{_name(report)}: {report.counts.requests:,} requests"),
        style=style,
        script=script,
        main=main,
        rows_note=joined(_rows_note(report)),
        footer=joined(
            f"Made {utc(report.made_at)} from the files of {_name(report)}. This page needs no network and"
            " sends nothing; what models and servers wrote is shown as text."
        ),
        data=_data(report),
    )
    with whole_file(path, before=before) as file:
        file.write(page.encode())


def _file(name: str) -> str:
    return (FILES / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _name(report: Report) -> str:
    return report.job.request_file().name


def _section(title: str, *content: object) -> Html:
    name = title.lower().replace(" ", "-").replace(",", "")
    matter = tag("div", *content, class_="matter")
    return tag("section", tag("h2", title, id=name), matter, aria_labelledby=name)


def _head(report: Report) -> Html:
    counts = vars(report.counts)
    kinds = {kind: (name, counts[kind]) for kind, name in KIND_NAMES.items()}
    shown = {kind: found for kind, found in kinds.items() if found[1] or kind not in ("running", "waiting")}
    kicker = tag("p", what_ran.kicker(report), class_="kicker")
    header = tag("header", kicker, tag("h1", _name(report)), tag("p", verdict(report), class_="verdict"))
    note = tag("p", CUT, class_="note") if report.counts.cut else ""
    return joined(header, _section("Requests", tag("div", outcome_bar(shown)), note))


def _ran(report: Report) -> Html:
    facts = [joined(tag("dt", name), tag("dd", value)) for name, value in what_ran.facts(report)]
    turns = report.body.get("messages")
    earlier = "Earlier turns" if isinstance(turns, list) and len(turns) > 2 else "System prompt"
    prompts = [
        joined(tag("h3", title), _prompt(title, template))
        for title, template in ((earlier, report.before), ("Prompt", report.prompt))
        if any(piece.text or piece.is_hole for piece in template.pieces)
    ]
    attempts = what_ran.attempts(report)
    return _section("What ran", tag("dl", *facts, class_="facts"), *prompts, _table(attempts) if attempts else "")


def _prompt(title: str, template: Template) -> Html:
    left, shown = PROMPT_CHARACTERS, list[str]()
    for piece in template.pieces:
        text = piece.text if len(piece.text) <= left else piece.text[:left] + " … (cut here)"
        shown.append(tag("span", text or "differs from row to row", class_="hole") if piece.is_hole else text)
        left = max(0, left - len(text))
    return tag("pre", *shown, class_="template", **REGION, aria_label=title)


def _table(lines: Sequence[Sequence[str]]) -> Html:
    head, *body = lines
    numbers = [all(line[i].replace(",", "").isdigit() for line in body) for i in range(len(head))]
    kinds = [{"class_": "number"} if is_number else {} for is_number in numbers]
    rows = [tag("tr", *(tag("td", text, **kind) for text, kind in zip(line, kinds, strict=True))) for line in body]
    top = tag("tr", *(tag("th", text, scope="col", **kind) for text, kind in zip(head, kinds, strict=True)))
    table = tag("table", tag("thead", top), tag("tbody", *rows))
    return tag("div", table, class_="scroll", **REGION, aria_label="Batches")


def _errors(report: Report) -> Html:
    if not report.errors:
        return Html("")
    blocks = []
    for found in report.errors_ranked:
        examples = [
            tag("li", tag("span", f"line {line:,}, {custom_id}: ", class_="soft"), tag("span", text, class_="quoted"))
            for line, custom_id, text in found.examples
        ]
        title = tag("h3", f"{found.count:,} × {kind_name(found.kind)} ", tag("code", found.kind))  # noqa: RUF001
        blocks.append(tag("div", title, tag("p", advice(found.kind)), tag("ul", *examples), class_="kind-of-error"))
    step = next_step(report.job)
    ahead = tag("p", "The next step, when this page was made: ", tag("code", step)) if step else ""
    return _section("Errors", tag("div", *blocks), ahead)


def _answers(report: Report) -> Html:
    answers, total = report.answers, report.counts.results
    if not total:
        return Html("")
    vectors = _histogram("Numbers of a vector", answers.vectors, "numbers")
    shown = answers.properties or ({BY_FREQUENCY: answers.whole} if answers.whole.total else {})
    charts = [_chart(name, counts, total) for name, counts in shown.items()]
    return _section("Answers", tag("div", vectors, *charts, class_="charts"))


def _histogram(title: str, counts: Histogram, unit: str) -> Html:
    return columns(title, counts.bars(), spread(counts, unit)) if counts.count else Html("")


def _chart(title: str, counts: Tally | Histogram, total: int) -> Html:
    if isinstance(counts, Histogram):
        return _histogram(title, counts, "")
    if not counts.is_telling:
        name = "Length of the answers" if title == BY_FREQUENCY else f"{title}: its length"
        return _histogram(name, counts.lengths, "characters")
    kinds = len([1 for rows in counts.counts.values() if rows])
    remark = f"{counts.total:,} values, {'over ' if counts.unnamed else ''}{kinds:,} different"
    return frequency(title, counts.bars(), max(total, counts.total), remark)


def _work(report: Report) -> Html:
    """Tokens, and answers over time where they say when they were made."""
    charts, times = list[Html](), report.times
    if report.completion.most > 0:
        charts.append(_histogram("Completion tokens of an answer", report.completion, "tokens"))
    if times.most - times.least >= SHORTEST_SECONDS and what_ran.believable(report):
        bars, written = times.bars(), what_ran.clock_of(times.least, times.most)
        done = accumulate(count for _, _, count in bars)
        growing = [(start, end, so_far) for (start, end, _), so_far in zip(bars, done, strict=True)]
        remark = f"from {utc(times.least)} to {utc(times.most)}"
        charts.append(columns("Answers made so far, over time", growing, remark, written))
    return _section("Tokens and time", tag("div", *charts, class_="charts")) if charts else Html("")


def _repeats(report: Report) -> Html:
    repeats = report.repeats
    if not repeats.prompts:
        return Html("")
    occur = "1 filled-in prompt occurs" if repeats.prompts == 1 else f"{repeats.prompts:,} filled-in prompts occur"
    remark = f"{occur} more than once"
    remark += f" (looked for among the first {repeats.PROMPTS:,} different ones)" if repeats.overflowed else ""
    if not repeats.differing:
        return _section("Same prompt twice", tag("p", f"{remark}, each time with the same answer."))
    remark += (
        f"; {len(repeats.differing):,} of them got different answers, in {repeats.rows:,} rows. Where rows that read"
        " the same are answered differently, the prompt leaves the question open, or the temperature is above 0."
    )
    shown = repeats.most(REPEATED_SHOWN)
    more = len(repeats.differing) - len(shown)
    rest = tag("p", f"{more:,} more are marked in the table where they are shown.", class_="note") if more else ""
    return _section("Same prompt, different answers", tag("p", remark), tag("div", *map(_repeated, shown)), rest)


def _repeated(found: Repeated) -> Html:
    prompt = found.prompt if len(found.prompt) <= 400 else found.prompt[:399] + "…"
    answers = [
        tag("li", tag("span", text or "(empty)", class_="quoted"), tag("span", f" {rows:,} × (first on line {line:,})", class_="soft"))  # noqa: E501, RUF001
        for text, rows, line in found.answers
    ]  # fmt: skip
    return tag("div", tag("p", prompt, class_="quoted"), tag("ul", *answers), class_="repeated")


def _rows_note(report: Report) -> str:
    shown, total = len(report.rows.written), report.counts.requests - report.counts.waiting
    note = "Open a row for its whole text."
    if shown == total:
        sent = " that were sent" if report.counts.waiting else ""
        return f"All {total:,} rows{sent}. {note}" if total > 1 else note
    left_out = report.rows.errors_left_out
    errors = f"all but {left_out:,} of the errors" if left_out else "every error"
    return f"{shown:,} of {total:,} rows ({percent(shown, total)}): an even sample, and {errors}. {note}"


def _data(report: Report) -> str:
    """What the table needs. The rows are JSON already."""
    differing = report.repeats.differing
    facts = {
        "columns": report.rows.COLUMNS,
        "fields": [clean(name)[:60] for name in report.answers.properties][:ROW_VALUES],
        "source": [clean(name)[:60] for name in report.cells.columns[:ROW_CELLS]],
        "kinds": {clean(kind)[:60]: kind_name(kind) for kind in [*report.errors, "empty"]},
        "promptTitle": "Prompt, filled-in part" if report.prompt.start or report.prompt.end else "Prompt",
        "start": clean(report.prompt.start)[:20_000],
        "end": clean(report.prompt.end)[:20_000],
        "repeated": [index for index, prompt in enumerate(report.rows.prompts) if prompt in differing],
    }
    return in_script(facts)[:-1] + ',"rows":[' + ",\n".join(report.rows.written) + "]}"
