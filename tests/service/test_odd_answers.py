"""Everything that a server can send, odd in any place, over every script that reads it: nothing ends in exit 1, nothing
runs without a bound.

The true answer of the local server is taken, and one field of it replaced, or its headers, or its status and body, at
random. A failure names the seed and the run: `ODD_ANSWERS_SEED` plays it again, `ODD_ANSWERS_RUNS` plays more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.faults.trial import KEY
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer
from support.running import Ran, write_requests

RUNS = int(os.environ.get("ODD_ANSWERS_RUNS", "100"))
MANY_RUNS = 1000
SEED = int(os.environ.get("ODD_ANSWERS_SEED", "0")) or random.randrange(1 << 32)
# Of a single command: in the script's time (--timeout-seconds is 1500, and a download may wait as long for the last
# answers of a cancelled batch), in real time, and in requests.
MOST_SECONDS, MOST_REAL_SECONDS, MOST_REQUESTS = 2500.0, 30.0, 2000
ALWAYS = 100_000
REQUESTS = "r.jsonl"
# Raw JSON texts: some are none, and some are read differently by different readers.
ODD = [
    "null", "true", "false", '""', '"x"', "0", "-1", "1", "2", "3", "-0.0", "1.5", "1e3", "1e99999999", "-1e400",
    "9" * 40,
    "9" * 5000, "18446744073709551616", "9007199254740993", "253402300800", "-62135596801", "1e300", "[]", "{}",
    "[[]]",
    "[null]", '[{"id": 7}]', '{"a": 1}', '{"data": [null]}', '{"data": {"message": 1}}', '{"data": [{"message": [1]}]}',
    "NaN", "Infinity", '"\\ud800"', '"\\u0000"', '"\\u001b[31m\\u009b2J\\u202e"', '"completed"', '"validating"',
    '"cancelling"', '"in_progress"', '"expired"', '"../../x"', '"-rf"', '"' + "x" * 3000 + '"',
    '"2026-01-01T00:00:00Z"',
    '"12"', '"NaN"', '"1e99999999"', '"-5"', '"0"', "[" * 300 + "]" * 300, '{"a":' * 1200 + "1" + "}" * 1200, "", "}",
]  # fmt: skip
# Which scripts read what a route answers. Those that pay run on a job of their own, which has not been submitted.
READERS = {
    "batch": ["poll --once", "download", "cancel_batch", "retry_failed", "run_batch"],
    "list_batches": ["list_batches", "poll --once", "run_batch", "create_batch", "poll"],
    "models": ["list_models"],
    "content": ["download", "retry_failed", "download --partial --show 2", "run_batch"],
    "file": ["create_batch"],
    "list_files": ["upload", "run_batch"],
    "estimate": ["upload", "run_batch", "run_batch --max-cost 5"],
    "upload": ["upload", "run_batch"],
    "submit": ["create_batch", "run_batch"],
    "cancel": ["cancel_batch"],
    "delete_file": ["run_batch", "create_batch"],
    "analytics": ["download", "run_batch"],
}


# What must have gone wrong before such a request is made.
BEFORE = {"list_files": "upload", "delete_file": "submit"}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of everything within a JSON value, itself included."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inside:
        yield from places(member, (*path, key))


def with_odd(body: bytes, chance: random.Random) -> tuple[bytes, str]:
    """The body with one place of it replaced by something odd, and what was done."""
    try:
        value = json.loads(body)
    except ValueError:
        return body, "nothing"
    path, odd = chance.choice(list(places(value))), chance.choice(ODD)
    if chance.random() < 0.05:  # a key that nobody expects
        path = (*path, "errors") if isinstance(_at(value, path), dict) else path
    mark = "\x01here\x01"
    text = json.dumps(_replaced(value, path, mark), ensure_ascii=False)
    return text.replace(json.dumps(mark), odd).encode("utf-8", "surrogatepass"), f"{path} = {odd[:60]}"


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _replaced(value: Any, path: tuple[str | int, ...], new: str) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return value | {str(key): _replaced(value.get(str(key)), rest, new)}
    return [_replaced(member, rest, new) if place == key else member for place, member in enumerate(value)]


def with_odd_line(body: bytes, chance: random.Random) -> tuple[bytes, str]:
    lines = body.splitlines()
    if not lines:
        return b"\x00\n", "a line out of nothing"
    number = chance.randrange(len(lines))
    lines[number], what = with_odd(lines[number], chance)
    return b"\n".join(lines) + b"\n", f"line {number}: {what}"


NUMBERS = ["0", "-1", "1", "99999999", "9" * 40, "1e400", "nan", "x", "", "0x10", "1, 2", "+3", "\xb2"]
HEADERS = {
    "retry-after": [*NUMBERS, "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Xxx 0 9:9:9"],
    "content-length": NUMBERS,
    "x-last-line": NUMBERS,
    "x-incomplete": ["true", "maybe", "", "\xff"],
    "location": ["http://[", "/\xff\xfe", "", "//", "http://127.0.0.1:1/", "file:///etc/passwd", "x" * 5000],
    "content-type": [
        "",
        "text/html",
        "text/html; charset=\xff",
        "application/json; charset=utf-99",
        ";;;=",
        "x" * 5000,
    ],
    "content-encoding": ["gzip", "deflate", "br", "zstd", "", "gzip, gzip", "\xff"],
    "transfer-encoding": ["chunked", "gzip, chunked", "identity", "x"],
    "connection": ["close", "upgrade", ""],
    "set-cookie": ["a=b; domain=.example.com", "\xff=\xff", "=" * 3000],
    "date": ["x", "", "Thu, 01 Jan 1970 00:00:00 GMT"],
    "x-long": ["x" * 70_000],
    "no colon in this one": [""],
    "\x01": ["\x7f\x1b[31m"],
}
STATUSES = [
    "200", "201", "202", "204", "205", "206", "299", "300", "301", "302", "303", "304", "307", "308", "400", "401",
    "402", "403", "404", "405", "408", "409", "410", "413", "415", "418", "422", "425", "429", "431", "451", "499",
    "500", "501", "502", "503", "504", "520", "599", "600", "999", "000", "99", "abc", "",
]  # fmt: skip
WORDS = [
    b"", b"not found", b"\xff\xfe\x00", b"<!doctype html><title>Sign in</title>", b"\x1b[31mred\x9b2J", b"x" * 100_000,
    b"Could not parse onwards model from request", b"Line 99999999999999999999: no model", b"[" * 1500,
    b'{"error": {"message": "no", "type": "x"}}', b'{"message": null}', b'{"error": null, "message": ["no"]}',
    b'{"error": {"message": {"deep": [[]]}}}', b'{"error": "' + b"y" * 30_000, b"[1, 2]", b'"text"',
    b"\x1f\x8b\x08junk",
    f"your key {KEY} is unknown".encode(), b"z" * 16_370 + KEY.encode(),
]  # fmt: skip


def with_odd_headers(answer: Answer, chance: random.Random) -> tuple[bytes, str]:
    """The true answer, some of its headers odd."""
    odd = {name: chance.choice(HEADERS[name]) for name in chance.sample(sorted(HEADERS), chance.choice([1, 1, 2, 4]))}
    return _bytes(str(answer.status), answer.headers | odd, answer.body, chance), f"{answer.status} with {_short(odd)}"


def with_odd_status(answer: Answer, chance: random.Random) -> tuple[bytes, str]:
    """Any status, with the true body or with words, and now and then odd headers."""
    status = chance.choice(STATUSES)
    body = answer.body if chance.random() < 0.2 else chance.choice(WORDS)
    named = chance.sample(sorted(HEADERS), chance.choice([0, 0, 1, 2])) + ["retry-after"] * (status in ("429", "503"))
    odd = {name: chance.choice(HEADERS[name]) for name in named}
    headers = {"content-type": chance.choice(["text/plain", "application/json", "text/html"])} | odd
    return _bytes(status, headers, body, chance), f"{status} {body[:40]!r} with {_short(odd)}"


def _bytes(status: str, headers: dict[str, str], body: bytes, chance: random.Random) -> bytes:
    head = [f"HTTP/1.1 {status} Odd", *(f"{name}: {value}" for name, value in headers.items())]
    if not headers.keys() & {"content-length", "transfer-encoding"} and chance.random() < 0.7:
        head.append(f"content-length: {len(body)}")
    if chance.random() < 0.02:
        head += [f"x-{number}: y" for number in range(200)]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _short(odd: dict[str, str]) -> dict[str, str]:
    return {name: value[:40] for name, value in odd.items()}


def with_odd_body(route: str, answer: Answer, chance: random.Random) -> tuple[bytes, str]:
    body, what = (with_odd_line if route == "content" else with_odd)(answer.body, chance)
    return answer.with_body(body).encoded(), what


def odd_run(trouble: Trouble, route: str, command: str, chance: random.Random, times: int) -> tuple[Ran, list[str]]:
    done: list[str] = []
    kind = chance.choice(["body", "headers", "status"])

    def effect(exchange: Exchange) -> None:
        answer = exchange.forward()
        if kind == "body":
            data, what = with_odd_body(route, answer, chance)
        else:
            data, what = (with_odd_headers if kind == "headers" else with_odd_status)(answer, chance)
        done.append(what)
        exchange.request.body()
        exchange.send_part(data)

    before = [Fault("cut_before", BEFORE[route])] if route in BEFORE else []
    trouble.strike(*before, Fault("odd", route, times=times), odd=effect)
    name, *flags = command.split()
    target = [] if name in ("list_models", "list_batches") else [REQUESTS]
    ran = trouble.run(name, *target, *flags, *(["--json"] if chance.random() < 0.5 else []))
    return ran, done


@pytest.fixture
def states(trouble: Trouble) -> dict[str, Path]:
    """Folders of a job that was made, uploaded, submitted and is done; every run is given a copy of one."""
    made: dict[str, Path] = {}

    def keep(name: str) -> None:
        made[name] = Path("..", f"state-{name}").resolve()
        shutil.copytree(".", made[name])

    write_requests(Path(REQUESTS), 3)
    keep("made")
    assert trouble.run("upload", REQUESTS).code == 0
    keep("uploaded")
    assert trouble.run("create_batch", REQUESTS).code == 0
    keep("submitted")
    assert trouble.run("poll", REQUESTS).code == 0
    keep("done")
    return made


# In which state a route is asked for something, where that is not all the same.
STATES = {"batch": "submitted", "cancel": "submitted", "content": "done", "analytics": "done"}
SPENDS = {"upload": "made", "run_batch": "made", "create_batch": "uploaded"}


# What urllib3 leaves of a connection that was answered with nonsense.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("runs", [RUNS, pytest.param(MANY_RUNS, marks=pytest.mark.slow(first=True))])
def test_no_object_that_a_server_can_send_ends_in_exit_1(
    trouble: Trouble, states: dict[str, Path], record_property: Callable[[str, object], None], runs: int
) -> None:
    chance, hits = random.Random(SEED), 0
    slowest = most = 0.0
    cases = [(route, command) for route, commands in READERS.items() for command in commands]
    for number in range(1, runs + 1):
        route, command = cases[number - 1] if number <= len(cases) else chance.choice(cases)
        state = SPENDS.get(command.split()[0]) or STATES.get(route) or chance.choice(["submitted", "done"])
        folder = Path(f"run-{number}")
        shutil.copytree(states[state], folder)
        if state in ("made", "uploaded"):  # another content, so that no earlier batch of it is in the way
            _renewed(trouble, folder, number, state)
        os.chdir(folder)
        begun, really, asked = trouble.clock.monotonic(), time.monotonic(), len(trouble.proxy.log)
        ran, done = odd_run(trouble, route, command, chance, chance.choice([1, 1, ALWAYS]))
        os.chdir("..")
        shutil.rmtree(folder)
        hits += len(done)
        shown, where = ran.out + ran.err, f"seed {SEED}, run {number}: {command} on {route} with {done[:3]}"
        took = trouble.clock.monotonic() - begun, time.monotonic() - really, len(trouble.proxy.log) - asked
        slowest, most = max(slowest, took[0]), max(most, took[2])
        assert ran.code != 1, f"{where}: {shown[-3000:]}"
        assert "Traceback" not in shown, where
        assert not [c for c in "\x1b\x9b\u202e\x00" if c in shown], where
        assert KEY[:-4] not in shown, where
        bounds = MOST_SECONDS, MOST_REAL_SECONDS, MOST_REQUESTS
        assert all(spent < bound for spent, bound in zip(took, bounds, strict=True)), f"{where}: {took}"
    record_property(
        "figures",
        f"odd answers: {runs} runs, {hits} answers changed; a command took at most {slowest:.0f} s of its time"
        f" and {most} requests; seed {SEED}",
    )


def _renewed(trouble: Trouble, folder: Path, number: int, state: str) -> None:
    os.chdir(folder)
    shutil.rmtree("r.job", ignore_errors=True)
    write_requests(Path(REQUESTS), 3, prompt=f"{number} {{n}}")
    trouble.strike()
    if state == "uploaded":
        assert trouble.run("upload", REQUESTS).code == 0
    os.chdir("..")
