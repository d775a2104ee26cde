"""The record is written under its lock alone, after it was read anew; news of parts go to a journal, and stay."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pytest

from doubleword.job import begin, record_file
from doubleword.job.job import Job
from doubleword.job.next_step import remember
from doubleword.job.record import Part, Record, Upload
from doubleword.request_file import check
from doubleword.rows.source import Source
from local_server.app import LocalServer
from support.running import FastClock, run, write_requests

CLOCK = FastClock()
RECORD, JOURNAL = Path("r.job/record.json"), Path("r.job/record.journal")


@pytest.fixture(autouse=True)
def _no_record_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doubleword.job.job_folder.SMALL_BYTES", 0)


def job_of(parts: int) -> Job:
    write_requests(Path("r.jsonl"), parts)
    return begin.prepare(Path("r.jsonl"), CLOCK, part_requests=1)


def facts(record: Record, part: Part | None) -> Any:
    """All but the other parts: a thread may have learnt something of them since, and not saved it yet."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(record)))
    for attempt in found["attempts"]:
        attempt["parts"] = [p for p in attempt["parts"] if part is None or p["span"]["sha256"] == part.span.sha256]
    return found


def told(job: Job, part: Part, text: str) -> None:
    part.estimates = {"24h": text}
    job.save(part)


@pytest.mark.parametrize("name", ['é"\\\x1f', 'é"\\\udc80\x1f'])
@pytest.mark.parametrize("package", [orjson, None])
def test_a_record_is_written_as_json_writes_it_with_an_indent(
    monkeypatch: pytest.MonkeyPatch, package: Any, name: str
) -> None:
    monkeypatch.setattr(record_file, "orjson", package)
    record = job_of(2).record
    record.requests.name, record.requests.models, record.created_at = name, {"m": 1}, 1795878958.1395376
    record.source = Source(path="t", sha256="", size=0, format="csv", delimiter="\t", used=("a",), skipped=())
    assert record_file.as_text(record) == json.dumps(asdict(record), indent=2, ensure_ascii=False)


def test_nothing_is_written_without_the_lock() -> None:
    job = job_of(2)
    before = RECORD.read_bytes()
    for part in (None, job.latest.parts[0]):
        with pytest.raises(AssertionError, match="under its lock"):
            job.save(part)
    with pytest.raises(AssertionError, match="under its lock"):
        remember(job, max_cost=3)
    assert RECORD.read_bytes() == before


def test_what_was_taken_before_the_lock_says_under_it_what_the_record_says() -> None:
    job = job_of(2)
    attempt, part = job.latest, job.latest.parts[1]
    other = Job.need(Path("r.jsonl"))
    with other.locked(CLOCK):
        other.latest.cancelled_at = 7.0
        told(other, other.latest.parts[1], "0.5")
        other.save()
    with job.locked(CLOCK):
        assert attempt is job.latest
        assert part is job.latest.parts[1]
        assert (attempt.cancelled_at, part.estimates) == (7.0, {"24h": "0.5"})
        part.upload = Upload("name", None)
        job.save(part)
    again = Job.need(Path("r.jsonl"))
    assert (again.latest.cancelled_at, again.latest.parts[1].upload) == (7.0, Upload("name", None))


def test_a_part_that_is_no_longer_of_the_record_cannot_be_written() -> None:
    job = job_of(2)
    other = Job.need(Path("r.jsonl"))
    with job.locked(CLOCK), pytest.raises(AssertionError, match="before the lock"):
        job.save(other.latest.parts[0])


