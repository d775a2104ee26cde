"""Exit codes and expected failures, and the clock that is passed in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum

TYPE_CHECKING = False

if TYPE_CHECKING:
    from .problem import Problem


VERSION = "1.0.0"


class ExitCode(IntEnum):
    """The exit codes of every script. 2 is also argparse's own code for wrong usage."""

    DONE = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    TEMPORARY = 6
    NOT_COMPLETED = 7
    STILL_RUNNING = 8
    INCOMPLETE = 9
    INTERRUPTED = 130


EXIT_CODES = """\
exit codes:
  0    done, whole
  1    a bug: report it
  2    wrong usage or wrong base URL: fix the command
  3    bad input (file, line, limit, unknown model): fix the input
  4    not allowed (key, permission, credit, --max-cost, no requests package): ask the user
  5    the server knows no such file or batch, or there is no job record: check the id
  6    temporary (network, server, 429, another copy at work): same command again later
  7    the batch ended without being completed: download what there is, read the errors
  8    still running when the time was over: same command again later
  9    results saved, but some requests failed or are missing: read the errors file
  130  interrupted; state is safe: same command again
"""


class Failure(Exception):
    """An expected failure: what happened and where, what was expected, and what to do next."""

    code = ExitCode.BUG
    usual_step = ""

    def __init__(self, what: str, next_step: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step or self.usual_step
        self.problems = list(problems)


class WrongUsage(Failure):
    code = ExitCode.USAGE


class BadInput(Failure):
    code = ExitCode.BAD_INPUT


class NotAllowed(Failure):
    code = ExitCode.NOT_ALLOWED


class NotFound(Failure):
    code = ExitCode.NOT_FOUND


class Temporary(Failure):
    code = ExitCode.TEMPORARY
    usual_step = "the same command again later"
    retry_after: float | None = None  # seconds the server asked to wait, if it did


class Clock:
    """Time, passed in so that tests need not wait for it."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards, for deadlines."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
