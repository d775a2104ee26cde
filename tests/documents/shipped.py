"""Renews references/shipped.sha256, the list by which an upgrade finds scripts that a user has edited.

python3 tests/documents/shipped.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIST = ROOT / "references/shipped.sha256"


def checksums() -> str:
    """The scripts' checksums in the format of `sha256sum`, paths relative to the skill's folder."""
    found = sorted(path for ending in ("py", "html", "css", "js") for path in (ROOT / "scripts").rglob(f"*.{ending}"))
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT).as_posix()}" for path in found)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LIST.write_text(checksums(), encoding="ascii")
