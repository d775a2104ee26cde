"""The scripts started in every way a machine knows: interpreter flags, links, folders, streams, encodings."""

from __future__ import annotations

import ast
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.running import COMMANDS, SCRIPTS, write_requests

CHECK = ("create_batch_file", "--check")
BARE = {"PATH": "/usr/bin:/bin"}


def start(
    *words: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[int, bytes, bytes]:
    """A command line as a process: exit code, and the bytes of stdout and stderr."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **(env or {})} if env is not BARE else BARE,
        cwd=cwd,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def by_shell(line: str, **env: str) -> tuple[int, bytes, bytes]:
    return start("sh", "-c", line, env={"PY": sys.executable, "S": str(SCRIPTS), **env})


# --- how it is started ---


@pytest.mark.parametrize("flags", [["-I"], ["-P"], ["-E"], ["-s", "-S"], ["-O"], ["-W", "error"], ["-X", "utf8=0"]])
def test_the_scripts_find_their_rooms_under_any_flag_of_the_interpreter(flags: list[str]) -> None:
    if flags == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("-P came with Python 3.11")

    code, out, err = start(sys.executable, *flags, SCRIPTS / "create_batch_file.py", "--check", requests())

    assert (code, out) == (0, b"r.jsonl\n"), err


def requests(name: str = "r.jsonl") -> Path:
    return write_requests(Path(name), 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_script_starts_isolated_from_another_folder_without_a_home(command: str) -> None:
    without = {name: value for name, value in os.environ.items() if name not in ("HOME", "PATH", "LANG")}

    done = subprocess.run(
        [sys.executable, "-I", SCRIPTS / f"{command}.py", "--help"],
        env=without,
        cwd="/",
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"exit codes:" in done.stdout


def test_a_link_to_a_script_or_to_the_folder_works_and_names_commands_that_work() -> None:
    Path("run-it").symlink_to(SCRIPTS / "create_batch_file.py")
    Path("skill").symlink_to(SCRIPTS.parent)
    requests()
    for script in ("run-it", "skill/scripts/create_batch_file.py"):
        for flags in ([], ["-I"]):
            code, out, err = start(sys.executable, *flags, script, "--check", "r.jsonl", "--json")
            assert code == 0, err
            step = json.loads(out)["next"]
            assert by_shell(step + " --help")[0] == 0, step


def test_the_bare_environment_is_enough() -> None:
    code, out, err = start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", requests(), env=BARE)

    assert (code, out) == (0, b"r.jsonl\n"), err


def test_nothing_is_written_inside_the_folder_of_the_skill(tmp_path: Path, server: LocalServer) -> None:
    skill = tmp_path / "skill"
    shutil.copytree(SCRIPTS, skill / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(skill.rglob("*"))
    for path in [*before, skill]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for command, *more in (("run_batch", "--interval-seconds", "0.2"), ("list_models",)):
            code, _, err = start(sys.executable, skill / "scripts" / f"{command}.py", *names(command), *more)
            assert code == 0, err
        assert sorted(skill.rglob("*")) == before
    finally:
        for path in [skill, *before]:
            path.chmod(0o755)


def names(command: str) -> list[Path]:
    return [] if command == "list_models" else [requests()]


# --- real file systems ---


@contextmanager
def mounted(options: str) -> Iterator[Path]:
    """A file system of its own; skips where none can be mounted (root alone can)."""
    place = Path("mounted").resolve()
    place.mkdir()
    if not shutil.which("mount") or start("mount", "-t", "tmpfs", "-o", options, "none", place)[0] != 0:
        pytest.skip("no file system can be mounted here: only root can, outside of some containers")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_file_system_is_enough_for_the_skill_and_named_where_a_job_is_to_be(server: LocalServer) -> None:
    with mounted("size=20m") as place:
        shutil.copytree(SCRIPTS, place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        write_requests(place / "r.jsonl", 2)
        (place / "t.csv").write_text("text\ngood\n")
        before = sorted(place.rglob("*"))
        assert start("mount", "-o", "remount,ro", place)[0] == 0
        making: list[str | Path] = ["--input", place / "t.csv", "--model", "echo", "--prompt", "{text}"]
        ran = ["--interval-seconds", "0.2"]
        assert start(sys.executable, place / "scripts/create_batch_file.py", "s.jsonl", *making)[0] == 0
        assert start(sys.executable, place / "scripts/run_batch.py", *ran, "s.jsonl", "--output", "o.csv")[0] == 0
        assert start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", place / "r.jsonl")[0] == 0
        tried: list[tuple[str | Path, ...]] = [
            ("create_batch_file", place / "u.jsonl", *making),
            ("create_batch_file", place / "r.jsonl", "--fix", place / "u.jsonl"),
            ("upload", place / "r.jsonl"),
            ("run_batch", place / "r.jsonl", *ran),
            ("run_batch", *ran, "s.jsonl", "--output", place / "o.csv"),
            ("download", "s.jsonl", "--output", place / "o.csv"),
        ]
        for command, *words in tried:
            code, _, err = start(sys.executable, SCRIPTS / f"{command}.py", *words)
            assert (code, b"Read-only file system" in err, b"Traceback" in err) == (3, True, False), (command, err)
            assert bytes(place) in err
        assert sorted(place.rglob("*")) == before


def test_a_home_that_is_read_only_stops_no_submission_from_a_good_disk(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted("size=1m") as home:
        (home / f".local/state/doubleword-batches-{os.getuid()}").mkdir(mode=0o700, parents=True)
        assert start("mount", "-o", "remount,ro", home)[0] == 0
        monkeypatch.setenv("HOME", str(home))
        write_requests(Path("r.jsonl"), 2)
        code, _, err = start(sys.executable, SCRIPTS / "run_batch.py", "r.jsonl", "--interval-seconds", "0.2")
        assert code == 0, err


def test_a_disk_that_is_really_full_is_named_and_nothing_half_is_left(server: LocalServer) -> None:
    with mounted("size=256k") as place:
        rows = Path("t.csv")
        rows.write_text("text\n" + f"{'x' * 900}\n" * 600)
        code, _, err = start(
            sys.executable, SCRIPTS / "create_batch_file.py", place / "r.jsonl", "--input", rows, "--model", "echo",
            "--prompt", "{text}",
        )  # fmt: skip
        assert (code, b"Traceback" in err, bytes(place) in err) == (3, False, True), err
        assert list(place.iterdir()) == []
        write_requests(place / "r.jsonl", 20)
        (place / "filler").write_bytes(bytes(256 * 1024 - 4096 * 4))
        ran: list[str | Path] = [
            sys.executable,
            SCRIPTS / "run_batch.py",
            place / "r.jsonl",
            "--interval-seconds",
            "0.2",
        ]
        codes = [start(*ran)[::2] for _ in range(2)]
        assert all(code in (0, 3) and b"Traceback" not in err for code, err in codes), codes
        (place / "filler").unlink()
        assert start(*ran)[0] == 0
        assert (place / "r.results.jsonl").read_bytes().count(b"\n") == 20


# --- older interpreters ---


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_an_older_python_can_read_each_script_up_to_the_line_that_refuses_it(path: Path) -> None:
    # What has `from __future__ import annotations` in it is a syntax error for Python 3.6, and so is a walrus.
    source = path.read_text(encoding="utf-8")
    assert "from __future__ import annotations" not in source, "Python 3.6 would stop here with a syntax error"
    ast.parse(source, feature_version=(3, 7))
    ast.parse((SCRIPTS / "doubleword" / "__init__.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def older() -> list[Path]:
    known = [Path(path) for n in range(6, 10) if (path := shutil.which(f"python3.{n}"))]
    known += sorted((Path.home() / ".pyenv/versions").glob("3.[6-9].*/bin/python"))
    return [path for path in known if subprocess.run([path, "-V"], capture_output=True).returncode == 0][-2:]


OLDER = older()


@pytest.mark.skipif(not OLDER, reason="no Python below 3.10 is installed")
def test_an_older_python_is_told_so_in_one_line() -> None:
    for python, command in itertools.product(OLDER, COMMANDS):
        code, out, err = start(python, SCRIPTS / f"{command}.py", "r.jsonl")
        assert (code, out) == (2, b"")
        assert err.startswith(b"needs Python 3.10 or later; this is 3.")
        assert err.count(b"\n") == 1
    code, out, err = start(OLDER[0], SCRIPTS / "poll.py", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (2, 2)


# --- uv ---

UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(UV is None, reason="uv is not installed")
def test_a_script_runs_by_uv_and_so_does_the_command_it_names() -> None:
    assert UV is not None
    Path("t.csv").write_text("text\ngood\n")
    flags = ["r.jsonl", "--input", "t.csv", "--model", "m", "--prompt", "{text}", "--json"]
    code, out, err = start(
        UV, "run", "--python", "3", SCRIPTS / "create_batch_file.py", *flags, env={"UV_NO_CONFIG": "1"}
    )
    assert code == 0, err
    step = json.loads(out)["next"]
    assert step.split()[:2] == ["uv", "run"]
    assert step.endswith("upload.py r.jsonl")
    assert start(UV, "run", SCRIPTS / "create_batch_file.py", "--help")[0] == 0


# --- streams ---

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_change_neither_the_work_nor_the_exit_code(closed: str, server: LocalServer) -> None:
    requests()
    for line, expected in (
        ("$PY $S/run_batch.py r.jsonl --interval-seconds 0.2", 0),
        ("$PY $S/download.py missing.jsonl", 3),
        ("$PY $S/upload.py --help", 0),
        ("$PY $S/upload.py --nonsense", 2),
    ):
        code, out, err = by_shell(f"{line} {closed}")
        assert code == expected, (line, err)
        assert b"Traceback" not in err
        assert not (out and " >&-" in f" {closed}")
    assert Path("r.results.jsonl").read_bytes().count(b"\n") == 2
    assert write_requests(Path("same.jsonl"), 2).read_bytes() == Path("r.jsonl").read_bytes()


def test_a_reader_that_leaves_is_no_error_and_a_full_disk_is_one() -> None:
    requests()
    assert by_shell("$PY $S/create_batch_file.py --check r.jsonl | true")[0] == 0
    assert by_shell("$PY $S/create_batch_file.py --help | head -1; exit 0")[2] == b""
    if Path("/dev/full").exists():
        code, _, err = by_shell("$PY $S/create_batch_file.py --check r.jsonl > /dev/full")
        assert code == 3
        assert b"stdout: No space left" in err
        assert b"Traceback" not in err
        assert by_shell("$PY $S/create_batch_file.py --check r.jsonl 2> /dev/full")[:2] == (0, b"r.jsonl\n")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "ascii:replace", "utf-16", "latin-1:ignore", "cp437"])
def test_the_answer_survives_any_encoding_of_stdout(encoding: str) -> None:
    path = requests("Москва 数据 é.jsonl")
    env = {"PYTHONIOENCODING": encoding}

    code, out, err = start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", path, "--json", env=env)

    assert code == 0, err
    facts = json.loads(out.decode(encoding.split(":")[0]))
    assert facts["request_file"] == str(path)
    assert str(path) in facts["next"]
    assert start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", path, env=env)[0] == 0
    assert start(sys.executable, SCRIPTS / "upload.py", "не.jsonl", env=env)[0] == 3


def test_a_file_name_that_is_no_text_is_escaped_where_no_single_byte_can_stand() -> None:
    path = requests(os.fsdecode(b"caf\xe9.jsonl"))

    for encoding in ("utf-16", "utf-32-le"):
        env = {"PYTHONIOENCODING": encoding}
        code, out, err = start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", path, env=env)
        assert code == 0, err
        assert out.decode(encoding) == "caf\\udce9.jsonl\n"


PLAIN_LOCALES: list[dict[str, str]] = [
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("env", PLAIN_LOCALES)
@pytest.mark.parametrize("name", ["Москва.jsonl".encode(), b"caf\xe9.jsonl"])
def test_a_file_name_beyond_ascii_goes_through_in_a_plain_locale(
    env: dict[str, str], name: bytes, server: LocalServer
) -> None:
    requests()
    os.rename(b"r.jsonl", name)
    path = Path(os.fsdecode(name))
    for command, *more in (("upload",), ("run_batch", "--interval-seconds", "0.2")):
        code, out, err = start(sys.executable, SCRIPTS / f"{command}.py", path, *more, env=env)
        assert code == 0, (command, err)
    assert os.fsencode(out.decode("utf-8", "surrogateescape").splitlines()[0]) == name.replace(
        b".jsonl", b".results.jsonl"
    )
    code, out, err = start(sys.executable, SCRIPTS / "download.py", path, "--json", env=env)
    assert os.fsencode(json.loads(out)["results_file"]) == name.replace(b".jsonl", b".results.jsonl")


def test_a_next_command_with_a_name_that_is_no_text_works_as_it_is_printed(server: LocalServer) -> None:
    requests()
    os.rename(b"r.jsonl", b"caf\xe9.jsonl")
    code, _, err = start(sys.executable, SCRIPTS / "poll.py", os.fsdecode(b"caf\xe9.jsonl"))
    assert code == 5
    command = err.split(b"next: ")[1].split(b" begins the job")[0]
    assert b"caf\xe9.jsonl" in command
    assert subprocess.run(command, shell=True, capture_output=True, timeout=60).returncode == 0


def test_what_would_act_on_a_terminal_is_escaped_on_both_streams_and_in_json() -> None:
    bad = "a\x1b[31m\u009b2J\u202egpj.\u2028\u200b\U000e0041b.jsonl"
    requests(bad)
    for flag in ("--quiet", "--json"):
        code, out, err = start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", bad, flag)
        assert code == 0
        shown = (out + err).decode()
        assert not [c for c in "\x1b\u009b\u202e\u2028\u200b\U000e0041" if c in shown]
    assert json.loads(out)["request_file"] == bad
    code, out, err = start(sys.executable, SCRIPTS / "create_batch_file.py", "--check", bad + "x", "--json")
    assert "\u009b" not in err.decode()
    assert json.loads(err)["error"]["code"] == 3
