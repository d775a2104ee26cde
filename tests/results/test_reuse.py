"""Answers of earlier jobs are taken for requests with the same endpoint and body, and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from doubleword.base.failures import BadInput, WrongUsage
from doubleword.job import begin
from doubleword.job.job import Job
from doubleword.results import reuse
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.oracle import read
from support.running import FastClock, chat_line, json_lines, run, write_requests


def sent(server: LocalServer) -> int:
    return len(read(server.database, "SELECT seq FROM requests"))


def new_job(path: str, count: int, part_requests: int | None = None, **body: Any) -> Job:
    """Requests with the prompts of `write_requests`, under other ids."""
    with Path(path).open("w") as file:
        file.writelines(chat_line(f"new-{n}", f"prompt number {n}", "echo", **body) for n in range(1, count + 1))
    return begin.prepare(Path(path), FastClock(), part_requests)


def finished(path: str, count: int) -> None:
    write_requests(Path(path), count)
    assert run("run_batch", path).code == 0


def test_the_requests_left_over_are_all_that_is_sent(server: LocalServer) -> None:
    finished("old.jsonl", 30)
    job = new_job("new.jsonl", 50, part_requests=7)

    assert reuse.take(job, [Path("old.jsonl")], FastClock()) == 30
    done = run("run_batch", "new.jsonl", "--json")

    assert (done.code, done.facts["results"]) == (0, 50)
    assert sent(server) == 30 + 20
    assert "completion, of 30 answers from earlier jobs, too" in done.err  # beside a cost that is of this job alone
    results = json_lines(Path("new.results.jsonl"))
    assert [line["custom_id"] for line in results] == [f"new-{n}" for n in range(1, 51)]
    assert [line["reused"]["custom_id"] for line in results if "reused" in line] == [
        f"row-{n:06}" for n in range(1, 31)
    ]


def test_the_rate_of_a_trial_is_that_of_its_own_answers(server: LocalServer) -> None:
    finished("old.jsonl", 30)
    reuse.take(new_job("new.jsonl", 50), [Path("old.jsonl")], FastClock())
    tried = run("run_batch", "new.jsonl", "--trial", "4", "--json")
    answers = [line for line in json_lines(Path("new.partial.jsonl")) if "reused" not in line]
    used = sum(line["response"]["body"]["usage"]["completion_tokens"] for line in answers)
    assert (len(answers), tried.facts["rest"]) == (4, 16)
    assert tried.facts["rest_tokens"]["completion"] == used * 16 // 4


def test_a_trial_without_an_answer_is_told_whatever_earlier_jobs_had_answered(server: LocalServer) -> None:
    finished("old.jsonl", 30)
    reuse.take(new_job("new.jsonl", 50), [Path("old.jsonl")], FastClock())
    server.settings.fail.append(FailRule.parse("prompt number=400"))
    tried = run("run_batch", "new.jsonl", "--trial", "4", "--json")
    assert (tried.code, tried.facts["next"]) == (9, None)
    assert "nothing of the trial was answered" in tried.err


def test_a_job_of_which_everything_is_known_sends_nothing(server: LocalServer) -> None:
    finished("old.jsonl", 5)
    job = new_job("new.jsonl", 5)
    assert reuse.take(job, [Path("old.jsonl")], FastClock()) == 5
    assert run("run_batch", "new.jsonl").code == 0
    assert sent(server) == 5


def test_the_results_file_and_the_requests_are_enough(server: LocalServer) -> None:
    finished("old.jsonl", 5)
    shutil.rmtree("old.job")
    job = new_job("new.jsonl", 8)
    assert reuse.take(job, [Path("old.results.jsonl")], FastClock()) == 5
    assert run("run_batch", "new.jsonl").code == 0
    assert sent(server) == 8


def test_answers_that_were_taken_can_be_taken_on(server: LocalServer) -> None:
    finished("a.jsonl", 3)
    assert reuse.take(new_job("b.jsonl", 5), [Path("a.jsonl")], FastClock()) == 3
    assert run("run_batch", "b.jsonl").code == 0
    assert reuse.take(new_job("c.jsonl", 5), [Path("b.jsonl")], FastClock()) == 5
    assert run("run_batch", "c.jsonl").code == 0
    assert sent(server) == 5
    (first, *_) = json_lines(Path("c.results.jsonl"))
    assert first["reused"] == {"from": "a.results.jsonl", "custom_id": "row-000001"}


@pytest.mark.parametrize("body", [{"model": "another"}, {"temperature": 0.5}, {"max_tokens": 51}])
def test_another_model_or_parameter_takes_nothing(server: LocalServer, body: dict[str, Any]) -> None:
    finished("old.jsonl", 3)
    with Path("new.jsonl").open("w") as file:
        for n in range(1, 4):
            request = json.loads(chat_line(f"new-{n}", f"prompt number {n}"))
            request["body"] |= body
            file.write(json.dumps(request) + "\n")
    job = begin.prepare(Path("new.jsonl"), FastClock())
    assert reuse.take(job, [Path("old.jsonl")], FastClock()) == 0
    assert [attempt.kind for attempt in job.attempts] == ["all"]


def test_the_order_of_keys_makes_no_other_request(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    with Path("new.jsonl").open("w") as file:
        for n in range(1, 4):
            request = json.loads(chat_line(f"new-{n}", f"prompt number {n}"))
            file.write(json.dumps(request | {"body": dict(sorted(request["body"].items()))}) + "\n")
    assert reuse.take(begin.prepare(Path("new.jsonl"), FastClock()), [Path("old.jsonl")], FastClock()) == 3


def test_the_same_again_changes_nothing(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    job = new_job("new.jsonl", 5)
    assert reuse.take(job, [Path("old.jsonl")], FastClock()) == 3
    assert reuse.take(Job.need(Path("new.jsonl")), [Path("old.jsonl")], FastClock()) == 3
    assert run("run_batch", "new.jsonl").code == 0
    assert reuse.take(Job.need(Path("new.jsonl")), [Path("old.jsonl")], FastClock()) == 3
    assert run("run_batch", "new.jsonl").code == 0
    assert sent(server) == 5


@pytest.mark.parametrize("named", ["new.jsonl", "new.results.jsonl", "new.job"])
def test_a_job_cannot_be_reused_by_itself(server: LocalServer, named: str) -> None:
    job = new_job("new.jsonl", 3)
    with pytest.raises(WrongUsage):
        reuse.take(job, [Path(named)], FastClock())


def test_a_damaged_job_or_one_that_is_not_there_is_bad_input(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    Path("old.results.jsonl").unlink()
    Path("old.job/record.json").write_text("{}")
    job = new_job("new.jsonl", 3)
    for named in ("old.jsonl", "nowhere.jsonl"):
        with pytest.raises(BadInput):
            reuse.take(job, [Path(named)], FastClock())
    assert [attempt.kind for attempt in Job.need(Path("new.jsonl")).attempts] == ["all"]


def test_what_was_submitted_already_takes_nothing_any_more(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    finished("new.jsonl", 5)
    with pytest.raises(BadInput, match="submitted or cancelled already"):
        reuse.take(Job.need(Path("new.jsonl")), [Path("old.jsonl")], FastClock())


def test_jobs_in_the_folder_that_would_serve_are_named(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    assert reuse.would_serve(new_job("new.jsonl", 5)) == ["old.jsonl"]
    assert reuse.would_serve(new_job("other.jsonl", 5, temperature=0.1)) == []


def test_requests_that_were_edited_since_give_no_answers(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    edited = Path("old.jsonl").read_text().replace("prompt number", "another prompt")
    Path("old.jsonl").write_text(edited)
    Path("new.jsonl").write_text(edited)
    job = begin.prepare(Path("new.jsonl"), FastClock())
    assert reuse.would_serve(job) == []
    with pytest.raises(BadInput, match="changed since"):
        reuse.take(job, [Path("old.jsonl")], FastClock())
    shutil.rmtree("old.job")
    with pytest.raises(BadInput, match="changed since"):
        reuse.take(job, [Path("old.jsonl")], FastClock())


def test_the_mark_of_a_cancel_is_not_erased_by_taking_answers(server: LocalServer) -> None:
    finished("old.jsonl", 3)
    job = new_job("new.jsonl", 5)
    assert run("cancel_batch", "new.jsonl").code == 0
    with pytest.raises(BadInput, match="cancelled already"):
        reuse.take(job, [Path("old.jsonl")], FastClock())
    assert run("run_batch", "new.jsonl").code == 4


def test_an_id_that_occurs_twice_in_an_earlier_file_gives_no_answer(server: LocalServer) -> None:
    """The server takes such a file, and nobody knows which answer belongs to which line."""
    headers = {"authorization": f"Bearer {server.key}"}
    content = chat_line("same", "first") + chat_line("other", "second") + chat_line("same", "third")
    file, purpose = {"file": ("d.jsonl", content)}, {"purpose": "batch"}
    url = f"{server.base_url}/files"
    made = requests.post(url, headers=headers, timeout=10, files=file, data=purpose).json()["id"]
    wanted = {"input_file_id": made, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = requests.post(f"{server.base_url}/batches", headers=headers, timeout=10, json=wanted).json()["id"]
    assert run("poll", batch).code == 0
    assert run("download", batch).code == 9
    Path("t.txt").write_text("first\nsecond\nthird\n")
    flags = ["--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "echo", "--max-tokens", "50"]
    earlier = f"batch-{batch}.jsonl"

    for number, results_stay in enumerate((True, False)):
        if not results_stay:
            Path(f"batch-{batch}.results.jsonl").unlink()
        ran = run("create_batch_file", f"n{number}.jsonl", *flags, "--reuse", earlier, "--json")
        assert ran.facts["reused"] == 1, ran.err
        assert "ids occur more than once" in ran.err


def test_a_job_whose_answers_are_all_reused_asks_no_server_for_them(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("run_batch", write_requests(Path("old.jsonl"), 2)).code == 0
    Path("t.txt").write_text("prompt number 1\n")
    flags = ["--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "echo", "--max-tokens", "50"]
    assert run("create_batch_file", "new.jsonl", *flags, "--reuse", "old.jsonl").code == 0
    assert run("run_batch", "new.jsonl").code == 0
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", server.base_url.replace("127.0.0.1", "localhost"))

    for command in ("run_batch", "download"):
        ran = run(command, "new.jsonl")
        assert ran.code == 0, ran.err


def test_another_list_of_earlier_jobs_leaves_nothing_of_the_first(server: LocalServer) -> None:
    del server
    for name in ("one", "two"):
        assert run("run_batch", write_requests(Path(f"{name}.jsonl"), 2, name + " {n}")).code == 0
    Path("t.txt").write_text("one 1\ntwo 2\n")
    flags = ["--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "echo", "--max-tokens", "50"]
    for name in ("one", "two"):
        made = run("create_batch_file", "new.jsonl", *flags, "--reuse", f"{name}.jsonl", "--json")
        assert made.facts["reused"] == 1
    assert run("run_batch", "new.jsonl").code == 0
    assert [line["custom_id"] for line in json_lines(Path("new.results.jsonl")) if "reused" in line] == ["row-000002"]


@pytest.mark.parametrize("known", ["running", "completed", "retried"])
def test_answers_that_were_paid_and_not_fetched_yet_are_not_paid_for_again(server: LocalServer, known: str) -> None:
    old = write_requests(Path("old.jsonl"), 3)
    if known == "retried":
        server.settings.max_retries = 0
        server.settings.fail.append(FailRule.parse("number 2=500"))
        assert run("run_batch", old).code == 9
        server.settings.fail.clear()
        assert run("retry_failed", old).code == 0
    assert run("upload", old).code == 0
    assert run("create_batch", old).code == 0
    if known != "running":
        assert run("poll", old).code == 0

    with pytest.raises(BadInput, match="paid for again") as stop:
        reuse.take(new_job("new.jsonl", 4), [Path("old.jsonl")], FastClock())
    assert "download.py old.jsonl" in stop.value.next_step

    assert run("run_batch", old).code == 0
    assert reuse.take(new_job("new.jsonl", 4), [Path("old.jsonl")], FastClock()) == 3


def test_a_job_of_which_nothing_was_submitted_as_far_as_is_known_is_no_earlier_one(server: LocalServer) -> None:
    """Its record may have been restored from a backup: then its answers would be paid for again without a word."""
    write_requests(Path("old.jsonl"), 3)
    assert run("upload", "old.jsonl").code == 0
    shutil.copytree("old.job", "backup")
    assert run("run_batch", "old.jsonl").code == 0
    shutil.rmtree("old.job")
    shutil.move("backup", "old.job")
    Path("old.results.jsonl").unlink()
    reuse = ("create_batch_file", "new.jsonl", "--input", write_requests(Path("in.jsonl"), 4), "--reuse", "old.jsonl")

    refused = run(*reuse)

    assert (refused.code, refused.out) == (3, ""), refused.err
    assert "create_batch.py old.jsonl --adopt" in refused.err
    assert not Path("new.jsonl").exists(), "it would be paid for whole"
    assert run("create_batch", "old.jsonl", "--adopt").code == 0
    assert run("download", "old.jsonl").code == 0
    taken = run(*reuse)
    assert (taken.code, "3 answers taken" in taken.err) == (0, True), taken.err


def test_what_a_plan_has_fetched_is_taken_beside_an_older_results_file(server: LocalServer) -> None:
    old = write_requests(Path("old.jsonl"), 3)
    server.settings.max_retries = 0
    server.settings.fail += [FailRule.parse("number 1=500"), FailRule.parse("number 2=500")]
    assert run("run_batch", old).code == 9
    server.settings.fail.pop()
    assert run("retry_failed", old).code == 0
    assert run("upload", old).code == 0
    assert run("create_batch", old).code == 0
    assert run("poll", old).code == 0
    run("retry_failed", old)  # fetches the second answer, and writes no results

    assert len(json_lines(Path("old.results.jsonl"))) == 1
    job = new_job("new.jsonl", 3)
    assert reuse.take(job, [Path("old.jsonl")], FastClock()) == 2
    assert run("run_batch", "new.jsonl").code == 9
    named = {line["reused"]["from"] for line in json_lines(Path("new.results.jsonl"))}
    assert named == {"old.results.jsonl"}
