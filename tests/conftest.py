"""What every test has: an empty folder and home, no key of the machine's, and a local server where asked for."""

from __future__ import annotations

import compileall
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_server.app import LocalServer
from real_server.case import real as real
from real_server.fixture import real_server as real_server  # the fixtures for tests marked `real`
from support.oracle import LocalOracle
from support.running import SCRIPTS

# What this machine has set: a key, proxies, a file of authorities (to read that took a third of the tests' time).
OF_THE_MACHINE = ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "NETRC", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
                  "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # fmt: skip
SPEED = 200  # the server's waits of seconds pass in milliseconds


def pytest_configure(config: pytest.Config) -> None:
    # A script writes down nothing of what it translated, so each that a test starts would translate 90 modules anew.
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(SCRIPTS / "doubleword", quiet=1)
    # What Hypothesis computes of Unicode would lie in the folder of each test, and be computed anew.
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(config.rootpath / ".hypothesis"))
    # A shell's background job ignores interruptions, and so would every script that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run of one mark (`-m slow`) imports only the files that name it: the others take seconds of each process."""
    marked = config.getoption("markexpr").strip()
    if not marked.isidentifier() or collection_path.suffix != ".py":
        return None
    return f"mark.{marked}" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes minutes by itself begins first; begun last, all others would have ended long before it.
    items.sort(key=lambda item: not any(mark.kwargs.get("first") for mark in item.iter_markers("slow")))


def pytest_collection_finish() -> None:
    # The collector would go through all that was imported and collected, every 700 objects: a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that suites recorded: how much was replayed, killed, hit. Also from other processes."""
    for report in (report for found in terminalreporter.stats.values() for report in found):
        for name, value in getattr(report, "user_properties", []):
            if name == "figures" and report.when == "call":
                terminalreporter.write_line(str(value))


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    for name in OF_THE_MACHINE:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A local server with nothing in it, and the environment that points at it."""
    with LocalServer(tmp_path / "server", speed=SPEED) as running:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", running.base_url)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", running.key)
        yield running


@pytest.fixture
def portioned_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """As `server`, with five answers each third of a second: what is done soon finds most requests unanswered."""
    with LocalServer(tmp_path / "server", speed=SPEED, claim_size=5, claim_interval=60.0) as running:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", running.base_url)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", running.key)
        yield running


@pytest.fixture
def oracle(server: LocalServer) -> LocalOracle:
    """What the server's database says of everything that is done in this test."""
    return LocalOracle(server.database)
