"""How does a script begin and end? Its flags, and the exit code that comes of what happened.

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
from . import console
from .failures import EXIT_CODES, VERSION, BadInput, Clock, ExitCode, Failure, WrongUsage
from .text import next_command, safe, without_key

if TYPE_CHECKING:
    from typing import Any, NoReturn


class _Interrupted(Failure):
    code = ExitCode.INTERRUPTED


class _Once(argparse.Action):
    """A flag that takes one value: given twice, one of them would be lost without a word."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = namespace.__dict__.setdefault("_given", set())
        if option_string is not None and self.dest in given:
            parser.error(f"{option_string} is given twice; it takes one value")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Help(argparse.RawDescriptionHelpFormatter):
    """argparse would import shutil, with all its archives, to learn how wide the terminal is: a quarter of --help."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size(1).columns
        except (ValueError, OSError):
            columns = 80
        super().__init__(prog, width=max(columns, 40) - 2)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a value may begin with a dash: `--stop ---` means what `--stop=---` does."""
        words, joined = list(sys.argv[1:] if args is None else args), list[str]()
        flags = self._option_string_actions
        while words and words[0] != "--":
            word = words.pop(0)
            takes_value = word in flags and flags[word].nargs is None
            if takes_value and words and words[0].partition("=")[0] not in flags:
                word += "=" + words.pop(0)
            name, equals, value = word.partition("=")
            if word == "" or (equals and not value and name in flags):
                self.error(f"{name or 'an argument'} is empty (a variable that is not set?)")
            if value == "--" and name in flags:  # argparse would make a list of it
                self.error(f"argument {name}: -- is no value")
            joined.append(word)
        return super().parse_args(joined + words, namespace)

    def _print_message(self, message: str, file: object = None) -> None:  # noqa: ARG002 - of --help and --version
        console.to_stdout(message.rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(safe(message), f"{next_command(Path(self.prog).name)} --help")


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the script's docstring and the exit codes, with --json and --quiet."""
    made = _Parser(description=documentation, epilog=EXIT_CODES, formatter_class=_Help, allow_abbrev=False)
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


def given(flags: argparse.Namespace) -> dict[str, Any]:
    """What stands on the command line, by the names of argparse."""
    named = vars(flags).get("_given", set())
    found = {name: value for name, value in vars(flags).items() if value is not None and name != "_given"}
    return {name: value for name, value in found.items() if name in named or value is True or isinstance(value, list)}


class Done:
    """What a script did: its exit code, its lines for stdout, and the facts of --json, the same keys every time."""

    def __init__(self, code: ExitCode, lines: Sequence[str], facts: dict[str, Any]) -> None:
        self.code, self.lines, self.facts = code, lines, facts


Main = Callable[[Sequence[str], Clock], Done]


def outcome(main: Main, arguments: Sequence[str], clock: Clock | None = None) -> int:
    """Runs `main` and returns its exit code; every failure is reported here and nowhere else."""
    # Before the flags are parsed, since that can fail, too.
    console.set_voice(as_json="--json" in arguments, quiet="--quiet" in arguments)
    try:
        done = main(arguments, clock or Clock())
        console.answer(done.lines, done.facts)
        return done.code
    except Failure as failure:
        console.report(failure)
        return failure.code
    except KeyboardInterrupt:
        console.report(_Interrupted("interrupted; everything learnt so far is saved", "the same command again goes on"))
        return ExitCode.INTERRUPTED
    except OSError as error:
        # The network's errors have been turned into failures by api.py: this one is a local file.
        where = f"{safe(error.filename, 1000)}: " if error.filename else ""
        console.report(BadInput(f"{where}{error.strerror or safe(error)}", "mend that, then the same command again"))
        return ExitCode.BAD_INPUT
    except Exception:  # noqa: BLE001 - a bug; the traceback is for the report, without the key
        import traceback

        console.to_people(without_key(traceback.format_exc()).rstrip("\n"))
        console.report(Failure("a bug in this script; the lines above say where", "report it; the job's state is safe"))
        return ExitCode.BUG


def run(main: Main) -> NoReturn:
    """The last line of every script."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    console.stand()
    # A time-out of the caller's or a closed terminal is an interruption, not a crash. What is ignored (nohup) stays so.
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    code = int(outcome(main, sys.argv[1:]))
    if code == ExitCode.INTERRUPTED:
        # A thread may be waiting minutes for the answer to an upload; the state on disk is safe at any instant.
        os._exit(code)
    sys.exit(code)
