"""The recordings of tests/recordings/, as they are read (their format: tests/recordings/README.md)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent.parent / "recordings"
PLACEHOLDER = re.compile(r"\{\{(\w+)(?:\|(\w+))?\}\}")
# A pause of the recording shorter than this was its own slowness, a longer one was meant.
MEANT_PAUSE = 0.25
# The recorder shortened the names of these models afterwards, but not the sizes of the files that name them.
SIZES_AS_SHORTENED = {("model_gone", 0): 4820, ("model_gone", 1): 150, ("model_gone", 12): 5030}
COUNTED_STATE = re.compile(r"(.*?)(?:: )?(validating|in_progress|finalizing|completed|failed|cancelled) \d+/\d+/\d+$")
UNTIL_HERE = "setup: poll until here"


@dataclass(frozen=True)
class Step:
    """One exchange: what was sent, what came back, and how long after the one before."""

    scenario: str
    index: int
    name: str
    pause: float
    request: dict[str, Any] = field(repr=False)
    response: dict[str, Any] = field(repr=False)

    @property
    def where(self) -> str:
        return f"{self.scenario}[{self.index}] {self.name}"

    @property
    def method(self) -> str:
        return str(self.request["method"])

    @property
    def path(self) -> str:
        return str(self.request["path"])

    @property
    def series(self) -> str | None:
        """The name of the poll series this step belongs to; None where it is no poll.

        A series kept only the answers in which something changed.
        """
        if self.method != "GET" or not re.fullmatch(r"/batches/\{\{\w+\}\}", self.path):
            return None
        if self.name == UNTIL_HERE:
            return f"{UNTIL_HERE} {self.index}"
        found = COUNTED_STATE.match(self.name)
        return f"{found[1]} {self.path}" if found else None

    def batch(self) -> dict[str, Any] | None:
        """The batch object that was answered, if one was."""
        body = self.response.get("body_json")
        return body if isinstance(body, dict) and body.get("object") == "batch" else None


@dataclass(frozen=True)
class Scenario:
    name: str
    volatile: frozenset[str]  # names of fields that change from run to run
    steps: list[Step] = field(repr=False)

    def shows_earlier_business(self) -> bool:
        """Whether its lists show files and batches that were there before."""
        shown = (
            found[0]
            for step in self.steps
            if _is_list(step)
            for found in PLACEHOLDER.findall(json.dumps(step.response))
        )
        more = any(_is_list(step) and step.response["body_json"].get("has_more") for step in self.steps)
        return more or not set(shown) <= self.made_here()

    def made_here(self) -> set[str]:
        """The placeholders of everything this scenario made itself; others were there before."""
        made: set[str] = set()
        for step in self.steps:
            if not _is_list(step):
                made.update(found[0] for found in PLACEHOLDER.findall(json.dumps(step.response)))
        return made


def _is_list(step: Step) -> bool:
    body = step.response.get("body_json")
    return isinstance(body, dict) and body.get("object") == "list"


def scenarios(folder: Path = FOLDER) -> list[Scenario]:
    """Every recording that holds exchanges, by name."""
    return [_read(file) for file in sorted(folder.glob("*.json")) if json.loads(file.read_text("utf-8"))["steps"]]


def _read(file: Path) -> Scenario:
    data = json.loads(file.read_text("utf-8"))
    steps = []
    last_end = 0.0
    for index, raw in enumerate(data["steps"]):
        pause = 0.0
        if "at_s" in raw:
            pause = raw["at_s"] - raw["took_s"] - last_end
            last_end = raw["at_s"]
        pause = pause if pause > MEANT_PAUSE else 0.0
        if (data["scenario"], index) in SIZES_AS_SHORTENED:
            raw["response"]["body_json"]["bytes"] = SIZES_AS_SHORTENED[data["scenario"], index]
        steps.append(Step(data["scenario"], index, raw["name"], pause, raw["request"], raw["response"]))
    return Scenario(data["scenario"], frozenset(data["volatile"]), steps)


def exchanges_in_folder(folder: Path = FOLDER) -> int:
    """How many exchanges the folder holds: the number a replay has to reach."""
    return sum(len(json.loads(file.read_text("utf-8"))["steps"]) for file in folder.glob("*.json"))
