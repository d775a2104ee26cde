"""Measuring: each contender in a process of its own, in turn, best of three; seconds, peak memory, ratio.

The bench file is the same for every benchmark: 50,000 requests, 190 MB, reviews of some 3,600 characters.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
REQUESTS = 50_000
BYTES = 190_000_000
PROMPT = "Label this review as positive, negative or mixed: "
# Words of the demo's reviews: mostly ASCII, with the letters, marks and escapes that real text has.
WORDS = (
    "the a and it is was not very with for after before battery screen café naïve delivery refund price “good” quality "
    'arrived broken works perfectly again never 5 stars 12.5% \n \n\n "quoted" it’s l’été größer — fast: slow; (really) '
    "customer service answered within two days and replaced everything without asking any question at all"
).split(" ")


class Measured(NamedTuple):
    """The best of several runs: seconds, and the peak memory in MiB of the largest."""

    seconds: float
    mebibytes: float


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder that is removed at the end; in DOUBLEWORD_BENCH, if that is set, files are kept and used again."""
    kept = os.environ.get("DOUBLEWORD_BENCH")
    if kept:
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="doubleword-bench-") as folder:
        yield Path(folder)


def reviews() -> Iterator[str]:
    """The same 50,000 texts every time."""
    chance, size = random.Random(1), BYTES // REQUESTS - 230
    for _ in range(REQUESTS):
        yield " ".join(chance.choices(WORDS, k=700)).encode()[:size].decode("utf-8", "ignore")


def request_file(folder: Path) -> Path:
    path = folder / "bench.jsonl"
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for number, text in enumerate(reviews(), 1):
                turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT + text}]
                body = {"model": "some/model-30b", "messages": turns, "max_tokens": 20, "temperature": 0}
                request = {"custom_id": f"row-{number:06d}", "method": "POST", "url": "/v1/chat/completions"}
                file.write(json.dumps(request | {"body": body}, ensure_ascii=False) + "\n")
    return path


def measured(code: str, *arguments: str | Path) -> Measured:
    """One run of Python code in a fresh process; its last line of stdout is the seconds, else the whole run counts."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert child.stdout is not None
    printed = child.stdout.read().split()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"a contender failed with {child.returncode}")
    seconds = float(printed[-1]) if printed else time.perf_counter() - started
    return Measured(seconds, usage.ru_maxrss / 1024)


def compare(title: str, contenders: dict[str, tuple[str, list[str | Path]]], limits: dict[str, float]) -> bool:
    """Runs every contender three times in turn and prints seconds, memory and the ratio to the first one.

    Returns whether each ratio is within its limit.
    """
    best: dict[str, Measured] = {}
    for _ in range(3):
        for name, (code, arguments) in contenders.items():
            now = measured(code, *arguments)
            before = best.get(name, now)
            best[name] = Measured(min(before.seconds, now.seconds), max(before.mebibytes, now.mebibytes))
    base, fine = next(iter(best.values())).seconds, True
    print(f"{title}\n  {'':34}{'s':>8}{'ratio':>8}{'at most':>9}{'MiB':>8}")
    for name, (seconds, mebibytes) in best.items():
        limit = limits.get(name)
        fine = fine and (limit is None or seconds / base <= limit)
        print(f"  {name:34}{seconds:8.3f}{seconds / base:8.2f}{limit or '':>9}{mebibytes:8.1f}")
    return fine
