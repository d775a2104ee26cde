"""create_batch_file.py from a CSV of 50,000 rows, 180 MB, against a bare csv-to-json loop over it.

The build also hashes the source, checks every request, hashes the part, syncs the file and writes the job record.

python tests/bench/build.py [--millions]: the second form checks memory on 5,000,000 rows (100 parts).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from measure import PROMPT, bench_folder, compare, measured, reviews

BARE = """
import csv, json, sys, time
started, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], encoding="utf-8", newline="") as rows, open(sys.argv[2], "w", encoding="utf-8") as out:
    for row in csv.DictReader(rows):
        out.write(json.dumps(row, ensure_ascii=False) + "\\n")
print(time.perf_counter() - started, time.process_time() - cpu)
"""
BUILD = """
import sys, time
from pathlib import Path
started, cpu = time.perf_counter(), time.process_time()
from doubleword.base import command_line
from doubleword.request_file import line_json
if sys.argv[3] == "json":
    line_json.orjson = None
import create_batch_file
out = Path(sys.argv[2])
for old in (out, out.with_suffix(".job") / "record.json"):
    old.unlink(missing_ok=True)
code = command_line.outcome(create_batch_file.main, [
    str(out), "--input", sys.argv[1], "--model", "some/model-30b", "--system", "Be brief.", "--prompt", sys.argv[4],
    "--max-tokens", "20", "--temperature", "0", "--quiet"])
assert code == 0, code
print(time.perf_counter() - started, time.process_time() - cpu)
"""


def table(folder: Path) -> Path:
    path = folder / "bench.csv"
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "product", "text"])
            writer.writerows([number, "Electric kettle 1.7 L", text] for number, text in enumerate(reviews(), 1))
    return path


MILLIONS = 5_000_000


def millions(folder: Path) -> bool:
    """Peak memory on 5,000,000 short rows: at most 64 MiB and 16 bytes for each."""
    path = folder / "millions.csv"
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write("id,text\n")
            file.writelines(f"id-{number},number {number}\n" for number in range(MILLIONS))
    seconds, mebibytes, _ = measured(BUILD, path, folder / "millions-built.jsonl", "orjson", PROMPT + "{text}")
    allowed = 64 + 16 * MILLIONS / 2**20
    print(f"build of {MILLIONS} requests: {seconds:.1f} s, {mebibytes:.1f} MiB (at most {allowed:.1f})")
    return mebibytes <= allowed


def main() -> int:
    with bench_folder() as folder:
        if "--millions" in sys.argv:
            return 0 if millions(folder) else 1
        rows, prompt = table(folder), PROMPT + "{text}"
        fine = compare(
            f"build from {rows.stat().st_size} bytes of CSV",
            {
                "csv-to-json loop": (BARE, [rows, folder / "bare.jsonl"]),
                "create_batch_file.py, json": (BUILD, [rows, folder / "built.jsonl", "json", prompt]),
                "create_batch_file.py, orjson": (BUILD, [rows, folder / "built.jsonl", "orjson", prompt]),
            },
            {"create_batch_file.py, json": 1.5, "create_batch_file.py, orjson": 1.5},
        )
        return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
