"""Running the scripts from tests: in this process with a clock of its own, or as a real process."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from doubleword.base.command_line import outcome
from doubleword.base.failures import Clock
from support.jumping_time import JumpingTime

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
COMMANDS = sorted(path.stem for path in SCRIPTS.glob("*.py"))


class FastClock(JumpingTime, Clock):
    """A script's time in tests: see `JumpingTime`."""


class Ran(NamedTuple):
    """What a script did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The --json object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def run(command: str, *arguments: str | Path, clock: Clock | None = None) -> Ran:
    """A script in this process. `command` is its name without .py; time is fast unless another clock is given."""
    module = importlib.import_module(command)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = outcome(module.main, [str(a) for a in arguments], clock or FastClock())
        except SystemExit as leaving:  # --help and --version
            code = int(leaving.code or 0)
    return Ran(int(code), out.getvalue(), err.getvalue())


def run_process(
    command: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60,
) -> Ran:
    """A script as a process of its own, in real time."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{command}.py"), *map(str, arguments)],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def chat_line(custom_id: str, prompt: str, model: str = "echo", **body: Any) -> str:
    """One request line for chat completions, with its line end."""
    request = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": prompt}], **body},
    }
    return json.dumps(request, ensure_ascii=False) + "\n"


def write_requests(path: Path, count: int, prompt: str = "prompt number {n}", model: str = "echo") -> Path:
    """A request file of `count` chat requests, `row-000001` and on."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(chat_line(f"row-{n:06}", prompt.format(n=n), model) for n in range(1, count + 1))
    return path


def json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [json.loads(line) for line in file]
