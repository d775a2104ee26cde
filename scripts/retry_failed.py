#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Plan the next attempt of a job from the requests that failed, were cancelled, or are missing.

Reads:   the job of the request file, or a raw batch id; its spool. The server is asked for what download.py has not
         fetched yet, and whether every batch is as it was (DOUBLEWORD_API_KEY).
Writes:  attempt-2.jsonl (then -3, ...) in the job folder, and the record. Nothing that succeeded is ever sent again.
Stdout:  the path of the attempt's request file; --json: one object. Nothing to retry: no line.
Money:   none: run_batch.py then runs the attempt.

Requests that can never succeed by being repeated (refused with 400, 401, 403, 413, 422) are left out.

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

from doubleword.base.command import parser, run
from doubleword.base.console import answer
from doubleword.base.errors import Clock, ExitCode
from doubleword.base.text import whole_number


def main(arguments: Sequence[str], clock: Clock) -> int:
    flags = parser(__doc__)
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or a raw batch id")
    flags.add_argument(
        "--only", action="append", metavar="KIND", help="only this kind, as in the errors file; repeatable"
    )
    flags.add_argument("--include-permanent", action="store_true", help="also those that were refused for good")
    flags.add_argument(
        "--max-attempts", type=whole_number, default=5, metavar="N", help="refuse to plan more attempts (5)"
    )
    args = flags.parse_args(arguments)

    from doubleword.base.console import say
    from doubleword.base.text import next_command, plural
    from doubleword.job.job import Job
    from doubleword.results import retry
    from doubleword.service import by_id
    from doubleword.service.api import Api

    raw = by_id.id_in(args.requests)
    job = retry.job_of_raw(raw, clock) if raw else Job.need(Path(args.requests))
    plan = retry.planned(Api(clock), job, lambda: retry.plan(job, args.only, args.include_permanent, args.max_attempts))
    for kind, count in plan.left_out.items():
        say(f"left out: {plural(count, 'request')} ({kind})")
    if plan.path is None:
        say("nothing to retry")
    else:
        say(f"attempt {len(job.attempts)}: {plural(plan.requests, 'request')}")
    given = job.remembered("max_cost", "completion_window", "output", "columns", "answer_column", "no_guard")
    facts = {
        "job": str(job.folder),
        "attempt": len(job.attempts),
        "request_file": str(plan.path) if plan.path else None,
        "requests": plan.requests,
        "kinds": plan.kinds,
        "left_out": plan.left_out,
        "next": next_command("run_batch.py", job.request_file(), *given) if plan.path else None,
    }
    answer([str(plan.path)] if plan.path else [], facts)
    return ExitCode.DONE


if __name__ == "__main__":
    run(main)
