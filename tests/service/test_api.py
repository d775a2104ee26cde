"""The transport: what the environment gets wrong is exit 2 and named, every exchange ends, and nothing odd gets in."""

from __future__ import annotations

import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import pytest

from doubleword.base.failures import Clock, Failure, NotFound, Temporary, WrongUsage
from doubleword.base.json_text import NotJson, read_json, written
from doubleword.service import api as transport
from doubleword.service import bounded_calls
from doubleword.service.api import Api
from doubleword.service.refusals import Cut, Unclear, Young
from support.running import FastClock, run

KEY = "sk-key-of-the-transport-tests"
Serve = Callable[[socket.socket, bytes], None]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a real socket; `serve` is given each connection and what came in first."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work(connection: socket.socket) -> None:
            try:
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                connections.append(connection)
                serve(connection, connection.recv(65536))
            except OSError:
                pass
            finally:
                connection.close()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=work, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in connections:
        connection.close()


@contextmanager
def api_over(serve: Serve, monkeypatch: pytest.MonkeyPatch, clock: Clock | None = None) -> Iterator[Api]:
    with serving(serve) as port:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"http://127.0.0.1:{port}/v1")
        yield Api(clock or FastClock())


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{lines}\r\n"
    return head.encode() + body


def always(body: bytes, status: str = "200 OK", **headers: str) -> Serve:
    return lambda connection, _: connection.sendall(answer(body, status, **headers))


