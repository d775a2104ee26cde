"""OpenClaw itself, ClawHub's publisher and a validator from the npm registry, pinned, installed once a machine.

They are kept outside the checkout, in the folder for caches: 800 MB, about a minute.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NODE = {"node": "24.21.0"}  # OpenClaw refuses older ones
PACKAGES = {"openclaw": "2026.9.6", "clawhub": "0.23.3", "skills-ref": "0.1.5"}
INSTALL_SECONDS = 600

# As it was when the tests were collected: a test gets another home, in which the cache would not be found.
ENVIRONMENT = dict(os.environ)


class NotInstalled(Exception):
    """This machine cannot have the tools; the text says why."""


@dataclass(frozen=True)
class Tools:
    """Where the installed programs are."""

    modules: Path

    @property
    def path(self) -> str:
        """The folders to look for programs in: Node.js first, then OpenClaw and the others."""
        return os.pathsep.join([str(self.modules / "node/bin"), str(self.modules / ".bin")])

    @property
    def compiled(self) -> Path:
        """Where Node.js keeps what it compiled of them."""
        return self.modules.parent / "compiled"

    @property
    def quick_validate(self) -> Path:
        """The validator that OpenClaw's own skill for making skills runs."""
        return self.modules / "openclaw/skills/skill-creator/scripts/quick_validate.py"


def cache_folder() -> Path:
    base = ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT["HOME"]) / ".cache"
    return Path(base) / f"doubleword-batches-openclaw-{PACKAGES['openclaw']}"


def installed_tools() -> Tools:
    """The tools; installs them first where that has not been done on this machine.

    Raises:
        NotInstalled: there is no npm, or it could not install them.
    """
    folder = cache_folder()
    done, wanted = folder / "installed.json", json.dumps({**NODE, **PACKAGES})
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs started together must not install into each other
        if not done.exists() or done.read_text("utf-8") != wanted:
            _install(folder)
            done.write_text(wanted, "utf-8")
    return Tools(folder / "node_modules")


def _install(folder: Path) -> None:
    npm = shutil.which("npm", path=ENVIRONMENT["PATH"])
    if npm is None:
        raise NotInstalled("npm is not installed")
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    (folder / "package.json").write_text('{"private": true}\n')
    # Node.js comes first and is then the one that runs the installation of the others.
    for packages, path in ((NODE, ""), (PACKAGES, f"{folder}/node_modules/node/bin{os.pathsep}")):
        names = [f"{name}@{version}" for name, version in {**NODE, **packages}.items()]
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--save-exact", *names],
            cwd=folder,
            env={**ENVIRONMENT, "PATH": path + ENVIRONMENT["PATH"]},
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode:
            raise NotInstalled(f"npm could not install {' '.join(names)}: {done.stderr[-500:]}")
