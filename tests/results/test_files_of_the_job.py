"""Which of the files beside a request file are the job's own: what anybody else makes of them is never replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from doubleword.job.job import Job
from local_server.app import LocalServer
from support.jobs import made_from_rows
from support.running import SCRIPTS, FastClock, chat_line, json_lines, run, write_requests

MINE = "id,text,answer,my review\nk0,text 0,x,three days of hand work\n"


KILLED_AT = """
import os, runpy, sys
replace, at, script = os.replace, sys.argv[1], sys.argv[2]
def dying(old, new):
    if os.path.basename(new).startswith(at):
        os.kill(os.getpid(), 9)
    replace(old, new)
os.replace = dying
sys.argv = sys.argv[2:]
runpy.run_path(script, run_name="__main__")
"""


def killed_before(name: str, command: str, *arguments: str) -> None:
    """Runs a command that is killed just before a file of this name is put in place."""
    script = str(SCRIPTS / f"{command}.py")
    done = subprocess.run([sys.executable, "-c", KILLED_AT, name, script, *arguments], timeout=60, capture_output=True)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("at", ["r.results.jsonl", "out.csv"])
def test_a_table_that_was_edited_after_a_kill_is_not_replaced(server: LocalServer, at: str) -> None:
    del server
    made_from_rows()
    assert run("run_batch", "r.jsonl", "--output", "out.csv").code == 0
    killed_before(at, "download", "r.jsonl", "--output", "out.csv")
    Path("out.csv").write_text(MINE)

    ran = run("download", "r.jsonl", "--output", "out.csv")

    assert ran.code == 3, ran.err
    assert "out.csv is in the way: it was changed since this job wrote it" in ran.err
    assert Path("out.csv").read_text() == MINE


@pytest.mark.parametrize("at", ["r.results.jsonl", "out.csv"])
def test_a_file_that_the_user_puts_where_a_killed_download_would_have_written_is_not_replaced(
    server: LocalServer, at: str
) -> None:
    del server
    made_from_rows()
    assert run("run_batch", "r.jsonl").code == 0
    killed_before(at, "download", "r.jsonl", "--output", "out.csv")
    Path("out.csv").write_text(MINE)

    assert run("download", "r.jsonl", "--output", "out.csv").code == 3
    assert Path("out.csv").read_text() == MINE


@pytest.mark.parametrize("at", ["r.results.jsonl", "out.csv", "r.report.html"])
@pytest.mark.parametrize("first", [True, False])
def test_killed_while_it_writes_and_run_again_it_goes_on(server: LocalServer, at: str, first: bool) -> None:
    del server
    made_from_rows()
    assert run("run_batch", "r.jsonl").code == 0
    command = ["report", "r.jsonl"] if at == "r.report.html" else ["download", "r.jsonl", "--output", "out.csv"]
    if not first:
        assert run(*command).code == 0
    killed_before(at, *command)

    for _ in range(2):
        assert run(*command).code == 0


def test_where_the_lock_is_not_to_be_had_the_file_that_was_there_stays_the_jobs_own(server: LocalServer) -> None:
    del server
    made_from_rows()
    assert run("run_batch", "r.jsonl", "--output", "out.csv").code == 0
    before, clock = Path("out.csv").read_bytes(), FastClock()
    with Job.need(Path("r.jsonl")).locked(clock):
        assert run("report", "r.jsonl").code == 6
    assert not Path("r.report.html").exists()
    assert run("download", "r.jsonl", "--output", "out.csv").code == 0
    assert Path("out.csv").read_bytes() == before


@pytest.mark.parametrize("at", ["record.json", "attempt-1"])
def test_a_kill_while_other_answers_are_taken_leaves_those_that_were_taken(server: LocalServer, at: str) -> None:
    del server
    for name, count in (("one", 3), ("two", 2)):
        assert run("run_batch", write_requests(Path(f"{name}.jsonl"), count, name + " {n}")).code == 0
    Path("t.txt").write_text("one 1\none 2\none 3\ntwo 1\n")
    flags = ["--input", "t.txt", "--format", "lines", "--prompt", "{text}", "--model", "echo", "--max-tokens", "50"]
    assert run("create_batch_file", "new.jsonl", *flags, "--reuse", "one.jsonl").code == 0
    killed_before(at, "create_batch_file", "new.jsonl", *flags, "--reuse", "two.jsonl")

    ran = run("run_batch", "new.jsonl", "--json")

    assert ran.code == 0, ran.err
    assert ran.facts["results"] == 4
    taken = [line["custom_id"] for line in json_lines(Path("new.results.jsonl")) if "reused" in line]
    assert taken == ["row-000001", "row-000002", "row-000003"]


@pytest.mark.parametrize("added", [chat_line("row-000004", "one more"), "not a request\n"])
def test_what_was_added_to_a_request_file_after_its_answers_came_is_not_missing_unsaid(
    server: LocalServer, added: str
) -> None:
    del server
    requests = write_requests(Path("r.jsonl"), 3)
    assert run("run_batch", requests).code == 0
    with requests.open("a") as file:
        file.write(added)
    for command in ("run_batch", "download", "retry_failed"):
        ran = run(command, requests)
        assert (ran.code, "changed since it was uploaded" in ran.err) == (3, True), command
    looked = run("report", requests, "--text")
    assert "Not sent yet: 1" in looked.out or (looked.code, "line 4" in looked.err) == (3, True)
    write_requests(requests, 3)  # restored: another time, the same content
    assert run("run_batch", requests).code == run("report", requests).code == 0