# --- the environment's fault ---


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "proxy",
    ["socks://127.0.0.1:1080", "gopher://127.0.0.1:70", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:x",
     "://", "http://[::1", "socks5h://127.0.0.1:1", "http://127.0.0.1:1", "127.0.0.1:1", "http://no-such.invalid:3128",
     "http://exa mple:80"],
)  # fmt: skip
def test_a_proxy_that_cannot_work_is_exit_2_at_once_and_its_variable_is_named(
    name: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://203.0.113.1/v1")

    clock = FastClock()
    ran = run("list_models", clock=clock)

    assert ran.code == 2, ran.err
    assert name in ran.err
    assert clock.slept == []


def test_a_blank_proxy_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", " ")
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://no-such.invalid/v1")
    ran = run("list_models")
    assert "HTTPS_PROXY" not in ran.err
    assert "no-such.invalid" in ran.err


@pytest.mark.parametrize("certificates", [True, False])
def test_a_file_for_the_keys_of_tls_that_cannot_be_written_is_named_by_its_variable(
    certificates: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nosuch" / "keys"))
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    if certificates:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    with serving(always(b"{}")) as port:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"https://127.0.0.1:{port}/v1")
        ran = run("list_models")
    assert ran.code == 2, ran.err
    assert "SSLKEYLOGFILE" in ran.err
    assert "CA_BUNDLE" not in ran.err


@pytest.mark.parametrize(
    ("status", "code"),
    [("407 Authentication Required", 2), ("403 Forbidden", 2), ("501 No CONNECT here", 2), ("503 Busy", 6)],
)
def test_what_a_proxy_answers_is_told_from_the_way_behind_it(
    status: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://203.0.113.1/v1")
    received: list[bytes] = []

    def serve(connection: socket.socket, first: bytes) -> None:
        received.append(first)
        connection.sendall(answer(b"", status))

    with serving(serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{port}")
        ran = run("list_models")

    assert ran.code == code, ran.err
    assert "HTTPS_PROXY" in ran.err
    assert "word" not in ran.err
    assert received
    assert all(first.startswith(b"CONNECT ") and KEY.encode() not in first for first in received)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody else vouches for, and a server's side of it."""
    folder = tmp_path_factory.mktemp("authority")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


MODELS = always(b'{"data": [{"id": "m"}]}')


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_own_authority_is_honoured_on_loopback_too(
    variable: str, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(MODELS, authority[1]) as port:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"https://localhost:{port}/v1")
        clock = FastClock()
        untrusted = run("list_models", clock=clock)
        assert (untrusted.code, clock.slept) == (2, []), untrusted.err
        assert "REQUESTS_CA_BUNDLE" in untrusted.err
        monkeypatch.setenv(variable, str(authority[0]))
        assert run("list_models").code == 0


def test_certificate_files_that_are_none_are_exit_2_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://203.0.113.1/v1")
    Path("empty.pem").touch()
    Path("text.pem").write_text("not a certificate")
    for path in ("missing.pem", "empty.pem", "text.pem"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", path)
        ran = run("list_models")
        assert ran.code == 2, ran.err
        assert f"REQUESTS_CA_BUNDLE names no file of certificates: {path}" in ran.err


def test_a_server_that_speaks_no_tls_is_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda connection, _: connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")) as port:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"https://localhost:{port}/v1")
        assert run("list_models").code == 2


@pytest.mark.parametrize(
    "url",
    ["https://a..b/v1", "https://.a/v1", "https://api.example:0/v1", "https://api.example:99999/v1", "https://a:b/v1",
     "https://" + "a" * 64 + ".example/v1", "https://[::1/v1", "https://[g::1]/v1", "https://a b/v1", "https://a\\b/v1",
     "https://a\tb/v1", "https://\u2028/v1", "https:///v1", "https://:443/v1", "https://@a/v1", "https://-a.example/v1",
     "http://127.0.0.999:1/v1", "https://a/v1?x=1", "https://a/v1#x", "https://b\u00fccher..example/v1",
     "https://a%00b/v1"],
)  # fmt: skip
def test_an_odd_base_url_is_exit_2_before_anything_is_looked_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setenv("DOUBLEWORD_BASE_URL", url)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)

    ran = run("list_models")

    assert ran.code == 2, ran.err
    assert "DOUBLEWORD_BASE_URL" in ran.err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.7.6", "localhost"])
def test_every_name_of_this_machine_is_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(MODELS) as port:
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", f"http://{host}:{port}/v1/")
        api = Api(FastClock())
        assert api.is_loopback
        if host != "127.8.7.6":
            assert api.models() == [{"id": "m"}]


# --- every exchange ends ---


def drip(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def drip_headers(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for n in range(100_000):
        connection.sendall(f"x{n % 90}: y\r\n".encode()[n % 2 :])
        time.sleep(0.05)


def drip_chunks(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\n \r\n")
        time.sleep(0.05)


def silent(_: socket.socket, __: bytes) -> None:
    time.sleep(60)


def continue_for_ever(connection: socket.socket, _: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("serve", [drip, drip_headers, drip_chunks, silent, continue_for_ever])
@pytest.mark.parametrize("call", ["models", "create_batch", "content"])
def test_a_server_that_never_comes_to_an_end_is_left_when_the_time_is_over(
    serve: Serve, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AT_LEAST_SECONDS", "CHANGE_AT_LEAST_SECONDS"):
        monkeypatch.setattr(bounded_calls, name, 0.4)
    clock = Clock()
    with api_over(serve, monkeypatch, clock) as api:
        api.deadline = clock.monotonic()  # the time of the command is over: one look is still made
        started = time.monotonic()
        calls: dict[str, Callable[[], object]] = {
            "content": lambda: list(api.content("id", 0)),
            "models": api.models,
            "create_batch": lambda: api.create_batch("id", "/v1/chat/completions", "24h", {}),
        }
        with pytest.raises((Unclear, Temporary)):
            calls[call]()
        assert time.monotonic() - started < 3


def test_the_time_of_the_tries_counts_for_the_120_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FastClock()

    def slow(connection: socket.socket, _: bytes) -> None:
        clock.ahead += 50  # as a server that answers nothing for so long
        connection.close()

    with api_over(slow, monkeypatch, clock) as api:
        started = clock.monotonic()
        with pytest.raises(Temporary):
            api.models()
        assert clock.monotonic() - started < 220
        assert len(clock.slept) < 5


# --- sizes ---


def test_compressed_answers_are_not_asked_for_and_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    bomb = gzip.compress(b" " * 50_000_000)

    def serve(connection: socket.socket, first: bytes) -> None:
        asked.append(first.lower())
        connection.sendall(answer(bomb, content_encoding="gzip"))

    with api_over(serve, monkeypatch) as api:
        with pytest.raises(Unclear, match="compressed"):
            api.models()
        with pytest.raises(Cut, match="compressed"):
            list(api.content("id", 0))
    assert all(b"accept-encoding: identity" in first for first in asked)


def test_a_json_answer_and_a_line_of_content_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doubleword.service.server_objects.JSON_BYTES", 100_000)
    monkeypatch.setattr(transport, "CONTENT_LINE_BYTES", 100_000)
    with api_over(always(b'{"data": [' + b" " * 200_000 + b"]}"), monkeypatch) as api:
        with pytest.raises(Unclear, match="longer than"):
            api.models()
        with pytest.raises(Failure, match="a line of more than"):
            list(api.content("id", 0))
    with api_over(always((b"x" * 90_000 + b"\n") * 9), monkeypatch) as api:
        assert len(b"".join(api.content("id", 0))) == 9 * 90_001


# --- text of the server's ---


@pytest.mark.parametrize("before", [0, 470, 490, 499, 2000, 16 * 1024 - 10, 16 * 1024 - 4])
def test_the_key_is_blotted_wherever_a_long_text_is_cut(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for filler in ("x", " ", "\x1b"):
        with api_over(always((filler * before + KEY * 3).encode(), "400 Bad Request"), monkeypatch) as api:
            with pytest.raises(Failure) as raised:
                api.models()
            for length in range(4, len(KEY) + 1):
                assert KEY[:length] not in raised.value.what


@pytest.mark.parametrize("key", ["requests", "validating", "completed", "in_progress", "record.json"])
def test_a_key_that_is_an_ordinary_word_damages_nothing(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", key)
    batch = {"id": "b", "status": "validating", "request_counts": {"total": 3, "completed": 2, "failed": 0}}
    with api_over(always(json.dumps(batch).encode()), monkeypatch) as api:
        found = api.batch("b")
        assert (found.batch.status, found.batch.completed) == ("validating", 2)
    refused = always(f"no {key} here".encode(), "400 Bad Request")
    with api_over(refused, monkeypatch) as api, pytest.raises(Failure, match=r"no \*\*\* here"):
        api.batch("b")


# --- a thing that was made a moment ago ---


def test_a_404_on_what_was_made_a_moment_ago_is_temporary_and_later_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FastClock()

    def serve(connection: socket.socket, first: bytes) -> None:
        made = first.startswith(b"POST /v1/batches ")
        batch = b'{"id": "b", "input_file_id": "f", "endpoint": "/v1/chat/completions"}'
        connection.sendall(answer(batch) if made else answer(b"not found", "404 Not Found"))

    with api_over(serve, monkeypatch, clock) as api:
        with pytest.raises(NotFound):
            api.batch("b")
        api.create_batch("f", "/v1/chat/completions", "24h", {})
        with pytest.raises(Young):
            api.batch("b")
        clock.ahead += 300
        with pytest.raises(NotFound):
            api.batch("b")


# --- what comes back is about what was asked for ---


@pytest.mark.parametrize("ask", [Api.batch, Api.cancel, Api.file])
def test_an_answer_about_another_thing_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Api, str], object]
) -> None:
    with api_over(always(b'{"id": "other"}'), monkeypatch) as api:
        ask(api, "other")
        with pytest.raises(Unclear, match="about another one, other"):
            ask(api, "mine")


# --- JSON ---

NOT_JSON = [
    b"", b"{", b"NaN", b'{"a": NaN}', b"[Infinity]", b"[-Infinity]", b'"\\ud800"', b'{"\\udc00": 1}', b"\xff",
    b'"\xc3"',
    b"\xef\xbb\xbf{}", b"1e999", b"[-1e400]", b"[" * 1200 + b"]" * 1200, b"[" * 100_000,
    b'{"a":' * 201 + b"1" + b"}" * 201,
    b"'a'", b"[1,]", b"01", b"\x00", b'"\x01"', b"nul", b"[1] 2", b"9" * 5000,
]  # fmt: skip
JSON = [
    b"{}", b" [] ", b'"\\ud83d\\ude00"', b"18446744073709551616", b"-9223372036854775809", b"18446744073709551615",
    b"1e5",
    b"9" * 40, b"[" * 200 + b"]" * 200, b'{"a": 1, "a": 2}', b"1e-999", b"null", b'"\\u0000\x7f"', b"[1.5, -0.0, true]",
]  # fmt: skip


def test_json_has_one_verdict_and_one_value_with_and_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = [read_json(text) for text in JSON]
    for text in NOT_JSON:
        with pytest.raises(NotJson):
            read_json(text)
    monkeypatch.setattr("doubleword.base.json_text.orjson", None)
    without = [read_json(text) for text in JSON]
    for text in NOT_JSON:
        with pytest.raises(NotJson):
            read_json(text)
    assert [(type(a), a) for a in with_it] == [(type(b), b) for b in without]


def test_bytes_of_a_file_name_that_are_no_text_go_to_the_record_and_back() -> None:
    name = os.fsdecode(b"caf\xe9 \xd0\x9c.jsonl")
    assert read_json(written({"name": name}), halves=True) == {"name": name}
    with pytest.raises(NotJson):
        read_json(written({"name": name}))


def test_pysocks_is_asked_for_only_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://203.0.113.1/v1")
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(WrongUsage, match="ALL_PROXY names a SOCKS proxy, which needs the Python package PySocks"):
        Api(FastClock())


@pytest.mark.parametrize("location", [b"http://[", b"http://a:99999/x", b"/\xff\xfe", b"http://..a/", b"/x"])
def test_a_redirect_is_not_even_looked_at(monkeypatch: pytest.MonkeyPatch, location: bytes) -> None:
    said = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with api_over(lambda connection, _: connection.sendall(said), monkeypatch) as api:
        with pytest.raises(WrongUsage, match="redirects are not followed"):
            api.models()
        with pytest.raises(Unclear):
            api.create_batch("f", "/v1/chat/completions", "24h", {})


def test_the_body_of_a_redirect_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    body = gzip.compress(bytes(100_000_000))

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
        )

    with api_over(serve, monkeypatch) as api:
        tracemalloc.start()
        with pytest.raises(WrongUsage):
            api.models()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000
