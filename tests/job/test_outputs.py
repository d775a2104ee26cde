"""Which of the user's files are the job's own, and may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

from local_server.app import LocalServer
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
