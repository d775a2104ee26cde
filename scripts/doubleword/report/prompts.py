"""What all requests of a job ask: the prompt with its columns marked, found again from the filled-in prompts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..base.errors import Failure
from ..base.files import LINE_BYTES, open_regular
from ..base.json_text import fields, read_json
from ..job.job import Job
from ..rows.cell_text import text as cell_text
from ..rows.cell_text import value
from ..rows.moved import located
from ..rows.source import Source

LOOKED_AT = 64  # requests, spread over the file: real tables are sorted
LOOKED_AT_BYTES = 16_000_000
MOST_PIECES = 200
COMPARED = 12  # of the first rows of the source with the first requests
ROW_CELLS = 4  # columns of the source that a row of the page keeps
IMAGE = "(an image)"


class Piece(NamedTuple):
    """A stretch of a prompt: fixed text, or a hole with the name of its column ("" where that is not known)."""

    text: str
    is_hole: bool = False


class Asked(NamedTuple):
    """The texts of one request: what is asked last, and what stands before it (system prompt, earlier turns)."""

    prompt: str
    before: str


def asked(body: dict[str, Any]) -> Asked:
    """The texts of a request body of any of the five endpoints; nothing in it is trusted to have a shape."""
    turns = body.get("messages", body.get("input", body.get("prompt", "")))
    before = [_text(body[key]) for key in ("system", "instructions") if body.get(key)]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return Asked(_text(turns), "\n\n".join(before))
    for turn in turns[:-1]:
        role, text = turn.get("role"), _text(turn.get("content"))
        before.append(text if role in ("system", "developer") else f"[{role}] {text}")
    return Asked(_text(turns[-1].get("content")), "\n\n".join(before))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(_text(part) for part in content)
    if isinstance(content, dict):
        found = content.get("text")
        kind = str(content.get("type"))
        return found if isinstance(found, str) else _image(content) if "image" in kind else "(a part)"
    return content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)


def _image(part: dict[str, Any]) -> str:
    """An image by its address; one that was sent as it is has none, and no name either."""
    address = part.get("image_url", fields(part.get("source")).get("url"))
    address = fields(address).get("url", address)
    return f"(an image: {address})" if str(address).startswith("http") else IMAGE


def spread(path: Path) -> list[dict[str, Any]]:
    """Bodies of up to 64 requests spread evenly over a request file, the first one among them."""
    found: list[dict[str, Any]] = []
    with open_regular(path) as file:
        size, left = os.fstat(file.fileno()).st_size, LOOKED_AT_BYTES
        end = 0
        for index in range(LOOKED_AT):
            start = size * index // LOOKED_AT
            if start < end and index:
                continue  # still within the line that was read before
            file.seek(start)
            skipped = len(file.readline(LINE_BYTES)) if index else 0
            raw = file.readline(LINE_BYTES)
            end, left = start + skipped + len(raw), left - skipped - len(raw)
            body = _body(raw)
            if body is not None:
                found.append(body)
            if left <= 0:
                break
    return found


def _body(raw: bytes) -> dict[str, Any] | None:
    try:
        return fields(fields(read_json(raw.removeprefix(b"\xef\xbb\xbf"))).get("body")) or None
    except ValueError:
        return None


def pieces(texts: Sequence[str], columns: Sequence[str]) -> list[Piece]:
    """The fixed text at both ends that filled-in prompts share, and one hole between, named if it has one column."""
    if not texts or all(text == texts[0] for text in texts):
        return [Piece(texts[0])] if texts else []
    start = _shared_start(texts)
    rests = [text[len(start) :] for text in texts]
    end = _shared_start([rest[::-1] for rest in rests])[::-1]
    hole = Piece(columns[0] if len(columns) == 1 else "", True)
    return [piece for piece in (Piece(start), hole, Piece(end)) if piece.text or piece.is_hole]


def _shared_start(texts: Sequence[str]) -> str:
    """What all texts begin with, up to the end of a word: cells may begin with the same letters."""
    first, last = min(texts), max(texts)
    differs = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    start = first[: next(differs, min(len(first), len(last)))]
    if any(len(text) > len(start) and text[len(start)].isalnum() for text in texts):
        start = re.sub(r"\w+\Z", "", start)
    return start


def template_of(requests: Path, cells: Cells, texts: Sequence[Asked]) -> tuple[Template, Template]:
    """(template of the prompt, of what stands before it); with its columns named where the source is still there."""
    first, rows = _first_requests(requests), cells.first(COMPARED)
    made = []
    for place in (0, 1):
        filled = [(asked(body)[place], known) for body, known in zip(first, rows, strict=False)]
        found = named_pieces(filled) if filled else None
        made.append(found or pieces([text[place] for text in texts], cells.used if place == 0 else ()))
    return Template(made[0]), Template(made[1])


def _first_requests(path: Path) -> list[dict[str, Any]]:
    with open_regular(path) as file:
        return [body for raw in islice(file, COMPARED) if (body := _body(raw)) is not None]


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


class Cells:
    """The cells of the columns that the prompts name, row by row; none where the source is gone or has changed."""

    def __init__(self, job: Job) -> None:
        source = job.record.source
        self.used = source.used if source is not None else ()  # whether or not its rows can be read
        self.columns: tuple[str, ...] = ()
        self._source: Source | None = None
        try:
            self._source = located(source, job.folder.parent) if source is not None and self.used else None
        except (Failure, OSError, ImportError):
            pass
        if self._source is not None:
            self.columns = self.used
            self._rows = self._source.read(requests_only=True)

    def first(self, count: int) -> list[dict[str, str]]:
        """The texts of the first rows' cells."""
        if self._source is None:
            return []
        try:
            return [
                {name: cell_text(value(row.cells, name)) for name in self.columns}
                for row in islice(self._source.read(requests_only=True), count)
            ]
        except (Failure, OSError, ImportError):
            return []

    def of(self, custom_id: str) -> dict[str, Any]:
        """The row of the next request; {} from the first one on that is not the source's next."""
        if not self.columns:
            return {}
        try:
            row = next(self._rows, None)
        except (Failure, OSError, ImportError):
            row = None
        if row is None or row.custom_id != custom_id:
            self.columns = ()
            return {}
        return row.cells

    def texts(self, cells: dict[str, Any]) -> list[str]:
        """A row's cells in the first columns."""
        return [cell_text(value(cells, name)) for name in self.columns[:ROW_CELLS]] if cells else []

    def with_names(self, prompt: str, cells: dict[str, Any]) -> str:
        """The prompt with its images by the names of their files, where each is known."""
        if not cells or IMAGE not in prompt:
            return prompt
        found = {name: value(cells, name) for name in self.columns}
        shown = [cell for cell in found.values() if cell_text(cell) not in prompt] or [found.get("file")]
        names = [name for cell in shown for name in _file_names(cell)]
        if len(names) != prompt.count(IMAGE):
            return prompt
        parts = prompt.split(IMAGE)
        return parts[0] + "".join(f"(an image: {name}){part}" for name, part in zip(names, parts[1:], strict=True))


def _file_names(cell: Any) -> list[str]:
    """The files that a cell of images names: one, or a list of them."""
    try:
        found = read_json(cell) if isinstance(cell, str) and cell.startswith("[") else cell
    except ValueError:
        found = cell
    names = [cell_text(one) for one in (found if isinstance(found, list) else [found])]
    return [name for name in names if name and not name.startswith("http")]
