"""What the local server shows over time: states, lagging lists, cancels, retries, the deleted input file."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_server.app import LocalServer
from support.running import chat_line

PATIENCE = 20.0


class Service:
    """A client that hides nothing: raw answers, and the steps that every test here needs."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.base_url, headers={"authorization": f"Bearer {server.key}"}, timeout=PATIENCE
        )

    def upload(self, *prompts: str, model: str = "echo") -> str:
        text = "".join(chat_line(f"id-{n}", prompt, model) for n, prompt in enumerate(prompts))
        answer = self.http.post("/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", text)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def create(self, file_id: str) -> httpx.Response:
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return self.http.post("/batches", json=body)

    def run(self, *prompts: str) -> dict[str, Any]:
        created = self.create(self.upload(*prompts))
        assert created.status_code == 201, created.text
        return dict(created.json())

    def get(self, batch: dict[str, Any]) -> dict[str, Any]:
        return dict(self.http.get(f"/batches/{batch['id']}").json())

    def until(self, batch: dict[str, Any], done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while not done(batch):
            assert time.monotonic() < deadline, batch
            time.sleep(0.005)
            batch = self.get(batch)
        return batch

    def ended(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self.until(batch, lambda b: b["status"] in ("completed", "failed", "cancelled"))

    def post(self, batch: dict[str, Any], action: str, **arguments: Any) -> httpx.Response:
        return self.http.post(f"/batches/{batch['id']}/{action}", **arguments)

    def output(self, batch: dict[str, Any], kind: str = "output", **query: int) -> httpx.Response:
        return self.http.get(f"/files/{batch[f'{kind}_file_id']}/content", params=query)

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.server.database)) as connection, connection:
            return connection.execute(sql).fetchall()


@contextmanager
def service(folder: Path, speed: float = 200, **settings: Any) -> Iterator[Service]:
    with LocalServer(folder, speed=speed, **settings) as server:
        client = Service(server)
        with client.http:
            yield client


def ids(answer: httpx.Response) -> list[str]:
    return [json.loads(line)["custom_id"] for line in answer.text.splitlines()]


def test_a_batch_is_validating_then_in_progress_then_completed(tmp_path: Path) -> None:
    with service(tmp_path, speed=1, claim_interval=0.3, population_delay=0.3) as client:
        batch = client.run("one", "two")
        assert batch["status"] == "validating"
        assert "in_progress_at" not in batch
        assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
        assert client.output(batch).headers["x-incomplete"] == "true"
        started = client.until(batch, lambda b: b["status"] != "validating")
        assert started["status"] == "in_progress"
        done = client.ended(batch)
        assert (done["status"], done["request_counts"]["completed"]) == ("completed", 2)
        assert client.output(batch).headers["x-incomplete"] == "false"


def test_counts_and_output_grow_together(tmp_path: Path) -> None:
    with service(tmp_path, rate=40) as client:
        batch = client.run(*(f"n {n}" for n in range(30)))
        seen = []
        while (batch := client.get(batch))["status"] in ("validating", "in_progress"):
            answer = client.output(batch)
            assert int(answer.headers["x-last-line"]) == len(ids(answer))
            seen.append(len(ids(answer)))
        assert seen == sorted(seen)
        assert any(0 < count < 30 for count in seen)
        assert len(ids(client.output(batch))) == 30


def test_the_list_says_finalizing_until_somebody_looks(tmp_path: Path) -> None:
    with service(tmp_path, finalizer_interval=1e6) as client:
        batch = client.run("one")
        deadline = time.monotonic() + PATIENCE
        while (listed := client.http.get("/batches").json()["data"][0])["status"] != "finalizing":
            assert time.monotonic() < deadline, listed
        assert "completed_at" not in listed
        assert client.get(batch)["status"] == "completed"
        assert client.http.get("/batches").json()["data"][0]["status"] == "completed"


def test_a_cancel_before_population_leaves_the_batch_cancelling_for_good(tmp_path: Path) -> None:
    with service(tmp_path, population_delay=100) as client:
        batch = client.run("one")
        assert client.post(batch, "cancel").json()["status"] == "cancelling"
        time.sleep(0.7)  # population would have begun after 0.5 s
        assert client.get(batch)["status"] == "cancelling"
        assert client.output(batch).headers["x-incomplete"] == "true"
        assert client.post(batch, "retry").json()["status"] == "validating"
        assert client.post(batch, "retry").status_code == 400
        assert client.http.delete(f"/batches/{batch['id']}").status_code == 204
        assert client.http.get(f"/batches/{batch['id']}").status_code == 404


def test_answers_in_flight_still_land_after_a_cancel_until_the_abort(tmp_path: Path) -> None:
    with service(tmp_path, delay=0.5, cancel_poll=1e6) as client:
        batch = client.until(client.run("one", "two"), lambda b: b["status"] == "in_progress")
        deadline = time.monotonic() + PATIENCE
        while not client.query("SELECT 1 FROM requests WHERE state = 'in_progress'"):
            assert time.monotonic() < deadline
        cancelled = client.post(batch, "cancel").json()
        assert (cancelled["status"], cancelled["request_counts"]["completed"]) == ("cancelled", 0)
        assert client.output(batch).headers["x-incomplete"] == "false"
        late = client.until(batch, lambda b: b["request_counts"]["completed"] == 2)
        assert late["status"] == "cancelled"


