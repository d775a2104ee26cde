#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Submit each uploaded part of a job as one batch, once. This spends money.

Reads:   the job of the request file (upload.py comes first), DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL.
         A raw file id is submitted as the user's own file: it is never deleted.
Writes:  the job record.
Stdout:  the batch id of each part, a line each; --json: one object.
Money:   yes. Running this again submits only what was not submitted; nothing is paid twice, whatever happened.

Examples:
  create_batch.py reviews.jsonl --max-cost 5
  create_batch.py reviews.jsonl --completion-window 1h
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run
from doubleword.base.failures import Clock


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or the raw id of an uploaded file")
    flags.add_argument("--completion-window", default="24h", metavar="W", help="24h (default, cheaper) or 1h")
    flags.add_argument("--max-cost", metavar="USD", help="stop (exit 4) if the estimate is over this; none lifts it")
    other = flags.add_mutually_exclusive_group()
    other.add_argument("--adopt", action="store_true", help="take over another job's batch with the same requests")
    other.add_argument("--again", action="store_true", help="pay for a second batch with the same requests")
    flags.add_argument("--replace-stuck", action="store_true", help="tear up batches that are stuck, submit them anew")
    args = flags.parse_args(arguments)

    from doubleword import engine
    from doubleword.job import begin
    from doubleword.job.job import Job
    from doubleword.service import cost, raw_id
    from doubleword.service.api import Api

    limit, path, api = cost.usd(args.max_cost), Path(args.requests), Api(clock)
    raw = raw_id.id_in(args.requests)
    if raw:
        job = raw_id.job_of_file(api, raw)
    else:
        job = begin.prepare(path, clock) if args.adopt else Job.need(path)
    choice = "adopt" if args.adopt else "again" if args.again else None
    return engine.submit(api, job, engine.Terms(args.completion_window, limit, choice), args.replace_stuck)


if __name__ == "__main__":
    run(main)
