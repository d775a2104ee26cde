"""What do all requests of a job ask? The prompt with its columns marked, found again from the filled-in prompts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..base.files import LINE_BYTES, open_regular
from ..base.json_text import fields, read_json
from .prompt_text import IMAGE, Cells, asked

LOOKED_AT = 64  # requests, spread over the file: real tables are sorted
LOOKED_AT_BYTES = 16_000_000
MOST_PIECES = 200
COMPARED = 12  # of the first rows of the source with the first requests


class Piece(NamedTuple):
    """A stretch of a prompt: fixed text, or a hole with the name of its column ("" where that is not known)."""

    text: str
    is_hole: bool = False


def some_bodies(path: Path) -> list[dict[str, Any]]:
    """Bodies of up to 64 requests spread evenly over a request file, the first one among them."""
    found: list[dict[str, Any]] = []
    with open_regular(path) as file:
        size, left = os.fstat(file.fileno()).st_size, LOOKED_AT_BYTES
        end = 0
        for index in range(LOOKED_AT):
            start = max(end, size * index // LOOKED_AT)  # of few requests each is read
            file.seek(start)
            skipped = len(file.readline(LINE_BYTES)) if start > end else 0
            raw = file.readline(LINE_BYTES)
            end, left = start + skipped + len(raw), left - skipped - len(raw)
            body = body_of(raw)
            if body is not None:
                found.append(body)
            if not raw or left <= 0:
                break
    return found


def body_of(raw: bytes) -> dict[str, Any] | None:
    """The body of a request line, or None if it has none."""
    try:
        return fields(fields(read_json(raw.removeprefix(b"\xef\xbb\xbf"))).get("body")) or None
    except ValueError:
        return None


def template_of(requests: Path, cells: Cells, bodies: Sequence[dict[str, Any]]) -> tuple[Template, Template]:
    """(template of the prompt, of what stands before it); with its columns named where the source is still there.

    `bodies`: of `some_bodies`.
    """
    first, rows = _first_requests(requests), cells.first(COMPARED)
    made = []
    for place in (0, 1):
        filled = [(asked(body)[place], known) for body, known in zip(first, rows, strict=False)]
        found = named_pieces(filled) if filled else None
        made.append(found or pieces([asked(body)[place] for body in bodies], cells.used if place == 0 else ()))
    return Template(made[0]), Template(made[1])


def _first_requests(path: Path) -> list[dict[str, Any]]:
    with open_regular(path) as file:
        return [body for raw in islice(file, COMPARED) if (body := body_of(raw)) is not None]


def named_pieces(filled: Sequence[tuple[str, dict[str, str]]]) -> list[Piece] | None:
    """The exact template from pairs of (filled-in prompt, texts of the used columns); None if none fits all pairs."""
    for prompt, cells in sorted(filled, key=lambda pair: -min(map(len, pair[1].values()), default=0)):
        names = sorted((name for name in cells if cells[name] and cells[name] in prompt), key=lambda n: -len(cells[n]))
        if not names:
            continue
        found = _marked(prompt, {name: cells[name] for name in names})
        if all(_fill(found, texts) == text for text, texts in filled):
            return found
    return None


def pieces(texts: Sequence[str], columns: Sequence[str]) -> list[Piece]:
    """The fixed text at both ends that filled-in prompts share, and one hole between, named if it has one column.

    Cells have words in common, too: the text before ends with a sign or a line, if it has one, else with a word; the
    text after begins with a line.
    """
    if not texts or all(text == texts[0] for text in texts):
        return [Piece(texts[0])] if texts else []
    start = _shared_start(texts)
    cuts = [found.end() for found in re.finditer(r"(?<!\(an image)[:.?!]\s+|\n", start)]
    if cuts:
        start = start[: cuts[-1]]
    elif any(len(text) > len(start) and text[len(start)].isalnum() for text in texts):
        start = re.sub(r"\w+\Z", "", start)
    end = _shared_start([text[len(start) :][::-1] for text in texts])[::-1]
    hole = Piece(columns[0] if len(columns) == 1 else "", True)
    found = (Piece(start), hole, Piece(end[end.index("\n") :] if "\n" in end else ""))
    return [piece for piece in found if piece.text or piece.is_hole]


def _shared_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)  # of texts in order, those two have the least in common
    differs = (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(differs, min(len(first), len(last)))]


def _marked(prompt: str, cells: dict[str, str]) -> list[Piece]:
    """The prompt with the first place of any cell made a hole, then the next one, and so on; `cells`: longest first."""
    found, position = list[Piece](), 0
    while len(found) < MOST_PIECES:
        places = [
            (at, index, name) for index, name in enumerate(cells) if (at := prompt.find(cells[name], position)) >= 0
        ]
        if not places:
            break
        at, _, name = min(places)
        found += [Piece(prompt[position:at]), Piece(name, True)]
        position = at + len(cells[name])
    return [piece for piece in (*found, Piece(prompt[position:])) if piece.text]


def _fill(template: Sequence[Piece], cells: dict[str, str]) -> str:
    return "".join(cells.get(piece.text, "") if piece.is_hole else piece.text for piece in template)


class Template:
    """The template of a job's prompts. `cut(prompt)` is the part of a prompt that differs from row to row."""

    def __init__(self, found: Sequence[Piece]) -> None:
        self.pieces = [part for piece in found for part in _images_as_holes(piece)]
        varies = any(piece.is_hole for piece in self.pieces)
        first, last = (self.pieces[0], self.pieces[-1]) if varies else (Piece(""), Piece(""))
        self.start = "" if first.is_hole else first.text
        self.end = "" if last.is_hole else last.text

    def cut(self, prompt: str) -> tuple[str, bool]:
        """(the part between the fixed ends, True), or (the whole prompt, False) where it does not have those ends."""
        ends = len(self.start) + len(self.end)
        if ends and len(prompt) >= ends and prompt.startswith(self.start) and prompt.endswith(self.end):
            return prompt[len(self.start) : len(prompt) - len(self.end)], True
        return prompt, False


def _images_as_holes(piece: Piece) -> list[Piece]:
    """Images differ from row to row, though all that were sent as they are read alike."""
    if piece.is_hole or IMAGE not in piece.text:
        return [piece]
    made = [part for text in piece.text.split(IMAGE) for part in (Piece(text), Piece("an image", True))]
    return [part for part in made[:-1] if part.text]
