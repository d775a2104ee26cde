"""Compares one recorded answer with one of this run: status, named headers, body."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

from support.replay.bindings import Bindings
from support.replay.exchange import Answer
from support.replay.lives import Lives
from support.replay.recording import Scenario, Step
from support.replay.values import Values

# Those the contract names; others (date, vary, CORS) are not compared.
HEADERS = (
    "content-type", "x-incomplete", "x-last-line", "retry-after", "allow", "content-length",
    "transfer-encoding", "location", "connection",
)  # fmt: skip
# Never sent by the real server; a client could come to lean on them.
ABSENT = ("server", "x-request-id")
BY_VALUE = ("content-type", "x-incomplete", "retry-after", "location", "connection", "transfer-encoding")
LEFT_OUT = "..."
# Of a line of /results, what changes while the batch runs.
MOVING = ("status", "response_body", "error")


class Answers:
    """The comparison for one scenario."""

    def __init__(self, scenario: Scenario, bindings: Bindings) -> None:
        self.lives = Lives(scenario)
        self.values = Values(bindings, scenario.volatile, scenario.made_here())
        self.bindings = bindings
        self._lines = _recorded_lines(scenario)

    def differences(self, step: Step, answer: Answer) -> list[str]:
        """What differs, each in a line; empty where the answer is the recorded one.

        A poll waits for the recorded numbers, whatever the moment.
        """
        recorded = step.response
        self.values.exact = step.series is not None or self.lives.exact(step)
        self.values.exact_batch = lambda batch: step.series is not None or self.lives.exact_batch(batch, step.index)
        self.values.may_have_begun = step.method == "GET" and step.series is None
        if recorded["status"] != answer.status:
            return [f"status: expected {recorded['status']}, got {answer.status} ({answer.text()[:150]!r})"]
        found = self._headers(step, answer)
        broke_off = "body broke off" in (recorded.get("transport_error") or "")
        if broke_off != answer.broke_off:
            found.append(f"body: expected {'to break off' if broke_off else 'whole'}, it was not")
        if "body_ndjson" in recorded:
            found += self._lines_body(step, answer)
        elif "body_json" in recorded:
            found += self._json_body(recorded["body_json"], answer)
        elif "body_text" in recorded:
            found += self._text_body(step, answer)
        return found

    def _headers(self, step: Step, answer: Answer) -> list[str]:
        recorded = step.response["headers"]
        found = [f"header {name}: not expected ({answer.headers[name]})" for name in ABSENT if name in answer.headers]
        if "summary" in step.response or step.name.endswith("(summary)"):
            return found  # of these the recording kept no headers
        for name in HEADERS:
            old, new = recorded.get(name), answer.headers.get(name)
            if name == "connection" and answer.status >= 400 and "multipart" in step.request:
                continue  # closed if it is refused before it has come to its end: chance, on the real server too
            if not self._same_header(name, old, new):
                found.append(f"header {name}: expected {old}, got {new}")
        return found

    def _same_header(self, name: str, old: str | None, new: str | None) -> bool:
        if old is None or new is None:
            return old is new
        if name == "allow":
            return set(old.replace(" ", "").split(",")) == set(new.replace(" ", "").split(","))
        if name == "x-last-line":
            return old == new or not self.values.exact  # then compared with the lines that came
        return name not in BY_VALUE or old.lower() == new.lower()

    def _json_body(self, recorded: Any, answer: Answer) -> list[str]:
        try:
            actual = json.loads(answer.body)
        except ValueError:
            return [f"body: expected JSON, got {answer.text()[:150]!r}"]
        return self.values.differences(recorded, actual)

    def _text_body(self, step: Step, answer: Answer) -> list[str]:
        if "text/html" in step.response["headers"].get("content-type", ""):
            page = answer.text().lstrip().lower().startswith("<!doctype html")
            return [] if page else ["body: expected an HTML page"]
        return self.values.message(step.response["body_text"], answer.text(), "body")

    # Bodies of one JSON object a line.

    def _lines_body(self, step: Step, answer: Answer) -> list[str]:
        recorded = step.response
        try:
            lines = [json.loads(line) for line in answer.body.splitlines()]
        except ValueError:
            return ["body: a line is not JSON"]
        found = []
        if self.values.exact and len(lines) != recorded["body_lines_total"]:
            found.append(f"body: expected {recorded['body_lines_total']} lines, got {len(lines)}")
        if lines and recorded["ends_with_newline"] is not None and not answer.body.endswith(b"\n"):
            found.append("body: the last line has no newline")
        if recorded.get("all_ids_distinct") and len({_identity(line) for line in lines}) != len(lines):
            found.append("body: a line came twice")
        found += self._last_line(step, answer, len(lines))
        return found + self._each_line(step, lines)

    def _last_line(self, step: Step, answer: Answer, count: int) -> list[str]:
        """X-Last-Line says skip + lines received, or the recording does not bear that out either."""
        old, new = step.response["headers"].get("x-last-line"), answer.headers.get("x-last-line")
        if self.values.exact or old is None or new is None:
            return []
        query = dict(pair.split("=") for pair in step.request.get("query", "").split("&") if pair)
        skip = int(query.get("skip", 0))
        if int(old) - step.response["body_lines_total"] == skip and int(new) != skip + count:
            return [f"header x-last-line: {new} with skip {skip} and {count} lines"]
        return []

    def _each_line(self, step: Step, lines: list[Any]) -> list[str]:
        in_order = not any(f"/{{{{{kind}_" in step.path for kind in ("output", "error"))
        if in_order and self.values.exact:
            return self._in_order(step.response["body_ndjson"], lines)[:5]
        found: list[str] = []
        for line in lines:
            found += self._known_line(step, line)
            if len(found) > 5:
                break
        return found

    def _in_order(self, recorded: list[Any], lines: list[Any]) -> list[str]:
        """Line by line; of a long body the recording kept the first and the last ones."""
        gap = next((index for index, line in enumerate(recorded) if _left_out(line)), None)
        if gap is None:
            return self.values.differences(recorded, lines)
        head, tail = recorded[:gap], recorded[gap + 1 :]
        return self.values.differences(head + tail, lines[: len(head)] + lines[-len(tail) :])

    def _known_line(self, step: Step, line: Any) -> list[str]:
        """A line must be one that the recording has for its custom_id, or of the shape of one it left out."""
        known = self._lines[step.path]
        candidates = known.get(line.get("custom_id")) if isinstance(line, dict) else None
        found: list[str] = []
        for candidate in candidates or self._likes(step):
            if not self.values.exact and "input_body" in candidate:
                # How far a request has got depends on the moment.
                candidate = {**candidate, **{k: line.get(k) for k in MOVING}}
            with self.bindings.trial() as trial:
                found = self.values.differences(candidate, line, "line")
                if not found:
                    trial.keep()
                    return []
            if not candidates and isinstance(line, dict) and line.keys() == candidate.keys():
                return []
        return found[:3] or [f"line: nothing like it was recorded: {json.dumps(line)[:150]}"]

    def _likes(self, step: Step) -> list[Any]:
        """Lines of the same kind, for one whose custom_id the recording left out: they give its shape."""
        kind = re.sub(r"\d+", "", step.path)
        return [
            rows[0]
            for path, known in self._lines.items()
            for rows in known.values()
            if re.sub(r"\d+", "", path) == kind
        ][:3]


def _identity(line: Any) -> str:
    return str(line.get("id") or line.get("custom_id")) if isinstance(line, dict) else str(line)


def _left_out(line: Any) -> bool:
    return isinstance(line, dict) and set(line) == {LEFT_OUT}


def _recorded_lines(scenario: Scenario) -> dict[str, dict[Any, list[Any]]]:
    """Every line recorded for a path, by its custom_id: pages and moments differ, lines do not."""
    lines: dict[str, dict[Any, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for step in scenario.steps:
        for line in step.response.get("body_ndjson", []):
            if not _left_out(line):
                lines[step.path][line["custom_id"]].append(line)
    return lines
