"""An OpenClaw of its own: a home, a configuration and nothing of this machine's user in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openclaw.tools import Tools
from support.running import Ran

COMMAND_SECONDS = 300  # on a machine that is busy with other tests; alone it takes a few
GATEWAY_START_SECONDS = 300


class OpenClaw:
    """One installation's home below `folder`, and its commands."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self.home = folder / "home"
        self.state = self.home / ".openclaw"
        self.workspace = self.state / "workspace"
        self.config = self.state / "openclaw.json"
        self.temporary = folder / "tmp"
        for path in (self.workspace, self.temporary):
            path.mkdir(parents=True)
        self.environment = {
            "PATH": tools.path + os.pathsep + os.environ["PATH"],
            "HOME": str(self.home),
            "OPENCLAW_HOME": str(self.home),
            "OPENCLAW_STATE_DIR": str(self.state),
            "TMPDIR": str(self.temporary),
            # What Node.js compiled would lie in that folder, and be compiled anew by each test.
            "NODE_COMPILE_CACHE": str(tools.compiled),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
        }

    def configure(self, **sections: Any) -> None:
        """Puts these top-level sections into the configuration, leaving the others."""
        found = json.loads(self.config.read_text("utf-8")) if self.config.exists() else {}
        self.config.write_text(json.dumps({**found, **sections}), "utf-8")

    def setting(self, *keys: str) -> Any:
        found = json.loads(self.config.read_text("utf-8"))
        for key in keys:
            found = found[key]
        return found

    def run(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
        """Any command in this home."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd or self.home,
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def call(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
        """`openclaw ARGUMENTS`."""
        return self.run("openclaw", *arguments, env=env)

    def info(self, skill: str = "doubleword-batches", env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What `openclaw skills info` says of a skill."""
        done = self.call("skills", "info", skill, "--json", env=env)
        assert done.code == 0, done
        return done.facts

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """The gateway on loopback, with its scheduler, for as long as the block lasts."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.configure(gateway={"mode": "local", "port": port, "auth": {"mode": "token", "token": "for-this-test"}})
        log = self.temporary / "gateway.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["openclaw", "gateway", "run", "--port", str(port), "--bind", "loopback"],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that what it started ends with it
            )
        try:
            _wait_until_ready(process, port, log)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + GATEWAY_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"the gateway did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")
