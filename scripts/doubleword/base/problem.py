"""One thing that is wrong with one line, row or flag: what a failure lists."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Problem:
    """`line`: of the file that the user has; `first_line`: where the same id stands first, for a duplicate."""

    line: int
    field: str  # where in the line: a column, or a path such as body.temperature
    kind: str
    value: str  # what is there, safe to show
    expected: str  # may be empty, where the value says it all
    first_line: int | None = None
    old_line: int | None = None  # the same line before --fix
    old_first_line: int | None = None  # likewise
    file: str = ""  # of a folder, where files are the rows; safe to show

    @property
    def text(self) -> str:
        place = self.file or _line(self.line, self.old_line)
        if self.first_line is not None:
            first = _line(self.first_line, self.old_first_line)
            return f"{place}: {self.field}: duplicate {self.value} (first on {first})"
        return f"{place}: {self.field}: {self.value}" + (f"; expected {self.expected}" if self.expected else "")

    def at(self, line_of: dict[int, int], file_of: dict[int, str]) -> Problem:
        """The same problem in the rows: `line_of` and `file_of` say whose line and file each line of this one is."""
        first = self.first_line and line_of.get(self.first_line, self.first_line)
        file = file_of.get(self.line, "")
        return replace(self, line=line_of.get(self.line, self.line), first_line=first, file=file)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"text": self.text}


def _line(number: int, old: int | None) -> str:
    return f"line {number}" + ("" if old is None else f" (line {old} before --fix)")
