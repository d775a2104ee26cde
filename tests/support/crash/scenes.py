"""The scripts that write, each with what comes before it, how it is told, and what comes after it.

What comes before it is done once: `Stage` then gives each crash point a copy of the folder, and a server over a copy of
the data. The requests are `p-01` to `p-10`, in three parts. Those with the word `flaky` are refused
(503) while the server's rule says so.
"""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from doubleword.base.failures import Clock
from doubleword.job.job import Job
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.crash.child import Child
from support.oracle import LocalOracle
from support.proxy import http_message
from support.proxy.exchange import Drop, Moment
from support.proxy.http_message import Request
from support.proxy.proxy import Proxy
from support.running import Ran, chat_line, run

REQUESTS, IN_PART = 10, 4
FLAKY = (3, 8)
IDS = [f"p-{n:02}" for n in range(1, REQUESTS + 1)]
RUNS = 5  # of one command after a kill, until it converges
FLAKY_RULE = FailRule(re.compile("flaky"), 503)
# For `shape`: ids and hashes (some are of files with ids in them); times, processes, ports; what the server holds.
_DRAWN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,64}")
_TIME = re.compile(r"\b\d+\.\d+\b|\b\d{9,}\b|(?<=process )\d+|(?<=127\.0\.0\.1:)\d+")
_SEEN = (
    "SELECT id, filename, kind, deleted_at IS NULL FROM files ORDER BY seq",
    "SELECT id, input_file_id, metadata, completed + failed = total, cancelling_at IS NULL, cancelled_at IS NULL,"
    " failed_at IS NULL, deleted_at IS NULL FROM batches ORDER BY seq",
)
# Long enough that a batch is still running whatever the test does, short enough to end with the server.
SLOW_SECONDS = 20.0


@contextmanager
def within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Scene:
    """One script at one point of the job's life. Subclasses say `command`, `codes`, and what comes before.

    `number` is that of the crash point. All methods are called in the folder.
    """

    command: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)  # how the command ends once it has converged
    flaky = False
    settled = True  # whether its answer no longer changes

    def __init__(self, server: LocalServer, folder: Path, number: int = 0) -> None:
        self.server, self.folder, self.number = server, folder, number
        self.oracle = LocalOracle(server.database, since=0)

    def before(self) -> None:
        """Once for all crash points; afterwards nothing is under way."""
        Path("r.jsonl").write_text("".join(chat_line(i, self.prompt(n)) for n, i in enumerate(IDS, 1)))

    def just_before(self) -> None:
        """For each crash point anew."""

    def prompt(self, n: int) -> str:
        return f"number {n}{' flaky' if self.flaky and n in FLAKY else ''}"

    def step(self, *command: str) -> Ran:
        """A step of the preparation or of the end, which must go well."""
        done = run(*command)
        assert done.code == 0, (command, done)
        return done

    def again(self) -> Ran:
        """The same command until it has converged, and once more: the answer stays the same."""
        for _ in range(RUNS):
            done = run(*self.command)
            if done.code not in (6, 8):  # these ask for another run
                break
        assert done.code in self.codes, done
        once_more = run(*self.command)
        assert (once_more.code, once_more.out) == (done.code, done.out) or not self.settled, (done, once_more)
        return done

    def finish(self) -> None:
        """The rest of the job, in the hands of a careful user; afterwards every request has its result."""
        self.server.settings.fail.clear()
        self.server.settings.delay = 0.0
        for _ in range(RUNS):
            done = run("run_batch", "r.jsonl")
            problems = self.oracle.judge(self.folder, IDS, done.code)
            assert not problems, problems
            if done.code == 0:
                return
            self.step("retry_failed", "r.jsonl")
        raise AssertionError(done)

    def shape(self) -> str:
        """Folder and server as they are now, but for times and for what was drawn: ids, and names made of them.

        "" if what comes after depends on more: on what the server is still busy with.
        """
        if not self.server.at_rest():
            return ""
        drawn: dict[str, str] = {}

        def plain(text: str) -> str:
            return _DRAWN.sub(lambda found: drawn.setdefault(found[0], f"<{len(drawn)}>"), _TIME.sub("#", text))

        # The record first: the files of a batch are then in the order of the parts, whatever its id.
        record = self.folder / "r.job" / "record.json"
        texts = [plain(record.read_text()) if record.exists() else ""]
        others = {plain(path.relative_to(self.folder).as_posix()): path for path in self.folder.rglob("*")}
        for name in sorted(others):
            path = others[name]
            texts.append(f"{name}: {plain(path.read_text(errors='replace')) if path.is_file() else 'a folder'}")
        texts += [plain(str(tuple(row))) for query in _SEEN for row in self.oracle.rows(query)]
        return "\n".join(texts)


