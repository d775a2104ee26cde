#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""List the models that this key may use. Also the quickest way to find out whether the key is right.

Reads:   DOUBLEWORD_API_KEY, DOUBLEWORD_BASE_URL (optional).
Stdout:  a model name a line; --json: one object. Prices are not in the API: upload.py shows an estimate.
Money:   none.

Example:
  list_models.py --search instruct
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from collections.abc import Sequence

from doubleword.base.command_line import Done, parser, run
from doubleword.base.failures import Clock, ExitCode


def main(arguments: Sequence[str], clock: Clock) -> Done:
    flags = parser(__doc__)
    flags.add_argument("--search", default="", metavar="TEXT", help="only names that contain this, in any case")
    args = flags.parse_args(arguments)

    from doubleword.base.console import say
    from doubleword.base.text import safe
    from doubleword.service.api import Api

    found = [safe(model.get("id", ""), 200) for model in Api(clock).models()]
    names = sorted(name for name in found if args.search.lower() in name.lower())
    say(f"the key is accepted; {len(names)} of {len(found)} models; no prices in the API: upload.py shows an estimate")
    return Done(ExitCode.DONE, names, {"models": names, "next": None})


if __name__ == "__main__":
    run(main)
