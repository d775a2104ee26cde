"""A round: a job, random commands on it, killed at random steps, answers that are lost; then it must end well."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import uuid
from collections import Counter
from pathlib import Path

from local_server.app import LocalServer
from support.crash.child import Child, Ended
from support.oracle import LocalOracle, outcome_of_files
from support.proxy.exchange import Drop, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import chat_line

COMMANDS = (
    ("upload",), ("create_batch",), ("poll", "--once"), ("poll",), ("download",), ("retry_failed",), ("run_batch",),
    ("run_batch", "--trial", "2"), ("cancel_batch",), ("cancel_batch", "--resume"), ("download", "--partial"),
)  # fmt: skip
WAITS = ("--interval-seconds", "30", "--timeout-seconds", "600")
LAST_STEP = 60  # a command makes so many steps at which it can be killed, about
LOST = 0.15  # of the answers to calls that change something
ENDINGS = 12  # commands that a job may need, in the end


class Round:
    def __init__(self, server: LocalServer, number: int, figures: Counter[str]) -> None:
        self.chance, self.figures = random.Random(number), figures
        self.folder = Path(uuid.uuid4().hex).absolute()
        self.folder.mkdir()
        self.oracle = LocalOracle(server.database)
        nonce, count = uuid.uuid4().hex[:8], self.chance.randint(4, 8)
        self.ids = [f"{nonce}-{n:02}" for n in range(count)]
        self.refused = self.chance.choice((0, 0, 1))
        self.part = str(self.chance.randint(2, 5))
        with (self.folder / "r.jsonl").open("w", encoding="utf-8") as file:
            for n, name in enumerate(self.ids):
                file.write(chat_line(name, f"{name} never works" if n < self.refused else f"{name} number {n}"))
        self.trouble = True
        self.ran: list[str] = []
        self.problems: list[str] = []

    def lose(self, moment: Moment, request: Request) -> None:
        if self.trouble and moment is Moment.ANSWERED and request.method != "GET" and self.chance.random() < LOST:
            self.figures["answers lost"] += 1
            raise Drop

    def one(self, command: tuple[str, ...], at: int = 0) -> Ended | None:
        """A command, killed at that step of it; None if it was."""
        flags: tuple[str, ...] = ("--part-requests", self.part) if command[0] in ("upload", "run_batch") else ()
        flags += WAITS if command[0] == "run_batch" or command == ("poll",) else ()
        self.figures["commands"] += 1
        try:
            ended = Child(self.folder, (command[0], "r.jsonl", *command[1:], *flags), at, warm=True).wait(90)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{command} does not end")
            return None
        self.ran.append(f"{' '.join(command)}{f' killed at {at}' if ended.code < 0 else ''}: {ended.code}")
        self.figures["kills"] += ended.code < 0
        if ended.code == 1 or "a bug in this script" in ended.err:
            self.problems.append(f"{command}: exit {ended.code}\n{ended.err}")
        self.problems += [f"after {command}: {text}" for text in self.oracle.ran_together()]
        return None if ended.code < 0 else ended

    def random_commands(self) -> None:
        for _ in range(self.chance.randint(4, 8)):
            command = self.chance.choice(COMMANDS)
            self.one(command, self.chance.randint(1, LAST_STEP) if self.chance.random() < 0.6 else 0)

    def to_its_end(self) -> None:
        """As a user would who does what the exit codes say."""
        self.trouble = False
        code = None
        for _ in range(ENDINGS):
            self.one(("cancel_batch", "--resume"))
            ended = self.one(("run_batch",))
            code = ended.code if ended else None
            if code == 0:
                break
            if code in (7, 9):
                planned = self.one(("retry_failed",))
                if planned and planned.code == 0 and "nothing to retry" in planned.err:
                    break
                if planned and planned.code == 9 and self.refused and "planned" not in planned.err.split("nothing")[0]:
                    break
        if code != (9 if self.refused else 0):
            self.problems.append(f"the last exit code is {code}: {ended.err if ended else ''}")
        good, wrong = outcome_of_files(self.folder, "r", self.ids)
        self.problems += wrong
        if sorted(good) != self.ids[self.refused :]:
            self.problems.append(f"{len(good)} results for {len(self.ids) - self.refused} requests")
        self.problems += self.oracle.ran_together() + self.oracle.answered_twice()


def a_round(server: LocalServer, number: int, figures: Counter[str]) -> list[str]:
    """What was wrong in the round of that seed."""
    this = Round(server, number, figures)
    with Proxy(server.port, this.lose) as proxy:
        os.environ["DOUBLEWORD_BASE_URL"] = proxy.base_url
        this.random_commands()
        this.to_its_end()
    if not this.problems:
        shutil.rmtree(this.folder)
        return []
    return [f"{this.ran}", *this.problems]
