"""5,000,000 rows: built, checked, and run in 100 parts with a table of the answers; the peak memory of each script.

    python tests/bench/scale.py [ROWS]

At most 64 MiB and 16 bytes for each request are promised: 140 MiB for 5,000,000.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from measure import SCRIPTS, bench_folder, serving

ROWS, PARTS = 5_000_000, 100
PART_MEBIBYTES, BYTES_A_REQUEST = 64, 16


def timed(*command: str | Path) -> tuple[float, float]:
    """(seconds, peak MiB) of a script; the bench stops where it fails."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *map(str, command), "--quiet"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def write_rows(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,text\n")
        for start in range(0, count, 10_000):
            file.writelines(f'k{n:08},"row {n}, with a comma"\n' for n in range(start, min(start + 10_000, count)))


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    limit = PART_MEBIBYTES + BYTES_A_REQUEST * count / 2**20
    fine = True
    with bench_folder() as folder:
        rows, requests = folder / "scale.csv", folder / "scale.jsonl"
        subprocess.run([sys.executable, __file__, "--rows", str(rows), str(count)], check=True)
        made: list[str | Path] = ["--input", rows, "--id-column", "id", "--model", "m", "--prompt", "{text}"]
        build, run = SCRIPTS / "create_batch_file.py", SCRIPTS / "run_batch.py"
        cut = ["--part-requests", str(math.ceil(count / PARTS))]
        steps: dict[str, list[str | Path]] = {
            "build": [build, requests, *made, *cut],
            "check": [build, requests, "--check", *cut],
            "run": [run, requests, *cut, "--interval-seconds", "1", "--output", folder / "answers.csv"],
        }
        for name, command in steps.items():
            with serving("parts_server.py") if name == "run" else nullcontext():
                seconds, mebibytes = timed(*command)
            fine = fine and mebibytes <= limit
            print(f"{name}: {count} requests, {seconds:.0f} s, peak {mebibytes:.0f} MiB (at most {limit:.0f})")
        parts = json.loads((requests.with_name("scale.job") / "record.json").read_text())["attempts"][0]["parts"]
        print(f"{len(parts)} parts, {requests.stat().st_size / 1e6:.0f} MB")
    return 0 if fine else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rows"]:
        write_rows(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
