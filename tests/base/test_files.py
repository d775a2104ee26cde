"""The one door for writing: whole or not at all, private while it grows, and never through what somebody planted."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from doubleword.base import disk, files, lock, own_files
from doubleword.base.failures import BadInput, Temporary
from doubleword.base.files import require_writable, whole_file
from doubleword.base.own_files import open_own, own_folder
from doubleword.base.text import next_command
from support.running import SCRIPTS, FastClock, run, write_requests


def write(path: Path, content: bytes = b"new\n", mode_of: Path | None = None) -> None:
    with whole_file(path, mode_of) as file:
        file.write(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(files, "_UMASK", value)
    before = os.umask(value)
    yield
    os.umask(before)


# --- permissions ---


@pytest.mark.parametrize(
    ("source", "mask", "expected"),
    [(0o600, 0o022, 0o600), (0o644, 0o022, 0o644), (0o640, 0o022, 0o640), (0o400, 0o022, 0o600), (0o666, 0o077, 0o600),
     (0o755, 0o022, 0o644), (0o644, 0o002, 0o644), (None, 0o022, 0o644), (None, 0o077, 0o600)],
)  # fmt: skip
def test_a_new_file_is_no_more_open_than_what_it_was_made_from(
    source: int | None, mask: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_from = Path("source.csv")
    made_from.touch()
    made_from.chmod(source or 0o644)
    with umask(mask, monkeypatch):
        write(Path("out"), mode_of=made_from if source else None)
    assert mode(Path("out")) == expected


def test_a_users_chmod_of_a_file_stays_when_it_is_written_anew() -> None:
    for kept in (0o640, 0o604, 0o444):
        write(Path("out"))
        Path("out").chmod(kept)
        write(Path("out"), b"again\n")
        assert (mode(Path("out")), Path("out").read_bytes()) == (kept, b"again\n")


def test_nobody_else_can_read_a_file_while_it_is_written() -> None:
    with whole_file(Path("out")) as file:
        file.write(b"secret")
        file.flush()
        (unfinished,) = Path().iterdir()
        assert mode(unfinished) == 0o600
        assert len(unfinished.name) < 32


def test_a_private_source_gives_a_private_job(server: Any) -> None:
    Path("rows.csv").write_text("text\nfine\nbad\n")
    Path("rows.csv").chmod(0o600)
    made = run("create_batch_file", "r.jsonl", "--input", "rows.csv", "--model", "echo", "--prompt", "{text}")
    assert made.code == 0, made.err
    assert run("run_batch", "r.jsonl", "--output", "out.csv").code == 0
    for path in Path().rglob("*"):
        assert mode(path) & 0o077 == 0 or path.suffix == ".lock" or path.name == "lock", path


# --- what was planted ---


def test_nothing_is_written_through_a_link_or_into_a_pipe_or_a_folder() -> None:
    victim = Path("victim")
    victim.write_bytes(b"precious")
    Path("link").symlink_to(victim)
    Path("dangling").symlink_to("not-there-yet")
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name in ("link", "dangling", "pipe", "folder"):
        for door in (write, require_writable, files.require_plain, open_own):
            with pytest.raises(BadInput, match=name):
                door(Path(name))
        with pytest.raises(BadInput, match=name), lock.lock(Path(name), FastClock()):
            pass
    assert victim.read_bytes() == b"precious"
    assert not Path("not-there-yet").exists()
    assert sorted(os.listdir()) == ["dangling", "folder", "link", "pipe", "victim"]


def test_a_file_with_a_second_name_is_neither_locked_nor_appended_to() -> None:
    Path("victim").write_bytes(b"precious")
    os.link("victim", "lock")
    with pytest.raises(BadInput, match="another name"), lock.lock(Path("lock"), FastClock()):
        pass
    with pytest.raises(BadInput, match="another name"):
        open_own(Path("lock"))
    assert Path("victim").read_bytes() == b"precious"


def test_a_job_folder_that_is_a_link_is_refused(server: Any) -> None:
    Path("elsewhere").mkdir()
    Path("r.job").symlink_to("elsewhere")
    with pytest.raises(BadInput, match="a link"):
        own_folder(Path("r.job"))
    ran = run("upload", write_requests(Path("r.jsonl"), 1))
    assert ran.code == 3, ran.err
    assert os.listdir("elsewhere") == []


@pytest.mark.parametrize("planted", ["lock", "record.json", "spool"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_what_is_planted_in_a_folder_that_was_sent_is_refused_within_seconds(
    server: Any, planted: str, kind: str
) -> None:
    victim = Path("victim")
    victim.write_bytes(b"precious")
    requests = write_requests(Path("r.jsonl"), 1)
    Path("r.job").mkdir()
    place = Path("r.job") / planted
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(victim.absolute() if kind == "link" else "../made")

    ran = run("run_batch", requests)

    assert ran.code == 3, ran.err
    assert victim.read_bytes() == b"precious"
    assert not Path("made").exists()


# --- leftovers ---


def test_what_a_killed_copy_left_is_removed_and_what_another_is_writing_stays() -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from doubleword.base.files import whole_file\n"
        "with whole_file(Path('out')) as file: file.write(b'x'); print('on', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(SCRIPTS)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"on\n"
    write(Path("other"))
    assert len(os.listdir()) == 2, "the file that is being written was taken for a leftover"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    write(Path("other"))
    assert os.listdir() == ["other"]


def test_a_planted_leftover_is_not_followed() -> None:
    Path("victim").write_bytes(b"precious")
    Path(".dwb-0123456789abcdef.tmp").symlink_to("victim")
    os.link("victim", ".dwb-0123456789abcdee.tmp")
    os.mkfifo(".dwb-0123456789abcded.tmp")
    write(Path("out"))
    assert Path("victim").read_bytes() == b"precious"
    assert Path(".dwb-0123456789abcdee.tmp").exists()


# --- what the file system says ---


def test_a_name_that_the_system_just_takes_is_written_and_a_longer_one_is_refused_at_the_start() -> None:
    longest = Path("é" * 127 + "x")  # 255 bytes
    write(longest)
    assert longest.read_bytes() == b"new\n"
    for door in (write, require_writable):
        with pytest.raises(OSError, match="too long") as raised:
            door(Path("é" * 128))
        assert raised.value.filename == str(Path("é" * 128))


def test_a_folder_that_is_missing_or_not_writable_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="there is no folder nosuch"):
        write(Path("nosuch/out"))

    def refuse(path: str, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(files, "_create", refuse)
    with pytest.raises(OSError, match="Read-only file system: 'out'"):
        require_writable(Path("out"))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF, errno.ENOSYS, errno.EPERM])
def test_a_file_system_without_fsync_goes_on(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync_says(code, monkeypatch)
    write(Path("out"))
    assert Path("out").read_bytes() == b"new\n"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_or_broken_is_named_and_leaves_the_old_file(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("out"), b"old\n")
    fsync_says(code, monkeypatch)
    with pytest.raises(OSError, match="out") as raised:
        write(Path("out"))
    assert raised.value.errno == code
    assert Path("out").read_bytes() == b"old\n"
    assert os.listdir() == ["out"]


def test_a_file_is_on_the_disk_before_its_name_is_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename survives a power cut only when the folder was synced after it."""
    synced: list[tuple[bool, bool]] = []
    fsync, path = os.fsync, tmp_path / "a.jsonl"

    def noted(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write(path)
    assert synced == [(False, False), (True, True)]


def fsync_says(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_folder_that_may_be_written_but_not_read_is_enough() -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    folder = Path("drop")
    folder.mkdir(mode=0o300)
    write(folder / "out")
    assert (folder / "out").read_bytes() == b"new\n"


# --- the lock ---


def test_a_lock_is_held_by_one_and_dropped_by_a_killed_process() -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from doubleword.base.failures import Clock; from doubleword.base.lock import lock\n"
        "with lock(Path('lock'), Clock()): print('on', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(SCRIPTS)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"on\n"
    with pytest.raises(Temporary, match=f"process {child.pid}"), lock.lock(Path("lock"), FastClock(0)):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with lock.lock(Path("lock"), FastClock(0)):
        assert Path("lock").read_text() == f"process {os.getpid()}\n"


def test_a_lock_file_that_is_deleted_under_its_holder_is_made_anew() -> None:
    with lock.lock(Path("lock"), FastClock(0)):
        Path("lock").unlink()
        with lock.lock(Path("lock"), FastClock(0)):
            assert Path("lock").exists()


# --- Windows, as far as it can be played here ---


class Msvcrt:
    """The bytes that are locked, by handle, as Windows keeps them: by nobody else to be locked or read."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], tuple[int, int]] = {}

    def locking(self, handle: int, mode: int, count: int) -> None:
        found, place = os.fstat(handle), os.lseek(handle, 0, os.SEEK_CUR)
        assert (mode, count) == (self.LK_NBLCK, 1)
        assert place > 1000, "the name of the holder could not be read"
        key = found.st_ino, place
        if key in self.held:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.held[key] = handle, place


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Msvcrt:
    """What differs there for files and locks: no fcntl, no flags, no permissions, other modules, another os.name."""
    played = Msvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", played)
    monkeypatch.setattr(files, "PLAIN", 0)
    monkeypatch.setattr(own_files, "PLAIN", 0)
    for name in ("fchmod", "fchown", "geteuid", "getegid"):
        monkeypatch.delattr(os, name)
    for module in (disk, files):
        monkeypatch.setattr(module, "is_windows", lambda: True)
    return played


def test_the_lock_works_with_what_windows_has(windows: Msvcrt) -> None:
    with (
        lock.lock(Path("lock"), FastClock(0)),
        pytest.raises(Temporary, match=f"process {os.getpid()}"),
        lock.lock(Path("lock"), FastClock(0)),
    ):
        pass


def test_files_are_written_with_what_windows_has(windows: Msvcrt, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = [PermissionError(errno.EACCES, "in use")] * 3
    replace = os.replace

    def busy(source: Path, target: Path) -> None:  # as while a virus scanner looks into the new file
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    started = time.monotonic()
    Path(".dwb-0123456789abcdef.tmp").touch()
    write(Path("out"))
    with open_own(Path("spool")) as file:
        file.write(b"line\n")
    require_writable(Path("out"))
    assert (Path("out").read_bytes(), Path("spool").read_bytes()) == (b"new\n", b"line\n")
    assert sorted(os.listdir()) == ["out", "spool"]
    assert time.monotonic() - started < 5
    monkeypatch.setattr(disk, "SHARING_PAUSES", (0.0,))
    refusals += [PermissionError(errno.EACCES, "in use", "out")] * 9
    with pytest.raises(PermissionError):
        write(Path("out"))
    assert Path("out").read_bytes() == b"new\n"


def test_a_next_command_is_quoted_as_windows_splits_it(windows: Msvcrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doubleword.base.text.is_windows", lambda: True)
    command = next_command("upload.py", Path("my reviews.jsonl"), "it's", 'say "x"')
    assert command.endswith("""upload.py "my reviews.jsonl" it's "say \\"x\\"\"""")
    assert "'" not in command.replace("it's", "")


def test_another_copy_never_takes_a_file_for_a_leftover_that_is_just_put_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace = os.replace

    def meanwhile(old: Path, new: Path) -> None:
        with files.whole_file(Path("other")) as other:  # which looks for leftovers in the same folder
            other.write(b"other")
            replace(old, new)

    monkeypatch.setattr(
        os, "replace", lambda old, new: meanwhile(old, new) if new.name == "mine" else replace(old, new)
    )
    with files.whole_file(Path("mine")) as file:
        file.write(b"mine")
    assert (Path("mine").read_bytes(), Path("other").read_bytes()) == (b"mine", b"other")
