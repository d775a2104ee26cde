"""Debian and Ubuntu packages that the real server needs, installed only where they are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from real_server.errors import SetupError

# dwctl's manifest asks for this compiler or a later one.
OLDEST_CARGO = (1, 88)


def install(*packages: str) -> None:
    """Install Debian packages; as root, else through sudo where it asks no password.

    Raises SetupError naming the command a person has to run where neither is possible.
    """
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        raise SetupError(f"missing, and there is no apt-get here to install them: {', '.join(packages)}")
    _as_root(["apt-get", "update", "-q"], command)
    _as_root(command, command)


def _as_root(command: list[str], wanted: list[str]) -> None:
    if os.getuid() != 0:
        if shutil.which("sudo") is None:
            raise SetupError(f"not root and no sudo; run this as root first: {' '.join(wanted)}")
        command = ["sudo", "-n", "-E", *command]
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise SetupError(f"{' '.join(command)} failed (run as root first: {' '.join(wanted)}):\n{tail}")


def cargo_package() -> str:
    """The name of a Debian package with a new enough cargo.

    Debian's plain `cargo` is years old (0.66 in Debian 12); `cargo-web`, kept new for browser builds, and
    Ubuntu's `cargo-1.NN` are not. Rust's own installer is no way: it downloads from outside the registries.
    """
    subprocess_env = {**os.environ, "LC_ALL": "C"}
    listed = subprocess.run(
        ["apt-cache", "policy", *_cargo_names()],
        env=subprocess_env, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    found: list[tuple[tuple[int, int], str]] = []
    for name, version in re.findall(r"^(cargo\S*):\n(?:.*\n)?  Candidate: (\S+)", listed, re.M):
        number = _version(version)
        if number and number >= OLDEST_CARGO:
            found.append((number, name))
    if not found:
        oldest = ".".join(map(str, OLDEST_CARGO))
        raise SetupError(
            f"no Debian package here has cargo {oldest} or later (looked at: {', '.join(_cargo_names())}); "
            "install Rust yourself and put cargo on PATH"
        )
    return max(found)[1]


def _cargo_names() -> list[str]:
    listed = subprocess.run(
        ["apt-cache", "search", "--names-only", r"^cargo(-web|-[0-9.]+)?$"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return [line.split(" ", 1)[0] for line in listed.splitlines()] or ["cargo"]


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def cargo_is_new_enough(environment: dict[str, str]) -> bool:
    """Whether the cargo on PATH can build the server."""
    if shutil.which("cargo") is None:
        return False
    command = ["cargo", "--version"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    number = _version(said)
    return number is not None and number >= OLDEST_CARGO
