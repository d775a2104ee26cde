"""Peak memory stays within what is promised, whatever a server sends: measured on scripts as processes of their own."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults.fixture import Trouble
from support.faults.fixture import make_trouble as make_trouble
from support.faults.fixture import trouble as trouble
from support.proxy.exchange import Exchange, Fault
from support.proxy.http_message import Answer
from support.running import SCRIPTS, json_lines, write_requests

ALWAYS = 100_000
MEBIBYTE = 1024 * 1024
PROMISED_MEBIBYTES = 64
JSONL, JSON = {"content-type": "application/x-ndjson"}, {"content-type": "application/json"}


# The peak is asked for at the end of the process itself: what the kernel tells of a child counts the memory of the
# process that made it.
MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open("/proc/self/status") as status, open("peak", "w") as peak:
        peak.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


def peak(command: str, *arguments: str) -> tuple[int, float, str]:
    """(exit code, peak memory in MiB, stderr) of a script."""
    script = str(SCRIPTS / f"{command}.py")
    done = subprocess.run([sys.executable, "-c", MEASURED, script, *arguments], capture_output=True, text=True)
    return done.returncode, int(Path("peak").read_text()) / 1024, done.stderr


def before_the_lines(junk: bytes) -> Callable[[Exchange], None]:
    """The true content, with this before it."""
    return lambda exchange: exchange.send((answer := exchange.forward()).with_body(junk + answer.body))


def instead(answer: Answer) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(answer)


def bomb(status: int, headers: dict[str, str]) -> Answer:
    """A body that a client which unpacks it makes 400 MB of."""
    packed = gzip.compress(b"0" * (400 * MEBIBYTE), 1)
    return Answer(status, headers | {"content-encoding": "gzip", "location": "/elsewhere"}, packed)


JUNK = {
    "300,000 lines of nobody's for 3 requests": lambda: before_the_lines(
        b'{"id": "x", "custom_id": "nobody"}\n' * 300_000
    ),
    "a line of 100 MiB": lambda: before_the_lines(b"x" * (100 * MEBIBYTE) + b"\n"),
    "an answer of 100 MiB": lambda: before_the_lines(
        b'{"id": "x", "custom_id": "row-000001", "response": "' + b"x" * (100 * MEBIBYTE) + b'"}\n'
    ),
    "a line of 100 MiB of brackets": lambda: before_the_lines(b"[" * (100 * MEBIBYTE) + b"\n"),
    "gzip": lambda: instead(bomb(200, JSONL)),
}


SLOW = pytest.mark.slow
FAST = ("300,000 lines of nobody's for 3 requests", "an answer of 100 MiB", "gzip")


@pytest.mark.parametrize("junk", [pytest.param(name, marks=[] if name in FAST else [SLOW]) for name in JUNK])
def test_what_stands_among_the_answers(trouble: Trouble, junk: str) -> None:
    trouble.submit(write_requests(Path("r.jsonl"), 3))
    assert trouble.run("poll", "r.jsonl").code == 0
    trouble.strike(Fault("junk", "content"), junk=JUNK[junk]())

    code, mebibytes, err = peak("download", "r.jsonl")

    assert code in (0, 6), err
    assert mebibytes < PROMISED_MEBIBYTES, err
    trouble.strike()
    assert trouble.run("download", "r.jsonl").code == 0
    assert len(json_lines(Path("r.results.jsonl"))) == 3


ANSWERS = {
    "gzip": lambda: bomb(200, JSON),
    "gzip with a 400": lambda: bomb(400, JSON),
    "gzip with a 500": lambda: bomb(500, JSON),
    "gzip with a redirect": lambda: bomb(302, JSON),
    "100 MiB of brackets": lambda: Answer(200, JSON, b'{"data": [' + b"[" * (100 * MEBIBYTE)),
    "100 MiB with a 404": lambda: Answer(404, JSON, b"x" * (100 * MEBIBYTE)),
    "100 MiB with a redirect": lambda: Answer(302, {"location": "/elsewhere"}, b"x" * (100 * MEBIBYTE)),
}
AT_ONCE = ("gzip with a redirect", "100 MiB of brackets")


@pytest.mark.parametrize("answer", [pytest.param(name, marks=[] if name in AT_ONCE else [SLOW]) for name in ANSWERS])
def test_what_a_server_says_instead(trouble: Trouble, answer: str) -> None:
    trouble.strike(Fault("bomb", "models", times=1), bomb=instead(ANSWERS[answer]()))

    code, mebibytes, err = peak("list_models")

    assert code in (0, 2, 3, 5), err
    assert mebibytes < PROMISED_MEBIBYTES, err
