"""--help of every script against a bare `python -c pass`: nothing heavy is imported before it is needed.

python tests/bench/help.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import SCRIPTS, compare

AT_MOST = 3.0


def main() -> int:
    scripts = sorted(SCRIPTS.glob("*.py"))
    assert scripts, "no scripts found"
    contenders: dict[str, tuple[str, list[str | Path]]] = {"python -c pass": ("pass", [])}
    contenders |= {script.name: (str(script), ["--help"]) for script in scripts}
    return 0 if compare("--help", contenders, {script.name: AT_MOST for script in scripts}, runs=20) else 1


if __name__ == "__main__":
    sys.exit(main())
