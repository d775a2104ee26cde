#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""List the account's batches and the jobs recorded in a folder, in one table, with the next command for each.

Reads:   DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional); the job folders (*.job) in the folder.
         With --local the jobs alone, and no key is needed.
Stdout:  a line each, columns separated by tabs: batch id (- for a job of several parts), status, done/requests and
         failed of its latest attempt, job, created, next command; --json: one object.
Money:   none.

Examples:
  list_batches.py
  list_batches.py --local --folder ~/jobs
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command import parser, run
from doubleword.base.console import answer
from doubleword.base.errors import Clock, ExitCode
from doubleword.base.text import whole_number


def main(arguments: Sequence[str], clock: Clock) -> int:
    flags = parser(__doc__)
    flags.add_argument("--local", action="store_true", help="the jobs of the folder alone; asks no server")
    flags.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to look for jobs (here)")
    flags.add_argument("--search", metavar="TEXT", help="batches whose metadata, file name or id hold this text")
    flags.add_argument("--limit", type=whole_number, default=20, metavar="N", help="newest batches of the account (20)")
    args = flags.parse_args(arguments)

    from doubleword.service import account

    rows = account.rows(clock, args.folder, args.local, args.search, args.limit)
    answer(["\t".join(account.columns(row)) for row in rows], {"batches": rows, "next": None})
    return ExitCode.DONE


if __name__ == "__main__":
    run(main)
