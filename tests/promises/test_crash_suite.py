"""Every script that writes is killed at every step it takes, run again, and judged by what the server has seen.

Two kinds of crash points: the steps of the script itself (files of the job, sockets; seen by the preload), and the
moments of its exchanges with the server (before and after each request and response; seen by the proxy). Point n is
tried for n = 1, 2, ... until a run ends unkilled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.crash.child import Child, Ended, KillAt
from support.crash.scenes import SCENES, WRITERS, CreateBatch, RunBatch, Scene
from support.proxy.proxy import Proxy

FIRST, EVERY = 11, 41  # the default run takes points 11, 52, 93, ...: seconds, not minutes
SHARES = 4  # every fourth point each: the sweep of run_batch.py took as long as all other tests together
LEAST_OF_RUN_BATCH = 25
MOST = 2000  # a script that takes so many steps for three parts does not end


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """As the usual one, but a refused request fails at once instead of being tried for seconds."""
    with LocalServer(tmp_path / "server", speed=200, max_retries=0) as running:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", running.base_url)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", running.key)
        yield running


Kill = Callable[[Scene, int], tuple[Ended, str, int]]


def at_step(scene: Scene, n: int) -> tuple[Ended, str, int]:
    """Kills the scene's script at its n-th step: (how it ended, the step, how many there were)."""
    ended = Child(scene.folder, scene.command, at=n, warm=True).wait()
    return ended, ended.steps[-1] if ended.steps else "", len(ended.steps)


def at_moment(scene: Scene, n: int) -> tuple[Ended, str, int]:
    """Kills it at the n-th moment of its exchanges."""
    killer = KillAt(n)
    with Proxy(scene.server.port, killer) as proxy:
        killer.child = Child(scene.folder, scene.command, base_url=proxy.base_url, warm=True)
        ended = killer.child.wait()
    return ended, killer.where, killer.count


def sweep(kind: type[Scene], kill: Kill, server: LocalServer, folder: Path, first: int, every: int) -> int:
    """Kills at points first, first + every, ... until a run ends unkilled; returns how many points that run had."""
    for n in range(first, MOST, every):
        scene = kind(server, folder / f"{kill.__name__}-{n}", f"{kind.__name__}-{kill.__name__}-{n}")
        ended, where, count = kill(scene, n)
        try:
            assert ended.killed or ended.code in (*scene.codes, 8), ended
            scene.again()
            scene.finish()
        except BaseException:
            print(f"\n{kind.__name__} killed at {kill.__name__} {n}: {where}\n{ended.err}")
            raise
        if not ended.killed:
            return count
    raise AssertionError(f"{kind.__name__} still runs after {MOST} points")


@pytest.mark.parametrize(
    ("kind", "kill"), [*((kind, at_step) for kind in WRITERS), (CreateBatch, at_moment), (RunBatch, at_moment)]
)
def test_a_kill_at_some_points_leaves_nothing_twice_lost_or_torn(
    kind: type[Scene], kill: Kill, server: LocalServer, tmp_path: Path
) -> None:
    assert sweep(kind, kill, server, tmp_path, FIRST, EVERY) >= FIRST


@pytest.mark.slow
@pytest.mark.parametrize("share", range(1, SHARES + 1))
@pytest.mark.parametrize("kill", [at_step, at_moment])
@pytest.mark.parametrize("kind", SCENES)
def test_a_kill_at_any_point_leaves_nothing_twice_lost_or_torn(
    kind: type[Scene], kill: Kill, share: int, server: LocalServer, tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    points = sweep(kind, kill, server, tmp_path, share, SHARES)
    if share == 1:
        record_property("figures", f"{kind.__name__} ({kind.command[0]}): {points} points to be killed {kill.__name__}")
    assert points > 0 or kill is at_moment
    assert points >= LEAST_OF_RUN_BATCH or kind is not RunBatch
