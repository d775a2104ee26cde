"""A full check (every rule, duplicates, SHA-256 of each part) against a bare json.loads loop.

python tests/bench/check.py [--millions]: the second form checks memory on 5,000,000 requests (100 parts).
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import REQUESTS, bench_folder, compare, measured, request_file

BARE = """
import json, sys, time
started, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb") as file:
    for line in file:
        json.loads(line)
print(time.perf_counter() - started, time.process_time() - cpu)
"""
CHECK = """
import sys, time
from pathlib import Path
from doubleword.request_file import check as checking, line_json
if sys.argv[2] == "json":
    line_json.orjson = None
started, cpu = time.perf_counter(), time.process_time()
report = checking.check(Path(sys.argv[1]), part_requests=50_000, part_bytes=200_000_000)
assert not report.counts and report.requests == int(sys.argv[3]), report
print(time.perf_counter() - started, time.process_time() - cpu)
"""
MILLIONS = 5_000_000


def millions(folder: Path) -> bool:
    """Peak memory on 5,000,000 short requests: at most 64 MiB and 16 bytes for each."""
    path, line = (
        folder / "millions.jsonl",
        (
            '{"custom_id": "row-%07d", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", '
            '"messages": [{"role": "user", "content": "number %d"}], "max_tokens": 5}}\n'
        ),
    )
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            file.writelines(line % (number, number) for number in range(MILLIONS))
    seconds, mebibytes, _ = measured(CHECK, path, "orjson", str(MILLIONS))
    allowed = 64 + 16 * MILLIONS / 2**20
    print(f"check of {MILLIONS} requests: {seconds:.1f} s, {mebibytes:.1f} MiB (at most {allowed:.1f})")
    return mebibytes <= allowed


def main() -> int:
    with bench_folder() as folder:
        if "--millions" in sys.argv:
            return 0 if millions(folder) else 1
        path = request_file(folder)
        fine = compare(
            f"check of {path.stat().st_size} bytes",
            {
                "json.loads loop": (BARE, [path]),
                "full check, json": (CHECK, [path, "json", str(REQUESTS)]),
                "full check, orjson": (CHECK, [path, "orjson", str(REQUESTS)]),
            },
            {"full check, json": 1.5, "full check, orjson": 1.1},
        )
        return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
