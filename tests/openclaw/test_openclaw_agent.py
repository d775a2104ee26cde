"""A scripted agent in the real OpenClaw does the whole job, and hands a long wait over to its scheduler.

OpenClaw's gateway, prompt, tools, configuration and scheduler are the real ones, and so are the skill and its
scripts. Played are the model (`model_server`, `agent`) and Doubleword (the local server).
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from local_server.settings import REHEARSAL_PRICE, FailRule, ModelSpec, Outage
from openclaw.agent import Agent
from openclaw.home import OpenClaw
from openclaw.model_server import ScriptedModel
from openclaw.tools import Tools
from support.documents import ROOT
from support.judge import MODEL, Judge

pytestmark = pytest.mark.openclaw

SPEED = 200  # the server's own waits; what is asked for in seconds is not divided
HANDED_OVER_SECONDS = 300
SESSION = "agent:main:main"


@dataclass
class Scene:
    openclaw: OpenClaw
    doubleword: LocalServer
    model: ScriptedModel
    this_month: Path
    next_month: Path
    bad_month: Path
    dear_month: Path

    def say(self, words: str) -> str:
        """The user says something in the main session; what the agent answers."""
        done = self.openclaw.call("agent", "--agent", "main", "-m", words)
        assert done.code == 0, done
        return done.out

    def successor_finds(self, folder: Path) -> str:
        """What whoever comes after sees of the jobs in a folder, without a key."""
        script = self.openclaw.workspace / "skills/doubleword-batches/scripts/list_batches.py"
        return self.openclaw.run(sys.executable, script, "--local", "--folder", folder).out

    def automations(self) -> list[str]:
        """The names of what is scheduled."""
        done = self.openclaw.call("cron", "list", "--json")
        assert done.code == 0, done
        return [job["name"] for job in done.facts["jobs"]]

    def told(self) -> str:
        """Everything that stands in the user's conversation, as JSON text."""
        params = json.dumps({"sessionKey": SESSION})
        done = self.openclaw.call("gateway", "call", "chat.history", "--params", params, "--json")
        assert done.code == 0, done
        return json.dumps([m for m in done.facts["messages"] if m["role"] == "assistant"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tools: Tools, skill: Path) -> Iterator[Scene]:
    """A gateway with the skill installed, its key and base URL in the configuration, and the user's rows."""
    base = tmp_path_factory.mktemp("scene")
    openclaw = OpenClaw(base, tools)
    this_month, next_month, bad_month, dear_month = (
        openclaw.workspace / f"{name} month" for name in ("this", "next", "bad", "dear")
    )
    header, *lines = csv.reader((ROOT / "tests/data/reviews.csv").read_text("utf-8").splitlines(keepends=True))
    bodies = (lines, lines[::-1], lines[:40], lines[40:80])
    for folder, body in zip((this_month, next_month, bad_month, dear_month), bodies, strict=True):
        folder.mkdir()
        with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *body])
    now, later, bad, dear = (Agent(openclaw.home, folder) for folder in (this_month, next_month, bad_month, dear_month))
    parts = {
        "Doubleword job, approved": later.scheduled,
        "all of it": now.whole_job,
        "go on without": later.hand_over,
        "in trouble": bad.hand_over,
        "too dear": dear.hand_over_the_rest,
    }
    priced = {MODEL: ModelSpec(price=REHEARSAL_PRICE)}
    with (
        Judge() as judge,
        LocalServer(base / "doubleword", speed=SPEED, upstream=judge.url, models=priced) as doubleword,
        ScriptedModel(parts) as model,
    ):
        openclaw.configure(
            models=model.provider,
            # The python3 that runs this test: it has `requests`, as the user's must.
            tools={"exec": {"pathPrepend": [str(Path(sys.executable).parent)]}},
            agents={"defaults": {"model": {"primary": "scripted/scripted"}}},
            skills={
                "entries": {
                    "doubleword-batches": {
                        "apiKey": doubleword.key,
                        "env": {"DOUBLEWORD_BASE_URL": doubleword.base_url},
                    }
                }
            },
        )
        installed = openclaw.call("skills", "install", skill)
        assert installed.code == 0, installed
        with openclaw.gateway():
            yield Scene(openclaw, doubleword, model, this_month, next_month, bad_month, dear_month)


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANDED_OVER_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(1)


