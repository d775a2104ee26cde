"""More schedules, and rounds of random commands with kills, than a test run has time for.

    python tests/support/faults schedules 2000 --seed 7
    python tests/support/faults rounds 500 --seed 7

Prints what was wrong as it is found, with what repeats it, and the figures at the end. Ends with 1 if anything was.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

import pytest  # noqa: E402
from hypothesis import given, seed  # noqa: E402

from support.faults.rounds import a_round  # noqa: E402
from support.faults.schedules import Schedule, given_schedules, schedules  # noqa: E402
from support.faults.trial import Servers, both_servers, set_up, tried  # noqa: E402

AT_ONCE = 50  # schedules from one seed


def tell(problems: list[str], what: str) -> None:
    if problems:
        print(f"--- {what}", *problems, sep="\n", flush=True)


def many_schedules(servers: Servers, count: int, first: int) -> tuple[int, Counter[str]]:
    hits: Counter[str] = Counter()
    wrong = done = 0
    while done < count:

        @seed(first + done)
        @given_schedules(min(AT_ONCE, count - done))
        @given(schedules())
        def trials(schedule: Schedule) -> None:
            nonlocal wrong, done
            done += 1
            problems = tried(servers, schedule, hits)
            wrong += bool(problems)
            tell(problems, f"schedule {done}")

        trials()
        print(f"{done} schedules, {wrong} with problems", flush=True)
    return wrong, hits


def many_rounds(servers: Servers, count: int, first: int) -> tuple[int, Counter[str]]:
    figures: Counter[str] = Counter()
    wrong = 0
    for number in range(first, first + count):
        problems = a_round(servers[0], number, figures)
        wrong += bool(problems)
        tell(problems, f"round of seed {number}")
        if number % 20 == 0:
            print(f"{number - first + 1} rounds, {wrong} with problems, {dict(figures)}", flush=True)
    return wrong, figures


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=["schedules", "rounds"])
    flags.add_argument("count", type=int)
    flags.add_argument("--seed", type=int, default=1)
    args = flags.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "work").mkdir()
        patch.chdir(Path(folder) / "work")
        patch.setenv("HOME", folder)
        set_up(patch)
        run = many_schedules if args.what == "schedules" else many_rounds
        with both_servers(Path(folder)) as servers:
            wrong, figures = run(servers, args.count, args.seed)
    print(f"{args.count} {args.what}, {wrong} with problems, in {time.monotonic() - started:.0f} s; {dict(figures)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads of what was killed may still wait
