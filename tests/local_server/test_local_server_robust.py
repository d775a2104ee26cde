"""The local server under trouble: killed, crowded, fed nonsense, out of room."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_server.app import App, LocalServer
from local_server.settings import Settings
from local_server.storage import StorageError
from support.running import chat_line

SERVER = Path(__file__).parent
PATIENCE = 30.0


@contextmanager
def process(data: Path, *arguments: str, limit_bytes: int = 0) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The server as people start it, on a free port; with `limit_bytes` no file of it may grow larger."""

    def limit() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    started = subprocess.Popen(
        [sys.executable, str(SERVER), "--port", "0", "--data", str(data), "--no-real-model", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )
    try:
        assert started.stdout is not None
        pasted = dict(re.findall(r"^export (\w+)=(.*)$", started.stdout.readline() + started.stdout.readline(), re.M))
        headers = {"authorization": f"Bearer {pasted['DOUBLEWORD_API_KEY']}"}
        with httpx.Client(base_url=pasted["DOUBLEWORD_BASE_URL"], headers=headers, timeout=PATIENCE) as client:
            yield started, client
    finally:
        started.kill()
        started.communicate()


def submit(client: httpx.Client, count: int, name: str = "in") -> dict[str, Any]:
    text = "".join(chat_line(f"{name}-{n}", f"{name} says {n}") for n in range(count))
    uploaded = client.post("/files", data={"purpose": "batch"}, files={"file": (f"{name}.jsonl", text)})
    assert uploaded.status_code == 201, uploaded.text
    body = {"input_file_id": uploaded.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    created = client.post("/batches", json=body)
    assert created.status_code == 201, created.text
    return dict(created.json())


def ended(client: httpx.Client, batch: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while batch["status"] not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)
        batch = client.get(f"/batches/{batch['id']}").json()
    return batch


def output_ids(client: httpx.Client, batch: dict[str, Any]) -> list[str]:
    text = client.get(f"/files/{batch['output_file_id']}/content").text
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def test_after_kill_9_the_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    with process(tmp_path, "--speed", "20", "--rate", "100") as (server, client):
        batch = submit(client, 150)
        deadline = time.monotonic() + PATIENCE
        while client.get(f"/batches/{batch['id']}").json()["request_counts"]["completed"] < 20:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.send_signal(signal.SIGKILL)
        server.wait()
    with process(tmp_path, "--speed", "20") as (_, client):
        done = ended(client, client.get(f"/batches/{batch['id']}").json())
        assert done["request_counts"] == {"total": 150, "completed": 150, "failed": 0}
        assert sorted(output_ids(client, batch)) == sorted(f"in-{n}" for n in range(150))
    with closing(sqlite3.connect(tmp_path / "local_server.sqlite3")) as database, database:
        assert database.execute("SELECT DISTINCT answered FROM requests").fetchall() == [(1,)]


@pytest.mark.parametrize("moment", [0.0, 0.004, 0.02])
def test_a_batch_that_was_answered_with_201_survives_a_kill_at_once(tmp_path: Path, moment: float) -> None:
    with process(tmp_path, "--speed", "1") as (server, client):
        batch = submit(client, 40)
        time.sleep(moment)
        server.send_signal(signal.SIGKILL)
        server.wait()
    with process(tmp_path, "--speed", "100") as (_, client):
        done = ended(client, client.get(f"/batches/{batch['id']}").json())
        assert done["request_counts"]["completed"] == 40


def test_fifty_clients_at_once_get_each_its_own_answers(tmp_path: Path) -> None:
    with LocalServer(tmp_path, speed=100, real_model=False) as server:

        def one(number: int) -> list[str]:
            headers = {"authorization": f"Bearer {server.key}"}
            # Not verified: nothing is encrypted here, and to read the authorities takes as long as all the rest.
            with httpx.Client(base_url=server.base_url, headers=headers, timeout=PATIENCE, verify=False) as client:
                batch = ended(client, submit(client, 20, f"client-{number}"))
                return sorted(output_ids(client, batch))

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(one, range(50)))
    assert answers == [sorted(f"client-{number}-{n}" for n in range(20)) for number in range(50)]


def test_a_slow_upload_keeps_nobody_waiting(tmp_path: Path) -> None:
    with LocalServer(tmp_path, speed=100, real_model=False) as server:
        start = (
            f"POST /ai/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="slow"\r\n\r\n'
        )
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(start.encode() + chat_line("a", "b").encode())
            headers = {"authorization": f"Bearer {server.key}"}
            with httpx.Client(base_url=server.base_url, headers=headers, timeout=PATIENCE) as client:
                assert ended(client, submit(client, 3))["status"] == "completed"
        with httpx.Client(base_url=server.base_url, headers=headers, timeout=PATIENCE) as client:
            names = [file["filename"] for file in client.get("/files", params={"purpose": "batch"}).json()["data"]]
    assert names == ["in.jsonl"], "an upload that was never finished must leave nothing behind"


def test_a_refused_upload_is_answered_while_the_client_still_sends(tmp_path: Path) -> None:
    """The client is cut off, and can still read why."""
    line = chat_line("id", "x" * 1000).encode()
    with LocalServer(tmp_path, real_model=False) as server:
        head = (
            f"POST /ai/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {20_000 * len(line)}\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\noops\n'
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(head.encode())
            with pytest.raises(BrokenPipeError):
                client.sendall(line * 20_000)
            answer = client.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "connection: close" in answer.lower()
    assert answer.endswith("Invalid JSON on line 1: expected value at line 1 column 1")


@pytest.mark.parametrize("nonsense", [b"\x00\xff\x00\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_not_http_is_refused_and_the_server_goes_on(tmp_path: Path, nonsense: bytes) -> None:
    with LocalServer(tmp_path, real_model=False) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(nonsense)
            assert b" 400 " in client.recv(1000)
        assert httpx.get(f"{server.base_url}/models").status_code == 401


def test_a_taken_port_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([sys.executable, str(SERVER), "--port", port, "--data", str(tmp_path)],
                              capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"local server: cannot listen on 127\.0\.0\.1:{port}: .*in use\n", done.stderr)


def test_a_data_folder_that_cannot_be_used_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    done = subprocess.run([sys.executable, str(SERVER), "--port", "0", "--data", str(in_the_way / "data")],
                          capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"local server: cannot use .*: Not a directory\n", done.stderr)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "local_server.sqlite3").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StorageError, match="not a database"):
        LocalServer(tmp_path)


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with LocalServer(tmp_path, real_model=False), pytest.raises(StorageError, match="in use by another"):
        LocalServer(tmp_path, real_model=False)
    with LocalServer(tmp_path, real_model=False):
        pass  # free again


@pytest.mark.parametrize("size", [1_000_000, 6_000_000], ids=["in the database", "in the temporary file"])
def test_a_full_disk_is_one_line_and_exit_code_1(tmp_path: Path, size: int) -> None:
    """The limit on file sizes stands in for the disk: the write fails in the same places."""
    with process(tmp_path, limit_bytes=500_000) as (server, client):
        text = "".join(chat_line(f"id-{n}", "x" * 1000) for n in range(size // 1000))
        answer = client.post("/files", data={"purpose": "batch"}, files={"file": ("big.jsonl", text)})
        assert (answer.status_code, answer.text) == (500, "Internal server error")
        _, errors = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    told = [line for line in errors.splitlines() if "models" not in line]
    assert len(told) == 1, errors
    assert told[0].startswith(f"local server: cannot write to {tmp_path}")


def test_the_server_stops_although_a_wait_swallows_its_cancellation(tmp_path: Path) -> None:
    """Seen: the claim loop lived on after a stop, and the server ended only when a batch of 20,000 had run."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass  # as `wait_for` does before Python 3.12, if the wait is over in that moment
        await asyncio.sleep(3600)

    async def start_and_stop() -> None:
        app = App(tmp_path, Settings())
        app.worker.start()
        app.worker._spawn(stubborn())
        await asyncio.sleep(0.01)
        await asyncio.wait_for(app.worker.stop(), 5)
        app.database.close()

    asyncio.run(start_and_stop())


def test_help_names_every_rehearsal_flag() -> None:
    done = subprocess.run([sys.executable, str(SERVER), "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    for flag in ("--delay", "--rate", "--fail", "--outage", "--upstream", "--key", "--data", "--speed"):
        assert flag in done.stdout
