"""From what a body says to the answer that was asked for: a text, one of some words, JSON that fits, a vector.

This is the one place that says what counts as an answer (see `judged`); everything else asks it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, NamedTuple

from ..base.json_text import read_json
from ..base.text import safe
from ..request_file.expected import KEY, Expected
from .fit import misfit, whole_numbers
from .response_body import Said

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
    if not text.strip():
        if not said.calls:
            return Judged(failure=("empty", _why_empty(said, bool(thinking))))
        if expected is None:
            return Judged(said.calls)
        return Judged(failure=("not_json", f"a tool was called in place of an answer: {_short(said.calls)}"))
    if expected is None:
        return Judged({"text": said.text, "tool_calls": said.calls} if said.calls else said.text)
    return _chosen(said, expected.choices) if expected.choices else _fitting(said, expected.schema or {})


def _why_empty(said: Said, thought: bool) -> str:
    if not said.cut:
        return "the answer is empty"
    what = "thinking used up all tokens" if thought or said.reasoning else "the token limit was reached before any text"
    return f"{what} ({said.completion_tokens}): a higher --max-tokens, or a lower --reasoning-effort, in a new job"


def _chosen(said: Said, choices: tuple[str, ...]) -> Judged:
    """The word that was chosen: the text itself, within a code fence too, or what JSON holds: `10` may be a word."""
    found, value = parsed_text(said.text)
    chosen = value.get(KEY) if isinstance(value, dict) else value
    if said.cut and not (found and isinstance(value, (dict, str))):  # `1` may be the beginning of `10`
        return Judged(failure=("not_json", _not_json(said)))
    bare = split_thinking(said.text)[1]
    fenced = _FENCED.findall(bare)
    words = [bare, *(fenced if len(fenced) == 1 else [])]
    if found and not isinstance(chosen, (dict, list)):
        words.append(chosen if isinstance(chosen, str) else json.dumps(chosen))
    for alike in (str.strip, _folded):
        for word in words:
            meant = [choice for choice in choices if alike(choice) == alike(word)]
            if len(meant) == 1:
                return Judged(meant[0])
    if not found:
        chosen = bare.strip()
        if chosen[:1] in ("{", "[", '"'):
            return Judged(failure=("not_json", _not_json(said)))
    return Judged(failure=("off_list", f"{_short(chosen)} is none of {safe(', '.join(choices), 200)}"))


def _folded(word: str) -> str:
    """A word without what cannot be seen: which case, which form of Unicode, which kind of space."""
    plain = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFC", word) if c not in _UNSEEN)
    return " ".join(plain.split()).casefold()


def _fitting(said: Said, schema: dict[str, Any]) -> Judged:
    found, value = parsed_text(said.text)
    if not found:
        return Judged(failure=("not_json", _not_json(said)))
    wrong = misfit(value, schema)
    if wrong:
        return Judged(failure=("schema", wrong))
    return Judged(whole_numbers(value, schema) if ".0" in said.text else value)


def _not_json(said: Said) -> str:
    why = "cut short at the token limit, so no whole JSON (a higher --max-tokens)" if said.cut else "no JSON"
    return f"{why}: {safe(said.text, SHOWN)}"


def _short(value: Any) -> str:
    return safe(json.dumps(value, ensure_ascii=False, default=str), SHOWN)


# --- text --------------------------------------------------------------------------------------------

_THINK = re.compile(r"\s*<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_UNSEEN = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_END_OF_THINKING = re.compile(r"</think>(?![ \t]+\S|[`'\").,;:])")  # and not a text that mentions it
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_FENCED = re.compile(r"```[^\n`]*\n(.*?)\n?[ \t]*```", re.DOTALL)


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


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 1000 else float(digits)


def parsed_text(text: str) -> tuple[bool, Any]:
    """(whether there is JSON in a text, its value); thinking and a code fence around it are taken off."""
    candidates = [text]
    rest = split_thinking(text)[1]
    if rest is not text:
        candidates.append(rest)
    fenced = _FENCED.findall(rest)
    if len(fenced) == 1:
        candidates.append(fenced[0])
    for candidate in candidates:
        try:
            value = read_json(candidate)
            # Numbers of 20 digits and more are ids: each digit counts.
            return True, json.loads(candidate, parse_int=_integer) if _LONG_NUMBER.search(candidate) else value
        except ValueError:
            continue
    return False, None