def test_the_abort_ends_what_is_in_flight(tmp_path: Path) -> None:
    with service(tmp_path, delay=0.6, cancel_poll=10) as client:
        batch = client.until(client.run("one"), lambda b: b["status"] == "in_progress")
        client.post(batch, "cancel")
        time.sleep(0.9)
        assert client.get(batch)["request_counts"]["completed"] == 0
        assert client.query("SELECT state, answered FROM requests") == [("canceled", 0)]


def test_a_completed_batch_can_be_cancelled_and_retried_back(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        batch = client.ended(client.run("one"))
        cancelled = client.post(batch, "cancel").json()
        assert cancelled["status"] == "cancelled"
        assert "completed_at" in cancelled
        assert "finalizing_at" not in cancelled
        assert client.post(batch, "retry").json()["status"] == "completed"


def test_a_retry_right_after_a_cancel_can_lose_the_requests(tmp_path: Path) -> None:
    with service(tmp_path, claim_interval=1e6, cascade_delay=30) as client:
        batch = client.until(client.run("one", "two"), lambda b: b["status"] == "in_progress")
        assert client.post(batch, "cancel").json()["status"] == "cancelled"
        assert client.post(batch, "retry").json()["status"] == "in_progress"
        ended = client.ended(batch)
        assert ended["status"] == "failed"
        assert ended["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
        assert client.post(batch, "retry").json()["status"] == "in_progress"
        assert client.query("SELECT DISTINCT state FROM requests") == [("pending",)]


def test_a_retry_takes_lines_out_of_the_error_file(tmp_path: Path) -> None:
    from local_server.settings import FailRule

    with service(tmp_path, fail=[FailRule.parse("unlucky=400")]) as client:
        batch = client.ended(client.run("fine", "unlucky"))
        assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        error = json.loads(client.output(batch, "error").text)["error"]
        assert error["code"] is None
        assert json.loads(error["message"])["type"] == "NonRetriableHttpStatus"
        client.server.settings.fail.clear()
        assert client.post(batch, "retry").json()["request_counts"]["failed"] == 0
        assert client.output(batch, "error").text == ""
        assert client.ended(client.get(batch))["request_counts"]["completed"] == 2
        assert client.query("SELECT answered FROM requests ORDER BY seq") == [(1,), (2,)]


def test_deleting_the_input_file_cancels_and_fences(tmp_path: Path) -> None:
    with service(tmp_path, delay=60) as client:
        file_id = client.upload("one")
        batch = client.until(client.create(file_id).json(), lambda b: b["status"] == "in_progress")
        assert client.http.delete(f"/files/{file_id}").json()["deleted"] is True
        seen = client.get(batch)
        assert (seen["status"], seen["input_file_id"]) == ("cancelled", "")
        assert client.create(file_id).status_code == 404
        assert client.http.get(f"/batches/{batch['id']}/results", params={"limit": 1}).status_code == 500
        with pytest.raises(httpx.RemoteProtocolError):
            client.http.get(f"/batches/{batch['id']}/results")


def test_no_batch_lives_whichever_of_post_and_delete_comes_first(tmp_path: Path) -> None:
    """The fence: the two at the same time, and every later POST is a 404."""
    with service(tmp_path, delay=0.2) as client:
        created, refused = [], 0
        for attempt in range(40):
            file_id = client.upload(*(f"{attempt} {n}" for n in range(3)))
            answers: list[httpx.Response] = []
            posting = threading.Thread(target=lambda i=file_id, a=answers: a.append(client.create(i)))
            posting.start()
            time.sleep((attempt % 8) / 2000)
            assert client.http.delete(f"/files/{file_id}").status_code == 200
            posting.join()
            assert client.create(file_id).status_code == 404
            if answers[0].status_code == 201:
                created.append(answers[0].json())
            else:
                assert answers[0].status_code == 404
                refused += 1
        time.sleep(0.5)
        statuses = {client.get(batch)["status"] for batch in created}
        assert statuses <= {"cancelled", "cancelling", "failed"}
        assert len(created) + refused == 40
        assert created, "no POST came first: the race was not tried"
        assert client.query("SELECT count(*) FROM requests WHERE state IN ('pending', 'in_progress')") == [(0,)]


def test_a_resumed_read_can_miss_a_line_while_the_number_of_lines_is_right(tmp_path: Path) -> None:
    with service(tmp_path, speed=20, rate=400, late_fraction=0.2, late_by=3) as client:
        batch = client.run(*(f"n {n}" for n in range(200)))
        received: list[str] = []
        while (batch := client.get(batch))["status"] in ("validating", "in_progress"):
            received += ids(client.output(batch, skip=len(received)))
        received += ids(client.output(batch, skip=len(received)))
        assert len(received) == 200
        assert len(set(received)) < 200
        assert len(set(ids(client.output(batch)))) == 200


def test_requests_of_a_removed_model_wait_for_ever_and_can_be_cancelled(tmp_path: Path) -> None:
    with service(tmp_path, claim_interval=200) as client:
        batch = client.until(client.run("one"), lambda b: b["status"] == "in_progress")
        client.server.app.registry.remove("echo")
        time.sleep(1.5)  # one claim at least
        assert client.get(batch)["status"] == "in_progress"
        assert client.query("SELECT state, attempts FROM requests") == [("pending", 0)]
        assert client.post(batch, "cancel").json()["status"] == "cancelled"
