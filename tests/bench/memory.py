"""Peak memory of every script, each in a process of its own, on a job of 50,000 requests, with a table in each form.

python tests/bench/memory.py

At most 64 MiB and 16 bytes for each request are promised, and judged here. A table in Parquet needs pyarrow, and may
have what importing that alone takes besides, and 8 MiB for the rows that pyarrow holds. Last, how long
`list_batches.py --local` takes over 200 jobs: 0.3 s of the processor are the goal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import table
from measure import REQUESTS, SCRIPTS, bench_folder, served

ALLOWED = 64 + 16 * REQUESTS / 2**20
PYARROW_ROWS = 8
JOBS, JOBS_SECONDS = 200, 0.3
MANY_JOBS = """
import sys
from doubleword.base import console
console.set_voice(as_json=False, quiet=True)
from pathlib import Path
from doubleword.base.failures import Clock
from doubleword.job.begin import prepare
text, folder = Path(sys.argv[1]).open("rb").readline(), Path(sys.argv[2])
folder.mkdir()
for number in range(int(sys.argv[3])):
    path = folder / f"job-{number:03d}.jsonl"
    path.write_bytes(text)
    prepare(path, Clock(), None, None)
"""


def peak(*command: str | Path) -> tuple[float, float]:
    """(MiB, seconds of the processor) of a Python program. The bench stops where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} ended with {child.returncode}")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def judged(what: str, allowed: float, *command: str | Path) -> bool:
    mebibytes, seconds = peak(*command)
    print(f"  {what:40}{mebibytes:8.1f}{allowed:9.1f}{seconds:8.2f}", flush=True)
    return mebibytes <= allowed


def forget(folder: Path) -> None:
    """All that the job has done so far, but for where its rows came from."""
    shutil.rmtree(folder / "made.job")
    (folder / "made.jsonl").unlink()
    (folder / "made.results.jsonl").unlink()
    name, arguments = next(iter(before(folder).items()))
    peak(SCRIPTS / name, *arguments, "--quiet")


def before(folder: Path) -> dict[str, list[str | Path]]:
    """A job up to its answers, each step by its own script."""
    made = folder / "made.jsonl"
    rows: list[str | Path] = ["--input", folder / "rows.csv", "--model", "m", "--prompt", "The mood of: {text}"]
    return {
        "create_batch_file.py": [made, *rows],
        "create_batch_file.py --check": ["--check", made],
        "upload.py": [made],
        "create_batch.py": [made],
        "poll.py": [made, "--interval-seconds", "1"],
        "download.py": [made],
        "retry_failed.py": [made],
        "report.py": [made, "--output", folder / "report.html"],
        "list_batches.py": ["--folder", folder],
    }


def main() -> int:
    with bench_folder() as folder:
        # In a process of its own: the peak memory of a child is never reported below that of the parent it came from.
        subprocess.run([sys.executable, table.__file__, "200", str(table.WORD), str(folder)], check=True)
        pyarrow = peak("-c", "import pyarrow.parquet")[0] - peak("-c", "pass")[0]
        print(f"{REQUESTS} requests; importing pyarrow.parquet alone takes {pyarrow:.1f} MiB")
        print(f"  {'':40}{'MiB':>8}{'at most':>9}{'cpu s':>8}")
        fine = True
        with served(folder / "bench.output"):
            for what, arguments in before(folder).items():
                fine &= judged(what, ALLOWED, SCRIPTS / what.split()[0], *arguments, "--quiet")
            for form in table.FORMS:
                forget(folder)
                flags: list[str | Path] = [
                    folder / "made.jsonl",
                    "--output",
                    folder / f"table.{form}",
                    "--interval-seconds",
                    "1",
                ]
                allowed = ALLOWED + (pyarrow + PYARROW_ROWS if form == "parquet" else 0)
                fine &= judged(f"run_batch.py --output .{form}", allowed, SCRIPTS / "run_batch.py", *flags, "--quiet")
        peak("-c", MANY_JOBS, folder / "bench.jsonl", folder / "many", str(JOBS))
        mebibytes, seconds = peak(SCRIPTS / "list_batches.py", "--local", "--folder", folder / "many")
        print(f"list_batches.py --local over {JOBS} jobs: {seconds:.2f} s of the processor", end="")
        print(f" (goal {JOBS_SECONDS}), {mebibytes:.1f} MiB")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
