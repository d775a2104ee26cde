"""A whole job in 1, 10 and 100 parts by run_batch.py against the local server: what a part costs, and memory.

python tests/bench/many_parts.py [REQUESTS_OF_A_PART]

The server runs every request, so most of the wall time is its own; the processor time is that of the script. Nothing
may grow with the square of the parts: ten times the parts may take ten times as long, and a tenth more. Peak memory
stays that of one part, with 16 bytes for each request.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from measure import SCRIPTS, bench_folder

PARTS = (1, 10, 100)
REQUESTS = 200  # of a part
GROWS = 1.1
PART_MEBIBYTES, BYTES_A_REQUEST = 64, 16


class Ran(NamedTuple):
    """Seconds by the wall and of the processor, and the peak memory in MiB."""

    wall: float
    cpu: float
    mebibytes: float


@contextmanager
def local_server(folder: Path) -> Iterator[None]:
    """The local server, with its two lines in the environment of the scripts."""
    program = SCRIPTS.parent / "tests" / "local_server"
    command = [sys.executable, str(program), "--port", "0", "--data", str(folder), "--speed", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            while not {"DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_KEY"} <= os.environ.keys():
                name, _, value = server.stdout.readline().strip().removeprefix("export ").partition("=")
                if name.startswith("DOUBLEWORD_"):
                    os.environ[name] = value
            yield
        finally:
            server.kill()


def request_file(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            body = {
                "model": "echo",
                "messages": [{"role": "user", "content": f"number {number} of {count}"}],
                "max_tokens": 5,
            }
            request = {"custom_id": f"row-{number:07d}", "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps(request | {"body": body}) + "\n")


def ran(path: Path, of_a_part: int) -> Ran:
    """A whole job in a process of its own; the bench stops where it fails."""
    flags = ["--part-requests", str(of_a_part), "--interval-seconds", "1", "--quiet"]
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "run_batch.py"), str(path), *flags], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"run_batch.py failed with {child.returncode}")
    return Ran(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> int:
    of_a_part = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    for name in ("DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_KEY"):
        os.environ.pop(name, None)
    fine, before = True, dict[int, Ran]()
    with bench_folder() as folder, local_server(folder / "server"):
        print(f"{'parts':>8}{'requests':>10}{'s':>8}{'cpu s':>8}{'cpu ms a part':>15}{'MiB':>8}{'at most':>9}")
        for parts in PARTS:
            path = folder / f"parts-{parts}-{time.time_ns()}.jsonl"
            request_file(path, parts * of_a_part)
            now = before[parts] = ran(path, of_a_part)
            allowed = PART_MEBIBYTES + BYTES_A_REQUEST * parts * of_a_part / 2**20
            print(f"{parts:8}{parts * of_a_part:10}{now.wall:8.1f}{now.cpu:8.2f}", end="")
            print(f"{1000 * (now.cpu - before[1].cpu) / max(1, parts - 1):15.1f}", end="")
            print(f"{now.mebibytes:8.1f}{allowed:9.1f}", flush=True)
            fine = fine and now.mebibytes <= allowed
    few, many = ((before[parts].cpu - before[1].cpu) / (parts - 1) for parts in PARTS[1:])
    print(f"a part of {PARTS[2]} costs {many / few:.2f} times one of {PARTS[1]} (at most {GROWS})")
    judged = os.environ.get("DOUBLEWORD_BENCH_RATIOS") != "shown"
    return 0 if fine and (many <= GROWS * few or not judged) else 1


if __name__ == "__main__":
    sys.exit(main())
