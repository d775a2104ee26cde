"""Bring the vendor's own server up on loopback, or down again.

    python tests/real_server up        prints DOUBLEWORD_BASE_URL=... and DOUBLEWORD_API_KEY=...
    python tests/real_server down      ends what `up` started; `--purge` also forgets its data

It takes a few seconds; the first time on a machine some minutes, since the server is built from its crate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Started as a folder, Python puts that folder on the path, not the one the package lies in.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from real_server.errors import SetupError  # noqa: E402
from real_server.server import RealServer  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/real_server", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("command", choices=("up", "down"))
    default = Path(tempfile.gettempdir()) / f"dw-real-server-{os.getuid()}"
    parser.add_argument("--work", type=Path, default=default, help="its data, logs and state (default: %(default)s)")
    parser.add_argument("--purge", action="store_true", help="with down: remove its data too")
    flags = parser.parse_args()
    server = RealServer(flags.work)
    try:
        if flags.command == "up":
            server.start()
            for name, value in server.environment().items():
                print(f"{name}={value}")
        elif flags.purge:
            server.remove()
        else:
            server.stop()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
