"""What the answers of a job are: kinds by frequency, texts by length, and each property of a schema by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..request_file.expected import Expected
from .report_counts import Histogram, Tally

FIELDS = 12  # properties of a schema that get a chart
ROW_FIELDS = 4  # and a column in the table
VALUE_CHARACTERS = 100


@dataclass
class Answers:
    """By frequency and length; where a schema was asked for, each of its properties."""

    whole: Tally
    fields: dict[str, Tally | Histogram]

    @classmethod
    def of(cls, expected: Expected | None) -> Answers:
        """Empty counts for the answers that are expected; choices that none takes are counted, too."""
        if expected is None or expected.choices:
            return cls(Tally(expected.choices if expected else ()), {})
        properties = _dict((expected.schema or {}).get("properties"))
        return cls(Tally(), {name: _counts(_dict(properties.get(name))) for name in expected.columns[:FIELDS]})

    def add(self, value: Any, text: str) -> list[str]:
        """Counts one answer; returns what the schema's first properties hold, as text."""
        self.whole.add(text)
        if not self.fields or not isinstance(value, dict):
            return []
        for name, counts in self.fields.items():
            found = value.get(name)
            if isinstance(counts, Histogram):
                if isinstance(found, int | float) and not isinstance(found, bool):
                    counts.add(found)
            elif found is not None:
                for item in found if isinstance(found, list) else [found]:
                    counts.add(_written(item))
        return [_written(value.get(name))[:VALUE_CHARACTERS] for name in islice(self.fields, ROW_FIELDS)]


def _counts(about: dict[str, Any]) -> Tally | Histogram:
    """How the values of one property are counted."""
    kind, choices = about.get("type"), about.get("enum")
    if isinstance(choices, list):
        return Tally(map(_written, choices))
    if kind in ("number", "integer"):
        return Histogram()
    return Tally(["true", "false"] if kind == "boolean" else ())


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
