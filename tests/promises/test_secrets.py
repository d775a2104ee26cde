"""The key: where it comes from, the one origin it goes to, and everywhere it must not appear."""

from __future__ import annotations

import base64
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.trial import KEY
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer, text
from support.running import SCRIPTS, Ran, run, write_requests

ALWAYS = 100_000
STEPS = ("upload", "create_batch", "poll", "download", "retry_failed", "cancel_batch", "run_batch")


@pytest.fixture
def stranger() -> Iterator[list[bytes]]:
    """Another origin, at STRANGER_PORT of the environment; the list holds what was sent to it."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.environ["STRANGER_PORT"] = str(listener.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield received
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    del os.environ["STRANGER_PORT"]


def stranger_url() -> str:
    return f"http://127.0.0.1:{os.environ['STRANGER_PORT']}"


def sent_keys(trouble: Trouble) -> set[str]:
    return {seen.headers.get("authorization", "") for seen in trouble.proxy.log}


# --- where it goes ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_key_to_another_origin(trouble: Trouble, stranger: list[bytes], status: int) -> None:
    requests = write_requests(Path("r.jsonl"), 2)
    answer = Answer(status, {"location": f"{stranger_url()}/ai/v1/files"})
    trouble.strike(Fault("moved", "any", times=ALWAYS), moved=lambda exchange: exchange.send(answer))

    codes = {command: trouble.run(command, *arguments).code for command, arguments in calls(requests).items()}

    assert codes == dict.fromkeys(codes, 2)
    assert stranger == []


def calls(requests: Path) -> dict[str, list[str | Path]]:
    unknown = "3f2b4c1a-0000-4000-8000-000000000000"
    return {
        "list_models": [],
        "list_batches": [],
        "upload": [requests],
        "run_batch": [requests],
        "poll": [unknown, "--once"],
        "download": [unknown],
        "cancel_batch": [unknown],
    }


@pytest.mark.parametrize(
    "url",
    ["http://api.doubleword.ai/v1", "http://10.0.0.7/v1", "http://127.0.0.1.example.com/v1",
     "http://localhost.example.com/v1", "http://127.1.example/v1", "http://[::2]/v1", "ftp://127.0.0.1/v1",
     "http://localhost@example.com/v1", "https://user:word@api.doubleword.ai/v1", "api.doubleword.ai/v1"],
)  # fmt: skip
def test_the_key_is_not_sent_over_plain_http_nor_to_what_is_no_base_url(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", url)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)

    ran = run("list_models")

    assert (ran.code, ran.out) == (2, "")
    assert "user:" not in ran.err


def no_network(*_: object) -> None:
    raise AssertionError("the network was asked")


def test_a_netrc_entry_does_not_replace_the_key(trouble: Trouble) -> None:
    netrc = Path.home() / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login anybody password any\n")
    netrc.chmod(0o600)

    assert trouble.run("run_batch", write_requests(Path("r.jsonl"), 2)).code == 0

    assert sent_keys(trouble) == {f"Bearer {KEY}"}


def test_proxies_of_the_environment_never_see_a_loopback_server(
    trouble: Trouble, stranger: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, stranger_url())
        monkeypatch.setenv(name.lower(), stranger_url())

    assert trouble.run("run_batch", write_requests(Path("r.jsonl"), 2)).code == 0

    assert stranger == []


def test_the_key_comes_from_the_environment_alone(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "   "):
        monkeypatch.setenv("DOUBLEWORD_API_KEY", value)
        ran = trouble.run("list_models")
        assert (ran.code, ran.out) == (4, "")
        assert "DOUBLEWORD_API_KEY is not set" in ran.err
    assert trouble.proxy.log == []
    monkeypatch.setenv("DOUBLEWORD_API_KEY", f"  {KEY}\n")
    assert trouble.run("list_models").code == 0


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-with\x00zero", "sk-with space", "sk-dots…", "“sk-quoted”"])
def test_a_key_that_cannot_be_one_is_refused_unsent_and_not_shown(
    trouble: Trouble, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    if "\0" in key:
        monkeypatch.setattr(os, "environ", {**os.environ, "DOUBLEWORD_API_KEY": key})
    else:
        monkeypatch.setenv("DOUBLEWORD_API_KEY", key)

    ran = trouble.run("list_models")

    assert (ran.code, ran.out) == (4, ""), ran.err
    assert "sk-" not in ran.err
    assert trouble.proxy.log == []


# --- where it must not appear ---


def quoting() -> list[Answer]:
    """Answers of servers and proxies that quote the request back."""
    header = f"your header was: Authorization: Bearer {KEY}"
    as_json = {"content-type": "application/json"}
    error = f'{{"error": {{"message": "{header}", "code": "{KEY}"}}}}'.encode()
    good = f'{{"id": "{KEY}", "status": "{KEY}", "data": [{{"id": "{KEY}"}}], "total_estimated_cost": "{KEY}"}}'
    found = [text(status, header) for status in (400, 401, 404, 503)]
    return [*found, Answer(429, as_json, error), Answer(200, as_json, good.encode())]


@pytest.mark.parametrize("number", range(len(quoting())))
def test_a_server_that_quotes_the_key_back_does_not_get_it_shown_or_written(trouble: Trouble, number: int) -> None:
    requests = write_requests(Path("r.jsonl"), 2)
    trouble.submit(requests)
    answer = quoting()[number]
    trouble.strike(Fault("quotes", "any", times=ALWAYS), quotes=lambda exchange: exchange.send(answer))
    other = write_requests(Path("other.jsonl"), 3)

    for command, flag in zip(STEPS, itertools.cycle(("--json", "--quiet"))):
        assert_no_key(trouble.run(command, requests, flag, *(("--once",) if command == "poll" else ())))
    for command, arguments in {"run_batch": [other], "list_models": [], "list_batches": []}.items():
        assert_no_key(trouble.run(command, *arguments))
    assert trouble.proxy.hits["quotes"] > 5


def assert_no_key(ran: Ran) -> None:
    shown = ran.out + ran.err
    written = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    for form in (KEY, base64.b64encode(KEY.encode()).decode().rstrip("=")):
        assert form not in shown
        assert form.encode() not in written
    assert ran.code != 1, ran.err


def test_a_traceback_is_shown_without_the_key(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"a bug while sending Bearer {KEY}")

    monkeypatch.setattr("doubleword.service.api.Api.models", broken)

    ran = trouble.run("list_models")

    assert (ran.code, ran.out) == (1, "")
    assert "RuntimeError" in ran.err
    assert "Bearer ***" in ran.err
    assert KEY not in ran.err


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to read the process list from")
def test_the_key_is_not_in_the_process_list(trouble: Trouble) -> None:
    looked: list[bytes] = []

    def look(exchange: Exchange) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:  # ended meanwhile
                continue
            if b"list_models.py" in line:
                looked.append(line)
        exchange.send(exchange.forward())

    trouble.strike(Fault("look", "models"), look=look)
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "list_models.py")], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert looked
    assert all(KEY.encode() not in line for line in looked)
    assert KEY not in done.stdout + done.stderr
