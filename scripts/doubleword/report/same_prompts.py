"""Filled-in prompts that several rows share, and which of them got different answers, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable


class Repeated:
    """A filled-in prompt that several rows may share: its first answer, and once there is another one, all of them."""

    __slots__ = ("answer", "line", "others", "prompt", "rows", "text")

    def __init__(self, line: int, answer: int, text: str) -> None:
        self.line, self.answer, self.text, self.rows = line, answer, text, 1
        self.prompt = ""
        self.others: dict[int, tuple[str, int, int]] | None = None

    @property
    def answers(self) -> list[tuple[str, int, int]]:
        """(answer, rows with it, the first row's line), most often first."""
        others = list((self.others or {}).values())
        first = self.rows - sum(rows for _, rows, _ in others)
        return sorted([(self.text, first, self.line), *others], key=lambda answer: -answer[1])


class Repeats:
    """Prompts that occur more than once, and which of them got different answers."""

    PROMPTS = 100_000  # different ones that are remembered: 25 MB
    ANSWERS = 20  # different ones that are counted for a prompt; further ones count as the last
    TEXT = 80

    def __init__(self) -> None:
        self._seen: dict[int, Repeated] = {}
        self.overflowed = False
        self.prompts = 0  # prompts that occur more than once
        self.differing: dict[int, Repeated] = {}

    def add(self, prompt: int, line: int, answer: str, text: Callable[[], str]) -> None:
        """Takes a row with an answer; `prompt` is a hash, `text` its words, asked for once it has two answers."""
        answer = answer.strip()
        mark = hash(answer)
        seen = self._seen.get(prompt)
        if seen is None:
            if len(self._seen) < self.PROMPTS:
                self._seen[prompt] = Repeated(line, mark, self._short(answer))
            else:
                self.overflowed = True
            return
        self.prompts += seen.rows == 1
        seen.rows += 1
        if seen.others is None:
            if mark == seen.answer:
                return
            seen.others, seen.prompt = {}, text()
            self.differing[prompt] = seen
        if mark != seen.answer and (mark in seen.others or len(seen.others) < self.ANSWERS):
            short, rows, first = seen.others.get(mark, (self._short(answer), 0, line))
            seen.others[mark] = (short, rows + 1, first)

    def _short(self, answer: str) -> str:
        return answer if len(answer) <= self.TEXT else answer[: self.TEXT - 1] + "…"

    @property
    def rows(self) -> int:
        """How many rows have a prompt that got different answers."""
        return sum(seen.rows for seen in self.differing.values())

    def most(self, count: int) -> list[Repeated]:
        """The prompts with different answers that most rows share."""
        return sorted(self.differing.values(), key=lambda seen: -seen.rows)[:count]
