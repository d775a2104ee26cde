"""What the answers of a job are: kinds by frequency, texts by length, and each property of a schema by itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .report_counts import Histogram, Tally

FIELDS = 12  # properties of a schema that get a chart
ROW_FIELDS = 4  # and a column in the table
VALUE_CHARACTERS = 100


@dataclass
class Answers:
    """What the answers are: by frequency and length, and for a schema each property by itself."""

    whole: Tally
    fields: dict[str, Tally | Histogram]
    unparsed: int = 0  # answers in which a schema's properties could not be read

    def add(self, text: str) -> list[str]:
        """Counts one answer; returns what the schema's properties hold, as text."""
        self.whole.add(text)
        if not self.fields:
            return []
        value = _object(text)
        self.unparsed += value is None
        for name, counts in self.fields.items():
            found = (value or {}).get(name)
            if isinstance(counts, Histogram):
                if isinstance(found, int | float) and not isinstance(found, bool):
                    counts.add(found)
            elif found is not None:
                for item in found if isinstance(found, list) else [found]:
                    counts.add(_written(item))
        return [_written((value or {}).get(name))[:VALUE_CHARACTERS] for name in islice(self.fields, ROW_FIELDS)]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object of an answer, out of a code fence or from behind `<think>…</think>` where it has them."""
    for written in (text, re.sub(r"\A\s*<think>.*?</think>|\A\s*```\w*|```\s*\Z", "", text, flags=re.DOTALL)):
        try:
            found = json.loads(written)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) else None
    return None


def answers_of(body: dict[str, Any]) -> Answers:
    """How answers are to be counted, by what the request asks for."""
    schema = _schema(body)
    fields: dict[str, Tally | Histogram] = {}
    for name, about in islice(_dict(schema.get("properties")).items(), FIELDS):
        kind, choices = _dict(about).get("type"), _choices(_dict(about))
        number = kind in ("number", "integer") and not choices
        fields[name] = Histogram() if number else Tally(choices or (["true", "false"] if kind == "boolean" else []))
    return Answers(Tally(_choices(schema)), fields)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _choices(schema: dict[str, Any]) -> list[str]:
    found = schema.get("enum")
    return [_written(choice) for choice in found] if isinstance(found, list) else []


def _schema(body: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a chat or a Responses body; {} where there is none."""
    wanted = _dict(body.get("response_format") or _dict(body.get("text")).get("format"))
    return _dict(_dict(wanted.get("json_schema", wanted)).get("schema"))
