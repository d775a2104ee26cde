"""A Postgres cluster of its own for one real server: nothing else on the machine is touched."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from real_server import apt, processes
from real_server.errors import SetupError
from real_server.processes import Running

OLDEST = 15
DATABASE = "dwctl"
# One server holds 35 to 65 connections; the tests' own come on top.
CONNECTIONS = 120
START_SECONDS = 60.0


def binaries() -> Path:
    """The folder with initdb and postgres, version 15 or later; installed through apt-get where missing."""
    found = _newest()
    if found is None:
        apt.install("postgresql")
        found = _newest()
    if found is None:
        raise SetupError(f"no Postgres {OLDEST} or later after installing the package `postgresql`")
    return found


def _newest() -> Path | None:
    folders = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if (p / "initdb").exists()]
    on_path = shutil.which("pg_config")
    if on_path:
        said = subprocess.run([on_path, "--bindir"], capture_output=True, text=True, check=False).stdout
        folders.append(Path(said.strip()))
    usable = [(version, folder) for folder in folders if (version := _version(folder)) >= OLDEST]
    return max(usable)[1] if usable else None


def _version(folder: Path) -> int:
    program = folder / "postgres"
    if not program.exists() or not (folder / "initdb").exists():
        return 0
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


class Postgres:
    """One cluster on one port; `start()` makes it where it does not exist yet."""

    def __init__(self, work: Path, port: int) -> None:
        self.port = port
        self.data = _data_folder(work)
        self.log = self.data.with_suffix(".log")
        self.url = f"postgres://postgres@127.0.0.1:{port}/{DATABASE}"

    def start(self) -> Running:
        """Start it, make the server's database in it, and return when it answers."""
        folder = binaries()
        if not (self.data / "PG_VERSION").exists():
            self._create(folder)
        running = processes.start(
            # fsync off: no test pulls the plug on Postgres, and the machine is slow at it.
            [folder / "postgres", "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port),
             "-k", "", "-c", f"max_connections={CONNECTIONS}", "-c", "fsync=off"],
            log=self.log,
            **_owner(),
        )  # fmt: skip
        self._wait_until_it_answers(running)
        return running

    def _create(self, folder: Path) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(self.data, "postgres", "postgres")
        done = subprocess.run(
            [folder / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **_owner(),
        )
        if done.returncode != 0:
            raise SetupError(f"initdb failed:\n{done.stdout[-2000:]}")

    def _wait_until_it_answers(self, running: Running) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.connect("postgres") as maintenance:
                    have = maintenance.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
                    if have is None:
                        maintenance.execute(f"create database {DATABASE}")
                    return
            except psycopg.OperationalError as error:
                if not running.alive() or time.monotonic() > deadline:
                    raise SetupError(f"Postgres did not start ({self.log}): {error}") from error
                time.sleep(0.05)

    def connect(self, database: str = DATABASE) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit mode, so that a test's look never holds a lock."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database,
            autocommit=True, connect_timeout=10,
        )  # fmt: skip

    def remove(self) -> None:
        """Throw the cluster's files away (stopped before)."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.log.unlink(missing_ok=True)


# How Postgres wants to be asked to stop at once, dropping its clients.
STOP_SIGNAL = signal.SIGINT


def _data_folder(work: Path) -> Path:
    """Inside the work folder; for root beside it in the temporary folder.

    Postgres refuses to run as root, and its own user cannot look into a private work folder (pytest makes such).
    """
    if os.getuid() != 0:
        return work / "postgres"
    tag = hashlib.sha256(str(work).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"dw-real-server-postgres-{tag}"


def _owner() -> dict[str, Any]:
    """Popen arguments: root hands Postgres to the user its package made."""
    if os.getuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise SetupError("running as root, and there is no user `postgres` to run Postgres as") from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}
