#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Make one HTML page of a job, for a person to look at: what ran, counts, errors, answers, and a table of rows.

Reads:   the job of the request file and what download.py wrote for it. No network, no key.
Writes:  REQUESTS.report.html or --output: one file that opens in any browser and needs nothing else. A file that
         is there already and was not written by this job is never replaced.
Stdout:  the path of the page; with --text the same in at most 40 lines; --json: one object.
Money:   none.

Examples:
  report.py reviews.jsonl
  report.py reviews.jsonl --output report.html
  report.py reviews.jsonl --text
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, parser, run
from doubleword.base.console import say
from doubleword.base.failures import Clock, ExitCode, WrongUsage
from doubleword.base.text import safe


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument(
        "requests", metavar="REQUESTS", help="the request file, or a raw batch id that was downloaded here"
    )
    form = flags.add_mutually_exclusive_group()
    form.add_argument("--output", type=Path, metavar="PAGE", help="where the page goes (REQUESTS.report.html)")
    form.add_argument("--text", action="store_true", help="print the report in at most 40 lines, write no page")
    args = flags.parse_args(arguments)

    from doubleword.job import outputs
    from doubleword.job.job import Job
    from doubleword.report import job_files, text
    from doubleword.report import page as pages

    requests = Path(args.requests)
    if not requests.exists():
        from doubleword.service import raw_id

        requests = raw_id.recorded(args.requests, "batch") if raw_id.id_in(args.requests) else requests
    job = Job.need(requests)
    page = None if args.text else args.output or job.beside("report.html")
    if page is not None:
        if page.suffix.lower() not in (".html", ".htm"):
            raise WrongUsage(f"--output {safe(page)}: the name of a page ends in .html", "--output report.html")
        outputs.require_ours(job, page)
    made = job_files.read(job, clock.now())
    if page is not None:
        pages.write(made, page, lambda whole: outputs.replacing(job, clock, page, whole))
        say(f"wrote {safe(page)}: open it in a browser")
    return Done(ExitCode.DONE, [str(page)] if page else text.lines(made), text.facts(made, page))


if __name__ == "__main__":
    run(main)