class CreateBatchFile(Scene):
    command = ("create_batch_file", "r.jsonl", "--input", "r.csv", "--id-column", "id", "--model", "echo",
               "--prompt", "{text}", "--part-requests", str(IN_PART))  # fmt: skip

    def before(self) -> None:
        rows = [f"{i},{self.prompt(n)}\n" for n, i in enumerate(IDS, 1)]
        Path("r.csv").write_text("id,text\n" + "".join(rows))


class Upload(Scene):
    command: tuple[str, ...] = ("upload", "r.jsonl", "--part-requests", str(IN_PART))


class CreateBatch(Upload):
    command: tuple[str, ...] = ("create_batch", "r.jsonl")

    def before(self) -> None:
        super().before()
        self.step(*Upload.command)


class SettleLost(CreateBatch):
    """Killed while it submitted the first part, and the request was lost: the ticket has to be torn up."""

    def just_before(self) -> None:
        self.lost: Request | None = None
        with Proxy(self.server.port, self._kill) as proxy:
            self._child: Child | None = None
            self._child = Child(self.folder, self.command, base_url=proxy.base_url, warm=True)
            assert self._child.wait().killed
        assert self.lost

    def _kill(self, moment: Moment, request: Request) -> None:
        if moment is Moment.ARRIVED and request.is_("POST", "/batches"):
            self.lost = request
            while self._child is None:  # it was quicker than whoever started it
                time.sleep(0.001)
            self._child.kill()
            raise Drop


class SettleActed(SettleLost):
    """The same, but the server had acted: the batch has to be found."""

    def just_before(self) -> None:
        super().just_before()
        assert self.lost
        assert http_message.forward(self.lost, self.server.port).status == 201


class SettleLate(SettleLost):
    """The same, but the request arrives while the next run finds out what became of it: at another moment each time."""

    def shape(self) -> str:
        return ""

    def just_before(self) -> None:
        super().just_before()
        assert self.lost
        seconds = random.Random(self.number).uniform(0.0, 0.4)
        self._late = threading.Timer(seconds, http_message.forward, (self.lost, self.server.port))
        self._late.start()

    def finish(self) -> None:
        self._late.join()
        super().finish()


class Poll(CreateBatch):
    command: tuple[str, ...] = ("poll", "r.jsonl", "--interval-seconds", "1")

    def before(self) -> None:
        super().before()
        self.step(*CreateBatch.command)


class Download(Poll):
    command = ("download", "r.jsonl")
    codes = (9,)
    flaky = True

    def before(self) -> None:
        super().before()
        self.step(*Poll.command)


class DownloadAnew(Download):
    """A download whose first pass does not add up: an earlier, resumed one got one line twice and missed another."""

    def before(self) -> None:
        super().before()
        Path("r.job/spool").mkdir()
        first = (
            "SELECT b.id, min(a.line) AS line FROM answers a JOIN requests r USING (seq)"
            " JOIN batches b ON b.seq = r.batch WHERE a.kind = 'output' GROUP BY b.id"
        )
        for row in self.oracle.rows(first):
            Path("r.job/spool", f"{row['id']}.output.jsonl").write_bytes(row["line"] * 2)


class RetryFailed(Download):
    """Before any download: it fetches what it plans from."""

    command = ("retry_failed", "r.jsonl")
    codes = (0,)


