"""A whole job of 50,000 requests (190 MB up, 190 MB down): run_batch.py against the openai package's plain calls.

The package's: files.create, batches.create, retrieve each second, content to a file. It checks, covers, orders and
syncs nothing; `run_batch.py` parses every line of both files whole, and writes the answers twice, once synced. 0.65 of
the package's time is the goal. The server costs as little as can be.

python tests/bench/whole_job.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from measure import REQUESTS, SCRIPTS, bench_folder, compare, request_file, served
from transfer import output_file

GOAL = 0.65  # not reached: README says what is
OPENAI = """
import openai, sys, time
client = openai.OpenAI(base_url=sys.argv[2], api_key="k" * 20)
file = client.files.create(file=open(sys.argv[1], "rb"), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
while (batch := client.batches.retrieve(batch.id)).status != "completed":
    time.sleep(1)
client.files.content(batch.output_file_id).write_to_file(sys.argv[1] + ".openai")
"""
OURS = """
import contextlib, io, shutil, sys
from pathlib import Path
requests = Path(sys.argv[1])
shutil.rmtree(requests.with_suffix(".job"), ignore_errors=True)
requests.with_suffix(".results.jsonl").unlink(missing_ok=True)
import run_batch
from doubleword.base.command_line import outcome
with contextlib.redirect_stdout(io.StringIO()):
    assert outcome(run_batch.main, [str(requests), "--quiet", "--interval-seconds", "1"]) == 0
"""


def main() -> int:
    with bench_folder() as folder:
        # In a process of its own: the peak memory of a child is never reported below that of the parent it came from.
        subprocess.run([sys.executable, __file__, str(folder)], check=True)
        requests, output = folder / "bench.jsonl", folder / "bench.output"
        with served(output) as url:
            fine = compare(
                f"a whole job of {REQUESTS} requests, ratio to the openai package's calls",
                {
                    "openai package": (OPENAI, [requests, url]),
                    "run_batch.py": (OURS, [requests]),
                },
                {"run_batch.py": GOAL},
            )
        shutil.rmtree(requests.with_suffix(".job"), ignore_errors=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))
    if len(sys.argv) > 1:
        request_file(Path(sys.argv[1]))
        output_file(Path(sys.argv[1]))
    else:
        sys.exit(main())
