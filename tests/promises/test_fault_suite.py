"""Schedules of faults between the scripts and the server: nothing paid twice, lost, or silently missing.

The oracle is the server's database (`support.oracle`); the job and how it is judged are in `faults.trial`.
"""

from __future__ import annotations

import shutil
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from local_server.app import LocalServer
from local_server.settings import User
from support.faults.kinds import KINDS
from support.faults.schedules import Schedule, schedules
from support.faults.trial import KEY, READ_SECONDS, SERVER, Trial
from support.proxy.exchange import Fault

SCHEDULES_A_ROUND = 11  # for each kind
FEWEST_SCHEDULES = 500
SCHEDULES_IN_THE_DEFAULT_RUN = 25
FEWEST_HITS = 20
ROUNDS = 12  # more schedules are tried until a kind was hit often enough: some are met by few requests
SEED = 2026  # the same schedules every time, so that the table of hits cannot fail by chance


# Schedules that failed once, or that are the smallest in which a safeguard shows.
KEPT = {
    "a listing that is no list was taken for an empty one, or ended as a bug": Schedule(
        (Fault("cut_before", "upload", times=2), Fault("wrong_json", "list_files", times=3, value=3.0)), by_steps=True
    ),
    "a batch whose id is a number was looked up as one": Schedule((Fault("wrong_json", "batch", times=3, value=3.0),)),
    "a 404 to the DELETE came from something in between, and the POST was carried out later": Schedule(
        (Fault("late", "submit", value=60.0), Fault("404_before", "delete_file"))
    ),
    "the file is deleted before a POST that comes late": Schedule((Fault("late", "submit", value=60.0),)),
    "the late batch is finished before its file can be deleted": Schedule(
        (Fault("late", "submit", value=25.0), Fault("503_before", "delete_file", times=5))
    ),
    "the deletion comes late, too": Schedule(
        (Fault("late", "submit", value=25.0), Fault("late", "delete_file", times=20, value=60.0))
    ),
    "the answer is lost and reads lag": Schedule((Fault("replica_lag_and_lost", "submit", times=3, value=20.0),)),
    "the answer is lost and listings are empty of lists": Schedule(
        (Fault("cut_after", "submit", times=2), Fault("wrong_json", "list_batches", nth=2, times=7, value=2.0)),
        by_steps=True,
    ),
    "lines are lost in every second download": Schedule(
        (Fault("lost_line", "content", times=4),), requests=8, refused=1
    ),
}


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("server"), users=[User(KEY)], **SERVER) as running:
        yield running


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "")  # set by each trial; put back at the end
    monkeypatch.setattr("doubleword.service.api.READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr("doubleword.service.api.UPLOAD_SECONDS", (READ_SECONDS, READ_SECONDS))
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


@pytest.mark.parametrize("what", KEPT)
def test_a_schedule_that_is_kept(shared_server: LocalServer, hits: Counter[str], what: str) -> None:
    check(shared_server, KEPT[what], hits)
    assert hits.keys() == {fault.kind for fault in KEPT[what].faults}, "a fault hit nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schedules_that_begin_with_each_kind_of_trouble(
    shared_server: LocalServer, hits: Counter[str], record_property: Callable[[str, object], None], kind: str
) -> None:
    tried = 0
    for further in range(ROUNDS):
        if hits[kind] >= FEWEST_HITS:
            break

        @seed(SEED + zlib.crc32(kind.encode()) % 1000 + 1000 * further)
        @given_schedules(SCHEDULES_A_ROUND)
        @given(schedules(kind))
        def trials(schedule: Schedule) -> None:
            nonlocal tried
            tried += 1
            check(shared_server, schedule, hits)

        trials()
    record_property("figures", f"{kind}: {tried} schedules, {hits[kind]} requests hit")
    assert hits[kind] >= FEWEST_HITS
    assert tried >= SCHEDULES_A_ROUND


def test_the_kinds_make_500_schedules() -> None:
    assert len(KINDS) * SCHEDULES_A_ROUND >= FEWEST_SCHEDULES
