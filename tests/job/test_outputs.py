"""Which of the user's files are the job's own, and may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_server.app import LocalServer
from support.oracle import LocalOracle
from support.running import run, write_requests


def test_a_file_that_was_changed_to_the_same_size_is_somebody_elses_and_one_with_another_time_is_not(
    server: LocalServer,
) -> None:
    write_requests(Path("r.jsonl"), 2)
    assert run("run_batch", "r.jsonl").code == 0
    results = Path("r.results.jsonl")
    written = results.read_bytes()

    os.utime(results, ns=(1, 1))  # as in a copied folder
    assert run("download", "r.jsonl").code == 0

    edited = written.replace(b"echo", b"ECHO")
    results.write_bytes(edited)
    refused = run("download", "r.jsonl")
    assert refused.code == 3
    assert "was changed since this job wrote it" in refused.err
    assert results.read_bytes() == edited


@pytest.mark.parametrize("name", ["r.errors.jsonl", "r.results.jsonl", "r.partial.jsonl"])
@pytest.mark.parametrize("is_source", [True, False])
def test_a_file_under_a_derived_name_stays_as_it_is_and_nothing_is_paid_where_it_is_in_the_way(
    server: LocalServer, oracle: LocalOracle, name: str, is_source: bool
) -> None:
    rows = b'{"text": "one"}\n{"text": "two"}\n'
    for path in (Path(name), Path("rows.jsonl")):
        path.write_bytes(rows)
    source = name if is_source else "rows.jsonl"
    asking = ["--input", source, "--model", "echo", "--prompt", "{text}"]
    assert run("create_batch_file", "r.jsonl", *asking).code == 0

    ran = run("run_batch", "r.jsonl")

    if name == "r.results.jsonl":
        assert ran.code == 3
        assert "r.results.jsonl is in the way" in ran.err
    assert ran.code in (0, 3)
    assert (ran.code == 3) == (not oracle.batches())
    assert Path(name).read_bytes() == rows
