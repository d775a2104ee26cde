"""The local server as the target of a replay, with the mock model behind it, several times faster than recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from local_server.app import LocalServer
from local_server.settings import ModelSpec, Price, User
from real_server.mock_upstream import Upstream
from support.replay.arrangements import SECOND_USER_EMAIL, Arrangement
from support.replay.recording import Step
from support.replay.target import PLATFORM_KEY, SECOND_USER, WITHOUT_ROLE

# As recorded: in front of the models, and given to mock-chat.
CONCURRENCY = 200
POPULATION_SECONDS = 0.1
# Completion windows last a quarter longer than recorded, so that what ended just in time does so on a busy machine.
WINDOW_SLACK = 0.8
PRICE = Price(Decimal("0.0000001"), Decimal("0.0000004"), Decimal("0.0000002"), Decimal("0.0000008"))
MODELS = {"mock-chat": "CHAT", "mock-embed": "EMBEDDINGS", "mock-fail": "CHAT", "mock-any": None, "mock-native": "CHAT"}


class LocalTarget:
    """One running local server, arranged for one scenario."""

    def __init__(self, server: LocalServer, speed: float, arranged: Arrangement) -> None:
        self.server = server
        self.speed = speed
        self.root_url = server.base_url.removesuffix("/ai/v1")
        self.arranged = arranged

    def key(self, name: str | None) -> str:
        return _key(name)

    def before(self, step: Step) -> None:
        if step.index in self.arranged.removals:
            self.server.app.registry.remove(self.arranged.removals[step.index])
        if step.index in self.arranged.balances:
            second = next(user for user in self.server.settings.users if user.email == SECOND_USER_EMAIL)
            second.balance = float(self.arranged.balances[step.index])


def _key(name: str | None) -> str:
    return "sk-replay-" + (name or "user 1").replace(" ", "-")


@contextmanager
def local_target(data_dir: Path, arranged: Arrangement, speed: float) -> Iterator[LocalTarget]:
    """A local server with the recordings' settings, for the time of one scenario."""
    with Upstream(speed=speed / arranged.model_slower) as upstream:
        settings = _settings(arranged, speed) | {"upstream": f"{upstream.url}/v1"}
        with LocalServer(data_dir, **settings) as server:
            yield LocalTarget(server, speed, arranged)


def _settings(arranged: Arrangement, speed: float) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "speed": speed,
        "window_speed": speed * WINDOW_SLACK,
        "users": [
            User(_key(None), "user1@example.com"),
            User(_key(SECOND_USER), SECOND_USER_EMAIL, balance=0),
            User(_key(PLATFORM_KEY), "platform@example.com", platform_key=True),
            User(_key(WITHOUT_ROLE), "norole@example.com", batch_role=False),
        ],
        "models": _models(arranged),
        "builtin_models": False,
        "real_model": False,
        "only_named_models": True,
        "upstream_concurrency": CONCURRENCY,
        "upstream_timeout": arranged.model_seconds / speed,
        "completion_windows": arranged.windows,
        "max_file_size": 100 * 1024 * 1024,
        "unverified_requests_per_hour": arranged.volume_per_hour,
        "max_retries": 2,
        "backoff": 0.2,
        "max_backoff": 1.0,
        # Divided by the speed it would be too short for a client to cancel in it.
        "population_delay": POPULATION_SECONDS * speed,
        # The line that a resumed read misses is a matter of chance; it has its own test.
        "late_fraction": 0.0,
    }
    if arranged.purge_seconds is not None:
        settings["purge_interval"] = arranged.purge_seconds
    settings |= arranged.local_times
    if arranged.uploads is not None:
        at_once, waiting, seconds = arranged.uploads
        settings |= {
            "max_concurrent_uploads": at_once,
            "max_waiting_uploads": waiting,
            "max_upload_wait": seconds / speed,
        }
    return settings


def _models(arranged: Arrangement) -> dict[str, ModelSpec]:
    models = {name: ModelSpec(kind, CONCURRENCY) for name, kind in MODELS.items()}
    models["mock-chat"].price = PRICE
    models |= {name: ModelSpec("CHAT", capacity) for name, capacity in arranged.concurrency.items()}
    models |= {name: ModelSpec("CHAT", requests_per_second=rate) for name, rate in arranged.per_second.items()}
    return models
