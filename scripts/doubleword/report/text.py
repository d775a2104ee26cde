"""The report for a terminal or an agent: at most 40 lines, and the facts of --json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base.text import next_command, plural, safe
from ..job.next_step import next_step
from . import what_ran
from .charts import percent, spread
from .counts import Bar, Histogram, Tally
from .job_files import Report
from .what_ran import KIND_NAMES, kind_name, verdict

# Shares of the 40 lines: 2 of head, 9 of what ran, 8 of errors, 14 of answers, 5 of repeated prompts, 2 of the end.
FACTS, ERRORS, ANSWERS, REPEATED = 9, 6, 12, 3
WIDTH = 160
TOLD = ("Request file", "Made", "Endpoint")  # by the first line, or of least use


def lines(report: Report) -> list[str]:
    """The report, cleaned for a terminal."""
    counts = [f"{getattr(report.counts, kind):,} {name}" for kind, name in KIND_NAMES.items() if kind != "waiting"]
    facts = [f"  {name}: {value}" for name, value in what_ran.facts(report) if name not in TOLD]
    found = [f"{report.job.request_file().name}: {verdict(report)}", f"  {', '.join(counts)}", *facts[:FACTS]]
    found += _errors(report) + _answers(report)[: ANSWERS + 2] + _repeats(report)
    page = next_command("report.py", report.job.request_file())
    return [_indented(line) for line in [*found, f"as a page: {page}"]]


def _indented(line: str) -> str:
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + safe(text, WIDTH)


def _errors(report: Report) -> list[str]:
    ranked = report.errors_ranked
    made = ["errors:"] if ranked else []
    for found in ranked[:ERRORS]:
        line, custom_id, text = found.examples[0]
        made.append(f"  {found.count:,} {found.kind} ({kind_name(found.kind)}), e.g. line {line}, {custom_id}: {text}")
    rest = sum(found.count for found in ranked[ERRORS:])
    return [*made, f"  {rest:,} of {len(ranked) - ERRORS} more kinds"] if rest else made


def _answers(report: Report) -> list[str]:
    answers = report.answers
    total = report.counts.results
    if not total:
        return []
    if answers.vectors.count:
        return [f"numbers of a vector: {_figures(answers.vectors, total)}"]
    if answers.properties:
        return ["answers:", *(f"  {name}: {_figures(counts, total)}" for name, counts in answers.properties.items())]
    if answers.whole.is_telling:
        return ["answers:", *(f"  {_bar(bar, total)}" for bar in _fewer(answers.whole.bars(), ANSWERS))]
    return [f"length of the answers: {_figures(answers.whole.lengths, total)} characters"]


def _bar(bar: Bar, total: int) -> str:
    return f"{bar.rows:,} ({percent(bar.rows, total)}) {bar.label or '(empty)'}"


def _fewer(bars: list[Bar], count: int) -> list[Bar]:
    rest = sum(bar.rows for bar in bars[count - 1 :])
    return bars if len(bars) <= count else [*bars[: count - 1], Bar("others", rest)]


def _figures(counts: Tally | Histogram, total: int) -> str:
    if isinstance(counts, Tally):
        if not counts.is_telling:
            return f"{_figures(counts.lengths, total)} characters long" if counts.total else "none"
        return "; ".join(_bar(bar, total) for bar in _fewer(counts.bars(), 5)) or "none"
    return spread(counts) if counts.count else "none"


def _repeats(report: Report) -> list[str]:
    differing = len(report.repeats.differing)
    if not differing:
        return []
    made = [f"same prompt, different answers: {plural(differing, 'prompt')} in {report.repeats.rows:,} rows"]
    for found in report.repeats.most(REPEATED):
        answers = "; ".join(f"{rows} x {safe(text, 30)} (line {line})" for text, rows, line in found.answers[:4])
        made.append(f"  {safe(found.prompt, 60)} -> {answers}")
    return made


def facts(report: Report, page: Path | None) -> dict[str, Any]:
    """The --json object: the same keys every time."""
    counts, tally = report.counts, report.answers.whole
    by_frequency = not report.answers.properties and tally.is_telling
    return {
        "job": str(report.job.folder),
        "page": str(page) if page else None,
        "requests": counts.requests,
        "results": counts.results,
        **{kind: getattr(counts, kind) for kind in KIND_NAMES},
        "cut_without_answer": report.cut_for_nothing,
        "errors": {found.kind: found.count for found in report.errors.values()},
        "answers": {bar.label: bar.rows for bar in tally.bars()} if by_frequency else None,
        "repeated_prompts": report.repeats.prompts,
        "differing_prompts": len(report.repeats.differing),
        "prompt_tokens": report.prompt_tokens,
        "completion_tokens": report.completion_tokens,
        "rows_shown": len(report.rows.written),
        "next": next_step(report.job),
    }
