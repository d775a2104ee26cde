#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Upload a request file, in as many parts as the API needs, and show what it would cost.

Reads:   the request file (checked first; nothing is sent if it does not pass), DOUBLEWORD_API_KEY,
         DOUBLEWORD_BASE_URL (optional). A file made elsewhere is welcome; a raw file id is looked up.
Writes:  the job folder beside it, REQUESTS.job/.
Stdout:  the file id of each part, a line each; --json: one object.
Money:   none. Uploads are free, and running this again uploads only what is missing.

Examples:
  upload.py reviews.jsonl
  upload.py reviews.jsonl --completion-window 1h --json
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
    flags.add_argument("requests", metavar="REQUESTS", help="the request file, or the raw id of a file")
    flags.add_argument("--completion-window", default="24h", metavar="W", help="window to estimate for: 24h or 1h")
    flags.add_argument("--part-requests", type=whole_number, metavar="N", help="requests in a part, at most (50,000)")
    flags.add_argument("--part-bytes", type=whole_number, metavar="N", help="bytes in a part, at most (200,000,000)")
    flags.add_argument("--jobs", type=whole_number, default=2, metavar="N", help="parts uploaded at once (2)")
    args = flags.parse_args(arguments)

    from doubleword import engine
    from doubleword.job import begin
    from doubleword.service import raw_id
    from doubleword.service.api import Api

    raw = raw_id.id_in(args.requests)
    if raw:
        job = raw_id.job_of_file(Api(clock), raw)
    else:
        job = begin.prepare(Path(args.requests), clock, args.part_requests, args.part_bytes)
    return engine.upload(Api(clock), job, engine.Terms(args.completion_window, jobs=args.jobs))


if __name__ == "__main__":
    run(main)
