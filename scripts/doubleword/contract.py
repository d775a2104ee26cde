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
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

# Every script loads this module, without a bytecode cache: what --help does not need is imported where it is used,
# and `typing`, which takes a tenth of that time, only by type checkers (they know this name).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, NoReturn

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

    def __init__(self, what: str, next_step: str = "", problems: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
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


# --- text ------------------------------------------------------------------------------------

# Zero-width joiners are not printable, yet Persian words and joined emoji need them.
_KEPT = {"\u200c", "\u200d"}


def without_key(text: str) -> str:
    """The text with the API key blotted out: a server or a proxy may quote it back."""
    key = os.environ.get("DOUBLEWORD_API_KEY", "").strip()
    return text.replace(key, "***") if len(key) >= 8 else text


def safe(text: object, limit: int = 500) -> str:
    """Foreign text for a terminal or a record: one line, no control characters, no key, at most `limit` long.

    Control characters include terminal escapes and the marks that reverse the reading direction.
    """
    cleaned = "".join(c if c.isprintable() or c in _KEPT else " " for c in without_key(str(text)[: limit * 4]))
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def utc(seconds: float | None) -> str:
    """Unix seconds as `2026-11-24 08:21:07Z`, or `-`."""
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def plural(count: int, noun: str) -> str:
    """`1 request`, `2 requests`, `2 batches`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('ch', 's')) else 's'}"


def next_command(script: str, *arguments: str | Path) -> str:
    """The exact command line that runs a sibling script from where this one was started."""
    import shlex
    import shutil

    folder = Path(sys.argv[0]).parent
    if not (folder / script).exists():  # not started as one of the scripts
        folder = Path(__file__).parent.parent
    python = sys.executable or "python3"
    known = shutil.which("python3")
    if known and Path(known).parent == Path(python).parent:
        python = "python3"  # the short name, where it finds the same interpreter
    # A path that begins with a dash would be taken for a flag.
    words = [f"./{a}" if isinstance(a, Path) and str(a).startswith("-") else str(a) for a in arguments]
    return shlex.join([python, str(folder / script), *words])


# --- stdout and stderr -----------------------------------------------------------------------


class _Voice:
    quiet = False
    as_json = False


def is_quiet() -> bool:
    return _Voice.quiet


def say(text: str) -> None:
    """One line for people, on stderr; nothing with --quiet."""
    if not _Voice.quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _json(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def answer(lines: Iterable[str], facts: dict[str, Any]) -> None:
    """The script's answer on stdout: its lines, or with --json the one object."""
    text = _json(facts) if _Voice.as_json else "\n".join(lines)
    if not text:
        return
    try:
        sys.stdout.write(without_key(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has left: not an error, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(failure: Failure) -> None:
    """A failure on stderr: prose, or with --json one JSON line."""
    shown = failure.problems[:20]
    if _Voice.as_json:
        error = {"code": int(failure.code), "what": failure.what, "next": failure.next_step, "problems": shown}
        text = _json({"error": error})
    else:
        text = f"error: {failure.what}"
        text += "".join(f"\n  {p['text']}" for p in shown)
        if failure.next_step:
            text += f"\nnext: {failure.next_step}"
    print(without_key(text), file=sys.stderr, flush=True)  # noqa: T201


# --- files -----------------------------------------------------------------------------------


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Writes `path` so that it appears whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    path = Path(os.path.realpath(path))  # a link stays a link, its target is replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove_leftovers(path)
    try:
        with temporary.open("wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(path: Path) -> None:
    """Temporary files of copies that were killed while they wrote `path`: as large as the file, and nobody's."""
    start, end = f".{path.name}.", ".tmp"
    for name in os.listdir(path.parent):
        pid = name[len(start) : -len(end)]
        if name.startswith(start) and name.endswith(end) and pid.isdecimal() and not _runs(int(pid)):
            path.with_name(name).unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name == "nt":  # signal 0 is no question there, it is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut, where the system can (Windows cannot)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- the frame of a script -------------------------------------------------------------------


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


def whole_number(text: str) -> int:
    """A flag's value that must be a whole number, 1 or more."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A flag's value in seconds: 0 or more, and an end."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


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


class _Interrupted(Failure):
    code = ExitCode.INTERRUPTED


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
