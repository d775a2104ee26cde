"""The job record cut short, edited, deleted, or of a newer version; and a request file that changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from support.oracle import LocalOracle
from support.running import run, write_requests

RECORD = Path("r.job/record.json")
COMMANDS = ("upload", "create_batch", "poll", "download", "retry_failed", "run_batch", "cancel_batch")


def submitted() -> list[str]:
    """A job in two parts that was submitted; its batch ids."""
    write_requests(Path("r.jsonl"), 6)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    done = run("create_batch", "r.jsonl")
    assert done.code == 0, done
    return done.lines


def count(server: LocalServer) -> int:
    return len(LocalOracle(server.database, since=0).batches())


def first_part(record: dict[str, Any]) -> dict[str, Any]:
    part = record["attempts"][0]["parts"][0]
    assert isinstance(part, dict)
    return part


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.pop(key)


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no version": without("version"),
    "no attempts": without("attempts"),
    "no job id": without("job"),
    "no options": without("options"),
    "no attempt left": lambda record: record["attempts"].clear(),
    "attempts is a number": lambda record: record.update(attempts=7),
    "a part without its hash": lambda record: first_part(record)["span"].pop("sha256"),
    "a part without its batch": lambda record: first_part(record).pop("batch"),
    "a byte range that ends before it starts": lambda record: first_part(record)["span"].update(end=0),
    "a batch without an id": lambda record: first_part(record)["batch"].pop("id"),
    "a batch that is a text": lambda record: first_part(record).update(batch="yes"),
    "an upload without its file id": lambda record: first_part(record)["upload"].pop("file_id"),
    "an intent without an upload": lambda record: first_part(record).update(upload=None, batch=None),
    "an intent without an id": lambda record: first_part(record).update(submission={}, batch=None),
    "a request file elsewhere": lambda record: record["attempts"][0].update(request_file="../r.jsonl"),
    "a key that nobody knows": lambda record: first_part(record).update(bacth=None),
    "a count that is true": lambda record: first_part(record)["batch"].update(completed=True),
    "a part of another number": lambda record: first_part(record).update(part=7),
    "a kind of attempt that is none": lambda record: record["attempts"][0].update(kind="reuse"),
    "sections that are not there": lambda record: record["attempts"][0].update(origin=[[3, 6]]),
    "a section of the other side": lambda record: record["attempts"][0].update(origin=[[-1, 2], [1, 4]]),
    "sections without a count": lambda record: record["attempts"][0].update(origin=[[1], [2]]),
    "sections in another order": lambda record: record["attempts"][0]["origin"].reverse(),
    "sections that do not add up": lambda record: record["attempts"][0].update(origin=[[1, 4], [2, 1]]),
    "an attempt of fewer requests": lambda record: record["attempts"][0].update(requests=5),
    "an attempt without parts": lambda record: record["attempts"][0].update(parts=[]),
    "a version that is a text": lambda record: record.update(version="one"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_record_is_refused_and_stays_as_it_is(server: LocalServer, edit: str) -> None:
    submitted()
    record = json.loads(RECORD.read_text())
    EDITS[edit](record)
    RECORD.write_text(json.dumps(record))
    before = RECORD.read_bytes()
    for command in COMMANDS:
        refused = run(command, "r.jsonl")
        assert (refused.code, refused.out) == (3, ""), (command, refused)
        assert "r.job/record.json is damaged" in refused.err
    assert RECORD.read_bytes() == before
    assert count(server) == 2


def test_a_record_cut_short_anywhere_is_refused_and_stays_as_it_is(server: LocalServer) -> None:
    submitted()
    whole = RECORD.read_bytes()
    cuts = range(0, len(whole) - 1, max(1, len(whole) // 40))
    assert len(cuts) >= 40
    for cut in cuts:
        RECORD.write_bytes(whole[:cut])
        refused = run("run_batch", "r.jsonl")
        assert (refused.code, refused.out) == (3, ""), (cut, refused)
        assert RECORD.read_bytes() == whole[:cut]
    assert count(server) == 2
    RECORD.write_bytes(whole)
    assert run("run_batch", "r.jsonl").code == 0


@pytest.mark.parametrize(("step", "age"), [(1, "newer"), (-1, "older")])
def test_a_record_of_another_version_is_refused_by_its_version(server: LocalServer, step: int, age: str) -> None:
    submitted()
    record = json.loads(RECORD.read_text())
    record["version"] += step
    record["attempts"] = {"another": "shape"}
    RECORD.write_text(json.dumps(record))
    for command in COMMANDS:
        refused = run(command, "r.jsonl")
        assert refused.code == 3, (command, refused)
        assert f"{age} version" in refused.err
    assert count(server) == 2


def test_a_deleted_record_pays_for_nothing_twice_and_adopt_finds_every_batch(server: LocalServer) -> None:
    ids = submitted()
    RECORD.unlink()
    assert run("create_batch", "r.jsonl").code == 5
    stopped = run("run_batch", "r.jsonl", "--part-requests", "4")
    assert (stopped.code, stopped.out) == (4, ""), stopped
    assert ids[0] in stopped.err
    assert "--adopt" in stopped.err
    adopted = run("create_batch", "r.jsonl", "--adopt")
    assert (adopted.code, adopted.lines) == (0, ids), adopted
    assert run("run_batch", "r.jsonl").code == 0
    assert count(server) == 2


def test_adopt_alone_rebuilds_a_deleted_record(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 6)
    assert run("upload", "r.jsonl").code == 0
    ids = run("create_batch", "r.jsonl").lines
    RECORD.unlink()
    adopted = run("create_batch", "r.jsonl", "--adopt")
    assert (adopted.code, adopted.lines) == (0, ids), adopted
    assert run("download", "r.jsonl").code in (0, 8)
    assert count(server) == 1


def test_an_older_copy_of_the_record_put_back_submits_nothing_again(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 6)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    older = RECORD.read_bytes()
    ids = run("create_batch", "r.jsonl").lines
    RECORD.write_bytes(older)
    again = run("create_batch", "r.jsonl")
    assert (again.code, again.lines) == (0, ids), again
    assert count(server) == 2


@pytest.mark.parametrize("command", ["upload", "create_batch", "run_batch"])
def test_a_request_file_changed_after_its_first_part_went_up_is_refused(server: LocalServer, command: str) -> None:
    requests = write_requests(Path("r.jsonl"), 6)
    assert run("upload", "r.jsonl", "--part-requests", "4").code == 0
    record = json.loads(RECORD.read_text())
    record["attempts"][0]["parts"][1]["upload"] = None  # as after a kill between the two uploads
    RECORD.write_text(json.dumps(record))
    requests.write_text(requests.read_text().replace("prompt number", "question number"))
    refused = run(command, "r.jsonl")
    assert refused.code == (5 if command == "create_batch" else 3), refused
    assert count(server) == 0


def test_a_request_file_changed_after_its_submission_is_refused_where_its_order_is_needed(server: LocalServer) -> None:
    submitted()
    assert run("poll", "r.jsonl").code == 0
    write_requests(Path("r.jsonl"), 6, prompt="other {n}")
    refused = run("download", "r.jsonl")
    assert refused.code == 3, refused
    assert "changed since it was uploaded" in refused.err
    assert not Path("r.results.jsonl").exists()


def test_a_request_file_that_was_only_touched_goes_on(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 6)
    assert run("upload", "r.jsonl").code == 0
    requests.write_bytes(requests.read_bytes())
    assert run("run_batch", "r.jsonl").code == 0
    assert count(server) == 1
