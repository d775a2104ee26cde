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

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command import parser, run
from doubleword.base.console import answer
from doubleword.base.errors import Clock, ExitCode


def main(arguments: Sequence[str], clock: Clock) -> int:
    flags = parser(__doc__)
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or the raw id of an uploaded file")
    flags.add_argument("--completion-window", default="24h", metavar="W", help="24h (default, cheaper) or 1h")
    flags.add_argument("--max-cost", metavar="USD", help="stop (exit 4) if the server's estimate is over this")
    other = flags.add_mutually_exclusive_group()
    other.add_argument("--adopt", action="store_true", help="take over another job's batch with the same requests")
    other.add_argument("--again", action="store_true", help="pay for a second batch with the same requests")
    flags.add_argument("--replace-stuck", action="store_true", help="tear up batches that are stuck, submit them anew")
    args = flags.parse_args(arguments)

    from doubleword.base.errors import NotFound
    from doubleword.base.text import next_command, safe
    from doubleword.job import begin
    from doubleword.job.job import Job
    from doubleword.service import by_id, stuck, submit
    from doubleword.service import cost as costs
    from doubleword.service.api import Api
    from doubleword.service.refusals import RETRY_AFTER_CAP_SECONDS

    path = Path(args.requests)
    limit = costs.usd(args.max_cost)
    api = Api(clock)
    raw = by_id.id_in(args.requests)
    if raw:
        job = by_id.job_of_file(api, raw)
    else:
        job = begin.prepare(path, clock) if args.adopt else Job.need(path)
    choice = "adopt" if args.adopt else "again" if args.again else None
    with job.locked(clock):
        job.remember(completion_window=args.completion_window, max_cost=limit)
        if job.unsubmitted():
            submit.require_not_cancelled(job)
        if args.replace_stuck:
            stuck.replace(api, job)
        elif not args.adopt and any(not part.upload for part in job.unsubmitted()):
            raise NotFound(
                "not every part of this job has been uploaded",
                next_command("upload.py", job.request_file(), "--completion-window", args.completion_window),
            )
        window, patience = args.completion_window, RETRY_AFTER_CAP_SECONDS
        submit.submit_parts(api, job, window, choice, limit, jobs=1, patience=patience)

    attempt = job.latest
    ids = [part.batch.id for part in attempt.parts if part.batch]
    cost = costs.estimated_cost(attempt.parts, args.completion_window)
    facts = {
        "job": str(job.folder),
        "attempt": attempt.attempt,
        "requests": attempt.requests,
        "models": job.requests.models,
        "completion_window": args.completion_window,
        "estimated_cost_usd": None if cost is None else str(cost),
        "batch_ids": ids,
        "next": job.next_step(),
    }
    answer(map(safe, ids), facts)
    return ExitCode.DONE


if __name__ == "__main__":
    run(main)
