"""A cell: its value, its text, and images."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..base.files import open_regular
from ..base.text import safe

# As base64 in a body of at most 10 MiB, with room for the prompt.
IMAGE_BYTES = 7_500_000


_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"))


def value(cells: dict[str, Any], name: str) -> Any:
    """The cell of that name; `a.b` is also b within a."""
    found: Any = cells.get(name)
    if found is None and "." in name:
        found = cells
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
    return found


def text(cell: Any) -> str:
    """A cell as text: what is no text already is written as JSON, nothing as an empty text."""
    if isinstance(cell, str):
        return cell
    return "" if cell is None else json.dumps(cell, ensure_ascii=False, default=str)


def is_empty(cell: Any) -> bool:
    return cell is None or (cell.__class__ is str and (not cell or cell.isspace()))


def _start(file: Path) -> bytes:
    with open_regular(file) as opened:
        return opened.read(16)


def _image_type(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    return next((kind for sign, kind in _IMAGES if start.startswith(sign)), None)


def image_address(cell: str, folder: Path) -> str:
    """An address a model can read: web and data addresses as they are, a file (relative to `folder`) as data."""
    if cell.startswith(("https://", "http://", "data:image/")):
        return cell
    path = folder / cell
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > IMAGE_BYTES:
            raise BadInput(f"{safe(path)} has more than {IMAGE_BYTES} bytes; a request takes 10 MiB", "make it smaller")
        content = file.read()
    kind = _image_type(content)
    if kind is None:
        raise BadInput(f"{safe(path)} is no PNG, JPEG, GIF or WebP (by its bytes)", "convert it, or leave it out")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
