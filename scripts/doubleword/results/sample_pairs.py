"""Which pairs of prompt and answer does --show print? Some spread over the job; of a prompt what was filled in."""

from __future__ import annotations

from pathlib import Path

from ..base.text import safe
from ..job.job import Job
from ..request_file.answer_form import expected_in
from ..request_file.lines import custom_id_of, request_lines
from ..rows.cell_to_text import text
from .answer import split_thinking
from .prompt_template import body_of, some_bodies, template_of
from .prompt_text import IMAGE, Cells, asked
from .table_answers import Answer, in_order

# What is still to come, while a job is under way.
OPEN = {"running": "still running", "not_submitted": "not submitted yet"}
SHOWN_CHARACTERS = 300


def pairs(job: Job, results: Path, errors: Path, count: int, of: int, partial: bool) -> list[dict[str, str]]:
    """So many {custom_id, prompt, answer, error}, cleaned and cut to 300 characters each.

    `of`: how many there are to choose from; `partial`: those alone that came back, answered or failed.
    """
    requests = job.request_file()
    cells, bodies = Cells(job), some_bodies(requests)
    template, _ = template_of(requests, cells, bodies)
    pictured = any(IMAGE in asked(body).prompt for body in bodies)
    find = in_order(results, errors, expected_in(requests))
    found: list[dict[str, str]] = []
    chosen, number = _first_to_last(count, of), -1
    for raw in (raw for span in job.requests.sections for _, raw in request_lines(requests, span)):
        custom_id = custom_id_of(raw) or ""
        answer, row = find(custom_id), cells.of(custom_id) if pictured else {}
        if answer is None or (partial and answer.error.partition(":")[0] in OPEN):
            continue
        number += 1
        if number in chosen:
            found.append(_pair(answer, template.cut(cells.with_names(asked(body_of(raw) or {}).prompt, row))[0]))
    return found


def _pair(answer: Answer, prompt: str) -> dict[str, str]:
    filled = " ".join(prompt.split())
    if len(filled) > SHOWN_CHARACTERS:
        filled = "…" + filled[1 - SHOWN_CHARACTERS :]
    value = split_thinking(answer.value)[1].strip() if isinstance(answer.value, str) else text(answer.value)
    shown = {"custom_id": answer.custom_id, "prompt": filled, "answer": value, "error": answer.error}
    return {key: safe(value, SHOWN_CHARACTERS) for key, value in shown.items()}


def _first_to_last(count: int, of: int) -> set[int]:
    """So many numbers below `of`, the first and the last among them."""
    if count >= of:
        return set(range(of))
    return {number * (of - 1) // max(1, count - 1) for number in range(count)}
