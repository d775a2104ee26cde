"""The exchanges that the recording describes in words or sums up, because they are too long or need two clients."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from support.replay.bindings import Bindings
from support.replay.exchange import BOUNDARY, Answer, send
from support.replay.recording import Scenario, Step
from support.replay.target import Target

# When the recording's second and third upload began, in seconds after the first; the wait it was set to.
SECOND_AT, THIRD_AT = 0.3, 0.6
# More than the half-sent upload ever sends.
PROMISED_BYTES = 100_000


def summary_request(step: Step) -> dict[str, Any] | None:
    """The request of a `metadata value of N characters` step, which the recording left out."""
    found = re.match(r"metadata value of ([\d,]+) characters", step.name)
    if not found:
        return None
    length = int(found[1].replace(",", ""))
    body = {
        "input_file_id": "{{file_1}}",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"long": "x" * length},
    }
    return {**step.request, "json": body}


def summary_differences(step: Step, answer: Answer, bindings: Bindings) -> list[str]:
    """Compares what the recording kept of a long answer."""
    summary, body = step.response["summary"], json.loads(answer.body)
    if "value_length_in_answer" in summary:
        actual: dict[str, Any] = {"value_length_in_answer": len(body["metadata"]["long"])}
    elif "rows" in summary:
        actual = {"rows": len(body["data"]), "has_more": body["has_more"]}
    else:
        ours = {bindings.values.get(f"batch_{n}"): n - 1 for n in range(1, 5)}
        actual = {"hits": [ours.get(row["id"], "other") for row in body["data"]], "has_more": body["has_more"]}
    return [] if actual == summary else [f"summary: expected {summary}, got {actual}"]


def upload_queue(
    scenario: Scenario, target: Target, bindings: Bindings, compare: Callable[[Step, Answer], None]
) -> None:
    """One upload holds the only slot, a second waits and gives up, a third is refused; then the first leaves.

    The recording holds the answers to the third, the second, and one upload afterwards.
    """
    third, second, afterwards = scenario.steps
    authorization = f"Bearer {target.key(None)}"
    answers: dict[int, Answer] = {}

    def upload(step: Step) -> None:
        answers[step.index] = send(target.root_url, step.request, bindings, authorization)

    with _half_an_upload(target, authorization):
        time.sleep(SECOND_AT / target.speed)
        waiting = threading.Thread(target=upload, args=[second])
        waiting.start()
        time.sleep((THIRD_AT - SECOND_AT) / target.speed)
        upload(third)
        waiting.join()
    time.sleep(afterwards.pause / target.speed)
    upload(afterwards)
    for step in scenario.steps:
        compare(step, answers[step.index])


def _half_an_upload(target: Target, authorization: str) -> socket.socket:
    place = urlsplit(target.root_url)
    connection = socket.create_connection((place.hostname or "", place.port or 80), timeout=30)
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                       "body": {"model": "mock-chat", "messages": []}})  # fmt: skip
    connection.sendall(
        f"POST /ai/v1/files HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: {authorization}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {PROMISED_BYTES}\r\n\r\n"
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="slow.jsonl"\r\n\r\n{line}\n'.encode()
    )
    return connection
