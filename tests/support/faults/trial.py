"""One schedule, from the first run through every rerun to the end, and everything that was wrong on the way."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from doubleword.service import api as transport
from doubleword.service import network
from local_server.app import LocalServer
from local_server.settings import FailRule, User
from support.faults.kinds import KINDS
from support.faults.schedules import Schedule
from support.oracle import LocalOracle, outcome_of_files
from support.proxy.proxy import Proxy
from support.running import FastClock, Ran, chat_line, run

# A thousand of the script's seconds pass in one; the server runs at that speed, and so keeps up.
SPEED = 1000.0
LONGEST_SLEEP = 0.03
# Its loops are kept from spinning.
SERVER: dict[str, Any] = {
    "speed": SPEED,
    "claim_interval": 10.0,
    "finalizer_interval": 40.0,
    "late_fraction": 0.1,
    "delay": 0.003,
    "fail": [FailRule.parse("never works=400")],
    "real_model": False,
}
KEY = "sk-secret-of-the-fault-suite"
READ_SECONDS = 0.3  # a read time-out, in real seconds: a stall is waited for
RERUNS = 8
RETRIES = 3
NONCE_CHARACTERS = 8
STEPS = ("upload", "create_batch", "poll", "download")
# What must have happened for an exit code not to be a lie. Exit 6 and 8 are excused by any fault.
EXCUSES = {
    2: ("redirect", "web_page"),
    3: ("400_", "413_", "422_"),
    4: ("401_", "402_", "403_"),
    5: ("404_", "replica_lag", "lag_of_files"),
}
PATIENT_SECONDS = 30.0  # a read time-out where another command runs meanwhile
MEANWHILE = (("poll", "--once"), ("download",), ("retry_failed",), ("upload",), ("create_batch",), ("run_batch",))
STRANGER_KEY = "sk-of-somebody-else"


def fault_clock() -> FastClock:
    return FastClock(LONGEST_SLEEP, SPEED)


class Trial:
    """Runs one schedule in a folder; `problems` holds what was wrong, `hits` which faults came to pass."""

    def __init__(self, server: LocalServer, folder: Path, schedule: Schedule, elsewhere: LocalServer) -> None:
        """`elsewhere`: another server, on which nothing must ever be paid."""
        self.schedule = schedule
        self.elsewhere, self.elsewhere_oracle = elsewhere, LocalOracle(elsewhere.database)
        self.folder = folder
        self.oracle = LocalOracle(server.database)
        self.clock = fault_clock()
        self.clock.set_by = schedule.clock_set_by
        self.proxy = Proxy(server.port, faults=schedule.faults, kinds=KINDS, clock=self.clock)
        self.problems: list[str] = []
        self.ran: list[tuple[str, int]] = []
        self.held = 0
        self.requests = folder / "r.jsonl"
        nonce = uuid.uuid4().hex[:NONCE_CHARACTERS]
        self.ids = [f"{nonce}-{n:02}" for n in range(schedule.requests)]
        with self.requests.open("w", encoding="utf-8") as file:
            for n, name in enumerate(self.ids):
                file.write(chat_line(name, f"{name} never works" if n < schedule.refused else f"{name} number {n}"))

    @property
    def hits(self) -> Counter[str]:
        return self.proxy.hits

    def run_all(self) -> None:
        with self.proxy, pytest.MonkeyPatch.context() as patch:
            os.environ["DOUBLEWORD_BASE_URL"] = self.proxy.base_url
            self.proxy.meanwhile = self._meanwhile
            if any(fault.kind == "meanwhile" for fault in self.schedule.faults):
                patch.setattr(network, "READ_SECONDS", PATIENT_SECONDS)
                patch.setattr(transport, "UPLOAD_SECONDS", (PATIENT_SECONDS, PATIENT_SECONDS))
            self._through_the_trouble()
            self.proxy.heal()
            code = self._last_runs()
            self._judge_the_end(code)
            self.proxy.release_all()
            again = self._job(once=True)
            if again != code:
                self.problems.append(f"exit {code} became {again} after requests that were carried out late")
            self._judge_the_end(again)
            if self.proxy.elsewhere.visited():
                self.problems.append("a redirect to another origin was followed")

    def _through_the_trouble(self) -> None:
        """Runs the job as a user would: again while that is what the exit code says, then with the cause mended."""
        for _ in range(RERUNS):
            if self._job() in (0, 7, 9):
                break

    def _last_runs(self) -> int:
        code = self._job()
        for _ in range(RETRIES):
            if code not in (7, 9) or self._one("retry_failed").facts["request_file"] is None:
                break
            code = self._job()
        return code

    def _job(self, once: bool = False) -> int:
        """The job to its end or to the first exit code that stops it; `once` leaves out the steps but the last."""
        size = ("--part-requests", str(self.schedule.part_requests))
        if not self.schedule.by_steps:
            return self._one("run_batch", *size, "--jobs", "1").code
        for step in STEPS[-1:] if once else STEPS:
            code = self._one(step, *(size if step == "upload" else ())).code
            if code != 0 and not (step == "poll" and code == 7):
                return code
        return code

    def _one(self, command: str, *flags: str) -> Ran:
        before = Counter(self.hits)
        stranger = dict(self.schedule.strangers).get(len(self.ran) + 1)
        if stranger and not self.proxy.healed and self._has_made():
            self._as_stranger(stranger, command, *flags)
        ran = run(command, self.requests, *flags, "--json", clock=self.clock)
        self.ran.append((command, ran.code))
        self._judge(command, ran, self.hits - before)
        return ran

    def _as_stranger(self, stranger: str, command: str, *flags: str) -> None:
        """The command with another key, or at another base URL, by mistake: nothing is paid there."""
        with pytest.MonkeyPatch.context() as patch:
            if stranger == "key":
                patch.setenv("DOUBLEWORD_API_KEY", STRANGER_KEY)
            else:
                patch.setenv("DOUBLEWORD_BASE_URL", self.elsewhere.base_url)
            ran = run(command, self.requests, *flags, "--json", clock=self.clock)
        self.ran.append((f"{command} with another {stranger}", ran.code))
        found = [f"exit {ran.code} with another {stranger}"] if ran.code in (1, 130) else []
        if self.elsewhere_oracle.batches():
            found.append("it was paid for on another server")
        self.problems += [f"{text}\n{ran.err}" for text in found]

    def _has_made(self) -> bool:
        """Whether there is something that the server must know: until then a job may begin anywhere."""
        record = self.folder / "r.job" / "record.json"
        attempts = json.loads(record.read_text())["attempts"] if record.exists() else []
        return any(_made(part) for attempt in attempts for part in attempt["parts"])

    def _meanwhile(self, which: float) -> None:
        command, *flags = MEANWHILE[int(which) % len(MEANWHILE)]
        ran = run(command, self.requests, *flags, "--json", clock=self.clock)
        self.ran.append((f"{command} meanwhile", ran.code))
        if ran.code in (1, 130):
            self.problems.append(f"{command} meanwhile: exit {ran.code}\n{ran.err}")

    # --- judging ---

    def _judge(self, command: str, ran: Ran, hits: Counter[str]) -> None:
        where = f"{command} (run {len(self.ran)}, exit {ran.code})"
        found = list(self.oracle.ran_together())
        found += self._exit_code(command, ran, hits)
        if KEY in ran.out + ran.err + self._texts():
            found.append("the key was shown")
        found += [f"{path.name} was left behind" for path in self.folder.rglob(".*.tmp")]
        results = self.folder / "r.results.jsonl"
        if results.exists():
            good, wrong = outcome_of_files(self.folder, "r", self.ids)
            found += wrong
            if len(good) < self.held:
                found.append(f"{self.held} results became {len(good)}")
            self.held = len(good)
        self.problems += [f"{where}: {text}\n{ran.err}" for text in found]

    def _exit_code(self, command: str, ran: Ran, hits: Counter[str]) -> list[str]:
        """Whether the exit code told the truth."""
        code = ran.code
        if code in (1, 130) or (code in EXCUSES and not any(kind.startswith(EXCUSES[code]) for kind in hits)):
            return ["no fault explains this exit code"]
        if code == 6 and not self.hits:
            return ["temporary, but nothing went wrong"]
        if code == 8 and not hits and self.oracle.all_ended():
            return ["still running, but every batch has ended"]
        if code == 7 and not self.oracle.any_ended_otherwise():
            return ["not completed, but every batch was"]
        if command in ("run_batch", "download") and code in (0, 9):
            held = ran.facts["results"]
            if (held == len(self.ids) and not ran.facts["unexpected"]) != (code == 0):
                return [f"{held} results of {len(self.ids)}"]
            if held != len(_lines(self.folder / "r.results.jsonl")):
                return ["it tells another number of results than it wrote"]
        if command == "poll" and code == 0 and not self.oracle.all_ended():
            return ["completed, but not every batch has ended"]
        return []

    def _judge_the_end(self, code: int) -> None:
        """After everything has healed: every request that can succeed has its result, and was paid once."""
        expected = self.ids[self.schedule.refused :]
        found = []
        if code != (9 if self.schedule.refused else 0):
            found.append(f"the last exit code is {code}")
        elif (lines := _lines(self.folder / "r.results.jsonl")) != self._expected_lines(expected):
            found.append(f"{len(lines)} lines of results are not the server's for {len(expected)} requests")
        found += self.oracle.ran_together()
        if not self._beyond_the_protocol():
            found += self.oracle.answered_twice()
        self.problems += [f"at the end: {text}" for text in found]

    def _expected_lines(self, ids: list[str]) -> list[bytes]:
        held = self.oracle.results()
        lines = _lines(self.folder / "r.results.jsonl")
        return [line if line in held.get(name, ()) else b"?" for name, line in zip(ids, lines, strict=False)]

    def _beyond_the_protocol(self) -> bool:
        """A batch made late and then hidden by a replica can end unseen before its file is deleted."""
        return any(kind.startswith("replica_lag") for kind in self.hits) and self.hits["late"] > 0

    def _texts(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.rglob("*") if path.is_file())


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _made(part: dict[str, Any]) -> bool:
    upload = part["upload"] or {}
    return bool(part["batch"] or (upload.get("file_id") and not upload.get("tearing")))


# --- what trials need around them ---

Servers = tuple[LocalServer, LocalServer]  # the one that is meant, and one elsewhere, which takes the same key


@contextmanager
def both_servers(folder: Path) -> Iterator[Servers]:
    users = [User(KEY), User(STRANGER_KEY, email="somebody@example.com")]
    with (
        LocalServer(folder / "here", users=users, **SERVER) as here,
        LocalServer(folder / "elsewhere", users=[User(KEY)], real_model=False) as elsewhere,  # at the real pace
    ):
        yield here, elsewhere


def set_up(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("DOUBLEWORD_API_KEY", KEY)
    patch.setenv("DOUBLEWORD_BASE_URL", "")  # set by each trial; put back at the end
    patch.setattr(network, "READ_SECONDS", READ_SECONDS)
    patch.setattr(transport, "UPLOAD_SECONDS", (READ_SECONDS, READ_SECONDS))


def tried(servers: Servers, schedule: Schedule, hits: Counter[str]) -> list[str]:
    """Runs a schedule in a folder of its own; what was wrong, if anything was. Only then the folder stays."""
    folder = Path(uuid.uuid4().hex)
    folder.mkdir()
    trial = Trial(servers[0], folder, schedule, servers[1])
    trial.run_all()
    hits.update(trial.hits)
    if trial.problems:
        return [f"{schedule}", f"{trial.ran}", *trial.problems]
    shutil.rmtree(folder)
    return []
