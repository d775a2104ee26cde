"""From what a body says to the answer that was asked for: a text, one of some words, JSON that fits, a vector.

This is the one place that says what counts as an answer (see `judged`); everything else asks it.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

from ..base.json_text import NotJson, read_json
from ..base.text import safe
from ..request_file.answer_form import KEY, Expected
from ..rows.cell_to_text import json_text
from ..rows.headers import folded
from .response_body import Said
from .schema_fit import as_asked, misfit

SHOWN = 120  # characters of an answer that an error quotes


class Judged(NamedTuple):
    """`value`: a text, a word, what JSON holds, a vector; None with a `failure`, which is (kind, text)."""

    value: Any = None
    failure: tuple[str, str] | None = None


def judged(said: Said, expected: Expected | None) -> Judged:
    """The answer in a body, or why it is none."""
    if said.failure:
        return Judged(failure=said.failure)
    if said.vectors:
        return Judged(said.vectors[0] if len(said.vectors) == 1 else said.vectors)
    thinking, text = split_thinking(said.text)
    if not _is_seen(text):
        if not said.calls:
            return Judged(failure=("empty", _why_empty(said, bool(thinking))))
        if expected is None:
            return Judged(said.calls)
        return Judged(failure=("not_json", f"a tool was called in place of an answer: {_short(said.calls)}"))
    if expected is None:
        return Judged({"text": said.text, "tool_calls": said.calls} if said.calls else said.text)
    if not expected.choices:
        return _fitting(said, expected.schema or {})
    chosen = _chosen_lately if len(said.text) <= SHOWN else _chosen
    return chosen(said.text, said.cut, expected.choices)


def _why_empty(said: Said, thought: bool) -> str:
    if not said.cut:
        return "the answer is empty"
    what = "thinking used up all tokens" if thought or said.reasoning else "the token limit was reached before any text"
    return f"{what} ({said.completion_tokens}): a higher --max-tokens, or a lower --reasoning-effort, in a new job"


def _chosen(text: str, cut: bool, choices: tuple[str, ...]) -> Judged:
    """The word that was chosen: the text itself in any of its forms, or what JSON holds: `10` may be a word."""
    if not cut and text in choices:
        return Judged(text)
    found, value = parsed_text(text)
    if cut and not (found and isinstance(value, (dict, str))):  # `1` may be the beginning of `10`
        return Judged(failure=("not_json", _not_json(text, cut)))
    chosen = value.get(KEY, value) if isinstance(value, dict) else value
    if isinstance(chosen, str) and chosen in choices:
        return Judged(chosen)
    words = list(_forms(text))
    if found and not isinstance(chosen, (dict, list)):
        words.insert(0, chosen if isinstance(chosen, str) else json_text(chosen))
    for alike in (str.strip, _folded, _bare):
        for word in map(alike, words):
            meant = [choice for choice in choices if alike(choice) == word != ""]
            if len(meant) == 1:
                return Judged(meant[0])
    if not found:
        chosen = split_thinking(text)[1].strip()
        if chosen[:1] in ("{", "[", '"'):
            return Judged(failure=("not_json", _not_json(text, cut)))
    return Judged(failure=("off_list", f"{_short(chosen)} is none of {safe(', '.join(choices), 200)}"))


# Most of thousands of lines have one of a few texts: 0.6 microseconds a line instead of 2.6.
_chosen_lately = functools.lru_cache(maxsize=1000)(_chosen)


def _folded(word: str) -> str:
    """A word without what is hardly seen: which case, form of Unicode, kind of space, of quotes, of dash."""
    return folded(unicodedata.normalize("NFKC", word).translate(_STRAIGHT)).casefold()


def _is_seen(text: str) -> bool:
    """Whether there is anything to see in a text: white space, marks of width and NUL are nothing."""
    return not text.isspace() and (len(text) > SHOWN or bool(folded(text.replace("\0", ""))))


def _bare(word: str) -> str | Decimal:
    """A word without quotes, emphasis and full stop around it; a number by its value."""
    bare = _folded(word).strip("\"'`*_ ").rstrip(".。").rstrip("\"'`*_ ")
    return Decimal(bare) if _NUMBER.fullmatch(bare) else bare


def _fitting(said: Said, schema: dict[str, Any]) -> Judged:
    found, value = parsed_text(said.text)
    if not found:
        return Judged(failure=("not_json", _not_json(said.text, said.cut)))
    wrong = misfit(value, schema)
    if wrong:
        return Judged(failure=("schema", wrong))
    return Judged(as_asked(value, schema) if _MAYBE_WHOLE.search(said.text) else value)


def _not_json(text: str, cut: bool) -> str:
    why = "cut short at the token limit, so no whole JSON (a higher --max-tokens)" if cut else "no JSON"
    return f"{why}: {safe(text, SHOWN)}"


def _short(value: Any) -> str:
    return safe(json_text(value), SHOWN)


# --- text --------------------------------------------------------------------------------------------

_THINK = re.compile(r"\s*<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_END_OF_THINKING = re.compile(r"</think>(?![ \t]+\S|[`'\").,;:])")  # and not a text that mentions it
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)(?:\n[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_ENCLOSED = re.compile(r"\s*(`+)(?:json\b)?(.*?)\1\s*", re.DOTALL)
_AROUND = " \t\r\n\0\x0b\x0c\x85\xa0\u200b\u2028\u2029\u2060\ufeff"  # what stands around JSON unseen
_STRAIGHT = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u2039\u203a", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\xab\xbb\u300c\u300d\u300e\u300f", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | {"\ufe0f": ""}
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_MAYBE_WHOLE = re.compile(r"[0-9](\.0|[eE][-+0-9])")  # 3.0, 30e-1


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, the rest) of a text that begins with `<think>…</think>`; cut off within it, nothing is left.

    Some templates open the tag themselves, so that a text has its end alone.
    """
    if "<" not in text:
        return "", text
    found = _THINK.match(text)
    if found:
        return found[2].strip(), text[found.end() :]
    ended = _END_OF_THINKING.search(text) if "<think>" not in text else None
    return (text[: ended.start()].strip(), text[ended.end() :]) if ended else ("", text)


def reasoning_of(said: Said) -> str:
    """The thinking, in its own field of the body or at the beginning of the text."""
    return said.reasoning or split_thinking(said.text)[0]


def _forms(text: str) -> Iterator[str]:
    """A text in each form that the answer in it may have: all of it, what follows thinking, what a fence encloses."""
    yield text
    rests = [*dict.fromkeys((text, split_thinking(text)[1], text.rpartition("</think>")[2]))] if "<" in text else [text]
    yield from rests[1:]
    for rest in rests[1:] or rests:
        fenced = _FENCED.findall(rest)
        if len(fenced) == 1:
            yield fenced[0][1]
        elif enclosed := _ENCLOSED.fullmatch(rest):
            yield enclosed[2]


def parsed_text(text: str) -> tuple[bool, Any]:
    """(whether there is JSON in a text, its value); thinking and a code fence around it are taken off."""
    for form in _forms(text):
        with suppress(NotJson):
            return True, read_json(form.strip(_AROUND), exact=True)
    return False, None
