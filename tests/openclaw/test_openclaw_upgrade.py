"""references/install.md, its commands pasted as they stand: a fresh install, the key, upgrades that keep settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from openclaw.home import OpenClaw
from support.documents import ROOT
from support.running import Ran

pytestmark = pytest.mark.openclaw

KEY = "made-up-key"
PAGE = (ROOT / "references/install.md").read_text("utf-8")


def block(section: str, number: int = 0) -> str:
    """A bash block of a section of install.md."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return str(found[number])


def paste(openclaw: OpenClaw, text: str, typed: str = "", **placeholders: str | Path) -> Ran:
    """A block in a shell, its words in capitals replaced; `typed` is what the user then types."""
    for word, value in placeholders.items():
        assert word in text, text
        text = text.replace(f'"{word}', f'"{value}')
    done = subprocess.run(
        ["bash", "-e", "-c", text],
        cwd=openclaw.home,
        env=openclaw.environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def older_copy(openclaw: OpenClaw, name: str, key: object) -> Path:
    """A copy of an older package, with a key in the configuration and a list that its user edited."""
    folder = openclaw.workspace / "skills" / name
    (folder / "scripts").mkdir(parents=True)
    (folder / "SKILL.md").write_text(
        f"---\nname: {name}\ndescription: Older batches.\nmetadata:\n  openclaw:\n"
        "    primaryEnv: DOUBLEWORD_API_KEY\n    requires:\n      env:\n        - DOUBLEWORD_API_KEY\n---\n# Older\n",
        "utf-8",
    )
    (folder / "scripts/create_batch_file.py").write_text('prompts = ["edited by the user"]\n', "utf-8")
    settings = {"apiKey": key, "env": {"DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1"}}
    openclaw.configure(skills={"entries": {name: settings}})
    return folder


def test_a_fresh_install_and_the_key_typed_into_a_terminal(openclaw: OpenClaw, skill: Path) -> None:
    assert paste(openclaw, block("Fresh install"), NEW=skill).code == 0
    typed = paste(openclaw, block("The key"), typed=f"{KEY}\n")
    assert typed.code == 0, typed
    assert KEY not in typed.out + typed.err
    url = paste(openclaw, block("The key", 1), URL="http://127.0.0.1:9/v1")
    assert url.code == 0, url

    entry = openclaw.setting("skills", "entries", "doubleword-batches")
    assert entry == {"apiKey": KEY, "env": {"DOUBLEWORD_BASE_URL": "http://127.0.0.1:9/v1"}}
    assert openclaw.info()["modelVisible"] is True


@pytest.mark.parametrize("name", ["doubleword-batches", "doubleword"])
def test_an_upgrade_keeps_settings_and_the_edited_script(openclaw: OpenClaw, skill: Path, name: str) -> None:
    older_copy(openclaw, name, KEY)
    found = openclaw.info(name)
    assert found["modelVisible"] is True
    before = openclaw.setting("skills")

    saved = paste(openclaw, block("Upgrade", 1), OLDDIR=found["baseDir"])
    assert saved.code == 0, saved
    if found["skillKey"] == "doubleword-batches":
        installed = paste(openclaw, block("Fresh install"), NEW=skill)
    else:
        installed = paste(openclaw, block("Upgrade", 2), NEW=skill, SKILLKEY=found["skillKey"])
    assert installed.code == 0, installed

    after = openclaw.info("doubleword-batches")
    assert (after["modelVisible"], after["skillKey"]) == (True, name)
    assert Path(after["baseDir"]) == openclaw.workspace / "skills" / name
    assert openclaw.setting("skills") == before
    kept = list(openclaw.workspace.glob(f"skills-saved-*/{name}/scripts/create_batch_file.py"))
    assert [path.read_text("utf-8") for path in kept] == ['prompts = ["edited by the user"]\n']
    assert f'"name": "{name}"' not in openclaw.call("skills", "list", "--json").out or name == "doubleword-batches"


def test_the_list_of_shipped_scripts_finds_the_edited_one(openclaw: OpenClaw, skill: Path) -> None:
    copy = openclaw.home / "copy"
    subprocess.run(["cp", "-r", skill, copy], check=True)
    assert paste(openclaw, block("Upgrade"), OLDDIR=copy).code == 0
    with (copy / "scripts/poll.py").open("a") as file:
        file.write("# edited\n")
    edited = paste(openclaw, block("Upgrade"), OLDDIR=copy)
    assert edited.code != 0
    assert "scripts/poll.py: FAILED" in edited.out
