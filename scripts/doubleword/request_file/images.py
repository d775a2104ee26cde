"""Images in a request: beside the text of the last message, as many as the row's cells name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..base.failures import BadInput, WrongUsage
from ..rows.cell_text import Unreadable, as_object, is_empty, text, value
from ..rows.image_cells import image_address
from .rules import CHAT, RESPONSES
from .template import Fill


class BadImage(BadInput):
    """A cell that names no image: `column`, `cell`."""

    def __init__(self, column: str, cell: Any, error: BadInput) -> None:
        super().__init__(error.what, error.next_step)
        self.column, self.cell = column, "" if isinstance(cell, (bytes, Unreadable)) else text(cell)


def attach(body: dict[str, Any], url: str, rest: str) -> None:
    """Puts a stand-in for images beside the text of the last message."""
    if url not in (CHAT, RESPONSES):
        raise WrongUsage(f"images go with {CHAT} or {RESPONSES}, not with {url}")
    if url == RESPONSES and isinstance(body["input"], str):
        body["input"] = [{"role": "user", "content": body["input"]}]
    last = body["messages" if url == CHAT else "input"][-1]
    content = last["content"]
    if isinstance(content, str):
        content = [{"type": "text" if url == CHAT else "input_text", "text": content}]
    last["content"] = [*content, rest]


def shown(columns: tuple[str, ...], url: str, folder: Path) -> Fill:
    """What makes the parts of a row's images. A cell names a file (relative to `folder`) or an address, or several of
    them in a JSON list; an empty one shows none. Raises BadImage."""

    def fill(cells: dict[str, Any], empty: list[str]) -> bytes:
        made = []
        for column in columns:
            cell = value(cells, column)
            named = _several(cell)
            if not named or any(map(is_empty, named)):
                empty.append(column)
            for one in named:
                if not is_empty(one):
                    try:
                        made.append(f", {json.dumps(_part(image_address(one, folder), url))}")
                    except BadInput as error:
                        raise BadImage(column, one, error) from None
        return "".join(made).encode()

    return fill


def _part(address: str, url: str) -> dict[str, Any]:
    if url == CHAT:
        return {"type": "image_url", "image_url": {"url": address}}
    return {"type": "input_image", "image_url": address}


def _several(cell: Any) -> list[Any]:
    cell = as_object(cell, "[")  # or a file that is called so
    return list(cell) if isinstance(cell, (list, tuple)) else [cell]
