"""The vendor's own server as the target of a replay: this proves the replay itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from real_server.admin import CONCURRENCY
from real_server.config import Settings
from real_server.server import RealServer
from support.replay.arrangements import SECOND_USER_EMAIL, Arrangement, Earlier
from support.replay.recording import Step
from support.replay.target import PLATFORM_KEY, SECOND_USER, WITHOUT_ROLE


def settings_for(arranged: Arrangement) -> Settings:
    """The server's settings for a scenario."""
    limits = {}
    if arranged.uploads:
        limits = {
            "max_concurrent_uploads": arranged.uploads[0],
            "max_waiting_uploads": arranged.uploads[1],
            "max_upload_wait_secs": int(arranged.uploads[2]),
        }
    return Settings(
        windows=arranged.windows,
        upload_limits=limits,
        volume_per_hour=arranged.volume_per_hour,
        purge_interval_ms=int((arranged.purge_seconds or 600) * 1000),
    )


class RealTarget:
    """One running real server, arranged for one scenario."""

    speed = 1.0

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.root_url = server.root_url
        self.arranged = Arrangement()
        self._keys = {None: server.key, SECOND_USER: server.second_key}

    @classmethod
    @contextmanager
    def start(cls, work: Path, arranged: Arrangement) -> Iterator[RealTarget]:
        """A server of its own with the settings of a scenario."""
        with RealServer(work, settings_for(arranged)) as server:
            yield cls(server)

    def arrange(self, arranged: Arrangement) -> None:
        """Make the models of a scenario and remember what is to be done between its steps."""
        self.arranged = arranged
        for alias, concurrency in arranged.concurrency.items():
            self.server.add_model(alias, batch_capacity=concurrency or CONCURRENCY)
        for alias, rate in arranged.per_second.items():
            self.server.add_model(alias, throughput=rate)

    def tidy(self) -> None:
        """Take away what would disturb the next scenario: models that show in lists, batches that still run."""
        for batch in Earlier(self).call("GET", "/batches", query="limit=100&status=in_progress")["data"]:
            Earlier(self).call("DELETE", f"/batches/{batch['id']}")
        for alias in {*self.arranged.concurrency, *self.arranged.per_second} & self.server.admin.models().keys():
            self.server.remove_model(alias)

    def key(self, name: str | None) -> str:
        if name not in self._keys:
            self._keys[name] = self._new_key(str(name))
        return self._keys[name]

    def _new_key(self, name: str) -> str:
        admin = self.server.admin
        if name == WITHOUT_ROLE:
            email = "norole@example.com"
            key = admin.new_key(email)
            admin.set_roles(email, ["StandardUser"])
            return key
        if name == PLATFORM_KEY:
            email = "platform@example.com"
            admin.new_key(email)
            admin.set_roles(email, ["StandardUser", "BatchAPIUser", "PlatformManager"])
            return admin.new_key(email, "platform")
        raise KeyError(name)

    def before(self, step: Step) -> None:
        if step.index in self.arranged.removals:
            self.server.remove_model(self.arranged.removals[step.index])
        if step.index in self.arranged.balances:
            self.server.set_balance(SECOND_USER_EMAIL, self.arranged.balances[step.index])
