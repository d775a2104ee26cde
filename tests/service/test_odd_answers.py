"""Every object that a server can send, odd in any field, over every script that reads it: nothing ends in exit 1.

The true answer of the local server is taken and one field of it replaced, at random but from a seed that is printed.
`ODD_ANSWERS_SECONDS` makes it longer than the bounded default.
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
from support.proxy.exchange import Exchange, Fault
from support.running import Ran, write_requests

SECONDS = float(os.environ.get("ODD_ANSWERS_SECONDS", "10"))
LONG_SECONDS = 120.0
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
    "batch": ["poll --once", "download", "cancel_batch", "retry_failed", "create_batch"],
    "list_batches": ["list_batches", "poll --once", "run_batch", "create_batch", "poll"],
    "models": ["list_models"],
    "content": ["download", "retry_failed", "download --partial --show 2", "run_batch"],
    "file": ["download", "create_batch"],
    "list_files": ["upload", "run_batch"],
    "estimate": ["upload", "create_batch", "run_batch --max-cost 5"],
    "upload": ["upload", "run_batch"],
    "submit": ["create_batch", "run_batch"],
    "cancel": ["cancel_batch"],
    "analytics": ["download", "run_batch"],
}


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


def odd_run(trouble: Trouble, route: str, command: str, chance: random.Random, times: int) -> tuple[Ran, list[str]]:
    done: list[str] = []

    def effect(exchange: Exchange) -> None:
        answer = exchange.forward()
        change = with_odd_line if route == "content" else with_odd
        body, what = change(answer.body, chance)
        done.append(what)
        exchange.send(answer.with_body(body))

    trouble.strike(Fault("odd", route, times=times), odd=effect)
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


SPENDS = {"upload": "made", "run_batch": "made", "create_batch": "uploaded"}


@pytest.mark.parametrize("seconds", [SECONDS, pytest.param(LONG_SECONDS, marks=pytest.mark.slow)])
def test_no_object_that_a_server_can_send_ends_in_exit_1(
    trouble: Trouble, states: dict[str, Path], record_property: Callable[[str, object], None], seconds: float
) -> None:
    seed = random.randrange(1 << 32)
    chance, until, runs, hits = random.Random(seed), time.monotonic() + seconds, 0, 0
    cases = [(route, command) for route, commands in READERS.items() for command in commands]
    while runs < len(cases) or time.monotonic() < until:
        route, command = cases[runs % len(cases)] if runs < len(cases) else chance.choice(cases)
        runs += 1
        state = SPENDS.get(command.split()[0], chance.choice(["submitted", "done"]))
        folder = Path(f"run-{runs}")
        shutil.copytree(states[state], folder)
        if state in ("made", "uploaded"):  # another content, so that no earlier batch of it is in the way
            _renewed(trouble, folder, runs, state)
        os.chdir(folder)
        ran, done = odd_run(trouble, route, command, chance, chance.choice([1, 1, ALWAYS]))
        os.chdir("..")
        shutil.rmtree(folder)
        hits += len(done)
        shown = ran.out + ran.err
        assert ran.code != 1, f"seed {seed}, run {runs}: {command} on {route} with {done[:3]}: {shown[-3000:]}"
        assert "Traceback" not in shown
        assert not [c for c in "\x1b\x9b\u202e\x00" if c in shown], f"seed {seed}: {command} on {route} with {done[:3]}"
    record_property("figures", f"odd answers: {runs} runs, {hits} answers changed")


def _renewed(trouble: Trouble, folder: Path, number: int, state: str) -> None:
    os.chdir(folder)
    shutil.rmtree("r.job", ignore_errors=True)
    write_requests(Path(REQUESTS), 3, prompt=f"{number} {{n}}")
    trouble.strike()
    if state == "uploaded":
        assert trouble.run("upload", REQUESTS).code == 0
    os.chdir("..")
