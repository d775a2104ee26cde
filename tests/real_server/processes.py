"""Processes that outlive the program that started them, and how they are found and ended again.

A process is known by its id and its start time: an id alone may belong to somebody else by now.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Asked to stop, the server finishes what it does; after this it is killed.
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Running:
    """One started process."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Running:
        return cls(pid, _start_time(pid))

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.started != "" and _start_time(self.pid) == self.started

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and return when it has ended."""
        if not self.alive():
            return
        os.kill(self.pid, how)
        deadline = time.monotonic() + STOP_SECONDS
        while self.alive():
            _reap(self.pid)
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.02)


def start(command: Sequence[str | Path], *, log: Path, env: dict[str, str] | None = None, **how: Any) -> Running:
    """Start a process of its own session, so that Ctrl-C in the tests does not end it half-way.

    `how` goes to Popen: `cwd`, `user`, `group`.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **how
        )
    # Python must not complain that the object goes away while its process runs.
    process.returncode = 0
    return Running.of(process.pid)


def _start_time(pid: int) -> str:
    """When a process began (clock ticks since boot); empty where there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _reap(pid: int) -> None:
    """Take the exit status of a child of ours, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
