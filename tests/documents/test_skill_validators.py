"""The folder that a user imports, as `git archive` makes it, passes the reference validator of the Agent Skills format.

The archive is of the last commit: what is imported is what was committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.archive import imported_folder

needs_validator = pytest.mark.skipif(sys.version_info < (3, 11), reason="the validator needs Python 3.11")


def refusals(folder: Path) -> list[str]:
    from skills_ref import validate

    return list(validate(folder))


@needs_validator
def test_the_validator_accepts_the_archive(tmp_path: Path) -> None:
    assert refusals(imported_folder(tmp_path)) == []


@needs_validator
def test_the_validator_refuses_a_folder_of_another_name(tmp_path: Path) -> None:
    assert any("must match" in text for text in refusals(imported_folder(tmp_path, "doubleword")))


@needs_validator
def test_the_validator_refuses_a_flow_collection_which_other_validators_let_pass(tmp_path: Path) -> None:
    folder = imported_folder(tmp_path)
    skill = folder / "SKILL.md"
    text = skill.read_text("utf-8")
    assert "    requires:\n" in text
    skill.write_text(text.replace("    requires:\n", "    os: [linux]\n    requires:\n", 1), "utf-8")
    assert refusals(folder) != []


def test_the_archive_holds_nothing_that_openclaw_skips_or_copies_needlessly(tmp_path: Path) -> None:
    """OpenClaw copies a folder as it is; its import of archives takes at most 256 files of 1 MiB."""
    folder = imported_folder(tmp_path)
    found = [path.relative_to(folder) for path in folder.rglob("*")]
    assert {path.parts[0] for path in found} == {
        "LICENSE",
        "README.md",
        "SKILL.md",
        "pyproject.toml",
        "references",
        "scripts",
    }
    assert not [path for path in found if path.name.startswith(".") or path.name == "__pycache__"]
    assert len(found) <= 256
    assert all((folder / path).stat().st_size <= 2**20 for path in found)
