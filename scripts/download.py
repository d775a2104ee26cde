#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Fetch a job's results, check that every request is accounted for, and put them in input order.

Reads:   the job of the request file, or a raw batch id (its input is fetched for the order);
         DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional).
Writes:  REQUESTS.results.jsonl (the server's lines, in input order), REQUESTS.errors.jsonl if a request has no result
         (a line for each: custom_id, kind, status, text), with --output the source's rows with the answers beside them.
         What was received is kept in REQUESTS.job/: an interrupted download goes on from there.
Stdout:  the path of each file written, a line each; --json: one object.
Exit:    0 every request has a result; 9 some failed or are missing; 8 still running (nothing written, unless
         --partial, which writes REQUESTS.partial.jsonl); 7 nothing at all came back.
Money:   none.

Examples:
  download.py reviews.jsonl --output labelled.csv
  download.py trial.jsonl --show 5
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run, whole_number
from doubleword.base.failures import Clock, WrongUsage


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or a raw batch id")
    flags.add_argument("--output", type=Path, metavar="OUT", help="also the table: .csv, .tsv, .jsonl or .parquet")
    flags.add_argument("--source", type=Path, metavar="ROWS", help="of a raw id: the rows it was made from")
    flags.add_argument("--id-column", metavar="NAME", help="of --source: the column with the custom_ids")
    flags.add_argument("--id-prefix", metavar="TEXT", help="of --source: what stands before it in the custom_ids")
    flags.add_argument("--columns", metavar="A,B", help="which columns the table has, in this order")
    flags.add_argument("--answer-column", default="answer", metavar="NAME", help="name of the added column (answer)")
    flags.add_argument("--no-guard", action="store_true", help="leave cells that a spreadsheet would run as a formula")
    flags.add_argument("--show", type=int, default=0, metavar="N", help="print N prompts and answers")
    flags.add_argument("--partial", action="store_true", help="while it runs: what there is so far")
    flags.add_argument("--jobs", type=whole_number, default=2, metavar="N", help="parts fetched at once (2)")
    args = flags.parse_args(arguments)

    from doubleword import engine
    from doubleword.job.job import Job
    from doubleword.results import from_batch
    from doubleword.results.output_flags import Wanted, columns_of
    from doubleword.service import raw_id
    from doubleword.service.api import Api

    table = args.output, columns_of(args.columns), args.answer_column
    wanted = Wanted(*table, show=args.show, partial=args.partial, guard=not args.no_guard, jobs=args.jobs)
    if (args.source is None) != (args.id_column is None) or (args.id_prefix and not args.source):
        raise WrongUsage(
            "--source and --id-column go together, with or without --id-prefix",
            "only for a batch whose rows no job knows; else leave them out: rows that were moved are found if"
            " put beside the request file",
        )
    api = Api(clock)
    raw = raw_id.id_in(args.requests)
    job = from_batch.job_of_batch(api, raw) if raw else Job.need(Path(args.requests))
    if args.source:
        from_batch.join_source(job, clock, args.source, args.id_column, args.id_prefix or "", wanted)
    return engine.deliver(api, job, wanted)


if __name__ == "__main__":
    run(main)
