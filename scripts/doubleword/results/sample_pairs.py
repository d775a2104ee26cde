"""Pairs of prompt and answer for a person to look at, spread over the job; of a prompt the part that was filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..base.json_text import fields, read_json
from ..base.text import safe
from ..job.job import Job
from ..request_file.lines import request_lines
from ..rows.cell_text import text
from .prompt_text import IMAGE, Cells, asked
from .summary_text import OPEN
from .table_answers import Answer, requested

SHOWN_CHARACTERS = 300
COMPARED = 40  # prompts from which it is told what all have in common


def pairs(job: Job, answers: Iterable[Answer], count: int, of: int, partial: bool) -> list[dict[str, str]]:
    """So many {custom_id, prompt, answer, error}, cleaned and cut to 300 characters each.

    `of`: how many there are to choose from; `partial`: those alone that came back, answered or failed.
    """
    chosen, compared = _spread(count, of), _spread(max(COMPARED, count), of)
    lines = (raw for span in job.requests.sections for _, raw in request_lines(job.request_file(), span))
    prompts: list[str] = []
    found: list[tuple[int, Answer]] = []
    rows: list[int] = []  # of the prompts, among all requests
    number = row = -1
    for raw, answer in zip(lines, answers, strict=False):
        row += 1
        if partial and answer.error.partition(":")[0] in OPEN:
            continue
        number += 1
        if number in chosen:
            found.append((len(prompts), answer))
        if number in chosen or number in compared:
            prompts.append(_prompt(raw))
            rows.append(row)
    if any(IMAGE in prompt for prompt in prompts):
        prompts = _with_names(job, prompts, rows)
    start, end = _common(prompts)
    return [_pair(answer, prompts[place], start, end) for place, answer in found]


def _with_names(job: Job, prompts: list[str], rows: list[int]) -> list[str]:
    """The same prompts with the names of the files that their pictures were made of, where the rows still say them."""
    cells, named = Cells(job), dict(zip(rows, prompts, strict=True))
    for number, custom_id in enumerate(requested(job)):
        row = cells.of(custom_id)
        if number in named:
            named[number] = cells.with_names(named[number], row)
        if number == rows[-1]:
            break
    return list(named.values())


def _pair(answer: Answer, prompt: str, start: int, end: int) -> dict[str, str]:
    filled = " ".join(prompt[start : len(prompt) - end].split())
    if len(filled) > SHOWN_CHARACTERS:
        filled = "…" + filled[1 - SHOWN_CHARACTERS :]
    shown = {"custom_id": answer.custom_id, "prompt": filled, "answer": text(answer.value), "error": answer.error}
    return {key: safe(value, SHOWN_CHARACTERS) for key, value in shown.items()}


def _spread(count: int, of: int) -> set[int]:
    """So many numbers below `of`, the first and the last among them."""
    if count >= of:
        return set(range(of))
    return {number * (of - 1) // max(1, count - 1) for number in range(count)}


def _common(prompts: list[str]) -> tuple[int, int]:
    """How many characters of the template's own text stand before and after what was filled in.

    Cells have words in common, too: the text before ends with a sign or a line, the text after begins with a line.
    """
    if len(set(prompts)) < 2:
        return 0, 0
    start = _prefix(prompts)
    end = _prefix([prompt[len(start) :][::-1] for prompt in prompts])[::-1]
    cuts = [found.end() for found in re.finditer(r"(?<!\(an image)[:.?!]\s+|\n", start)]
    return (cuts[-1] if cuts else 0), (len(end) - end.index("\n") if "\n" in end else 0)


def _prefix(texts: list[str]) -> str:
    """What all begin with."""
    first, last = min(texts), max(texts)  # of texts in order, those two have the least in common
    equal = next((place for place, c in enumerate(first) if place >= len(last) or c != last[place]), len(first))
    return first[:equal]


def _prompt(raw: bytes) -> str:
    try:
        request = read_json(raw)
    except ValueError:
        return ""
    return asked(fields(fields(request).get("body"))).prompt
