"""Schedules of faults between the scripts and the server: nothing paid twice, lost, or silently missing.

The oracle is the server's database (`faults.oracle`); the job and how it is judged are in `faults.trial`.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from doubleword import api
from faults.kinds import KINDS
from faults.schedules import Schedule, schedules
from faults.trial import KEY, READ_SECONDS, SERVER, Trial
from local_server.app import LocalServer
from local_server.settings import User

SCHEDULES_FOR_EACH_KIND = 11
FEWEST_SCHEDULES = 500
SCHEDULES_IN_THE_DEFAULT_RUN = 25
FEWEST_HITS = 20
SEED = 2026  # the same schedules every time, so that the table of hits cannot fail by chance


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("server"), users=[User(KEY)], **SERVER) as running:
        yield running


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "")  # set by each trial; put back at the end
    monkeypatch.setattr(api, "READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr(api, "UPLOAD_SECONDS", (READ_SECONDS, READ_SECONDS))
    return Counter()


def check(server: LocalServer, schedule: Schedule, hits: Counter[str]) -> None:
    folder = Path(uuid.uuid4().hex)
    folder.mkdir()
    trial = Trial(server, folder, schedule)
    trial.run_all()
    hits.update(trial.hits)
    assert not trial.problems, "\n".join([f"{schedule}", f"{trial.ran}", *trial.problems])
    shutil.rmtree(folder)


def given_schedules(count: int) -> settings:
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_a_few_schedules_of_faults(shared_server: LocalServer, hits: Counter[str]) -> None:
    @seed(SEED)
    @given_schedules(SCHEDULES_IN_THE_DEFAULT_RUN)
    @given(schedules())
    def trials(schedule: Schedule) -> None:
        check(shared_server, schedule, hits)

    trials()
    assert len(hits) > SCHEDULES_IN_THE_DEFAULT_RUN / 2, hits


@pytest.mark.slow
def test_500_schedules_of_faults_hit_every_kind_of_trouble(
    shared_server: LocalServer, hits: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tried = 0
    for number, kind in enumerate(sorted(KINDS)):

        @seed(SEED + number)
        @given_schedules(SCHEDULES_FOR_EACH_KIND)
        @given(schedules(kind))
        def trials(schedule: Schedule) -> None:
            nonlocal tried
            tried += 1
            check(shared_server, schedule, hits)

        trials()
    with capsys.disabled():
        print(f"\n{tried} schedules; requests hit by each kind of fault:")
        for kind in sorted(KINDS):
            print(f"  {kind:24}{hits[kind]:5}")
    assert tried >= FEWEST_SCHEDULES
    assert {kind: hits[kind] for kind in KINDS if hits[kind] < FEWEST_HITS} == {}
