"""`real_server`, for tests marked `real`: one server for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from real_server.server import RealServer


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The vendor's own server with the mock model behind it; built on first use.

    A machine that cannot run it fails the test: a skip would read as a pass.
    """
    with RealServer(tmp_path_factory.mktemp("real_server")) as server:
        yield server
