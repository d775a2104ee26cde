"""What people and agents ran into when they used the scripts for the first time."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.running import FastClock, Ran, json_lines, run, write_requests


@pytest.fixture
def slow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """100 answers a second: a cancel right after the submission leaves most of them unanswered."""
    with LocalServer(tmp_path / "server", speed=200, rate=30) as running:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", running.base_url)
        monkeypatch.setenv("DOUBLEWORD_API_KEY", running.key)
        yield running


def cancelled(requests: Path) -> str:
    """A job of 60 requests, cancelled after some of them; the batch id."""
    write_requests(requests, 60)
    assert run("upload", requests).code == 0
    (batch,) = run("create_batch", requests).lines
    while run("poll", requests, "--once", "--json").facts["completed"] == 0:
        pass  # the server answers 30 a second
    assert run("cancel_batch", requests).code == 0
    assert run("download", requests).code in (7, 9)
    assert run("retry_failed", requests).code == 0
    return batch


def made(name: str = "r.jsonl", *more: str) -> None:
    with Path("rows.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        rows.writerows([f"k{n}", f"text {n}"] for n in range(20))
    wanted = ["--input", "rows.csv", "--model", "echo", "--prompt", "{text}", "--max-tokens", "50", *more]
    assert run("create_batch_file", name, *wanted).code == 0


def follow(done: Ran) -> Ran:
    """Runs the `next` command of a --json answer word for word."""
    words = shlex.split(done.facts["next"])
    return run(Path(words[1]).stem, *words[2:], "--json")


def test_the_csv_never_replaces_its_source_whatever_it_is_called(server: LocalServer) -> None:
    made()
    before = Path("rows.csv").read_bytes()
    Path("link.csv").symlink_to("rows.csv")
    assert run("run_batch", "r.jsonl").code == 0
    for name in ("rows.csv", "./rows.csv", "link.csv", "r.jsonl", "r.job/record.json", "answers.txt"):
        refused = run("download", "r.jsonl", "--output", name)
        assert refused.code == 2, name
        assert refused.out == ""
    assert Path("rows.csv").read_bytes() == before
    assert run("download", "r.jsonl", "--output", "out.csv").code == 0


def test_the_csv_of_a_trial_holds_the_rows_of_the_trial(server: LocalServer) -> None:
    made("trial.jsonl", "--limit", "3")
    assert run("run_batch", "trial.jsonl", "--output", "trial.csv").code == 0
    with Path("trial.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["k0", "k1", "k2"]


def test_next_leads_to_the_answers_word_for_word_and_keeps_the_cost_limit_and_the_csv(server: LocalServer) -> None:
    made()
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


def test_after_a_retry_was_planned_an_early_download_does_not_hide_its_answers(slow_server: LocalServer) -> None:
    requests = Path("r.jsonl")
    cancelled(requests)
    assert run("download", requests).code in (7, 9)  # early: nothing of the new attempt was sent
    assert run("upload", requests).code == 0
    assert run("create_batch", requests).code == 0
    polled = run("poll", requests, "--json", clock=FastClock(moment=0.1))
    assert polled.code == 0
    assert "download.py" in polled.facts["next"]
    assert follow(polled).facts["results"] == 60


def test_a_job_made_from_a_batch_id_elsewhere_does_not_pay_for_what_its_home_has_submitted(
    slow_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Path("r.jsonl").absolute()
    batch = cancelled(requests)

    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run("retry_failed", batch).code == 0  # a plan is free

    assert run("run_batch", requests, clock=FastClock(moment=0.1)).code == 0  # at home the second attempt runs
    refused = run("run_batch", f"batch-{batch}.jsonl")
    assert refused.code == 4, refused.err
    assert "another copy of this job submitted an attempt of its own" in refused.err


def test_home_does_not_pay_for_what_a_job_made_from_its_batch_id_has_submitted(
    slow_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Path("r.jsonl").absolute()
    batch = cancelled(requests)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run("retry_failed", batch).code == 0
    assert run("run_batch", f"batch-{batch}.jsonl", clock=FastClock(moment=0.1)).code == 0
    refused = run("run_batch", requests)
    assert refused.code == 4, refused.err
    assert len(json_lines(Path(f"batch-{batch}.results.jsonl"))) == 60


def test_a_missing_file_is_bad_input_everywhere(server: LocalServer) -> None:
    for command in ("upload", "create_batch", "poll", "download", "run_batch", "retry_failed", "cancel_batch"):
        done = run(command, "nosuch.jsonl")
        assert done.code == 3, command
        assert "no file nosuch.jsonl" in done.err


def test_a_refused_upload_is_asked_for_again_before_money_is_spent(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 3, model="no-such-model")
    assert run("upload", requests).code == 3
    refused = run("create_batch", requests)
    assert refused.code == 5
    assert "upload.py" in refused.err


def test_a_prompt_without_a_column_a_wrong_id_column_and_rows_in_place_of_requests_are_said_plainly(
    server: LocalServer,
) -> None:
    made()
    same = ["--input", "rows.csv", "--model", "echo", "--prompt", "One word", "--max-tokens", "5"]
    warned = run("create_batch_file", "same.jsonl", *same, "--json")
    assert warned.code == 0
    assert "all 20 requests ask the same" in warned.facts["warnings"][0]
    wrong = run(
        "create_batch_file", "x.jsonl", "--input", "rows.csv", "--model", "m", "--prompt", "{text}", "--id-column", "nr"
    )
    assert wrong.code == 3
    assert "no column 'nr' for --id-column; there are: id, text" in wrong.err
    refused = run("upload", "rows.csv")
    assert refused.code == 3
    assert "create_batch_file.py rows.jsonl --input rows.csv" in refused.err


def test_a_spool_that_was_tidied_away_is_fetched_again_not_paid_for_again(slow_server: LocalServer) -> None:
    requests = Path("r.jsonl")
    cancelled(requests)
    answered = run("download", requests, "--json").facts["results"]
    shutil.rmtree("r.job/spool")
    planned = run("retry_failed", requests, "--json")
    assert planned.facts["requests"] == 60 - answered

    shutil.rmtree("r.job/spool")
    with sqlite3.connect(slow_server.database) as database:
        database.execute("DELETE FROM answers")
    assert answered > 0
    refused = run("retry_failed", requests)
    assert refused.code == 3
    assert f"{answered} results were downloaded before" in refused.err
    assert len(json.loads(Path("r.job/record.json").read_text())["attempts"]) == 1, "no plan without its file"
