"""A corrected copy of a request file: only what can be mended without guessing what was meant."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from ..base.errors import BadInput
from ..base.files import state_of, whole_file
from ..base.progress import Progress
from ..base.text import safe
from .lines import lines
from .parse import Unreadable, parse
from .repeats import Repeats

_WHAT = {
    "bom": "byte order mark removed",
    "crlf": "CRLF line ends made LF",
    "blank": "blank lines removed",
    "newline": "newline added at the end",
    "same": "identical duplicate lines removed",
    "number": "custom_id that was a whole number made text",
}


def mend(path: Path, out: Path) -> list[str]:
    """Writes the mended copy and returns what was done. Raises BadInput if `out` exists: nothing is overwritten."""
    if out.exists():
        raise BadInput(f"{safe(out)} exists already", "give --fix another name")
    repeats = Repeats()
    for line in lines(path):
        repeats.add(line.raw.strip())
    suspects, seen, done = repeats.suspects(), set[bytes](), Counter[str]()
    with whole_file(out, path) as file, Progress("fix", state_of(path)[0], "B") as progress:
        for line in lines(path):
            progress.add(len(line.raw))
            done["bom"] += line.number == 1 and line.start > 0
            text = line.raw.strip(b" \t\r\n")
            done["crlf"] += line.raw.endswith(b"\r\n")
            done["newline"] += not line.raw.endswith(b"\n")
            if not text:
                done["blank"] += 1
                continue
            if hash(text) in suspects:
                if text in seen:
                    done["same"] += 1
                    continue
                seen.add(text)
            mended = _with_text_id(text)
            done["number"] += mended is not text
            file.write(mended + b"\n")
    return [f"{what} ({done[key]})" for key, what in _WHAT.items() if done[key]]


def _with_text_id(raw: bytes) -> bytes:
    """The line, its id made text if it was a whole number; whatever else is wrong with it stays as it is."""
    try:
        request = parse(raw)
    except Unreadable:
        return raw
    if not isinstance(request, dict) or type(request.get("custom_id")) is not int:
        return raw
    return json.dumps(request | {"custom_id": str(request["custom_id"])}, ensure_ascii=False).encode()
