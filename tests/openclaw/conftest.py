"""What the tests with the real OpenClaw share: its programs, the archive a user would import, a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw.home import OpenClaw
from openclaw.tools import NotInstalled, Tools, installed_tools
from support.archive import imported_folder


@pytest.fixture(scope="session")
def tools() -> Tools:
    try:
        return installed_tools()
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def skill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the last commit, unpacked as a user would."""
    return imported_folder(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture
def openclaw(tmp_path: Path, tools: Tools) -> OpenClaw:
    return OpenClaw(tmp_path / "openclaw", tools)
