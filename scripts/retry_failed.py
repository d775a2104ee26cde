#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Plan the next attempt of a job from the requests that failed, were cancelled, or are missing.

Reads:   the job of the request file, or a raw batch id; its spool. The server is asked for what download.py has not
         fetched yet, and whether every batch is as it was (DOUBLEWORD_API_KEY).
Writes:  attempt-2.jsonl (then -3, ...) in the job folder, and the record. Nothing that succeeded is ever sent again.
Stdout:  the path of the attempt's request file; --json: one object. Nothing planned: no line.
Exit:    0 something is planned, or nothing lacks a result; 9 requests without a result remain and none was planned.
Money:   none: run_batch.py then runs the attempt.

Left out: requests refused for good (401, 403, 413, 422; a 400 is tried once more), and answers that the server counts
and has not handed out. What is left out is said, with the command that plans it all the same.

Examples:
  retry_failed.py reviews.jsonl
  retry_failed.py reviews.jsonl --only http_500 --only timeout
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run, whole_number
from doubleword.base.failures import Clock


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or a raw batch id")
    flags.add_argument(
        "--only", action="append", metavar="KIND", help="only this kind, as in the errors file; repeatable"
    )
    flags.add_argument("--include-permanent", action="store_true", help="also those that were refused for good")
    flags.add_argument(
        "--max-attempts", type=whole_number, default=5, metavar="N", help="refuse to plan more attempts (5)"
    )
    flags.add_argument("--max-tokens", type=whole_number, metavar="N", help="also answers cut short, with this limit")
    args = flags.parse_args(arguments)

    from doubleword import engine
    from doubleword.job.job import Job
    from doubleword.results import from_batch, retry
    from doubleword.service import raw_id
    from doubleword.service.api import Api

    raw = raw_id.id_in(args.requests)
    job = from_batch.job_of_batch(Api(clock), raw) if raw else Job.need(Path(args.requests))
    wanted = retry.Wanted(args.only, args.include_permanent, args.max_attempts, args.max_tokens)
    return engine.plan_retry(Api(clock), job, wanted)


if __name__ == "__main__":
    run(main)
