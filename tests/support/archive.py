"""The folder that a user imports: what `git archive` makes of the last commit."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

from support.documents import ROOT


def archive(checkout: Path = ROOT) -> bytes:
    """The zip of the last commit, as README.md says to make it."""
    command = ["git", "archive", "--format=zip", "HEAD"]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True).stdout


def imported_folder(parent: Path, name: str = "doubleword-batches") -> Path:
    """The archive, unpacked into a folder of this name."""
    folder = parent / name
    with zipfile.ZipFile(io.BytesIO(archive())) as packed:
        assert not [entry.filename for entry in packed.infolist() if entry.external_attr >> 28 == 0o12], "a symlink"
        packed.extractall(folder)
    return folder
