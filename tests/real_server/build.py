"""The server's program, built once from its published crate and kept outside the checkout.

About 5 minutes on two cores; afterwards `server_program()` answers at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from real_server import apt
from real_server.errors import SetupError

# The newest release on the crate registry; tests/recordings/ was recorded from v10.13.1.
VERSION = "8.94.2"

# As it was when the tests were collected: a test may be given another home, in which neither the cache nor
# a cargo that looks for its toolchain there would be found.
ENVIRONMENT = dict(os.environ)

# What the crate's native dependencies (openssl, aws-lc, zstd) need besides cargo.
NATIVE = {"cc": "build-essential", "cmake": "cmake", "pkg-config": "pkg-config"}
OPENSSL_HEADER = Path("/usr/include/openssl/ssl.h")


def cache_root() -> Path:
    """Where the built program is kept between runs and checkouts."""
    base = ENVIRONMENT.get("XDG_CACHE_HOME") or Path(ENVIRONMENT["HOME"]) / ".cache"
    return Path(base) / f"dwctl-{VERSION}"


def server_program() -> Path:
    """The path of the built server; builds it first where that has not been done on this machine."""
    root = cache_root()
    program = root / "bin" / "dwctl"
    if program.exists():
        return program
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        # Two test runs started together must not build it twice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _install_tools()
            _build(root)
    return program


def _install_tools() -> None:
    missing = [package for tool, package in NATIVE.items() if shutil.which(tool) is None]
    if not OPENSSL_HEADER.exists() and not list(Path("/usr/include").glob("*/openssl/ssl.h")):
        missing.append("libssl-dev")
    if missing:
        apt.install(*missing)
    if not apt.cargo_is_new_enough(ENVIRONMENT):
        apt.install(apt.cargo_package())
    if not apt.cargo_is_new_enough(ENVIRONMENT):
        raise SetupError("the installed cargo is not the one on PATH, and that one is too old")


def _build(root: Path) -> None:
    print(f"building dwctl {VERSION} into {root} (about 5 minutes, once)", file=sys.stderr)
    log = root / "build.log"
    target = root / "target"
    with log.open("w") as out:
        done = subprocess.run(
            # No default features: the embedded Postgres among them is downloaded while building.
            ["cargo", "install", "dwctl", "--version", VERSION, "--locked", "--no-default-features",
             "--root", str(root)],
            env={
                **ENVIRONMENT,
                "SQLX_OFFLINE": "true",
                "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
                "CARGO_PROFILE_RELEASE_DEBUG": "0",
                "CARGO_PROFILE_RELEASE_LTO": "off",
                # Kept until the build is done, so that an interrupted one goes on where it was.
                "CARGO_TARGET_DIR": str(target),
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
    if done.returncode != 0:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])
        raise SetupError(f"building dwctl {VERSION} failed ({log}):\n{tail}")
    shutil.rmtree(target, ignore_errors=True)
