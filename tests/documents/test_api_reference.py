"""references/api_reference.md: its JSON parses, its links lead somewhere, and its curl examples do what they say.

The examples are pasted into one shell, in the order of the file, as a reader would do it, against a server
that really runs. Above each command stands the HTTP status it gives; that is what is compared.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local_server.app import LocalServer
from real_server.server import RealServer

REFERENCE = Path(__file__).parent.parent.parent / "references" / "api_reference.md"
# An agent's read tool cuts a file off at this size.
LARGEST_READABLE_BYTES = 50_000
# A scanner that loses its pattern finds nothing and passes; these are a little below what the file holds.
FEWEST_CURL_EXAMPLES = 20
FEWEST_JSON_BLOCKS = 12

FENCED_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED_STATUS = re.compile(r"^# HTTP (\d{3})$", re.MULTILINE)
CURL = re.compile(r"^\s*curl ", re.MULTILINE)
HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
ROUTE_HEADING = re.compile(r"^### (GET|POST|DELETE) (/\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the file on which the text begins."""

    language: str
    text: str
    line: int


def blocks(language: str) -> list[Block]:
    text = REFERENCE.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1)
        for match in FENCED_BLOCK.finditer(text)
        if match[1] == language
    ]


def curl_examples() -> list[Block]:
    return [block for block in blocks("bash") if CURL.search(block.text)]


@dataclass(frozen=True)
class Session:
    """What the pasted session left: HTTP statuses by the line of the example, its output, its folder."""

    statuses: dict[int, list[int]]
    output: str
    folder: Path


