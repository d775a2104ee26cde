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

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence

from doubleword.base.command_line import Done, parser, run, seconds
from doubleword.base.failures import Clock


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("target", metavar="REQUESTS", nargs="+", help="the request file, or raw batch ids")
    flags.add_argument("--once", action="store_true", help="look once, do not wait")
    flags.add_argument("--interval-seconds", type=seconds, default=30.0, metavar="S", help="between looks (30)")
    flags.add_argument("--timeout-seconds", type=seconds, default=1500.0, metavar="S", help="give up after (1500)")
    args = flags.parse_args(arguments)

    from doubleword import engine
    from doubleword.service.api import Api

    deadline = clock.monotonic() + args.timeout_seconds
    return engine.wait(Api(clock, deadline), args.target, args.interval_seconds, deadline, args.once)


if __name__ == "__main__":
    run(main)
