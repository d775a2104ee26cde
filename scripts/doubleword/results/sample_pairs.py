"""Pairs of prompt and answer for a person to look at, spread over the job; of a prompt the part that was filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..base.json_text import read_json
from ..base.text import safe
from ..job.job import Job
from ..request_file.lines import request_lines
from ..rows.cell_text import text
from .table_answers import Answer

SHOWN_CHARACTERS = 300
COMPARED = 40  # prompts from which it is told what all have in common


def pairs(job: Job, answers: Iterable[Answer], count: int, of: int, partial: bool) -> list[dict[str, str]]:
    """So many {custom_id, prompt, answer, error}, cleaned and cut to 300 characters each.

    `of`: how many there are to choose from; `partial`: answered ones alone.
    """
    chosen, compared = _spread(count, of), _spread(max(COMPARED, count), of)
    lines = (raw for span in job.requests.sections for _, raw in request_lines(job.request_file(), span))
    prompts: list[str] = []
    found: list[tuple[int, Answer]] = []
    number = -1
    for raw, answer in zip(lines, answers, strict=False):
        if partial and answer.value is None:
            continue
        number += 1
        if number in chosen:
            found.append((len(prompts), answer))
        if number in chosen or number in compared:
            prompts.append(_prompt(raw))
    start, end = _common(prompts)
    return [_pair(answer, prompts[place], start, end) for place, answer in found]


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
    cuts = [found.end() for found in re.finditer(r"[:.?!]\s+|\n", start)]
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
    return prompt_of(request.get("body") or {}) if isinstance(request, dict) else ""


def prompt_of(body: dict[str, Any]) -> str:
    """The last message of a request, or its input or prompt, as text."""
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else body.get("input", body.get("prompt", ""))
    content = last.get("content") if isinstance(last, dict) else last
    if isinstance(content, list):
        texts = [part.get("text", "(an image)") if isinstance(part, dict) else str(part) for part in content]
        return " ".join(str(text) for text in texts)
    return str(content)
