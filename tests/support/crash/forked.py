"""A script in a process forked from one that has imported everything: killed as any other, and started in a moment.

A thousand kills are tried, and to start an interpreter takes a quarter of a second of a processor. How a script really
starts is tried elsewhere: in `tests/base/test_places.py`, and wherever a `Child` is not `warm`.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import context, forkserver, get_context
from pathlib import Path

from support.running import SCRIPTS

PRELOAD = Path(__file__).parent / "preload"


@cache
def _forks() -> context.ForkServerContext:
    """The process to fork from, started with the first call; it ends with this one."""
    found = get_context("forkserver")
    modules = [".".join(path.relative_to(SCRIPTS).with_suffix("").parts) for path in SCRIPTS.glob("doubleword/**/*.py")]
    # pytest, since each process looks at the module that this one was started with.
    besides = ["requests", "pytest", "support.jumping_time"]
    found.set_forkserver_preload([*besides, *(name for name in modules if "__init__" not in name)])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent / "tests")])
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return found


class Forked:
    """A script under the preload; as far as it goes, `subprocess.Popen`. Its streams are the files `out` and `err`."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str], out: Path, err: Path) -> None:
        self._waiting = threading.Lock()  # of two that read how it ended, the second would read nothing
        self._process = _forks().Process(target=_script, args=(list(words), folder, dict(env), out, err))
        self._process.start()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        with self._waiting:
            self._process.join(timeout)
            if self._process.exitcode is None:
                raise subprocess.TimeoutExpired("a script", timeout or 0.0)
            return self._process.exitcode


def _script(words: list[str], folder: Path, env: dict[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.argv = words
    runpy.run_path(str(PRELOAD / "sitecustomize.py"))
    runpy.run_path(words[0], run_name="__main__")
