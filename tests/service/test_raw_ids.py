"""Jobs begun by a raw id: nothing of the user's is replaced by what is fetched, and nothing is begun by halves."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from doubleword.job.begin import prepare
from doubleword.job.job import Job
from doubleword.job.record import Part
from doubleword.service import raw_id
from local_server.app import LocalServer
from support.faults.fixture import MakeTrouble
from support.faults.fixture import make_trouble as make_trouble
from support.oracle import LocalOracle
from support.proxy.exchange import Exchange, Fault
from support.running import FastClock, chat_line, json_lines, run, write_requests

MINE = "my own file, saved by hand\n"


def call(server: LocalServer, method: str, path: str, **more: Any) -> Any:
    headers = {"authorization": f"Bearer {server.key}"}
    return requests.request(method, server.base_url + path, headers=headers, timeout=10, **more).json()


def uploaded_elsewhere(server: LocalServer, content: str) -> str:
    """The id of a file that the user uploaded by other means."""
    made = call(server, "POST", "/files", files={"file": ("batch.jsonl", content)}, data={"purpose": "batch"})
    return str(made["id"])


def submitted_elsewhere(server: LocalServer, file_id: str) -> str:
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return str(call(server, "POST", "/batches", json=wanted)["id"])


def ended(server: LocalServer, content: str) -> tuple[str, str]:
    """(file id, batch id) of a batch that somebody submitted by other means, and that has ended."""
    file_id = uploaded_elsewhere(server, content)
    batch_id = submitted_elsewhere(server, file_id)
    assert run("poll", batch_id).code == 0
    return file_id, batch_id


@pytest.mark.parametrize("command", ["download", "retry_failed"])
def test_a_file_of_the_users_that_bears_the_name_of_a_batch_is_never_replaced(
    server: LocalServer, command: str
) -> None:
    _, batch_id = ended(server, chat_line("a", "x"))
    Path(f"batch-{batch_id}.jsonl").write_text(MINE)

    ran = run(command, batch_id)

    assert ran.code == 3, ran.err
    assert f"batch-{batch_id}.jsonl is in the way" in ran.err
    assert Path(f"batch-{batch_id}.jsonl").read_text() == MINE


@pytest.mark.parametrize("command", ["upload", "create_batch"])
def test_a_file_of_the_users_that_bears_the_name_of_a_file_id_is_never_replaced(
    server: LocalServer, oracle: LocalOracle, command: str
) -> None:
    file_id = uploaded_elsewhere(server, chat_line("a", "x"))
    Path(f"file-{file_id}.jsonl").write_text(MINE)

    assert run(command, file_id).code == 3
    assert Path(f"file-{file_id}.jsonl").read_text() == MINE
    assert not oracle.batches()


def test_the_very_bytes_that_are_fetched_may_lie_there_already(server: LocalServer) -> None:
    _, batch_id = ended(server, chat_line("a", "x") + chat_line("b", "y"))
    assert run("download", batch_id).code == 0
    shutil.rmtree(f"batch-{batch_id}.job")
    Path(f"batch-{batch_id}.results.jsonl").unlink()
    before = Path(f"batch-{batch_id}.jsonl").stat()

    assert run("download", batch_id).code == 0
    assert Path(f"batch-{batch_id}.jsonl").stat().st_mtime_ns == before.st_mtime_ns, "it was written again"


def test_the_only_copy_of_an_input_is_never_replaced_by_the_mere_ids_of_its_answers(server: LocalServer) -> None:
    file_id, batch_id = ended(server, chat_line("a", "x") + chat_line("b", "y"))
    assert run("download", batch_id).code == 0
    content = Path(f"batch-{batch_id}.jsonl").read_text()
    shutil.rmtree(f"batch-{batch_id}.job")
    Path(f"batch-{batch_id}.results.jsonl").unlink()
    call(server, "DELETE", f"/files/{file_id}")

    assert run("download", batch_id).code == 0, "the input that was fetched before is still there"
    assert Path(f"batch-{batch_id}.jsonl").read_text() == content


class Killed(BaseException):
    """As kill -9 would end a script: nothing of it is written any more."""


def test_a_kill_while_the_job_of_a_file_id_begins_leaves_nothing_that_forgets_whose_file_it_is(
    server: LocalServer, oracle: LocalOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = uploaded_elsewhere(server, chat_line("a", "x"))
    submitted_elsewhere(server, file_id)
    written, save = 0, Job.save

    def once(job: Job, part: Part | None = None) -> None:
        nonlocal written
        written += 1
        if written > 1:
            raise Killed
        save(job, part)

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Job, "save", once)
        run("create_batch", file_id)

    assert run("upload", f"file-{file_id}.jsonl").code == 0
    assert run("create_batch", f"file-{file_id}.jsonl").code == 4
    assert len(oracle.batches()) == 1


def test_a_record_of_which_nothing_was_begun_learns_whose_file_it_is(server: LocalServer, oracle: LocalOracle) -> None:
    file_id = uploaded_elsewhere(server, chat_line("a", "x"))
    submitted_elsewhere(server, file_id)
    headers = {"authorization": f"Bearer {server.key}"}
    fetched = requests.get(f"{server.base_url}/files/{file_id}/content", headers=headers, timeout=10)
    Path(f"file-{file_id}.jsonl").write_bytes(fetched.content)
    prepare(Path(f"file-{file_id}.jsonl"), FastClock())

    assert run("upload", file_id).code == 0
    assert run("create_batch", file_id).code == 4
    assert len(oracle.batches()) == 1


@pytest.mark.parametrize("command", ["upload", "create_batch"])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_without_a_request_is_refused_before_anything_is_made_of_it(
    server: LocalServer, command: str, again: bool
) -> None:
    run("run_batch", write_requests(Path("r.jsonl"), 1))
    (batch,) = call(server, "GET", "/batches")["data"]
    for _ in range(1 + again):
        ran = run(command, batch["error_file_id"])
        assert (ran.code, ran.out) == (3, ""), ran.err
        assert "holds no request" in ran.err
    assert not list(Path().glob("file-*"))


def test_a_batch_on_an_empty_file_has_nothing_to_download(server: LocalServer) -> None:
    run("run_batch", write_requests(Path("r.jsonl"), 1))
    (batch,) = call(server, "GET", "/batches")["data"]
    empty = submitted_elsewhere(server, batch["error_file_id"])

    ran = run("download", empty)

    assert ran.code == 5, ran.err
    assert "no results" in ran.err


JUNK = [
    b"<html>portal</html>",
    b'{"id":"x","response":null}',
    b'{"id":"x","custom_id":null,"response":{"status_code":200,"body":{}},"error":null}',
    b'{"id":"x","custom_id":"\\ud800"}',
    b"[" * 1200,
]


@pytest.mark.parametrize("junk", JUNK)
def test_an_odd_line_among_the_answers_to_a_deleted_input_names_no_request(
    make_trouble: MakeTrouble, junk: bytes
) -> None:
    trouble = make_trouble()
    file_id, batch_id = ended(trouble.server, chat_line("a", "x") + chat_line("b", "y"))
    call(trouble.server, "DELETE", f"/files/{file_id}")

    def odd(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send(answer.with_body(answer.body + junk + b"\n"))

    trouble.strike(Fault("odd", "content", times=100_000), odd=odd)

    assert trouble.run("download", batch_id).code in (0, 9)
    named = [line["custom_id"] for line in json_lines(Path(f"batch-{batch_id}.jsonl"))]
    assert sorted(named) == ["a", "b"]


def test_an_input_that_does_not_end_is_not_fetched_for_ever(
    make_trouble: MakeTrouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = make_trouble()
    file_id = uploaded_elsewhere(trouble.server, chat_line("a", "x"))
    monkeypatch.setattr(raw_id, "PART_BYTES", 1_000_000)

    def long(exchange: Exchange) -> None:
        exchange.send(exchange.forward().with_body(chat_line("a", "x" * 1000).encode() * 5000))

    trouble.strike(Fault("long", "content", times=100_000), long=long)

    ran = trouble.run("upload", file_id)
    assert ran.code == 3, ran.err
    assert not list(Path().glob("file-*"))


@pytest.mark.parametrize("deleted", [False, True])
def test_a_job_begun_by_hand_over_a_batchs_input_learns_of_the_batch_instead_of_paying_for_it(
    server: LocalServer, oracle: LocalOracle, deleted: bool
) -> None:
    file_id, batch_id = ended(server, chat_line("a", "x") + chat_line("b", "y"))
    assert run("download", batch_id).code == 0
    shutil.rmtree(f"batch-{batch_id}.job")
    Path(f"batch-{batch_id}.results.jsonl").unlink()
    assert run("upload", f"batch-{batch_id}.jsonl").code == 0
    if deleted:
        call(server, "DELETE", f"/files/{file_id}")
    assert run("download", batch_id).code == 0
    assert len(json_lines(Path(f"batch-{batch_id}.results.jsonl"))) == 2
    assert run("create_batch", f"batch-{batch_id}.jsonl").code == 0
    assert len(oracle.batches()) == 1
