"""What had been done before a scenario was recorded, or between its steps by an administrator."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.replay.bindings import Bindings
from support.replay.exchange import BOUNDARY, Answer, send
from support.replay.target import Target

# Files enough for a full page of the list (101), the batches' own included.
EARLIER_FILES = 90
# The mock answers it with 4 tokens, from which the recorded cost estimates were guessed.
PROMPT = "hello there!"
# The recorded model was removed between two claims. The local server gets there by never sending a line of it.
NONE_SENT = 0
SECOND_USER_EMAIL = "user2@example.com"


@dataclass(frozen=True)
class Arrangement:
    """What a scenario needs beyond a fresh server with the usual models and users."""

    # Models by name: concurrency, or requests per second where below 1.
    concurrency: dict[str, int] = field(default_factory=dict)
    per_second: dict[str, float] = field(default_factory=dict)
    # Before the step with that index: a model to remove, a balance of user 2 to set.
    removals: dict[int, str] = field(default_factory=dict)
    balances: dict[int, str] = field(default_factory=dict)
    # Server settings in the words of the recording.
    windows: tuple[str, ...] = ("24h", "1h")
    purge_seconds: float | None = None
    uploads: tuple[int, int, float] | None = None  # at once, waiting, seconds
    volume_per_hour: int = 0
    # Where an outcome is chance, the local server's times (seconds) that bring about the recorded one.
    local_times: dict[str, float] = field(default_factory=dict)
    # For a local replay on a busy machine: no faster than this, the model slower than the rest, more patience with it.
    most_speed: float = 100.0
    model_slower: float = 1.0
    model_seconds: float = 5.0

    @property
    def own_server(self) -> bool:
        """Whether the settings differ from the usual ones."""
        return self.settings() != Arrangement().settings()

    def settings(self) -> tuple[object, ...]:
        return self.windows, self.purge_seconds, self.uploads, self.volume_per_hour


ARRANGEMENTS = {
    "batch_create": Arrangement(balances={53: "0", 54: "-5"}),
    # The batches that the list calls finalizing stay so while it is read.
    "batch_list": Arrangement(local_times={"finalizer_interval": 100.0}),
    # What is in flight at the cancel is aborted soon, while some of it is not answered yet.
    "cancel": Arrangement(local_times={"cancel_poll": 1.0}),
    # No line is sent between the cancel and its late arrival at the requests.
    "cancel_retry_race": Arrangement(local_times={"claim_interval": 30.0, "cascade_delay": 0.5}),
    # Sixteen reads have to be done before the last of the sixteen lines is.
    "output_growth": Arrangement(model_slower=2.5, model_seconds=30.0),
    # What is in flight when the input file goes is answered before it would be aborted.
    "delete": Arrangement(local_times={"cancel_poll": 60.0}),
    "capacity": Arrangement(per_second={"mock-tight": 0.001}),
    "model_gone": Arrangement(
        concurrency={"mock-gone": NONE_SENT, "mock-gone-midway": 5},
        removals={4: "mock-gone", 15: "mock-gone-midway"},
        balances={20: "0"},
    ),
    # Lines of 4.5 s in a window of 6 s leave little room for a late answer.
    "special_expiry": Arrangement(
        windows=("6s", "24h", "1h"), concurrency={"mock-one": 1}, most_speed=2.5, model_seconds=30.0
    ),
    "special_purge": Arrangement(purge_seconds=3.0),
    "special_upload_queue": Arrangement(uploads=(1, 1, 2.0)),
    "special_volume_cap": Arrangement(volume_per_hour=20),
}


def arrangement(scenario: str) -> Arrangement:
    return ARRANGEMENTS.get(scenario, Arrangement())


class Earlier:
    """Business done on the server before the recording began: what its lists show besides the scenario's own."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.root_url = target.root_url
        self.authorization = f"Bearer {target.key(None)}"

    def usual(self) -> None:
        """Files, two earlier runs of the tagged batches, and one batch of each end."""
        file_id = self.upload(PROMPT)
        for _ in range(EARLIER_FILES):
            self.upload(PROMPT, name="list-3.jsonl")
        tagged = [
            self.create(file_id, metadata={"run": f"earlier{run}-Alpha_{n}%", "other": f"x{n}"})
            for run in range(2)
            for n in range(4)
        ]
        embedding = self.upload_line("/v1/embeddings", {"model": "mock-embed", "input": PROMPT}, "earlier.jsonl")
        tagged.append(self.create(embedding))
        ends = [self.create(self.upload("[[400]]")), self.create(file_id, window="1h")]
        for batch in tagged + ends:
            self.wait(batch, lambda b: b["status"] in ("completed", "failed"))
        slow_file = self.upload("[[slow 3000]]")
        for _ in range(2):
            slow = self.create(slow_file)
            self.wait(slow, lambda b: b["status"] == "in_progress")
            self.call("POST", f"/batches/{slow['id']}/cancel")
        self.create(str(tagged[0]["output_file_id"]))

    def just_now(self) -> None:
        """Batches that have ended but were not looked at: for some seconds the list calls them finalizing."""
        file_id = self.upload(PROMPT)
        for window in ("24h", "1h", "1h", "24h"):
            last = self.create(file_id, window=window)
        output = f"/files/{last['output_file_id']}/content"
        give_up = time.monotonic() + 30
        while not send(
            self.root_url, {"method": "GET", "path": output, "headers": {}}, Bindings(), self.authorization
        ).body:
            if time.monotonic() > give_up:
                raise TimeoutError("a batch of one line did not end")
            time.sleep(0.02)

    def upload(self, prompt: str, *, name: str = "earlier.jsonl") -> str:
        body = {"model": "mock-chat", "messages": [{"role": "user", "content": prompt}]}
        return self.upload_line("/v1/chat/completions", body, name)

    def upload_line(self, url: str, body: dict[str, Any], name: str) -> str:
        line = {"custom_id": "c0", "method": "POST", "url": url, "body": body}
        parts = [{"name": "purpose", "content": "batch"},
                 {"name": "file", "filename": name, "content": json.dumps(line) + "\n"}]  # fmt: skip
        headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        return str(self.call("POST", "/files", headers=headers, multipart=parts)["id"])

    def create(self, file_id: str, *, window: str = "24h", metadata: dict[str, str] | None = None) -> dict[str, Any]:
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": window,
                "metadata": metadata or {}}  # fmt: skip
        return self.call("POST", "/batches", headers={"content-type": "application/json"}, json=body)

    def wait(self, batch: dict[str, Any], until: Callable[[dict[str, Any]], bool]) -> None:
        give_up = time.monotonic() + 30
        while not until(self.call("GET", f"/batches/{batch['id']}")):
            if time.monotonic() > give_up:
                raise TimeoutError(f"the earlier batch {batch['id']} did not get there")
            time.sleep(0.02)

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer: Answer = send(
            self.root_url, {"method": method, "path": path, "headers": {}, **request}, Bindings(), self.authorization
        )
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.text()[:300]}")
        done: dict[str, Any] = json.loads(answer.body) if answer.body else {}
        return done
