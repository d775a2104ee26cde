"""Measuring: each contender in a process of its own, in turn, best of three; seconds, peak memory, ratio.

The ratio is of wall time; that of processor time stands beside it, for it holds on a busy machine too.

The bench file is the same for every benchmark: 50,000 requests, 190 MB, reviews of some 3,600 characters. Where ratios
say nothing, on a machine that does other things too, DOUBLEWORD_BENCH_REQUESTS=5000 tries all the same that each runs.
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
REQUESTS = int(os.environ.get("DOUBLEWORD_BENCH_REQUESTS", "50000"))
BYTES = 3_800  # of a request
PROMPT = "Label this review as positive, negative or mixed: "
# Mostly ASCII, with the letters, marks and escapes that real text has.
WORDS = (  # noqa: SIM905 - a list has a line for each word
    'the a and it is was not very with for after before battery screen delivery refund price quality arrived "quoted" '
    "broken works perfectly again never 5 stars 12.5% fast: slow; (really) customer service answered within it's \n "
    "two days and replaced everything without asking any question at all café naïve größer “good” — \n\n \n"
).split(" ")


class Measured(NamedTuple):
    """The best of several runs: seconds by the wall, of the processor, and the peak memory in MiB of the largest."""

    seconds: float
    mebibytes: float
    cpu: float


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder that is removed at the end; in DOUBLEWORD_BENCH, if that is set, the files are kept and used again.

    Each bench has its own there: a script refuses to replace a file that is another's.
    """
    kept = os.environ.get("DOUBLEWORD_BENCH")
    if kept:
        own = Path(kept, Path(sys.argv[0]).stem)
        own.mkdir(parents=True, exist_ok=True)
        yield own
        return
    with tempfile.TemporaryDirectory(prefix="doubleword-bench-") as folder:
        yield Path(folder)


@contextmanager
def served(output: Path) -> Iterator[str]:
    """The base URL of a fast server whose batch answers with that file, in the environment of who is measured too."""
    with serving("fast_server.py", str(output), str(REQUESTS)) as url:
        yield url


@contextmanager
def serving(program: str, *arguments: str) -> Iterator[str]:
    """The base URL of a server of this folder, which says its port first; in the environment, too."""
    command = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            os.environ |= {"DOUBLEWORD_BASE_URL": url, "DOUBLEWORD_API_KEY": "k" * 20}
            yield url
        finally:
            server.kill()


def reviews() -> Iterator[str]:
    """The same texts every time."""
    chance, size = random.Random(1), BYTES - 230
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
    """One run of Python code (or of a script, by its path) in a fresh process.

    What it prints last is `seconds` or `seconds processor_seconds` of the part that counts; else all of it counts.
    """
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *([code] if code.endswith(".py") else ["-c", code]), *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert child.stdout is not None
    printed = child.stdout.read().split()
    _, status, usage = os.wait4(child.pid, 0)
    child.stdout.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"a contender failed with {child.returncode}")
    try:
        times = [float(word) for word in printed[-2:]]
    except ValueError:  # a --help
        times = []
    cpu = times[1] if len(times) == 2 else usage.ru_utime + usage.ru_stime
    return Measured(times[0] if times else time.perf_counter() - started, usage.ru_maxrss / 1024, cpu)


def compare(
    title: str, contenders: dict[str, tuple[str, list[str | Path]]], limits: dict[str, float], runs: int = 3
) -> bool:
    """Runs every contender so many times in turn and prints seconds, memory and the ratio to the first one.

    Returns whether each ratio is within its limit. With DOUBLEWORD_BENCH_RATIOS=shown, for a machine that is
    shared, one run is shown and not judged.
    """
    best: dict[str, Measured] = {}
    judged = os.environ.get("DOUBLEWORD_BENCH_RATIOS") != "shown"
    for _ in range(runs if judged else 1):
        for name, (code, arguments) in contenders.items():
            now = measured(code, *arguments)
            before = best.get(name, now)
            seconds, cpu = min(before.seconds, now.seconds), min(before.cpu, now.cpu)
            best[name] = Measured(seconds, max(before.mebibytes, now.mebibytes), cpu)
    base, fine = next(iter(best.values())), True
    print(f"{title}\n  {'':34}{'s':>8}{'ratio':>8}{'at most':>9}{'cpu s':>8}{'ratio':>8}{'MiB':>8}")
    for name, now in best.items():
        limit, ratio = limits.get(name), now.seconds / base.seconds
        fine = fine and (limit is None or ratio <= limit or not judged)
        print(f"  {name:34}{now.seconds:8.3f}{ratio:8.2f}{limit or '':>9}", end="")
        print(f"{now.cpu:8.3f}{now.cpu / base.cpu:8.2f}{now.mebibytes:8.1f}")
    return fine
