"""Compares one recorded JSON value with one of this run: same shape, same values, but for ids and times."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from support.replay.bindings import Bindings
from support.replay.messages import same_meaning
from support.replay.recording import PLACEHOLDER

# Texts for people: own words are allowed.
MESSAGE_FIELDS = {"message"}
# 2023 to 2100: a time in seconds and not in milliseconds.
UNIX_SECONDS = range(1_690_000_000, 4_102_444_800)
OPTIONAL_OF_A_BATCH = {
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at",
    "cancelled_at", "output_file_id", "analytics",
}  # fmt: skip
# In an object that was there before the scenario, what this run's has is its own business.
OWN_OF_OTHERS = {"bytes", "filename", "metadata", "request_counts", "input_file_id", "completion_window", "endpoint"}
# Counted up by the server from its start.
COUNTED_ID = re.compile(r"item_\d{16}")
COUNTS = ("completed", "failed")
TOKENS = ("total_requests", "total_prompt_tokens", "total_completion_tokens", "total_tokens")


class Values:
    """The rules of one scenario; `differences` of one value are strings that begin with the place."""

    def __init__(self, bindings: Bindings, volatile: frozenset[str], made_here: set[str]) -> None:
        self.bindings = bindings
        self.volatile = volatile
        self.made_here = made_here
        self.exact = True
        self.exact_batch: Callable[[str], bool] = lambda _: True
        self.may_have_begun = False  # a look after the create: `validating` lasts 15 ms
        self.own_words: list[tuple[str, str]] = []

    def differences(self, recorded: Any, actual: Any, place: str = "body") -> list[str]:
        if isinstance(recorded, dict):
            return self._object(recorded, actual, place)
        if isinstance(recorded, list):
            return self._list(recorded, actual, place)
        if isinstance(recorded, str) and isinstance(actual, str):
            return self._text(recorded, actual, place)
        if type(recorded) is not type(actual) or recorded != actual:
            return [f"{place}: expected {_short(recorded)}, got {_short(actual)}"]
        return []

    def _list(self, recorded: list[Any], actual: Any, place: str) -> list[str]:
        if not isinstance(actual, list) or len(actual) != len(recorded):
            return [f"{place}: expected a list of {len(recorded)}, got {_short(actual)}"]
        if recorded and all(isinstance(row, dict) and "model" in row and "request_count" in row for row in actual):
            # The models of a cost estimate come in another order each time.
            recorded, actual = (sorted(rows, key=lambda row: str(row["model"])) for rows in (recorded, actual))
        pairs = enumerate(zip(recorded, actual, strict=True))
        return [d for i, (r, a) in pairs for d in self.differences(r, a, f"{place}[{i}]")]

    def _object(self, recorded: dict[str, Any], actual: Any, place: str) -> list[str]:
        if not isinstance(actual, dict):
            return [f"{place}: expected an object, got {_short(actual)}"]
        foreign = self._foreign(recorded)
        if self.may_have_begun and recorded.get("status") == "validating" and actual.get("status") == "in_progress":
            recorded = {**recorded, "status": "in_progress", "in_progress_at": recorded["created_at"]}
        optional = OPTIONAL_OF_A_BATCH if foreign else set()
        if not self.exact and "total_requests" in recorded:
            optional = set(recorded) | set(actual)
        found = [f"{place}.{k}: missing" for k in recorded if k not in actual and k not in optional]
        found += [
            f"{place}.{k}: not expected ({_short(actual[k])})" for k in actual.keys() - recorded.keys() - optional
        ]
        for key in recorded:
            if key in actual and not (foreign and key in OWN_OF_OTHERS):
                found += self._field(key, recorded, actual, f"{place}.{key}")
        return found if foreign else found + self._window(recorded, actual, place)

    def _foreign(self, recorded: dict[str, Any]) -> bool:
        """Whether it is a file or batch in a list that the scenario did not make."""
        found = PLACEHOLDER.fullmatch(str(recorded.get("id", "")))
        return recorded.get("object") in ("file", "batch") and found is not None and found[1] not in self.made_here

    def _field(self, key: str, recorded: dict[str, Any], actual: dict[str, Any], place: str) -> list[str]:
        old, new = recorded[key], actual[key]
        if key in self.volatile and not isinstance(old, (dict, list)):
            return self._time(key, old, new, place)
        if key == "bytes" and recorded.get("purpose") in ("batch_output", "batch_error"):
            return [] if isinstance(new, int) else [f"{place}: expected a number, got {_short(new)}"]  # an estimate
        if key == "request_counts" and not (self.exact and self.exact_batch(str(recorded.get("id")))):
            return self._loose_counts(old, new, place)
        if not self.exact and (key in TOKENS or key.startswith(("total_cost", "total_list_cost"))):
            return [] if type(old) is type(new) else [f"{place}: expected {_short(old)}, got {_short(new)}"]
        if key in MESSAGE_FIELDS and isinstance(old, str) and isinstance(new, str):
            return self._message(old, new, place)
        return self.differences(old, new, place)

    def _time(self, key: str, old: Any, new: Any, place: str) -> list[str]:
        if not isinstance(new, (int, float)) or isinstance(new, bool):
            return [f"{place}: expected a time, got {_short(new)}"]
        if isinstance(old, int) and old in UNIX_SECONDS and new not in UNIX_SECONDS:
            return [f"{place}: expected unix seconds, got {new} ({key})"]
        return []

    def _window(self, recorded: dict[str, Any], actual: dict[str, Any], place: str) -> list[str]:
        """The distance from creation to expiry is a value, though both ends are times."""
        if not all(isinstance(o.get(k), int) for o in (recorded, actual) for k in ("created_at", "expires_at")):
            return []
        old, new = (o["expires_at"] - o["created_at"] for o in (recorded, actual))
        # The two are stamped at different moments of a long upload.
        if abs(old - new) > max(5, old // 10_000):
            return [f"{place}: expires {new} s after creation, expected {old} s"]
        return []

    def _loose_counts(self, old: Any, new: Any, place: str) -> list[str]:
        found = self.differences({**old, **{k: new.get(k) for k in COUNTS}}, new, place)
        if not found and sum(new[k] for k in COUNTS) > new["total"]:
            found.append(f"{place}: more than the total: {new}")
        return found

    def _text(self, recorded: str, actual: str, place: str) -> list[str]:
        if self.bindings.match(recorded, actual):
            return []
        if COUNTED_ID.fullmatch(recorded) and COUNTED_ID.fullmatch(actual):
            return []
        inner = _as_json(recorded), _as_json(actual)
        if isinstance(inner[0], dict) and isinstance(inner[1], dict):
            return self.differences(inner[0], inner[1], f"{place} (JSON in a string)")
        return [f"{place}: expected {_short(recorded)}, got {_short(actual)}"]

    def _message(self, recorded: str, actual: str, place: str) -> list[str]:
        if not isinstance(_as_json(recorded), dict) and not self.bindings.match(recorded, actual):
            return self.message(recorded, actual, place)
        return self._text(recorded, actual, place)

    def message(self, recorded: str, actual: str, place: str) -> list[str]:
        """A text for people: own words are counted, another meaning is a difference."""
        if self.bindings.match(recorded, actual):
            return []
        recorded = PLACEHOLDER.sub(lambda found: self.bindings.values.get(found[1], found[0]), recorded)
        if not same_meaning(recorded, actual):
            return [f"{place}: expected the meaning of {_short(recorded)}, got {_short(actual)}"]
        self.own_words.append((recorded, actual))
        return []


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return repr(text if len(text) <= 160 else text[:120] + " ... " + text[-35:])
