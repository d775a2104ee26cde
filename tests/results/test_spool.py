"""The spool: whose files are whose, what is opened, and what it takes of the memory."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from doubleword.job.batch import Batch
from doubleword.job.job import Job
from doubleword.results import line_outcome
from doubleword.results.spool import Spool, distinct, spool_files
from doubleword.service.server_objects import told_of
from local_server.app import LocalServer
from support.running import FastClock, run, run_process, write_requests

ODD_IDS = ["b.1", "b:1", "b@1", "b_1", "B_1", "b-1", "a" * 90, "a" * 91, "a" * 80, "reused-1"]


def batch(batch_id: str) -> Batch:
    return told_of({"id": batch_id}, "", FastClock()).batch


def test_no_two_batches_share_a_spool_whatever_their_ids_are() -> None:
    job = Job.to_be(Path("r.jsonl"), FastClock())
    paths = [path for odd in ODD_IDS for path in spool_files(job, batch(odd))]
    for one, other in itertools.combinations(paths, 2):
        assert one.name.lower() != other.name.lower()


def long_ids(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b'{"id":"x%d","custom_id":"' % number + b"a" * 4_000_000 + b'","response":null,"error":null}\n'


class Sent:
    """As the server's, of which only this is asked."""

    def __init__(self, blocks: Callable[[], Iterator[bytes]]) -> None:
        self.blocks = blocks

    def content(self, file_id: str, skip: int) -> Any:
        del file_id, skip
        return self.blocks()


def test_ids_that_no_request_can_have_take_no_memory() -> None:
    path = Path("s.output.jsonl")
    tracemalloc.start()
    spool = Spool(path, None, 3, line_outcome.Looked(path, None))
    spool.fetch(Sent(lambda: long_ids(40)), "f", lambda _: None)  # type: ignore[arg-type]
    assert sum(1 for _ in line_outcome.read(path, None)) == len(distinct(path)) == 40
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("command", ["reuse", "download", "retry_failed", "report"])
def test_what_was_planted_under_the_name_of_a_spool_is_neither_waited_for_nor_read(
    server: LocalServer, kind: str, command: str
) -> None:
    del server
    assert run("run_batch", write_requests(Path("old.jsonl"), 2)).code == 0
    Path("old.results.jsonl").unlink()
    (spool,) = Path("old.job/spool").glob("*.output.jsonl")
    spool.unlink()
    Path("secret").write_text("{}\n")
    if kind == "pipe":
        os.mkfifo(spool)
    else:
        spool.symlink_to(Path("secret").resolve())
    Path("t.txt").write_text("prompt number 1\n")
    made = ["new.jsonl", "--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "echo"]
    reuse = ["create_batch_file", *made, "--max-tokens", "50", "--reuse", "old.jsonl"]

    ran = run_process(*(reuse if command == "reuse" else [command, "old.jsonl"]), timeout=20)

    assert ran.code in (3, 5), ran.err
    assert Path("secret").read_text() == "{}\n"


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="no folder in which nobody can make a file")
def test_a_spool_in_a_folder_that_nobody_can_write_to_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_outcome, "_file", None)
    (found,) = line_outcome.read(Path("/proc/version"), None)
    assert found.kind == "not_json"
