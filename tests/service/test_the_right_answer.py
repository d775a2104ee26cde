"""What comes back is held against what was asked, and what this job made must be known to the server it asks."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from local_server.app import LocalServer
from local_server.settings import FailRule, User
from support.faults.fixture import MakeTrouble, Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.trial import KEY
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import text
from support.running import json_lines, write_requests

ALWAYS = 100_000
RECORD = Path("r.job/record.json")
STRANGER = "7e57ab1e-0000-4000-8000-000000000000"


def rewritten(**changed: object) -> Any:
    """The server has acted, but its answer is the one to somebody else's request."""

    def effect(exchange: Exchange) -> None:
        answer = exchange.forward()
        if 200 <= answer.status < 300:
            found = json.loads(answer.body)
            for item in found.get("data", [found]):
                item.update(changed)
            answer = answer.with_body(json.dumps(found).encode())
        exchange.send(answer)

    return effect


@pytest.mark.parametrize(
    ("route", "changed"),
    [
        ("upload", {"id": STRANGER, "filename": "another.jsonl"}),
        ("submit", {"id": STRANGER, "input_file_id": STRANGER}),
        ("submit", {"id": STRANGER, "metadata": {"dwb_submission": "another"}}),
        ("submit", {"endpoint": "/v1/embeddings"}),
        ("batch", {"id": STRANGER}),
        ("estimate", {"file_id": STRANGER}),
    ],
)
def test_a_swapped_answer_is_never_taken(trouble: Trouble, route: str, changed: dict[str, object]) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(Fault("swapped", route, times=1), swapped=rewritten(**changed))
    limit = ("--max-cost", "5") if route == "estimate" else ()  # else it may stay unknown

    codes = [trouble.run("run_batch", requests, *limit).code]
    if codes[-1] == 6:
        codes.append(trouble.run("run_batch", requests).code)

    assert trouble.proxy.hits["swapped"] == 1
    assert STRANGER not in RECORD.read_text()
    assert codes[-1] == 0
    assert trouble.oracle.answered_twice() == []
    assert len(json_lines(Path("r.results.jsonl"))) == 4


def test_a_row_of_a_list_that_has_our_id_and_anothers_content_is_not_taken(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests, "--part-requests", "2")
    lie = rewritten(status="completed", metadata={"dwb_content": "0" * 64})
    trouble.strike(
        Fault("swapped", "list_batches", times=ALWAYS), Fault("503_before", "batch", times=ALWAYS), swapped=lie
    )

    assert trouble.run("poll", requests, "--once").code == 6

    statuses = [part["batch"]["status"] for part in json.loads(RECORD.read_text())["attempts"][0]["parts"]]
    assert "completed" not in statuses


# --- another key, another server ---


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[LocalServer]:
    with LocalServer(tmp_path / "other", speed=200, users=[User(KEY)]) as running:
        yield running


def unclear(trouble: Trouble) -> Path:
    """A job whose one send has an unclear fate: the batch runs, its id is not in the record."""
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests).code == 0
    trouble.strike(Fault("cut_after", "submit"), Fault("503_before", "list_batches", nth=4, times=ALWAYS))
    assert trouble.run("create_batch", requests).code == 6
    assert json.loads(RECORD.read_text())["attempts"][0]["parts"][0]["submission"]
    trouble.strike()
    trouble.clock.ahead += 1000
    return requests


@pytest.mark.parametrize("command", ["create_batch", "run_batch", "cancel_batch"])
@pytest.mark.parametrize("changed", ["key", "url"])
def test_a_changed_key_or_url_tears_nothing_up_and_pays_nothing(
    make_trouble: MakeTrouble,
    other_server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
    command: str,
) -> None:
    trouble = make_trouble(users=[User(KEY), User("another-key", email="other@example.com")])
    requests = unclear(trouble)
    before = json.loads(RECORD.read_text())["attempts"][0]["parts"]
    with monkeypatch.context() as patch:
        if changed == "key":
            patch.setenv("DOUBLEWORD_API_KEY", "another-key")
        else:
            patch.setenv("DOUBLEWORD_BASE_URL", other_server.base_url)
        refused = trouble.run(command, requests)

    assert (refused.code, refused.out) == (5, ""), refused.err
    assert "another key or base URL?" in refused.err
    assert json.loads(RECORD.read_text())["attempts"][0]["parts"] == before
    for server in (trouble.server, other_server):
        with closing(sqlite3.connect(server.database)) as database, database:
            batches = database.execute("SELECT cancelling_at FROM batches").fetchall()
            assert batches == ([(None,)] if server is trouble.server else [])
    if command == "cancel_batch":
        assert trouble.run("cancel_batch", requests, "--resume").code == 0
    assert trouble.run("run_batch", requests).code == 0
    assert len(trouble.oracle.batches()) == 1