def test_the_disk_has_after_every_save_what_the_memory_has(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact that is saved with the part it does not belong to would be lost by a kill."""
    saved = 0
    save = Job.save

    def checked(job: Job, part: Part | None = None) -> None:
        nonlocal saved
        save(job, part)
        if job.recorded:
            saved += 1
            on_disk = Job.load(job.folder)
            assert on_disk is not None
            memory, disk = facts(job.record, part), facts(on_disk.record, part)
            assert disk == memory

    monkeypatch.setattr(Job, "save", checked)
    requests = write_requests(Path("r.jsonl"), 8)
    assert run("run_batch", requests, "--part-requests", "2", "--jobs", "1", "--trial", "3").code == 8
    assert run("run_batch", requests, "--part-requests", "2", "--jobs", "1", "--max-cost", "5").code in (0, 4)
    assert run("cancel_batch", requests).code == 0
    assert saved > 10


def test_a_journal_that_was_cut_off_anywhere_gives_what_was_written_whole() -> None:
    job = job_of(3)
    with job.locked(CLOCK):
        job.save()
        for number, part in enumerate(job.latest.parts):
            told(job, part, str(number))
        record, written = RECORD.read_bytes(), JOURNAL.read_bytes()
    assert not JOURNAL.exists(), "folded in when the lock was released"
    whole = [asdict(Job.need(Path("r.jsonl")).record)]
    RECORD.write_bytes(record)
    seen = set()
    for size in range(len(written) + 1):
        JOURNAL.write_bytes(written[:size])
        parts = Job.need(Path("r.jsonl")).latest.parts
        estimates = [part.estimates.get("24h") for part in parts]
        lines = written[:size].count(b"\n")
        assert estimates == [str(n) if n < lines - 1 else None for n in range(3)]
        seen.add(lines)
    assert seen == {0, 1, 2, 3, 4}
    with job.locked(CLOCK):  # whoever comes next folds it in with the first thing learnt
        told(job, job.latest.parts[0], "0")
    assert [asdict(Job.need(Path("r.jsonl")).record)] == whole


def test_the_journal_of_another_record_says_nothing() -> None:
    job = job_of(2)
    with job.locked(CLOCK):
        job.save()
        told(job, job.latest.parts[0], "old")
        kept = JOURNAL.read_bytes()
        told(job, job.latest.parts[0], "new")
    JOURNAL.write_bytes(kept)  # a kill came after the record was written and before the journal was removed
    assert Job.need(Path("r.jsonl")).latest.parts[0].estimates == {"24h": "new"}


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_line_that_was_half_written_takes_nothing_that_comes_after_it_along(
    monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    job = job_of(3)
    write = os.write
    with job.locked(CLOCK):
        job.save()
        first, second, third = job.latest.parts
        told(job, first, "first")

        def half(handle: int, data: bytes) -> int:
            monkeypatch.setattr(os, "write", stopped)
            return write(handle, data[:50])

        def stopped(handle: int, data: bytes) -> int:
            raise stop

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(type(stop)):
            told(job, second, "lost")
        monkeypatch.setattr(os, "write", write)
        told(job, third, "third")
        on_disk = Job.need(Path("r.jsonl")).latest.parts
    assert [part.estimates.get("24h") for part in on_disk] == ["first", None, "third"]


@pytest.mark.parametrize("part", [{"attempt": 0, "part": 1}, {"attempt": -1, "part": 1}, {"attempt": 1, "part": 0}])
def test_a_journal_that_names_no_part_is_a_damaged_record(part: dict[str, int]) -> None:
    job = job_of(2)
    told_of = part | {"is": json.loads(json.dumps(asdict(job.record)))["attempts"][0]["parts"][0]}
    JOURNAL.write_text(
        json.dumps({"record": record_file.hash_of(RECORD.read_bytes())}) + "\n" + json.dumps(told_of) + "\n"
    )
    refused = run("upload", "r.jsonl")
    assert refused.code == 3, refused.err
    assert "it names no part of the record" in refused.err


def test_an_unreadable_line_within_a_journal_is_a_damaged_record() -> None:
    job = job_of(3)
    with job.locked(CLOCK):
        job.save()
        for part in job.latest.parts:
            told(job, part, "0.1")
        record, lines = RECORD.read_bytes(), JOURNAL.read_bytes().splitlines(keepends=True)
    RECORD.write_bytes(record)
    JOURNAL.write_bytes(b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]]))
    refused = run("upload", "r.jsonl")
    assert refused.code == 3, refused.err
    assert "record.journal, line 3" in refused.err


@pytest.mark.parametrize("line", ['{"attempt": 9, "part": 1, "is": {}}', '{"attempt": 1, "part": 1, "is": {}}', "[]"])
def test_a_journal_that_was_edited_is_a_damaged_record(line: str) -> None:
    job_of(2)
    JOURNAL.write_text(json.dumps({"record": record_file.hash_of(RECORD.read_bytes())}) + "\n" + line + "\n")
    refused = run("upload", "r.jsonl")
    assert refused.code == 3, refused.err
    assert "is damaged" in refused.err


def test_what_is_written_for_n_parts_grows_as_n(monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    whole, line = Job._write_whole, record_file.Journal._write

    def counted_whole(job: Job) -> None:
        nonlocal written
        whole(job)
        written += RECORD.stat().st_size

    def counted_line(self: record_file.Journal, file: BinaryIO, value: record_file.Entry) -> None:
        nonlocal written
        before = self.size
        line(self, file, value)
        written += self.size - before

    monkeypatch.setattr(Job, "_write_whole", counted_whole)
    monkeypatch.setattr(record_file.Journal, "_write", counted_line)
    totals = []
    for parts in (50, 100, 200):
        RECORD.unlink(missing_ok=True)
        job, written = job_of(parts), 0
        with job.locked(CLOCK):
            for part in job.latest.parts:
                for step in range(6):
                    told(job, part, str(step))
        totals.append(written)
    assert totals[1] < 2.5 * totals[0], totals
    assert totals[2] < 2.5 * totals[1], totals


def test_two_names_that_would_share_a_record_are_told_apart(server: LocalServer) -> None:
    write_requests(Path("data.jsonl"), 3)
    assert run("upload", "data.jsonl").code == 0
    write_requests(Path("data"), 4)
    for command in ("upload", "create_batch", "run_batch"):
        refused = run(command, "data")
        assert (refused.code, refused.out) == (3, ""), refused.err
        assert "belongs to data.jsonl" in refused.err
        assert "give one of the two files another name" in refused.err


def test_a_request_file_that_was_renamed_is_told_the_name_it_had(server: LocalServer) -> None:
    """Else the next step would be to begin a second job of the same requests."""
    write_requests(Path("lab.jsonl"), 3)
    assert run("run_batch", "lab.jsonl").code == 0
    Path("lab.jsonl").rename("old.jsonl")

    alone = run("download", "old.jsonl")

    assert alone.code == 5, alone.err
    assert "give it back the name lab.jsonl" in alone.err
    assert "upload.py" not in alone.err
    Path("lab.job").rename("old.job")
    both = run("download", "old.jsonl")
    assert both.code == 3, both.err
    assert "give them back their names: lab.jsonl and lab.job" in both.err
    write_requests(Path("new.jsonl"), 4)
    assert "upload.py new.jsonl begins the job" in run("download", "new.jsonl").err


def test_a_cancel_while_a_touched_file_is_checked_stays(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    assert run("upload", requests, "--part-requests", "2").code == 0
    requests.touch()
    judge = check.check

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(check, "check", judge)
        assert run("cancel_batch", requests).code == 0
        return judge(*args, **kwargs)

    monkeypatch.setattr(check, "check", meanwhile)
    refused = run("run_batch", requests)
    assert refused.code == 4, refused.err
    assert "was cancelled at" in refused.err


def test_a_folder_that_is_named_like_a_jobs_exchanges_no_file_for_another(server: LocalServer) -> None:
    Path("nightly.job").mkdir()
    named = write_requests(Path("nightly.job/reviews.jsonl"), 3)
    write_requests(Path("reviews.jsonl"), 5)
    for command in ("run_batch", "upload", "create_batch", "download", "retry_failed", "cancel_batch"):
        refused = run(command, named)
        assert (refused.code, refused.out) == (3, ""), refused.err
        assert "nightly.job" in refused.err
    assert [path.name for path in Path("nightly.job").iterdir()] == ["reviews.jsonl"]
    assert run("upload", "reviews.jsonl").code == 0
    assert run("poll", "reviews.job/record.json").code == 5, "nothing was submitted yet"
