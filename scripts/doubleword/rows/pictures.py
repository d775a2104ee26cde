"""Pictures: a cell that names one, or is one, as an address that a model can read."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from ..base.errors import BadInput
from ..base.files import open_regular
from ..base.text import safe
from .cells import text
from .recognise import START_BYTES, image_type, kind_of

# As base64 in a body of at most 10 MiB, with room for the prompt.
IMAGE_BYTES = 7_500_000

# How the base64 of a PNG, JPEG, GIF or WebP begins.
_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")


def image_address(cell: Any, folder: Path) -> str:
    """An address a model can read: web and data addresses as they are, anything else as data.

    A cell is a file's path (relative to `folder`, the source's own, and within it), base64, bytes, or an object with
    `bytes`, `path` or `url`, as data sets of pictures have. Raises BadInput for what is no picture.
    """
    if isinstance(cell, dict):
        cell = next((cell[key] for key in ("bytes", "path", "url") if cell.get(key) is not None), cell)
    if isinstance(cell, (bytes, bytearray)):
        return _data(bytes(cell), "the cell")
    written = text(cell).strip()
    if not isinstance(cell, str):
        raise _no_picture(written)
    if written[:11].lower().startswith(("https://", "http://", "data:image/")):
        return written
    if written.startswith(_BASE64) and len(written) > 64:
        try:
            return _data(base64.b64decode(written, validate=True), "the cell's base64")
        except binascii.Error:
            raise BadInput(f"{safe(written, 40)} is no whole base64 of a picture", "mend the cell") from None
    return _data(_content(_path(written, folder)), str(_path(written, folder)))


def _path(written: str, folder: Path) -> Path:
    """The file that a cell names. One elsewhere is refused: a table from somebody else may name what is private."""
    if len(written) > 1024 or "\0" in written or any(len(os.fsencode(part)) > 255 for part in written.split("/")):
        raise _no_picture(written)
    path = Path(os.path.normpath(folder / written))
    if not path.is_relative_to(os.path.normpath(folder)) and not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(
            f"{safe(written, 80)} lies outside of {safe(folder)}, the folder of the rows",
            "put the rows into a folder that holds the pictures, too, and name them from there",
        )
    return path


def _no_picture(written: str) -> BadInput:
    what = f"{safe(written, 40)} is no path, web address or base64 of a picture"
    return BadInput(what, "is that the column of the pictures?")


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > IMAGE_BYTES:
            raise BadInput(f"{safe(path)} has more than {IMAGE_BYTES} bytes; a request takes 10 MiB", "make it smaller")
        return file.read()


def _data(content: bytes, name: str) -> str:
    if len(content) > IMAGE_BYTES:
        raise BadInput(f"{safe(name)} has more than {IMAGE_BYTES} bytes; a request takes 10 MiB", "make it smaller")
    kind = image_type(content)
    if kind is None:
        found = kind_of(content[:START_BYTES])
        what = f" but {found.name}" if found else ", it is empty" if not content else ""
        raise BadInput(
            f"{safe(name)} is no PNG, JPEG, GIF or WebP (by its bytes){what}",
            found.way.replace("FILE", safe(Path(name).name, 80)) if found else "convert it, or leave it out",
        )
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
