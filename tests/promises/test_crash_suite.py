"""Every script that writes is killed at every step it takes, run again, and judged by what the server has seen.

Two kinds of crash points: the steps of the script itself (files of the job, sockets; seen by the preload), and the
moments of its exchanges with the server (before and after each request and response; seen by the proxy). Point n is
tried for n = 1, 2, ... until a run ends unkilled. Points that leave folder and server in the same shape (a file is
opened for reading between them) are judged once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.crash.child import Child, Ended, KillAt
from support.crash.scenes import (
    SCENES,
    WRITERS,
    CreateBatch,
    CreateBatchFile,
    DownloadAnew,
    ReplaceStuck,
    RunBatch,
    Scene,
    SettleLost,
    Stage,
)
from support.proxy.proxy import Proxy

FIRST, EVERY = 11, 41  # the default run takes points 11, 52, 93, ...: seconds, not minutes
# Its points are as many as those of all others; each share is a run of points.
SHARES: dict[type[Scene], int] = {RunBatch: 4}
LONGEST = (ReplaceStuck, DownloadAnew, SettleLost)
LEAST_OF_RUN_BATCH = 25
MOST = 2000  # a script that takes so many steps for three parts does not end


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


def sweep(kind: type[Scene], kill: Kill, stage: Stage, points: range) -> tuple[int, int]:
    """Kills at these points, until a run ends unkilled; returns how many runs were killed, and how many were judged."""
    shapes: set[str] = set()
    killed = judged = 0
    for n in points:
        with stage.scene(n) as scene:
            ended, where, _ = kill(scene, n)
            try:
                assert ended.killed or ended.code in (*scene.codes, 8), ended
                shape = scene.shape()
                if shape not in shapes:
                    judged += 1
                    scene.again()
                    scene.finish()
            except BaseException:
                print(f"\n{kind.__name__} killed at {kill.__name__} {n}: {where}\n{ended.err}")
                raise
        if not ended.killed:
            return killed, judged
        killed += 1
        shapes |= {shape} if shape else set()
    assert n < MOST, f"{kind.__name__} still runs after {MOST} points"
    return killed, judged


@pytest.mark.parametrize(
    ("kind", "kill"), [*((kind, at_step) for kind in WRITERS), (CreateBatch, at_moment), (RunBatch, at_moment)]
)
def test_a_kill_at_some_points_leaves_nothing_twice_lost_or_torn(kind: type[Scene], kill: Kill, tmp_path: Path) -> None:
    killed, judged = sweep(kind, kill, Stage(kind, tmp_path / "stage"), range(FIRST, MOST + 1, EVERY))
    assert killed > 0
    assert judged > 0


def run_of_points(kind: type[Scene], kill: Kill, stage: Stage, share: int) -> range:
    """The points of one share; the last one goes on until a run ends unkilled."""
    shares = SHARES.get(kind, 1)
    if shares == 1:
        return range(1, MOST + 1)
    with stage.scene(0) as scene:
        points = kill(scene, 0)[2]  # about: a run that has to wait for something takes some more
    last = share + 1 == shares
    return range(points * share // shares + 1, MOST + 1 if last else points * (share + 1) // shares + 1)


EVERY_POINT = [
    pytest.param(
        kind,
        kill,
        share,
        id=f"{kind.__name__}-{kill.__name__}-{share + 1}",
        marks=pytest.mark.slow(first=kind in LONGEST),
    )
    for kind in SCENES
    for kill in (at_step, at_moment)
    for share in range(SHARES.get(kind, 1))
]


@pytest.mark.parametrize(("kind", "kill", "share"), EVERY_POINT)
def test_a_kill_at_any_point_leaves_nothing_twice_lost_or_torn(
    kind: type[Scene], kill: Kill, share: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    stage = Stage(kind, tmp_path / "stage")
    points = run_of_points(kind, kill, stage, share)
    killed, judged = sweep(kind, kill, stage, points)
    name = f"{kind.__name__} ({kind.command[0]})"
    record_property(
        "figures", f"{name}: killed {kill.__name__} at {killed} points from {points.start} on, {judged} judged"
    )
    assert killed > 0 or (kind, kill) == (CreateBatchFile, at_moment)
    assert killed >= LEAST_OF_RUN_BATCH or kind is not RunBatch
