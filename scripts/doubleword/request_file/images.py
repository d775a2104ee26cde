"""Images in a request: beside the text of the last message, as many as the row's cells name, each as an address that a
model can read."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from pathlib import Path
from typing import Any

from ..base.failures import BadInput, WrongUsage
from ..base.files import open_regular
from ..base.text import safe
from ..rows.cell_to_text import Unreadable, as_object, is_empty, text, value
from ..rows.file_kind import START_BYTES, image_type, is_whole, kind_of, markup
from .endpoints import CHAT, RESPONSES
from .template import Fill

# As base64 in a body of at most 10 MiB, with room for the prompt.
IMAGE_BYTES = 7_500_000

# How the base64 of a PNG, JPEG, GIF or WebP begins.
_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
_LETTERS = re.compile(r"[A-Za-z0-9+/]+=*")
_WEB = re.compile(r"(https?)(://[^\s/]\S*)", re.IGNORECASE)
_ADDRESS = re.compile(r"\S*\w://|data:", re.IGNORECASE)
_HOST = re.compile(r"(//)?(www\.|[\w-]+(\.[\w-]+)*\.(com|net|org|io)/)", re.IGNORECASE)
_SEVERAL = re.compile(r"[\s,;|]https?://|^\[\s*'", re.IGNORECASE)  # a second address, or a list as Python shows it


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


def image_address(cell: Any, folder: Path) -> str:
    """An address a model can read: web addresses as they are, anything else as data.

    A cell is a file's path (relative to `folder`, the source's own, and within it), a data address, base64, bytes, or
    an object with `bytes`, `path` or `url`, as data sets of pictures have. Raises BadInput for what is no picture.
    """
    cell = as_object(cell)
    if isinstance(cell, dict):
        cell = next((cell[key] for key in ("bytes", "path", "url") if cell.get(key) is not None), cell)
    if isinstance(cell, (bytes, bytearray)):
        return _data(bytes(cell), "the cell")
    written = text(cell).strip()
    if not isinstance(cell, str):
        raise _no_picture(written)
    if _SEVERAL.search(written):
        what = f"{safe(written, 40)} names several pictures"
        raise BadInput(what, 'write them as a JSON list, ["first", "second"], or a column each: --image-column repeats')
    web = _WEB.fullmatch(written)
    if web is not None:
        return web[1].lower() + web[2]
    encoded = _encoded(written, folder)
    if encoded is not None:
        try:
            return _data(base64.b64decode(encoded, validate=True), "the cell's base64")
        except binascii.Error:
            raise BadInput(f"{safe(written, 40)} is no whole base64 of a picture", "mend the cell") from None
    if _ADDRESS.match(written):
        raise _no_picture(written)
    if _HOST.match(written) and not os.path.exists(folder / written):
        meant = f"https://{safe(written.lstrip('/'), 80)}"
        raise BadInput(f"there is no file {safe(written, 80)}", f"is {meant} meant? An address has its beginning")
    path = _path(written, folder)
    with open_regular(path) as file:
        return _data(file.read(IMAGE_BYTES + 1), str(path))


def _encoded(written: str, folder: Path) -> str | None:
    """The base64 in a cell: that of a data address, of bytes as Python shows them, or all of it, also in lines."""
    if written[:5].lower() == "data:":
        return "".join(written.partition(";base64,")[2].split()) or None
    if written[:2] in ("b'", 'b"') and written[-1:] == written[1]:
        written = written[2:-1]
    bare = "".join(written.split())
    if bare.startswith(_BASE64) and len(bare) > 16 and "." not in bare:
        return bare
    # A hash without an ending is a name of a file, too.
    return bare if len(bare) > 64 and _LETTERS.fullmatch(bare) and not os.path.exists(folder / written[:1024]) else None


def _path(written: str, folder: Path) -> Path:
    """The file that a cell names. One elsewhere is refused: a table from somebody else may name what is private."""
    if len(written) > 1024 or "\0" in written or any(len(os.fsencode(part)) > 255 for part in written.split("/")):
        raise _no_picture(written)
    path = Path(os.path.normpath(folder / written))
    if "\\" in written and not path.exists():  # as Windows writes it
        path = Path(os.path.normpath(folder / written.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(folder)) and not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(
            f"{safe(written, 80)} lies outside of {safe(folder)}, the folder of the rows",
            "put the rows into a folder that holds the pictures, too, and name them from there",
        )
    return path


def _no_picture(written: str) -> BadInput:
    what = f"{safe(written, 40)} is no path, web address or base64 of a picture"
    way = "is that the column of the pictures?"
    if _WEB.match(written):
        way = "write %20 for each space in the address"
    elif written[:7].lower() == "file://":
        way = "name the file by its path, from the folder of the rows"
    elif "://" in written[:20]:
        way = "a model fetches http:// and https:// alone: download them, and name the files"
    return BadInput(what, way)


def _data(content: bytes, name: str) -> str:
    if len(content) > IMAGE_BYTES:
        raise BadInput(f"{safe(name)} has more than {IMAGE_BYTES} bytes; a request takes 10 MiB", "make it smaller")
    kind = image_type(content)
    if kind is not None and not is_whole(content, kind):
        raise BadInput(f"{safe(name)} is no whole picture: its end is missing", "fetch it again, or leave it out")
    if kind is None:
        found = kind_of(content[:START_BYTES]) or markup(content[:START_BYTES])
        what = f" but {found.name}" if found else ", it is empty" if not content else ""
        raise BadInput(
            f"{safe(name)} is no PNG, JPEG, GIF or WebP (by its bytes){what}",
            found.way.replace("FILE", safe(Path(name).name, 80)) if found else "convert it, or leave it out",
        )
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
