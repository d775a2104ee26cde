"""A batch known only by its id whose input file was deleted under it: what came back is kept, the rest is counted."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from local_server.app import LocalServer
from support.running import json_lines, run, write_requests


def api(server: LocalServer, method: str, path: str) -> Any:
    headers = {"authorization": f"Bearer {server.key}"}
    return requests.request(method, server.base_url + path, headers=headers, timeout=10).json()


def batch_whose_input_is_deleted(server: LocalServer, count: int, answered: int) -> str:
    """Its id; `answered` is how many of its requests are to be answered before, at least."""
    write_requests(Path("r.jsonl"), count)
    assert run("upload", "r.jsonl").code == 0
    (batch_id,) = run("create_batch", "r.jsonl").lines
    while run("poll", "r.jsonl", "--once", "--json").facts["completed"] < answered:
        time.sleep(0.01)
    shutil.rmtree("r.job")
    for path in Path().iterdir():
        path.unlink()
    api(server, "DELETE", f"/files/{api(server, 'GET', f'/batches/{batch_id}')['input_file_id']}")
    return batch_id


def test_requests_without_a_name_are_counted_as_missing_and_are_exit_9(server: LocalServer) -> None:
    server.settings.rate = 20.0
    batch_id = batch_whose_input_is_deleted(server, 20, answered=2)

    downloaded = run("download", batch_id, "--json")

    assert downloaded.code == 9, downloaded.err
    answered = len(json_lines(Path(f"batch-{batch_id}.results.jsonl")))
    assert 2 <= answered < 20
    facts = downloaded.facts
    assert (facts["requests"], facts["results"], facts["missing"]) == (20, answered, {"input_deleted": 20 - answered})
    assert facts["next"] is None, "nothing can be sent again of which nobody has the text"
    again = run("download", batch_id, "--json")
    assert (again.code, again.facts["missing"]) == (9, facts["missing"])


@pytest.mark.parametrize("prefix", ["", "batch-"])
def test_a_batch_that_was_whole_before_its_input_went_is_whole(server: LocalServer, prefix: str) -> None:
    batch_id = batch_whose_input_is_deleted(server, 3, answered=3)

    downloaded = run("download", prefix + batch_id, "--json")

    assert downloaded.code == 0, downloaded.err
    assert (downloaded.facts["results"], downloaded.facts["missing"]) == (3, {})
