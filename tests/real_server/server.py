"""One real server, complete: Postgres, the mock model, the server, two users with keys and credits.

    with RealServer(work_dir) as server:
        requests.get(f"{server.base_url}/models", headers={"authorization": f"Bearer {server.key}"})

Everything is on loopback, on ports that were free, and known from `work_dir` alone: what was started in
one program can be stopped from another.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from real_server.admin import Admin, provision
from real_server.build import server_program
from real_server.config import Settings, server_config
from real_server.errors import SetupError
from real_server.postgres import STOP_SIGNAL, Postgres
from real_server.processes import Running, start

USER, SECOND_USER = "user1@example.com", "user2@example.com"
# What the first user may spend; the second has nothing, which free models do not mind.
CREDITS = "100"
# Ready after 2 s on an idle machine; the bound is for one whose cores are all busy.
START_SECONDS = 180.0
UPSTREAM = Path(__file__).parent / "mock_upstream.py"
STATE = "real_server.json"


class RealServer:
    """The server in `work`; `start()` brings up what is not running yet, `stop()` ends all of it."""

    def __init__(self, work: Path, settings: Settings | None = None) -> None:
        self.work = work.resolve()
        self.settings = settings or Settings()
        self._state: dict[str, Any] = self._load()

    # What a test needs to know.

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self._port('server')}"

    @property
    def base_url(self) -> str:
        """DOUBLEWORD_BASE_URL for the scripts."""
        return f"{self.root_url}/ai/v1"

    @property
    def upstream_url(self) -> str:
        """The mock model; `/_stats` under it counts what reached it."""
        return f"http://127.0.0.1:{self._port('upstream')}"

    @property
    def key(self) -> str:
        """DOUBLEWORD_API_KEY of the first user, who has credits."""
        return str(self._state["keys"][USER])

    @property
    def second_key(self) -> str:
        """The key of another user, without credits."""
        return str(self._state["keys"][SECOND_USER])

    @property
    def admin(self) -> Admin:
        return Admin(self.root_url)

    def environment(self) -> dict[str, str]:
        """The two variables the scripts read."""
        return {"DOUBLEWORD_BASE_URL": self.base_url, "DOUBLEWORD_API_KEY": self.key}

    def add_model(self, alias: str, *, upstream: str | None = None, kind: str | None = "CHAT", **more: object) -> None:
        """Another model in front of the mock (or of `upstream`), e.g. `batch_capacity=5`: five lines at a time."""
        admin = self.admin
        mock = f"{self.upstream_url}/v1/"
        endpoint = admin.use_upstream(upstream, upstream) if upstream else admin.use_upstream(mock)
        admin.add_model(alias, endpoint=endpoint, kind=kind, **more)
        admin.wait_until_served(alias, self.key)

    def remove_model(self, alias: str) -> None:
        self.admin.remove_model(alias)

    def set_balance(self, email: str, dollars: str) -> None:
        """Give a user exactly so many credits; below 0 is possible."""
        self.admin.set_balance(email, dollars)

    def oracle(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the server's own database: what it knows, not what it says."""
        return self._postgres().connect()

    # Life.

    def __enter__(self) -> RealServer:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def start(self) -> None:
        """Bring up whatever does not run yet. Raises SetupError where that cannot be done."""
        self.work.mkdir(parents=True, exist_ok=True)
        for name in ("postgres", "upstream", "server"):
            self._state.setdefault("ports", {}).setdefault(name, _free_port())
        if not self._running("postgres"):
            self._remember("postgres", self._postgres().start())
        if not self._running("upstream"):
            command: list[str | Path] = [sys.executable, UPSTREAM, "--port", str(self._port("upstream"))]
            self._remember("upstream", start(command, log=self.work / "upstream.log"))
        if not self._running("server"):
            self._start_server()
        self._provision()

    def stop_server(self) -> None:
        """An outage: only the server ends. `start()` ends the outage."""
        self._stop("server")

    def stop(self) -> None:
        """End all that was started from this work folder; its files stay."""
        for name in ("server", "upstream", "postgres"):
            self._stop(name)

    def running(self) -> bool:
        """Whether every part of it runs."""
        return all(self._running(name) for name in ("postgres", "upstream", "server"))

    def remove(self) -> None:
        """Forget everything: the database and what is remembered in the work folder."""
        self.stop()
        if self._state:
            self._postgres().remove()
        (self.work / STATE).unlink(missing_ok=True)
        self._state = {}

    def _start_server(self) -> None:
        program = server_program()
        config = server_config(
            self.settings, work=self.work, port=self._port("server"), database_url=self._postgres().url
        )
        file = self.work / "dwctl.yaml"
        file.write_text(json.dumps(config, indent=1))
        environment = {**os.environ, "RUST_LOG": os.environ.get("RUST_LOG", "warn")}
        running = start([program, "-f", file], log=self.work / "server.log", cwd=self.work, env=environment)
        self._remember("server", running)
        self._wait_until_healthy(running)

    def _wait_until_healthy(self, running: Running) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.root_url}/healthz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                if not running.alive() or time.monotonic() > deadline:
                    log = (self.work / "server.log").read_text("utf-8", "replace")
                    raise SetupError("the server did not start:\n" + "\n".join(log.splitlines()[-20:])) from None
                time.sleep(0.1)

    def _provision(self) -> None:
        admin = self.admin
        provision(admin, self.upstream_url)
        keys = self._state.setdefault("keys", {})
        for email in (USER, SECOND_USER):
            if email not in keys:
                keys[email] = admin.new_key(email)
                admin.set_balance(email, CREDITS if email == USER else "0")
        self._save()
        admin.wait_until_served("mock-chat", self.key)

    # What is remembered between programs.

    def _load(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.work / STATE).read_text())
        except FileNotFoundError:
            return {}
        return state

    def _save(self) -> None:
        file = self.work / STATE
        # It holds keys: for the owner's eyes only.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(self._state, out, indent=1)

    def _port(self, name: str) -> int:
        return int(self._state["ports"][name])

    def _postgres(self) -> Postgres:
        return Postgres(self.work, self._port("postgres"))

    def _remember(self, name: str, running: Running) -> None:
        self._state.setdefault("processes", {})[name] = asdict(running)
        self._save()

    def _running(self, name: str) -> bool:
        known = self._state.get("processes", {}).get(name)
        return known is not None and Running(**known).alive()

    def _stop(self, name: str) -> None:
        known = self._state.get("processes", {}).get(name)
        if known is None:
            return
        if name == "postgres":
            Running(**known).stop(STOP_SIGNAL)
        else:
            Running(**known).stop()
        del self._state["processes"][name]
        self._save()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
