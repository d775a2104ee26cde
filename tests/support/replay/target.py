"""A server to replay against, and what its administrator does for a scenario."""

from __future__ import annotations

from typing import Protocol

from support.replay.recording import Step

# Names of keys in the recordings besides user 1's.
SECOND_USER = "user 2"
PLATFORM_KEY = "user with a platform key"
WITHOUT_ROLE = "user without the batch role"


class Target(Protocol):
    """What the player needs of a server."""

    root_url: str
    speed: float  # how many times faster than the recording its waits are

    def key(self, name: str | None) -> str:
        """The API key of a user by his name in the recordings; None is user 1."""
        ...

    def before(self, step: Step) -> None:
        """Do what an administrator did before this step."""
        ...
