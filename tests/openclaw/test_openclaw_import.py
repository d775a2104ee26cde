"""The archive that a user would import: validated, installed, gated on its key, listed, ready to be published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from openclaw.home import OpenClaw
from openclaw.registry import empty_registry
from openclaw.tools import Tools
from support.archive import archive
from support.documents import ROOT

pytestmark = pytest.mark.openclaw


def validators(tools: Tools) -> list[list[str]]:
    """The commands that take a skill's folder; a third, in Python, is run by tests/documents."""
    return [["skills-ref", "validate"], [sys.executable, str(tools.quick_validate)]]


def test_the_validators_of_the_format_accept_it(openclaw: OpenClaw, tools: Tools, skill: Path) -> None:
    for validator in validators(tools):
        done = openclaw.run(*validator, skill)
        assert done.code == 0, (validator, done)


def test_a_validator_refuses_what_is_wrong(openclaw: OpenClaw, tools: Tools, skill: Path) -> None:
    """They can fail: else the test above would prove nothing."""
    broken = openclaw.home / "doubleword-batches"
    broken.mkdir()
    (broken / "SKILL.md").write_text((skill / "SKILL.md").read_text("utf-8").replace("name: ", "nam: ", 1), "utf-8")
    for validator in validators(tools):
        assert openclaw.run(*validator, broken).code != 0, validator


def test_installed_it_waits_for_its_key_and_is_shown_to_the_model_with_it(openclaw: OpenClaw, skill: Path) -> None:
    installed = openclaw.call("skills", "install", skill)
    assert installed.code == 0, installed
    folder = openclaw.workspace / "skills/doubleword-batches"
    assert {path.name for path in folder.iterdir()} - {".openclaw"} == {path.name for path in skill.iterdir()}

    without = openclaw.info()
    assert (without["eligible"], without["modelVisible"]) == (False, False)
    assert without["missing"]["env"] == ["DOUBLEWORD_API_KEY"]
    assert [name for kind in without["missing"].values() for name in kind] == ["DOUBLEWORD_API_KEY"]

    in_environment = openclaw.info(env={"DOUBLEWORD_API_KEY": "made-up"})
    assert (in_environment["eligible"], in_environment["modelVisible"]) == (True, True)

    openclaw.configure(skills={"entries": {"doubleword-batches": {"apiKey": "made-up"}}})
    configured = openclaw.info()
    assert (configured["eligible"], configured["modelVisible"]) == (True, True)

    listed = openclaw.call("skills", "list", "--json")
    assert "doubleword-batches" in listed.out
    assert "Skipping" not in listed.err


def test_openclaw_names_a_skill_that_it_skips(openclaw: OpenClaw) -> None:
    """The word that the test above looks for is the one OpenClaw uses."""
    broken = openclaw.workspace / "skills/broken"
    broken.mkdir(parents=True)
    (broken / "SKILL.md").write_text("---\nname: broken\n---\nNo description.\n", "utf-8")
    assert "Skipping" in openclaw.call("skills", "list", "--json").err


def test_publishing_it_would_send_every_file_of_the_archive(openclaw: OpenClaw, skill: Path) -> None:
    with empty_registry() as registry:
        done = openclaw.run("clawhub", "--no-input", "skill", "publish", skill, "--dry-run", "--json", env=registry)
    assert done.code == 0, done
    assert done.facts["status"] == "would-publish"
    assert done.facts["slug"] == "doubleword-batches"
    assert done.facts["fileCount"] == sum(path.is_file() for path in skill.rglob("*"))


def test_the_archive_made_twice_is_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    assert archive(tmp_path / "clone") == archive()
