"""`trouble`: a local server with a fault proxy before it and a clock that both share, for single cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from local_server.settings import User
from support.faults.kinds import KINDS
from support.faults.trial import KEY, SERVER, fault_clock
from support.oracle import LocalOracle
from support.proxy.exchange import Effect, Fault
from support.proxy.proxy import Proxy
from support.running import FastClock, Ran, run


@dataclass
class Trouble:
    """What a case works with. Faults are added to `proxy.faults`, of the known kinds or of its own."""

    server: LocalServer
    proxy: Proxy
    clock: FastClock
    oracle: LocalOracle

    def run(self, command: str, *arguments: str | Path) -> Ran:
        """A script in this process, on the shared clock."""
        return run(command, *arguments, clock=self.clock)

    def strike(self, *faults: Fault, **own_kinds: Effect) -> None:
        """From now on these faults happen; those of before are over."""
        self.proxy.kinds = KINDS | own_kinds
        self.proxy.strike(faults)

    def submit(self, requests: Path, *flags: str) -> None:
        """Uploads and submits without trouble."""
        for command, given in (("upload", flags), ("create_batch", ())):
            ran = self.run(command, requests, *given)
            assert ran.code == 0, ran.err


MakeTrouble = Callable[..., Trouble]


@pytest.fixture
def make_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTrouble]:
    """Makes one `Trouble`; takes the settings of the local server."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Trouble:
            server = LocalServer(tmp_path / "server", **(SERVER | {"users": [User(KEY)]} | settings))
            stack.enter_context(server)
            clock = fault_clock()
            proxy = stack.enter_context(Proxy(server.port, kinds=KINDS, clock=clock))
            monkeypatch.setenv("DOUBLEWORD_BASE_URL", proxy.base_url)
            monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
            return Trouble(server, proxy, clock, LocalOracle(server.database))

        yield make


@pytest.fixture
def trouble(make_trouble: MakeTrouble) -> Trouble:
    return make_trouble()
