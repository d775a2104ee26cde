#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Wait until a job's batches have ended, for a bounded time, or look once.

Reads:   the job of the request file, or raw batch ids; DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional).
Writes:  the job record (statuses and counts).
Stdout:  one status word: completed, failed, cancelled, or what it is still doing; --json: one object.
Exit:    0 all completed (requests may have failed: see the counts), 7 some ended otherwise, 8 not ended yet or
         stuck, 6 no status could be learnt.
Money:   none.

Examples:
  poll.py reviews.jsonl
  poll.py reviews.jsonl --once --json
  poll.py 4f1c2a86-5a0e-4d3e-9a44-0c5f0d5b7a11 --timeout-seconds 600
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command import parser, run
from doubleword.base.console import answer
from doubleword.base.errors import Clock, ExitCode
from doubleword.base.text import seconds


def main(arguments: Sequence[str], clock: Clock) -> int:
    flags = parser(__doc__)
    flags.add_argument("target", metavar="REQUESTS", nargs="+", help="the request file, or raw batch ids")
    flags.add_argument("--once", action="store_true", help="look once, do not wait")
    flags.add_argument("--interval-seconds", type=seconds, default=30.0, metavar="S", help="between looks (30)")
    flags.add_argument("--timeout-seconds", type=seconds, default=1500.0, metavar="S", help="give up after (1500)")
    args = flags.parse_args(arguments)

    from doubleword.base.console import say
    from doubleword.base.errors import NotFound
    from doubleword.base.text import next_command
    from doubleword.job.job import Job
    from doubleword.service import by_id, stuck, watch
    from doubleword.service.api import Api

    deadline = clock.monotonic() + args.timeout_seconds
    api = Api(clock)
    jobs = [by_id.watched(api, raw) if (raw := by_id.id_in(t)) else Job.need(Path(t)) for t in args.target]
    for job in jobs:
        if not job.submitted():
            raise NotFound("nothing of this job has been submitted yet", job.next_step() or "")
        if args.once:
            watch.look(api, job)
            say(watch.summary_line(job))
        else:
            watch.wait(api, job, watch.polite(api, args.interval_seconds), deadline)

    words = [watch.status_word(job) for job in jobs]
    reports = [text for job in jobs if (text := stuck.why(job))]
    for text in reports:
        say(text)
    parts = [part for job in jobs for part in job.latest.parts]
    facts: dict[str, object] = {
        "job": str(jobs[0].folder) if len(jobs) == 1 and jobs[0].recorded else None,
        "status": words[0] if len(set(words)) == 1 else "mixed",
        "requests": sum(watch.counts(job)[0] for job in jobs),
        "completed": sum(watch.counts(job)[1] for job in jobs),
        "failed": sum(watch.counts(job)[2] for job in jobs),
        "batches": [watch.facts_of(part) for part in parts],
        "stuck": reports[0] if reports else None,
        "next": jobs[0].next_step() if jobs[0].recorded else next_command("download.py", args.target[0]),
    }
    waiting = [part for job in jobs if job.recorded and job.latest.cancelled_at is None for part in job.unsubmitted()]
    if not all(job.ended for job in jobs):
        code = ExitCode.STILL_RUNNING
        if not waiting:
            facts["next"] = next_command("poll.py", *args.target)
    elif waiting:
        say(f"{len(waiting)} part(s) are not submitted yet; next: {facts['next']}")
        code = ExitCode.STILL_RUNNING
    else:
        code = ExitCode.DONE if all(word == "completed" for word in words) else ExitCode.NOT_COMPLETED
    answer([str(facts["status"])], facts)
    return code


if __name__ == "__main__":
    run(main)
