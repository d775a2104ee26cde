#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Run whatever is left of a job: upload, submit, wait, download. This spends money.

Reads:   the request file, its job record if there is one, DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional).
Writes:  the job record and what download.py writes.
Stdout:  the path of each results file, a line each (the status while it still runs); --json: one object.
Exit:    what stopped it, else that of download.py: 0, 9 or 7; 8 still running: the same command goes on; or a trial was
         shown: the command named as next runs the rest.
Money:   yes. Killed and run again, it goes on; nothing is paid twice, and the answers of a trial are part of the job.

Examples:
  run_batch.py reviews.jsonl --trial 5
  run_batch.py reviews.jsonl --max-cost 5 --output labelled.csv
  run_batch.py reviews.jsonl --completion-window 1h --timeout-seconds 600
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run, seconds, whole_number
from doubleword.base.failures import Clock


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("requests", type=Path, metavar="REQUESTS", help="the request file")
    flags.add_argument(
        "--trial", type=whole_number, default=0, metavar="N", help="N requests first: shows their answers"
    )
    flags.add_argument("--completion-window", default="24h", metavar="W", help="24h (default, cheaper) or 1h")
    flags.add_argument("--max-cost", metavar="USD", help="stop (exit 4) if the estimate is over this; none lifts it")
    flags.add_argument("--output", type=Path, metavar="OUT", help="also the table: .csv, .tsv, .jsonl or .parquet")
    flags.add_argument("--columns", metavar="A,B", help="which columns the table has, in this order")
    flags.add_argument("--answer-column", default="answer", metavar="NAME", help="name of the added column (answer)")
    flags.add_argument("--no-guard", action="store_true", help="leave cells that a spreadsheet would run as a formula")
    flags.add_argument("--show", type=int, default=0, metavar="N", help="print N prompts and answers")
    flags.add_argument("--interval-seconds", type=seconds, default=30.0, metavar="S", help="between looks (30)")
    flags.add_argument("--timeout-seconds", type=seconds, default=1500.0, metavar="S", help="stop waiting after (1500)")
    flags.add_argument("--part-requests", type=whole_number, metavar="N", help="requests in a part, at most (50,000)")
    flags.add_argument("--part-bytes", type=whole_number, metavar="N", help="bytes in a part, at most (200,000,000)")
    flags.add_argument("--jobs", type=whole_number, default=2, metavar="N", help="parts sent or fetched at once (2)")
    args = flags.parse_args(arguments)

    from doubleword import whole_job
    from doubleword.base.text import next_command
    from doubleword.engine import Terms
    from doubleword.job import begin
    from doubleword.results.output_flags import Wanted, columns_of
    from doubleword.service import cost
    from doubleword.service.api import Api

    deadline = clock.monotonic() + args.timeout_seconds
    terms = Terms(args.completion_window, cost.usd(args.max_cost), jobs=args.jobs)
    table = args.output, columns_of(args.columns), args.answer_column
    wanted = Wanted(*table, show=args.show, guard=not args.no_guard, jobs=args.jobs)
    job = begin.prepare(args.requests, clock, args.part_requests, args.part_bytes)
    waiting = whole_job.Waiting(args.interval_seconds, deadline, next_command("run_batch.py", *arguments))
    # 0 is one look: what it has to upload first is not broken off.
    api = Api(clock, deadline if args.timeout_seconds else clock.monotonic() + 1500)
    return whole_job.run(api, job, terms, wanted, waiting, args.trial)


if __name__ == "__main__":
    run(main)