def test_the_job_is_done_by_the_words_of_the_skill_with_the_key_of_the_configuration(scene: Scene) -> None:
    said = scene.say("Classify my reviews, all of it; up to 5 dollars are fine, go ahead.")

    assert "Done:" in said
    labelled = rows(scene.this_month / "labelled.csv")
    assert len(labelled) == 300
    assert all(row["answer"] for row in labelled)
    # The key went to the scripts by their environment alone.
    seen = json.dumps([[talk.system, talk.request, talk.results] for talk in scene.model.conversations])
    assert scene.doubleword.key not in seen


def test_a_wait_of_hours_is_the_schedulers_and_its_turn_finishes_removes_itself_and_tells(scene: Scene) -> None:
    scene.doubleword.app.rehearsal.held = True
    scene.model.answers.clear()

    said = scene.say("The same for next month's: go on without me.")

    assert "Handed over" in said, said
    assert any("doubleword" in name for name in scene.automations())
    wait_for(lambda: "NO_REPLY" in scene.model.answers)  # a turn that found the job still running
    scene.doubleword.app.rehearsal.held = False
    wait_for(lambda: any("Your table is ready" in answer for answer in scene.model.answers))
    wait_for(lambda: not any("doubleword" in name for name in scene.automations()))
    wait_for(lambda: "Your table is ready. Exit code 0" in scene.told())
    assert len(rows(scene.next_month / "labelled.csv")) == 300


def test_a_scheduled_turn_tells_of_trouble_and_of_a_stuck_batch_and_ends_with_what_failed(scene: Scene) -> None:
    rehearsal, settings = scene.doubleword.app.rehearsal, scene.doubleword.app.settings
    rehearsal.held = True
    scene.model.answers.clear()
    assert "Handed over" in scene.say("Those of the bad month are in trouble: hand them over.")

    settings.outages.append(Outage(0, 1e9))
    wait_for(lambda: any("No news" in answer and "code 6" in answer for answer in scene.model.answers))
    settings.outages.clear()
    assert any("doubleword" in name for name in scene.automations()), "after exit 6 it stays"

    wait_for(lambda: "NO_REPLY" in scene.model.answers)
    found = scene.successor_finds(scene.bad_month)
    assert "run_batch.py" in found
    assert "--max-cost 5" in found
    assert "labelled.csv" in found
    stand_still(scene.bad_month / "reviews.job/record.json")
    wait_for(lambda: any("No news" in answer and "stuck" in answer for answer in scene.model.answers))
    assert any("doubleword" in name for name in scene.automations()), "a stuck batch is for the user to decide on"

    settings.fail.append(FailRule.parse("Review|review=400"))
    rehearsal.held = False
    wait_for(lambda: any("Exit code 9" in answer for answer in scene.model.answers))
    wait_for(lambda: "It ended, but not well. Exit code 9" in scene.told())
    settings.fail.clear()
    wait_for(lambda: not any("doubleword" in name for name in scene.automations()))


def test_whoever_comes_after_finds_the_whole_command_and_a_rest_over_the_limit_is_not_paid_for(scene: Scene) -> None:
    scene.model.answers.clear()
    assert "Handed over" in scene.say("The dear month may be too dear: try it.")
    wait_for(lambda: any("Exit code 4" in answer and "--max-cost" in answer for answer in scene.model.answers))
    wait_for(lambda: not any("doubleword" in name for name in scene.automations()))
    found = scene.successor_finds(scene.dear_month)
    assert "--max-cost 0.000001" in found
    assert "labelled.csv" in found


def stand_still(record: Path) -> None:
    """As the record is after two hours in which the counts did not move."""
    kept = json.loads(record.read_text("utf-8"))
    for attempt in kept["attempts"]:
        for part in attempt["parts"]:
            part["batch"]["still_seconds"] += 7200
    made = record.with_name("made-by-the-test")
    made.write_text(json.dumps(kept), "utf-8")
    made.replace(record)
