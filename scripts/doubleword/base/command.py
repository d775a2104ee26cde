"""What every script keeps: exit codes, errors, safe text, whole files, and run(main).

stdout carries the answer alone, and only when there is one (exit 0, 7, 8, 9); everything a person
reads goes to stderr. An expected failure is a `Failure`; `outcome` is the one place that turns it
into an exit code.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

TYPE_CHECKING = False
from .console import _report, _Voice
from .errors import EXIT_CODES, VERSION, BadInput, Clock, ExitCode, Failure, WrongUsage, _Interrupted
from .text import next_command, safe, without_key

if TYPE_CHECKING:
    from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUsage(safe(message), f"{next_command(Path(self.prog).name)} --help")


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the script's docstring and the exit codes, with --json and --quiet."""
    made = _Parser(
        description=documentation,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    made.add_argument("--quiet", action="store_true", help="no progress on stderr; errors still show")
    made.add_argument("--version", action="version", version=VERSION)
    return made


Main = Callable[[Sequence[str], Clock], int]


def outcome(main: Main, arguments: Sequence[str], clock: Clock | None = None) -> int:
    """Runs `main` and returns its exit code; every failure is reported here and nowhere else."""
    _Voice.as_json, _Voice.quiet = "--json" in arguments, "--quiet" in arguments
    try:
        return main(arguments, clock or Clock())
    except Failure as failure:
        _report(failure)
        return failure.code
    except KeyboardInterrupt:
        _report(_Interrupted("interrupted; everything learnt so far is saved", "the same command again goes on"))
        return ExitCode.INTERRUPTED
    except OSError as error:
        # The network's errors have been turned into failures by api.py: this one is a local file.
        where = f"{safe(error.filename)}: " if error.filename else ""
        _report(BadInput(f"{where}{error.strerror or safe(error)}", "mend that, then the same command again"))
        return ExitCode.BAD_INPUT
    except Exception:  # noqa: BLE001 - a bug; the traceback is for the report, without the key
        import traceback

        print(without_key(traceback.format_exc()), file=sys.stderr)  # noqa: T201
        _report(Failure("a bug in this script; the lines above say where", "report it; the job's state is safe"))
        return ExitCode.BUG


def run(main: Main) -> NoReturn:
    """The last line of every script."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # a time-out of the caller's is an interruption, not a crash
    code = int(outcome(main, sys.argv[1:]))
    if code == ExitCode.INTERRUPTED:
        # A thread may be waiting minutes for the answer to an upload; the state on disk is safe at any instant.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