def test_a_completed_part_that_another_key_does_not_see_does_not_count_as_ended(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(users=[User(KEY), User("another-key", email="other@example.com")], population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests, "--part-requests", "2")
    trouble.clock.ahead += 1000
    trouble.server.settings.users.reverse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOUBLEWORD_API_KEY", "another-key")
        for command in (("poll", requests, "--once"), ("download", requests), ("cancel_batch", requests)):
            refused = trouble.run(*command)
            assert (refused.code, refused.out) == (5, ""), refused.err
    assert '"deleted"' not in RECORD.read_text()


def test_a_retry_is_not_paid_under_another_key_than_the_job(make_trouble: MakeTrouble) -> None:
    users = [User(KEY), User("another-key", email="other@example.com")]
    trouble = make_trouble(users=users, max_retries=0, fail=[FailRule.parse("number 2=500")])
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("run_batch", requests).code == 9
    assert trouble.run("retry_failed", requests).code == 0
    trouble.clock.ahead += 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOUBLEWORD_API_KEY", "another-key")
        refused = trouble.run("run_batch", requests)
    assert (refused.code, refused.out) == (5, ""), refused.err
    assert "another key or base URL?" in refused.err
    assert len(trouble.oracle.batches()) == 1


def test_what_another_process_made_a_moment_ago_may_be_unknown_under_a_new_url(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    assert trouble.run("upload", requests).code == 0
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", trouble.proxy.base_url.replace("127.0.0.1", "localhost"))
    trouble.strike(Fault("404_before", "file", times=3))
    sent = trouble.run("create_batch", requests)
    assert sent.code == 0, sent.err
    assert "made a moment ago" in sent.err
    assert len(trouble.oracle.batches()) == 1


def test_a_job_of_which_nothing_was_made_moves_to_another_url_without_a_word(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(Fault("400_before", "upload"))
    assert trouble.run("upload", requests).code == 3
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", trouble.proxy.base_url.replace("127.0.0.1", "localhost"))
    trouble.strike()
    uploaded = trouble.run("upload", requests)
    assert uploaded.code == 0, uploaded.err
    assert "knows it, too" not in uploaded.err


def test_a_users_own_file_whose_send_is_unclear_is_asked_about_after_some_minutes(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    (file_id,) = trouble.run("upload", requests).lines
    shutil.rmtree("r.job")
    trouble.strike(Fault("cut_before", "submit"))
    assert trouble.run("create_batch", file_id).code == 6
    trouble.clock.ahead += 400
    asked = trouble.run("create_batch", file_id)
    assert (asked.code, asked.out) == (4, ""), asked.err
    assert "list_batches.py --search" in asked.err
    assert trouble.run("create_batch", f"file-{file_id}.jsonl", "--again").code == 0
    assert len(trouble.oracle.batches()) == 1


def test_a_job_goes_on_under_another_spelling_of_its_url(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    monkeypatch.setenv(
        "DOUBLEWORD_BASE_URL", trouble.proxy.base_url.replace("http://", "HTTP://").replace("/v1", "//v1/")
    )
    asked = len(trouble.proxy.requests("file"))
    assert trouble.run("poll", requests).code in (0, 2, 6), "whether the server takes it is its own affair"
    assert len(trouble.proxy.requests("file")) == asked, "it was taken for another server"


def test_a_job_goes_on_through_another_address_of_the_server_that_knows_its_files(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", trouble.server.base_url)

    done = trouble.run("run_batch", requests)

    assert done.code == 0, done.err
    assert json.loads(RECORD.read_text())["base_url"] == trouble.server.base_url
    assert len(trouble.oracle.batches()) == 1


def test_a_file_that_was_deleted_on_the_server_is_uploaded_anew_after_a_yes(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    (file_id,) = trouble.run("upload", requests).lines
    with closing(sqlite3.connect(trouble.server.database)) as database, database:
        database.execute("DELETE FROM files WHERE id = ?", (file_id,))
    trouble.clock.ahead += 1000

    refused = trouble.run("create_batch", requests)
    assert (refused.code, refused.out) == (5, "")
    assert "--again" in refused.err

    assert trouble.run("create_batch", requests, "--again").code == 0
    assert len(trouble.oracle.batches()) == 1


# --- a replica that lags ---


def lagging(seconds: float) -> Any:
    """A route that knows nothing for so many seconds after it was first asked."""
    until: list[float] = []

    def effect(exchange: Exchange) -> None:
        now = exchange.proxy.clock.now()
        until[:] = until or [now + seconds]
        exchange.send(text(404, "not found") if now < until[0] else exchange.forward())

    return effect


@pytest.mark.parametrize("route", ["estimate", "file", "batch", "content"])
@pytest.mark.parametrize("seconds", [2.0, 100.0])
def test_what_was_made_a_moment_ago_may_be_unknown_for_some_seconds(
    trouble: Trouble, route: str, seconds: float
) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.strike(
        Fault("lag", route, times=ALWAYS),
        Fault("cut_before", "submit", times=1 if route == "file" else 0),
        lag=lagging(seconds),
    )

    codes = [trouble.run("upload", requests).code]
    codes += [trouble.run("create_batch", requests).code for _ in range(3)]
    assert {trouble.run("poll", requests, "--once").code for _ in range(2)} <= {0, 5, 6, 8}  # 5: nothing submitted yet
    for _ in range(2):
        codes.append(trouble.run("run_batch", requests).code)
        trouble.clock.ahead += seconds
    codes.append(trouble.run("run_batch", requests).code)

    assert set(codes) <= {0, 6, 8}, codes
    assert codes[-1] == 0, codes
    assert trouble.oracle.live_together() == []
    assert trouble.oracle.answered_twice() == []


def test_a_key_that_lists_another_job_of_the_same_file_deletes_no_batch_of_this_one(make_trouble: MakeTrouble) -> None:
    users = [User(KEY), User("another-key", email="other@example.com")]
    trouble = make_trouble(users=users, population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 8)
    trouble.submit(requests, "--part-requests", "4")
    trouble.clock.ahead += 600
    Path("b").mkdir()
    shutil.copy("r.jsonl", "b/r.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOUBLEWORD_API_KEY", "another-key")
        trouble.submit(Path("b/r.jsonl"), "--part-requests", "4")
        refused = trouble.run("poll", requests, "--once")
    assert (refused.code, refused.out) == (5, ""), refused.err
    assert "another key or base URL?" in refused.err
    assert "deleted" not in RECORD.read_text()
    assert trouble.run("poll", requests, "--once").code == 8


@pytest.mark.parametrize("command", ["download", "retry_failed", "run_batch"])
def test_a_key_that_does_not_know_a_cancelled_batch_concludes_nothing(make_trouble: MakeTrouble, command: str) -> None:
    users = [User(KEY), User("another-key", email="other@example.com")]
    trouble = make_trouble(users=users, claim_interval=1e9, population_delay=0.0)
    requests = write_requests(Path("r.jsonl"), 5)
    trouble.submit(requests)
    assert trouble.run("cancel_batch", requests).code == 0
    trouble.clock.ahead += 600
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOUBLEWORD_API_KEY", "another-key")
        refused = trouble.run(command, requests)
    assert (refused.code, refused.out) == (5, ""), refused.err
    assert not Path("r.results.jsonl").exists()
    assert not list(Path("r.job").glob("attempt-2*"))


def test_a_batch_whose_output_is_suddenly_another_file_is_another_batch(trouble: Trouble) -> None:
    requests = write_requests(Path("r.jsonl"), 4)
    trouble.submit(requests)
    assert trouble.run("poll", requests).code == 0
    trouble.strike(Fault("swapped", "batch", times=ALWAYS), swapped=rewritten(output_file_id=STRANGER))
    refused = trouble.run("download", requests)
    assert (refused.code, refused.out) == (6, ""), refused.err
    assert "about another batch" in refused.err