def paste_examples(folder: Path, environment: Mapping[str, str], model: str) -> Session:
    """Run every bash block of the reference in one shell against the server of `environment`.

    Raises:
        AssertionError: the server is not on this machine, or a command of the session failed.
    """
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed: its examples cannot be run")
    assert urlsplit(environment["DOUBLEWORD_BASE_URL"]).hostname == "127.0.0.1", "never the hosted service"
    # curl reports each status by itself, so that the examples stay exactly as they are printed.
    (folder / ".curlrc").write_text('write-out = "%{stderr}\\n@status %{http_code}\\n"\nmax-time = 60\n')
    pasted = "\n".join(f"echo '@line {block.line}' >&2\n{block.text}" for block in blocks("bash"))
    script = folder / "session.sh"
    script.write_text(f"set -eu\n{pasted}\necho whole=$whole\n", encoding="utf-8")
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env={
            # `python3` is the one that runs this test, whatever the machine calls its own.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "CURL_HOME": str(folder),
            "MODEL": model,
            "POLL_SECONDS": "0.2",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Session(statuses_by_line(done.stderr), done.stdout, folder)


def statuses_by_line(log: str) -> dict[int, list[int]]:
    statuses: dict[int, list[int]] = {}
    line = 0
    for mark, number in re.findall(r"^@(line|status) (\d+)$", log, re.MULTILINE):
        if mark == "line":
            line = int(number)
        else:
            statuses.setdefault(line, []).append(int(number))
    return statuses


def assert_session_went_as_documented(session: Session) -> None:
    for block in curl_examples():
        documented = [int(status) for status in DOCUMENTED_STATUS.findall(block.text)]
        seen = sorted(set(session.statuses.get(block.line, [])))
        assert seen == documented, f"the example on line {block.line}"
    # The cut fell within the output, and reading on behind it gave the rest.
    assert "whole=1" in session.output or "whole=2" in session.output, session.output
    assert "3 distinct of 3" in session.output
    lines = (session.folder / "output.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["custom_id"] for line in lines) == ["row-1", "row-2", "row-3"]


def test_there_are_enough_examples_and_each_curl_says_its_status() -> None:
    examples = curl_examples()

    assert len(examples) >= FEWEST_CURL_EXAMPLES
    for block in examples:
        assert len(CURL.findall(block.text)) == 1, f"one request a block, line {block.line}"
        assert len(DOCUMENTED_STATUS.findall(block.text)) == 1, f"no status stands above line {block.line}"


def test_every_json_block_parses() -> None:
    found = blocks("json")

    assert len(found) >= FEWEST_JSON_BLOCKS
    for block in found:
        try:
            json.loads(block.text)
        except ValueError as error:
            pytest.fail(f"line {block.line}: {error}")


def test_every_route_with_a_heading_has_an_example() -> None:
    routes = ROUTE_HEADING.findall(REFERENCE.read_text(encoding="utf-8"))
    commands = "\n".join(block.text for block in curl_examples())

    assert len(routes) >= 15
    for method, route in routes:
        path = re.sub(r"\\\{\w+\\\}", r"\\$\\w+", re.escape(route))
        calls = [line for line in commands.splitlines() if re.search(rf'BASE_URL{path}[?"]', line)]
        assert calls, f"{method} {route}"
        if method == "DELETE":
            assert any("-X DELETE" in call for call in calls), route


def test_every_link_of_the_contents_leads_to_a_heading() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}
    links = re.findall(r"\]\(#([^)]+)\)", text)

    assert len(links) >= 10
    assert set(links) <= anchors


def test_an_agent_can_read_it_in_one_piece() -> None:
    assert REFERENCE.stat().st_size < LARGEST_READABLE_BYTES


def test_it_shows_no_key_only_the_name_of_the_variable() -> None:
    text = REFERENCE.read_text(encoding="utf-8")

    assert re.findall(r"Bearer (\S+)", text)
    for shown in re.findall(r"Authorization: Bearer ([^\s`\"]+)", text):
        assert shown == "$DOUBLEWORD_API_KEY"
    assert not re.search(r"\bsk-\w", text)


def bodies_of_section_3_1() -> list[dict[str, Any]]:
    """The bodies that the reference shows there; a message alone becomes a body."""
    text = REFERENCE.read_text(encoding="utf-8").split("\n### 3.1 ")[1].split("\n## ")[0]
    shown = [json.loads(match[2]) for match in FENCED_BLOCK.finditer(text) if match[1] == "json"]
    assert len(shown) == 2
    return [body if "messages" in body else {"model": "MODEL", "messages": [body]} for body in shown]


def assert_bodies_pass_as_written(environment: Mapping[str, str], model: str) -> None:
    """Upload and run the bodies of section 3.1; each is kept as it was sent, and answered."""
    base, headers = environment["DOUBLEWORD_BASE_URL"], {"Authorization": f"Bearer {environment['DOUBLEWORD_API_KEY']}"}
    bodies = [{**body, "model": model} for body in bodies_of_section_3_1()]
    lines = [
        json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n, body in enumerate(bodies)
    ]
    sent = {"file": ("bodies.jsonl", "\n".join(lines) + "\n")}
    file = requests.post(f"{base}/files", headers=headers, files=sent, data={"purpose": "batch"}, timeout=60).json()
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = requests.post(f"{base}/batches", headers=headers, json=wanted, timeout=60).json()
    for _ in range(300):
        batch = requests.get(f"{base}/batches/{batch['id']}", headers=headers, timeout=60).json()
        if batch["status"] in ("completed", "failed"):
            break
        time.sleep(0.2)
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    results = requests.get(f"{base}/batches/{batch['id']}/results", headers=headers, timeout=60).text
    assert [json.loads(line)["input_body"] for line in results.splitlines()] == bodies


def test_what_a_body_may_hold_passes_the_local_server_as_written(tmp_path: Path) -> None:
    with LocalServer(tmp_path / "data", real_model=False, speed=200) as server:
        assert_bodies_pass_as_written(
            {"DOUBLEWORD_BASE_URL": server.base_url, "DOUBLEWORD_API_KEY": server.key}, model="echo"
        )


@pytest.mark.real
def test_what_a_body_may_hold_passes_the_vendors_server_as_written(real_server: RealServer) -> None:
    assert_bodies_pass_as_written(real_server.environment(), model="mock-chat")


def test_the_examples_do_on_the_local_server_what_they_say(tmp_path: Path) -> None:
    with LocalServer(tmp_path / "data", real_model=False) as server:
        environment = {"DOUBLEWORD_BASE_URL": server.base_url, "DOUBLEWORD_API_KEY": server.key}
        session = paste_examples(tmp_path, environment, model="echo")

    assert_session_went_as_documented(session)


@pytest.mark.real
def test_the_examples_do_on_the_vendors_server_what_they_say(real_server: RealServer, tmp_path: Path) -> None:
    session = paste_examples(tmp_path, real_server.environment(), model="mock-chat")

    assert_session_went_as_documented(session)
