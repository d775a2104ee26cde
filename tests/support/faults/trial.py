"""One schedule, from the first run through every rerun to the end, and everything that was wrong on the way."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from local_server.app import LocalServer
from local_server.settings import FailRule
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
    5: ("404_", "replica_lag"),
}


def fault_clock() -> FastClock:
    return FastClock(LONGEST_SLEEP, SPEED)


class Trial:
    """Runs one schedule in a folder; `problems` holds what was wrong, `hits` which faults came to pass."""

    def __init__(self, server: LocalServer, folder: Path, schedule: Schedule) -> None:
        self.schedule = schedule
        self.folder = folder
        self.oracle = LocalOracle(server.database)
        self.clock = fault_clock()
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
        with self.proxy:
            os.environ["DOUBLEWORD_BASE_URL"] = self.proxy.base_url
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
        ran = run(command, self.requests, *flags, "--json", clock=self.clock)
        self.ran.append((command, ran.code))
        self._judge(command, ran, self.hits - before)
        return ran

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
            if (held == len(self.ids)) != (code == 0):
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
