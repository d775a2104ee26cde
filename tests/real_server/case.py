"""`real`: the real server as one test sees it: its environment, an oracle, a proxy where trouble is wanted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from doubleword.base.failures import Clock
from real_server.oracle import RealOracle
from real_server.server import RealServer
from support.crash.child import Child
from support.proxy.exchange import At, Drop, First, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import FastClock, Ran, json_lines, run, write_requests

# The server claims new requests once a second; looking more often than this shows nothing new.
LOOK = ("--interval-seconds", "0.3", "--timeout-seconds", "60")
# What a wait of minutes may cost: long enough for the server to act meanwhile.
MOMENT_SECONDS = 0.2


class Case:
    """One test's view of the real server."""

    def __init__(self, server: RealServer, patch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.oracle = RealOracle(server)
        self.tag = uuid.uuid4().hex[:8]
        self._patch = patch
        self.use_key(server.key)

    def use_key(self, key: str) -> None:
        """From now on the scripts run as the owner of this key."""
        self._patch.setenv("DOUBLEWORD_BASE_URL", self.server.base_url)
        self._patch.setenv("DOUBLEWORD_API_KEY", key)

    def write(self, path: Path, count: int, prompt: str = "prompt number {n}", model: str = "mock-chat") -> list[str]:
        """A request file whose content no other test has submitted to this server; its custom_ids."""
        write_requests(path, count, f"{prompt} {self.tag}", model)
        return ids(path)

    def run(self, command: str, *arguments: str | Path, clock: Clock | None = None) -> Ran:
        """A script in this process; waits are real unless a clock is given."""
        return run(command, *arguments, clock=clock or Clock())

    def run_batch(self, requests_file: Path, *arguments: str | Path, clock: Clock | None = None) -> Ran:
        return self.run("run_batch", requests_file, *LOOK, *arguments, clock=clock)

    def submit(self, requests_file: Path, *flags: str) -> str:
        """Uploads and submits; the id of the batch, or of the last one."""
        for command, given in (("upload", flags), ("create_batch", ())):
            ran = self.run(command, requests_file, *given)
            assert ran.code == 0, ran.err
        return ran.lines[-1]

    def ended(self, *targets: str | Path) -> Ran:
        """Polls to the end."""
        return self.run("poll", *targets, *LOOK, "--json")

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request that is not the scripts'."""
        headers = {"authorization": f"Bearer {self.server.key}"}
        return requests.request(method, self.server.base_url + path, headers=headers, timeout=30, **options)

    def killed_at(self, moment: Moment, what: tuple[str, str], command: Sequence[str]) -> None:
        """Runs a script as a process of its own, and kills it at the first such moment of such a request."""
        child: list[Child] = []

        def kill(_: Request) -> None:
            child[0].kill()
            raise Drop

        killing = First(moment, what, kill)
        with self.through(killing) as proxy:
            child.append(Child(Path.cwd(), command, base_url=proxy.base_url, fast=False))
            assert child[0].wait().killed
        assert killing.done == 1

    @contextmanager
    def model(self, name: str, **properties: object) -> Iterator[str]:
        """A model of this test's own, e.g. with `batch_capacity=1`; gives its whole name."""
        alias = f"{name}-{self.tag}"  # the server never gives the name of a removed model to another
        self.server.add_model(alias, **properties)  # type: ignore[arg-type]
        try:
            yield alias
        finally:
            if alias in self.server.admin.models():
                self.server.remove_model(alias)

    @contextmanager
    def through(self, at: At) -> Iterator[Proxy]:
        """Within this, the scripts reach the server through a proxy."""
        port = urlsplit(self.server.root_url).port
        assert port is not None
        with Proxy(port, at) as proxy, pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
            yield proxy


@pytest.fixture
def real(real_server: RealServer, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(real_server, monkeypatch)


def quick() -> FastClock:
    """A clock on which the scripts' waits for a lagging server take a moment."""
    return FastClock(MOMENT_SECONDS)


def ids(path: Path) -> list[str]:
    """The custom_ids of a file of requests, results or errors, in order."""
    return [line["custom_id"] for line in json_lines(path)]


def record(requests_file: Path) -> dict[str, Any]:
    """The job record, for what the scripts do not print. It is never taken as proof."""
    found: dict[str, Any] = json.loads((requests_file.with_suffix(".job") / "record.json").read_text())
    return found