class RunBatch(Scene):
    command = ("run_batch", "r.jsonl", "--part-requests", str(IN_PART), "--interval-seconds", "1")
    codes = (9,)
    flaky = True


class Running(CreateBatch):
    """A job whose requests are all in flight."""

    def just_before(self) -> None:
        self.server.settings.delay = SLOW_SECONDS
        self.step(*CreateBatch.command)
        self._wait_until_started()
        gc.collect()  # and with it the connections of that command

    def _wait_until_started(self) -> None:
        """A batch cancelled before its population began stays `cancelling` for good, which is another story."""
        query = "SELECT count(*) FROM requests WHERE custom_id IN (?, ?) AND state = 'in_progress'"
        deadline = time.monotonic() + 20
        while self.oracle.rows(query, IDS[0], IDS[-1])[0][0] < 2:
            assert time.monotonic() < deadline, "the batches do not start"
            time.sleep(0.005)


class ReplaceStuck(Running):
    """Tears up batches whose counts have stood still for two hours, and submits their parts anew."""

    command = ("create_batch", "r.jsonl", "--replace-stuck")

    def just_before(self) -> None:
        super().just_before()
        self.server.settings.delay = 0.0
        assert run("poll", "r.jsonl", "--once").out == "in_progress\n"
        job = Job.need(Path("r.jsonl"))
        with job.locked(Clock()):
            for batch in (part.batch for part in job.latest.parts if part.batch):
                batch.seen_at, batch.steady_at = batch.seen_at - 7200, batch.steady_at - 7200
            job.save()


class CancelBatch(Running):
    """Cancels it; afterwards nothing of it may run."""

    command = ("cancel_batch", "r.jsonl")
    settled = False  # the server goes from cancelling to cancelled

    def finish(self) -> None:
        left = self.oracle.rows("SELECT id FROM batches WHERE cancelled_at IS NULL AND completed_at IS NULL")
        assert not left, "a batch of a cancelled job runs"
        refused = run("run_batch", "r.jsonl")
        assert refused.code == 7, refused
        self.step("cancel_batch", "r.jsonl", "--resume")
        self.step("retry_failed", "r.jsonl")
        super().finish()


# The six that write more than the record; and harder places on their way, and the two that write the record alone.
WRITERS = (CreateBatchFile, Upload, CreateBatch, Download, RetryFailed, RunBatch)
SCENES = (*WRITERS, SettleLost, SettleActed, SettleLate, ReplaceStuck, DownloadAnew, Poll, CancelBatch)


class Stage:
    """A kind of scene whose beginning was made once, in `folder`."""

    def __init__(self, kind: type[Scene], folder: Path) -> None:
        self._kind, self._folder = kind, folder
        (folder / "begun" / "job").mkdir(parents=True)
        with self._scene(folder / "begun", 0) as scene, within(scene.folder):
            scene.before()
        self._url = os.environ["DOUBLEWORD_BASE_URL"]

    @contextmanager
    def scene(self, number: int) -> Iterator[Scene]:
        """One to be killed at that point: a job's folder, and a server to which DOUBLEWORD_BASE_URL is set."""
        place = self._folder / str(number)
        shutil.copytree(self._folder / "begun", place)
        with self._scene(place, number) as scene, within(scene.folder):
            record = Path("r.job/record.json")
            if record.exists():  # the same server, restarted with another port
                record.write_text(record.read_text().replace(self._url, scene.server.base_url))
            scene.just_before()
            yield scene
        shutil.rmtree(place)

    @contextmanager
    def _scene(self, place: Path, number: int) -> Iterator[Scene]:
        # A refused request fails at once instead of being tried for seconds.
        fail = [FLAKY_RULE] if self._kind.flaky else []
        with LocalServer(place / "server", speed=200, max_retries=0, fail=fail) as server:
            os.environ |= {"DOUBLEWORD_BASE_URL": server.base_url, "DOUBLEWORD_API_KEY": server.key}
            yield self._kind(server, place / "job", number)
