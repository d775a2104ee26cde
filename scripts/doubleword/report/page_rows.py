"""The rows a page shows: all of them or an even sample and every error, cut so that the page stays small.

What a model, a row or a server wrote is made inert here: characters that control or turn the text around are
written out, and nothing in the data can end the block that holds it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..base.text import without_key
from ..results.evenly import Evenly

SAMPLE = 2_000
ERRORS = 10_000
PAGE_BYTES = 4_400_000  # of rows; with script, style and charts the page stays below 5 MB
CELL_CHARACTERS = 100_000
SHORT_CHARACTERS = 100  # of a property of the answer, and of a cell of the source

# Control characters but tab and line feed; marks that embed, override or isolate a direction; lone surrogates.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
_IN_SCRIPT = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def clean(text: object) -> str:
    """Foreign text as it may be shown: what would be unseen is written out, `⟨U+202E⟩`, and the key is blotted out."""
    written = without_key(str(text)).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", written)


def in_script(value: Any) -> str:
    """JSON for a data block of a page: no text in it can end the block or begin another."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_IN_SCRIPT)


class Rows:
    """Rows as JSON, each cut to its share of what the page may still take."""

    COLUMNS = (
        "number", "line", "id", "kind", "prompt", "promptLength", "whole", "answer", "answerLength", "values",
        "cells", "promptTokens", "tokens", "cut",
    )  # fmt: skip

    def __init__(self, requests: int, errors: int) -> None:
        self._sample = Evenly(SAMPLE, requests) if requests > SAMPLE else Evenly(1, 1)
        self._errors = Evenly(ERRORS, errors) if errors > ERRORS else Evenly(1, 1)
        self._left = PAGE_BYTES
        self._rows_left = min(requests, SAMPLE) + (min(errors, ERRORS) if requests > SAMPLE else 0)
        self.written: list[str] = []
        self.prompts: list[int] = []  # the hash of each row's prompt
        self.errors_left_out = 0

    def wants(self, failed: bool) -> bool:
        """Whether the row that comes next is shown; asked once for each row, in order."""
        sampled, chosen = self._sample.take(), failed and self._errors.take()
        self.errors_left_out += failed and not (sampled or chosen)
        return sampled or chosen

    def add(self, prompt_hash: int, facts: dict[str, Any]) -> None:
        """`facts`: COLUMNS but the lengths; `prompt` and `answer` are cut to what there is room for, and before them
        the `values` of the answer and the `cells` of the row, which get a third of it."""
        answer, prompt = clean(facts["answer"]), clean(facts["prompt"])
        row = {**facts, "prompt": "", "answer": "", "promptLength": len(prompt), "answerLength": len(answer)}
        share = self._left // max(1, self._rows_left)
        short = share // 3 // max(1, len(facts["values"]) + len(facts["cells"]))
        for name in ("values", "cells"):
            row[name] = [_fitted(clean(text)[:SHORT_CHARACTERS], short) for text in facts[name]]
        room = share - len(in_script(list(row.values())).encode())
        row["answer"] = _fitted(answer, room * 2 // 3)
        row["prompt"] = _fitted(prompt, room - len(in_script(row["answer"]).encode()))
        written = in_script([row[name] for name in self.COLUMNS])
        self._left -= len(written.encode()) + 2
        self._rows_left -= 1
        self.written.append(written)
        self.prompts.append(prompt_hash)


def _fitted(text: str, size: int) -> str:
    """The start of a text that takes at most `size` bytes in the page."""
    text = text[: min(max(0, size), CELL_CHARACTERS)]
    while text and (taken := len(in_script(text).encode())) > size:
        text = text[: min(len(text) - 1, int(len(text) * size / taken))]
    return text
