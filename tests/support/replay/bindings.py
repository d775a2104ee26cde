"""Which id of this run stands for which placeholder of the recording.

A placeholder is bound by the first answer it appears in, and must be the same id ever after; two
placeholders never stand for one id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from support.replay.recording import PLACEHOLDER

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Unbound(LookupError):
    """A request needs an id that no answer has given (the step that should have failed)."""


class Bindings:
    """Starts with `{{key}}` and `{{host}}`; learns the ids from the answers."""

    def __init__(self, **known: str) -> None:
        self.values: dict[str, str] = dict(known)

    def fill(self, text: str) -> str:
        """The text with this run's ids. Raises Unbound."""

        def value(found: re.Match[str]) -> str:
            if found[1] not in self.values:
                raise Unbound(f"{{{{{found[1]}}}}} is not known: the answer that should have given it differed")
            return _in_form(self.values[found[1]], found[2])

        return PLACEHOLDER.sub(value, text)

    def match(self, recorded: str, actual: str) -> bool:
        """Whether `actual` is `recorded` with ids for placeholders; binds those that are new."""
        if "{{" not in recorded:
            return recorded == actual
        names: list[str] = []
        pattern = self._pattern(recorded, names)
        found = re.fullmatch(pattern, actual, re.S)
        if not found:
            return False
        fresh = dict(zip(names, found.groups(), strict=True))
        others = set(self.values.values())
        # `uuid_N` is some id whose meaning the recorder did not know: it may be one that has a name.
        if any(value in others for name, value in fresh.items() if not name.startswith("uuid_")):
            return False
        self.values.update(fresh)
        return True

    def _pattern(self, recorded: str, names: list[str]) -> str:
        pieces, at = [], 0
        for found in PLACEHOLDER.finditer(recorded):
            pieces.append(re.escape(recorded[at : found.start()]))
            at = found.end()
            name = found[1]
            if name in self.values:
                pieces.append(re.escape(_in_form(self.values[name], found[2])))
            elif name in names:
                pieces.append(rf"\{names.index(name) + 1}")
            elif re.search(r"_\d+$", name):
                names.append(name)
                pieces.append(f"({UUID})")
            else:
                pieces.append(re.escape(found[0]))
        pieces.append(re.escape(recorded[at:]))
        return "".join(pieces)

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """A look at an answer that may not be the right one: what it bound is forgotten unless kept."""
        before = dict(self.values)
        trial = Trial()
        yield trial
        if not trial.kept:
            self.values = before


def _in_form(value: str, form: str | None) -> str:
    if form == "upper":
        return value.upper()
    if form == "simple":
        return value.replace("-", "")
    if form == "head":
        return value[:8]
    return value


class Trial:
    kept = False

    def keep(self) -> None:
        self.kept = True
