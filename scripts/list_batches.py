#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""List the account's batches and the jobs below a folder, in one table, with the next command for each.

Reads:   DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional); the job folders (*.job) below the folder.
         With --local the jobs alone, and no key is needed.
Stdout:  a line of headers, then a line each, columns separated by tabs: name, status, answered/requests, failed,
         created, batch id (- for a job of several), next command; nothing where there is none. --json: one object.
Money:   none.

Examples:
  list_batches.py
  list_batches.py --local --folder ~/jobs
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run, whole_number
from doubleword.base.failures import Clock, ExitCode


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("--local", action="store_true", help="the jobs alone; asks no server")
    flags.add_argument(
        "--folder", type=Path, default=Path(), metavar="DIR", help="where to look for jobs, below it too (here)"
    )
    flags.add_argument("--search", metavar="TEXT", help="jobs and batches whose name, metadata or id hold this text")
    flags.add_argument("--limit", type=whole_number, default=20, metavar="N", help="newest batches of the account (20)")
    args = flags.parse_args(arguments)

    from doubleword.service import account

    rows = account.rows(clock, args.folder, args.local, args.search, args.limit)
    table = [account.HEADER, *(account.columns(row) for row in rows)] if rows else []
    return Done(ExitCode.DONE, ["\t".join(line) for line in table], {"batches": rows, "next": None})


if __name__ == "__main__":
    run(main)
