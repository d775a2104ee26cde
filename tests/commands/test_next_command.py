"""`next`, followed word for word, leads to the answers; and it keeps what the user asked for."""

from __future__ import annotations

import shlex
from pathlib import Path

import requests as http

from doubleword.job.job import Job
from local_server.app import LocalServer
from local_server.settings import FailRule
from support.jobs import cancelled_half_way, follow, made_from_rows
from support.oracle import LocalOracle
from support.running import FastClock, run, write_requests


def test_next_leads_to_the_answers_word_for_word_and_keeps_the_cost_limit_and_the_csv(server: LocalServer) -> None:
    made_from_rows()
    done = run("create_batch_file", "r.jsonl", "--input", "rows.csv", "--model", "echo", "--prompt", "{text}", "--json")
    seen = []
    done = follow(done)  # upload
    done = run("create_batch", "r.jsonl", "--max-cost", "3", "--json")
    for _ in range(5):
        if done.facts["next"] is None:
            break
        seen.append(done.facts["next"])
        done = follow(done)
    assert done.facts["results"] == 20
    assert [Path(shlex.split(step)[1]).name for step in seen] == ["run_batch.py"]
    assert seen[0].endswith("--max-cost 3")
    assert run("download", "r.jsonl", "--output", "out.csv").code == 0
    assert "out.csv is of an earlier download" in run("download", "r.jsonl").err


def test_after_a_retry_was_planned_an_early_download_does_not_hide_its_answers(portioned_server: LocalServer) -> None:
    requests = Path("r.jsonl")
    cancelled_half_way(portioned_server, requests)
    early = run("download", requests)  # nothing of the new attempt was sent
    assert (early.code, run("poll", requests).code) == (8, 8), early
    assert "not submitted yet" in early.err
    assert run("upload", requests).code == 0
    assert run("create_batch", requests).code == 0
    polled = run("poll", requests, "--json", clock=FastClock(moment=0.1))
    assert polled.code == 0
    assert "download.py" in polled.facts["next"]
    assert follow(polled).facts["results"] == 60


def test_a_refused_upload_is_asked_for_again_before_money_is_spent(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3, model="no-such-model")
    assert run("upload", requests).code == 3
    refused = run("create_batch", requests)
    assert refused.code == 5
    assert "upload.py" in refused.err


def test_next_keeps_the_completion_window_and_a_csv_is_checked_before_anything_is_paid(
    server: LocalServer, oracle: LocalOracle
) -> None:
    requests = write_requests(Path("r.jsonl"), 3)
    uploaded = run("upload", requests, "--completion-window", "1h", "--json")
    assert uploaded.facts["next"].endswith("r.jsonl --completion-window 1h")
    assert run("run_batch", requests, "--output", "out.xlsx").code == 2
    assert oracle.batches() == []


def test_a_plan_of_nothing_leads_to_answers_that_were_not_downloaded_yet(server: LocalServer) -> None:
    server.settings.max_retries = 0
    server.settings.fail.append(FailRule.parse("number 2=500"))
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("run_batch", requests).code == 9
    server.settings.fail.clear()
    (part,) = Job.need(requests).submitted()
    assert part.batch is not None
    again = f"{server.base_url}/batches/{part.batch.id}/retry"
    assert http.post(again, headers={"Authorization": f"Bearer {server.key}"}).status_code == 200

    for _ in range(9):  # a look may come before the server has begun the retry: then the next one waits for it
        assert run("poll", requests).code == 0
        planned = run("retry_failed", requests, "--json")
        if planned.code == 0:
            break

    assert (planned.code, planned.facts["requests"]) == (0, 0), planned.err
    done = follow(planned)
    assert (done.code, done.facts["results"]) == (0, 3)
    assert run("retry_failed", requests, "--json").facts["next"] is None


def test_next_after_a_cancel_leads_to_what_was_answered(portioned_server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 60)
    assert run("run_batch", requests, "--timeout-seconds", "0").code == 8
    while run("poll", requests, "--once", "--json").facts["completed"] == 0:
        pass
    portioned_server.settings.claim_size = 0
    done, seen = run("cancel_batch", requests, "--json"), []
    while done.facts["next"] and "retry_failed.py" not in done.facts["next"]:
        seen.append(Path(shlex.split(done.facts["next"])[1]).name)
        assert len(seen) < 6
        done = follow(done)
    assert "download.py" in seen
    assert set(seen) <= {"poll.py", "download.py"}
    assert done.code == 9  # and whether the rest is planned is for the user to say


def test_next_of_a_job_whose_answers_are_all_of_earlier_ones_is_the_download(server: LocalServer) -> None:
    del server
    made_from_rows("old.jsonl")
    assert run("run_batch", "old.jsonl").code == 0
    asked = ("--input", "rows.csv", "--model", "echo", "--prompt", "{text}", "--max-tokens", "50")
    made = run("create_batch_file", "new.jsonl", *asked, "--reuse", "old.jsonl", "--json")
    assert (made.code, made.facts["reused"]) == (0, 20), made
    assert "download.py" in made.facts["next"]
    done = follow(made)
    assert (done.code, done.facts["results"], done.facts["next"]) == (0, 20, None)


def test_next_after_a_cancelled_trial_does_not_undo_the_cancel(server: LocalServer) -> None:
    del server
    requests = write_requests(Path("r.jsonl"), 12)
    assert run("run_batch", requests, "--trial", "3").code == 8
    assert run("cancel_batch", requests).code == 0
    done = run("download", requests, "--partial", "--json")
    assert "--resume" not in str(done.facts["next"])
    assert run("cancel_batch", requests, "--json").facts["next"] in (None, done.facts["next"])
