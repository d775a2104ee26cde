"""Replay recorded scenarios and say what differs.

    python tests/support/replay [SCENARIO ...] [--speed 5]      on the local server
    python tests/support/replay [SCENARIO ...] --real           on the vendor's own

Without names: all of tests/recordings/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

# Started as a folder, Python puts that folder on the path, not the one the package lies in.
sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from support.replay.recording import scenarios  # noqa: E402
from support.replay.run import all_on_real_server, describe, on_local_server  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/support/replay", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    known = [scenario.name for scenario in scenarios()]
    parser.add_argument("scenarios", nargs="*", choices=[*known, []], metavar="SCENARIO", help=", ".join(known))
    parser.add_argument("--speed", type=float, default=5.0, help="how many times faster than recorded (default 5)")
    parser.add_argument("--real", action="store_true", help="on the real server, at the recorded speed")
    flags = parser.parse_args()
    chosen = flags.scenarios or known
    different = 0
    with tempfile.TemporaryDirectory() as work:
        if flags.real:
            reports = all_on_real_server(Path(work), frozenset(chosen))
        else:
            reports = (on_local_server(name, flags.speed, frozenset()) for name in chosen)
        for report in reports:
            print(describe(report), flush=True)
            different += len(report.differences)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
