#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Cancel a job's batches, or single batches by their ids. What was answered already is kept.

Reads:   the job of the request file, or raw batch ids; DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional).
Writes:  the job record: the job is marked, so that nothing submits its rest by accident. --resume lifts the mark.
Stdout:  a line for each batch: its id and status; --json: one object.
Money:   none. Batches that have ended are left alone.

Examples:
  cancel_batch.py reviews.jsonl
  cancel_batch.py reviews.jsonl --resume
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run
from doubleword.base.failures import Clock, ExitCode, Failure


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("target", metavar="REQUESTS", nargs="+", help="the request file, or raw batch ids")
    flags.add_argument("--resume", action="store_true", help="lift the mark: the rest may be submitted again")
    args = flags.parse_args(arguments)

    from doubleword.base.console import say
    from doubleword.base.failures import WrongUsage
    from doubleword.base.text import next_command, safe
    from doubleword.job.job import Job
    from doubleword.job.next_step import next_step
    from doubleword.service import cancel, raw_id
    from doubleword.service.api import Api

    lines: list[cancel.Cancelled] = []
    failed: list[Failure] = []
    if args.resume:
        if len(args.target) != 1 or raw_id.id_in(args.target[0]):
            raise WrongUsage("--resume takes one request file", "")
        job = Job.need(Path(args.target[0]))
        with job.locked(clock):
            marked = job.latest.cancelled_at
            job.latest.cancelled_at = None
            job.save()
        say("the mark is lifted" if marked else "this job was not marked as cancelled")
        jobs = [job]
    else:
        api, jobs = Api(clock), []
        for target in args.target:  # what can be cancelled is, and then it is said what could not
            raw = raw_id.id_in(target)
            try:
                job = raw_id.watched(api, raw) if raw else Job.need(Path(target))
                lines += cancel.cancel(api, job)
                jobs.append(job)
            except Failure as failure:
                failed.append(failure)
    for line in lines:
        say(line.text)
    failed += [line.failure for line in lines if line.failure]
    for other in failed[1:]:
        say(f"{other.what}; next: {other.next_step}")
    if failed:
        raise failed[0]
    facts = {
        "job": str(jobs[0].folder) if jobs[0].recorded else None,
        "cancelled": not args.resume,
        "batches": [line.facts for line in lines],
        "not_submitted": sum(len(job.unsubmitted()) for job in jobs if job.recorded),
        "next": next_step(jobs[0]) if jobs[0].recorded else next_command("download.py", args.target[0]),
    }
    return Done(ExitCode.DONE, [safe(f"{line.facts['batch_id']} {line.facts['status']}") for line in lines], facts)


if __name__ == "__main__":
    run(main)
