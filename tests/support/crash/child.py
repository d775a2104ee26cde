"""A script as a real process under the preload: killed at a step, at a moment of the proxy's, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from support.crash.forked import PRELOAD, Forked
from support.proxy.exchange import Drop, Moment
from support.proxy.http_message import Request
from support.running import SCRIPTS

PATIENCE_SECONDS = 60.0


class Ended(NamedTuple):
    """How a process ended: exit code (-9: killed), stdout, stderr, and the steps it took."""

    code: int
    out: str
    err: str
    steps: list[str]

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Child:
    """A started script. `folder` is its working directory and the job's folder."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        at: int = 0,
        base_url: str | None = None,
        locks: bool = True,
        fast: bool = True,
        machine: Path | None = None,
        warm: bool = False,
    ) -> None:
        """`machine`: a folder for what a user has once on a machine, where another one than this is played.

        `warm`: forked from a process that has imported everything, instead of started. It may be at work before this
        returns.
        """
        # Beside the folder, not in it: the oracle wants nothing there but the job's files.
        self._steps, self._out, self._err = (folder.with_name(f"{folder.name}.{n}") for n in ("steps", "out", "err"))
        self._steps.unlink(missing_ok=True)
        env = {**os.environ, "PYTHONPATH": str(PRELOAD), "DWB_CRASH_FOLDER": str(folder), "DWB_CRASH_AT": str(at)}
        env |= {"DWB_CRASH_STEPS": str(self._steps)}
        env |= {"DOUBLEWORD_BASE_URL": base_url} if base_url else {}
        env |= {} if locks else {"DWB_CRASH_NO_LOCKS": "1"}
        env |= {"TMPDIR": str(machine), "HOME": str(machine)} if machine else {}
        env |= {} if fast else {"DWB_CRASH_REAL_TIME": "1"}
        script, *arguments = command
        words = [str(SCRIPTS / f"{script}.py"), *arguments]
        self._process: Forked | subprocess.Popen[bytes]
        if warm:
            self._process = Forked(words, folder, env, self._out, self._err)
            return
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Returns when it is dead, so that nothing it did can come after this."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """The end. Raises subprocess.TimeoutExpired, after killing it, if it does not come."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        steps = self._steps.read_text().splitlines() if self._steps.exists() else []
        return Ended(code, self._out.read_text(), self._err.read_text(), steps)


class KillAt:
    """For a proxy: kills `child` at the n-th moment of all exchanges. `count` is how many there were so far."""

    def __init__(self, n: int) -> None:
        self._n = n
        self.child: Child | None = None
        self.count = 0
        self.where = ""

    def __call__(self, moment: Moment, request: Request) -> None:
        self.count += 1
        if self.count == self._n:
            self.where = f"{moment.name} {request.method} {request.path}"
            while self.child is None:  # it was quicker than whoever started it
                time.sleep(0.001)
            self.child.kill()
            raise Drop
