"""Where a source lies now: it may have moved with its job, or been put beside the request file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..base.failures import BadInput
from ..base.files import digest as file_digest
from ..base.text import safe
from . import folder
from .source import Source


def located(source: Source, beside: Path) -> Source:
    """A source from a record where it lies now, unchanged: where it was, or in the folder `beside`, the request file's.

    Raises BadInput if it is gone, or changed since the requests were made.
    """
    own = beside.resolve() / source.path
    there = own.exists()
    if there and _is(source, own):
        return replace(source, path=str(own))
    for candidate in [beside / own.name, *sorted(found for found in beside.iterdir() if found.suffix != ".job")]:
        if candidate != own and _is(source, candidate):
            return replace(source, path=str(candidate.resolve()))
    what = f"is gone, and nothing in {safe(beside)} is a copy of it; its rows are needed"
    way = "put it beside the request file"
    if there:
        what = "has changed since the requests were made; its rows are needed for the table"
        way = f"put an unchanged copy into {safe(beside)}"
    raise BadInput(f"the source {safe(own)} {what}", f"restore it, or {way}")


def _is(source: Source, path: Path) -> bool:
    """Whether the same rows lie there."""
    try:
        if source.is_folder:
            return path.is_dir() and folder.listing(replace(source, path=str(path.resolve()))).sha256 == source.sha256
        return path.is_file() and path.stat().st_size == source.size and file_digest(path) == source.sha256
    except (BadInput, OSError):
        return False
