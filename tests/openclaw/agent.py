"""An agent that takes SKILL.md at its word: it finds the skill as OpenClaw offers it, reads it, and types what it says.

Its parts are played by `model_server`. It knows nothing of the scripts' flags: every command is from SKILL.md.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from openclaw.model_server import Conversation, ToolCall

LOOKS = " --interval-seconds 2"  # the one thing added to the skill's commands: it looks every 30 s
EXEC_WAIT_MS = 120_000  # as long as exec lets a command stay in the foreground
SHOWN = 1000  # characters of what a command said that are told on

Steps = Generator[ToolCall | str, str, None]


def offered_skill(talk: Conversation, home: Path) -> PurePosixPath:
    """Where the system prompt says the skill's SKILL.md is."""
    found = re.search(r"<name>doubleword-batches</name>.*?<location>(.*?)</location>", talk.system, re.DOTALL)
    assert found, "the system prompt offers no doubleword-batches"
    return PurePosixPath(found[1].replace("~", str(home), 1))


def workflow(page: str, base: PurePosixPath) -> list[str]:
    """The commands of the usual job, word for word but for the placeholders."""
    section = page.split("\n## Workflow\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    found = [line.replace("{baseDir}", str(base)) for line in lines if line.startswith("python3 ")]
    return [line + (LOOKS if "/run_batch.py " in line else "") for line in found]


def run(command: str, folder: Path) -> ToolCall:
    return ToolCall("exec", {"command": command, "workdir": str(folder), "yieldMs": EXEC_WAIT_MS})


def exit_code(result: str) -> int:
    """What exec says of a command that did not end with 0; it says nothing of one that did."""
    found = re.search(r"Command exited with code (\d+)", result)
    return int(found[1]) if found else 0


class Agent:
    """The parts. `folder` is where the user's rows lie, `home` what `~` stands for."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder

    def whole_job(self, talk: Conversation) -> Steps:
        """The workflow of SKILL.md from its first command to its last; stops where one does not end with 0."""
        skill = offered_skill(talk, self.home)
        page = yield ToolCall("read", {"path": str(skill)})
        result = ""
        for command in workflow(page, skill.parent):
            result = yield run(command, self.folder)
            # 8 after a trial: the rest is left, which is what the next command is for.
            if exit_code(result) != (8 if " --trial " in command else 0):
                yield f"stopped at {command}: {result}"
        yield f"Done: {result}"

    def hand_over(self, talk: Conversation) -> Steps:
        """Submits the job, and leaves the waiting to the scheduler as SKILL.md says."""
        skill = offered_skill(talk, self.home)
        page = yield ToolCall("read", {"path": str(skill)})
        base = skill.parent
        make = next(line for line in reversed(workflow(page, base)) if "/create_batch_file.py " in line)
        made = yield run(make, self.folder)
        message = self.message(page, base)
        first = yield run(command_of(message), self.folder)
        if exit_code(made) != 0 or exit_code(first) != 8:
            yield f"not handed over: {made} {first}"
        added = yield ToolCall("tool_call", {"id": "automations", "args": fill(schedule_of(page), message)})
        yield f"Handed over: {added}"

    def hand_over_the_rest(self, talk: Conversation) -> Steps:
        """Leaves a job to the scheduler of which the trial alone was paid for, with a limit that the rest is over."""
        skill = offered_skill(talk, self.home)
        page = yield ToolCall("read", {"path": str(skill)})
        make, trial = (
            line for line in workflow(page, skill.parent) if "create_batch_file" in line or "--trial" in line
        )
        yield run(make, self.folder)
        yield run(trial, self.folder)
        message = re.sub(r"--max-cost \S+", "--max-cost 0.000001", self.message(page, skill.parent))
        yield ToolCall("tool_call", {"id": "automations", "args": fill(schedule_of(page), message)})
        yield "Handed over"

    def message(self, page: str, base: PurePosixPath) -> str:
        """MESSAGE of SKILL.md, with its placeholders filled in."""
        quoted = re.findall(r"^> ?(.*)$", page, re.MULTILINE)
        text = "\n".join(quoted).replace("{baseDir}", str(base))
        return re.sub(r"/abs/path/([\w.]+)", lambda found: shlex.quote(str(self.folder / found[1])), text)

    def scheduled(self, talk: Conversation) -> Steps:
        """What a scheduled turn does with its message: the command, then what the message says of the exit code."""
        result = yield run(command_of(talk.request), self.folder)
        code = exit_code(result)
        if code == 8 and "stuck" not in result:
            yield "NO_REPLY"
        if code in (6, 8):
            yield f"No news of your table: {result[-SHOWN:]}"
        own = re.search(r"\[cron:(\S+) ", talk.request)
        assert own, talk.request
        removed = yield ToolCall("tool_call", {"id": "automations", "args": {"action": "remove", "jobId": own[1]}})
        told = "Your table is ready" if code == 0 else "It ended, but not well"
        yield f"{told}. Exit code {code}. {result[-SHOWN:]}\n{removed[:200]}"


def command_of(message: str) -> str:
    """The command that a message holds."""
    found = re.search(r"`(python3 [^`]+)`", message)
    assert found, message
    return found[1]


def schedule_of(page: str) -> str:
    """The automation that SKILL.md shows."""
    found = re.search(r"^```json\n(\{\"action\".*)\n```", page, re.MULTILINE)
    assert found, "SKILL.md shows no automation"
    return found[1]


def fill(schedule: str, message: str) -> dict[str, object]:
    """The arguments of the automations tool as SKILL.md writes them, but checking sooner than in half an hour."""
    arguments = json.loads(schedule)
    assert isinstance(arguments, dict)
    arguments["job"]["payload"]["message"] = message
    arguments["job"]["schedule"]["everyMs"] = 8_000
    return arguments
