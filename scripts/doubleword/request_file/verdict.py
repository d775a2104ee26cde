"""What one pass over a request file found, what is to be said of it, and the way on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.failures import BadInput
from ..base.files import BLOCK_BYTES, open_regular, unused
from ..base.problem import Problem
from ..base.text import next_command, plural, safe
from ..rows.file_kind import START_BYTES, encoding_of, kind_of, markup, no_rows, not_text, wide_without_mark
from ..rows.text_file import WIDE
from .lines import BOM, Span


@dataclass
class Verdict:
    """What one pass over a request file found. `problems`: the first 20; `counts`: all of them, by kind."""

    spans: list[Span] = field(default_factory=list)
    requests: int = 0
    size: int = 0
    sha256: str = ""
    models: dict[str, int] = field(default_factory=dict)
    endpoint: str = ""
    input_tokens: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: int = 0  # lines that are no requests but may be rows: objects with none of the keys, or no JSON
    mendable: bool = False  # whether --fix may mend some of it

    def said(self, path: Path, state: str) -> str:
        """What a person must hear of it, a line each."""
        models = ", ".join(safe(model, 80) for model in list(self.models)[:5])
        counts = f"{plural(self.requests, 'request')}, {self.size} bytes, {plural(len(self.spans), 'part')}"
        first = f"{safe(path)}: {state}; {counts}, model {models}, about {self.input_tokens} input tokens"
        return "\n".join([first, *(f"note: {line}" for line in self.notes + self.warnings)])

    def facts(self, path: Path, **more: Any) -> dict[str, Any]:
        """The one object of --json: the same keys every time."""
        keys = ("requests", "models", "endpoint", "input_tokens", "notes", "warnings")
        found = {"request_file": str(path), "bytes": self.size, "parts": len(self.spans), "preview": [], "fixed": []}
        found |= {key: getattr(self, key) for key in keys} | {"job": None, "reused": 0, "next": None}
        return found | more

    def require(self, path: Path, *, rows: bool = False, written: bool = False) -> None:
        """Raises BadInput, with every kind counted, if there is any problem. `rows`: `path` is what the requests were
        made from; `written`: it was made by --fix a moment ago."""
        if not self.counts:
            return
        if not rows:
            require_request_file(path)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        found = f"{plural(sum(self.counts.values()), 'problem')} ({kinds})"
        what = f"{safe(path)} was written, and still has {found}" if written else f"{safe(path)}: {found}"
        said, step = self._way_on(path, rows)
        raise BadInput(what + said, step, self.problems)

    def _way_on(self, path: Path, rows: bool) -> tuple[str, str]:
        """What is to be said of it all, and the next step."""
        if rows:
            if set(self.counts) <= {"custom_id", "duplicate_id"}:
                return "", "mend the ids named, name another --id-column, or leave it out: the rows are numbered then"
            return "", "mend the rows named, or change the flags"
        if set(self.counts) == {"empty"}:
            return "", "put requests into it, one a line; create_batch_file.py --input ROWS makes them of rows"
        if self.rows and self.rows == self.requests:
            made = free_name(path, "requests") if path.suffix == ".jsonl" else path.with_name(f"{path.stem}.jsonl")
            asked = ("--input", path, "--model", "MODEL", "--prompt", "ASK ABOUT {COLUMN}")
            way = next_command("create_batch_file.py", made, *asked)
            return ": these are rows, no requests; the next command makes requests of them", way
        if self.mendable:
            fixed = free_name(path, "fixed")
            return "; --fix mends what needs no guessing", next_command("create_batch_file.py", path, "--fix", fixed)
        return "; mend the lines named, then check again", next_command("create_batch_file.py", "--check", path)


def free_name(path: Path, word: str) -> Path:
    """A name beside a request file under which there is nothing yet: r.fixed.jsonl, r.fixed-2.jsonl, ..."""
    return unused(path.with_name(f"{path.name.removesuffix('.jsonl')}.{word}.jsonl"))


def require_request_file(path: Path) -> None:
    """Raises BadInput, with the command that makes one of it, for a file whose start is not that of lines in UTF-8."""
    with open_regular(path) as file:
        start = file.read(BLOCK_BYTES)
    kind, encoding = kind_of(start[:START_BYTES]), encoding_of(start)
    fixed, new = free_name(path, "fixed"), free_name(path, "requests")
    if kind is not None and kind.kind in ("parquet", "excel"):
        raise BadInput(f"{safe(path)} is {kind.name}; a request file was expected", "its rows are named by --input")
    if kind is not None:
        raise not_text(path, kind)
    page = markup(start)
    if page is not None:
        raise no_rows(path, page)
    if encoding in WIDE:
        what = f"{safe(path)} is in {encoding.upper()}; a request file is in UTF-8"
        raise BadInput(f"{what}; --fix writes it so", next_command("create_batch_file.py", path, "--fix", fixed))
    unmarked = wide_without_mark(start)
    if unmarked is not None:
        way = f"iconv -f {unmarked} -t utf-8 < {shlex.quote(str(path))} > {shlex.quote(str(fixed))}"
        raise BadInput(f"{safe(path)} looks like {unmarked.upper()} without a mark; a request file is in UTF-8", way)
    first = start.lstrip(BOM + b" \t\r\n").partition(b"\n")[0].rstrip()
    if first.startswith(b"[") or (first.startswith(b"{") and first.endswith((b"{", b","))):
        is_a = "an array" if first.startswith(b"[") else "objects over several lines"
        what = f"{safe(path)} holds {is_a}; a request file has one object on each line"
        made = next_command("create_batch_file.py", new, "--input", path, "--format", "json")
        raise BadInput(f"{what}, and so the next command writes it", made)
