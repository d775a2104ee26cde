"""The text of a request's prompt, with its images by the names of their files."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, NamedTuple

from ..base.failures import Failure
from ..base.json_text import fields, read_json
from ..job.job import Job
from ..rows.cell_to_text import text as cell_text
from ..rows.cell_to_text import value
from ..rows.source import Source
from ..rows.source_moved import located

ROW_CELLS = 4  # columns of the source that a row of the page keeps
IMAGE = "(an image)"


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
