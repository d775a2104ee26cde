"""The server's answers as they look in the script's time, with a read replica that lags.

The script's clock jumps, the server's does not: each time in a batch object is shown shifted by as much as the
script was ahead when that time was first seen. And a batch may be hidden from reads until a moment of that clock.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from support.proxy.http_message import Answer, Request, text
from support.running import FastClock


class ServerTime:
    def __init__(self, clock: FastClock | None) -> None:
        """Without a clock the script runs in the server's time, and everything is shown as it comes."""
        self._clock = clock
        self._shifted: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self.hidden_until: dict[str, float] = {}  # id of a file or a batch -> by the script's clock

    def shown(self, request: Request, answer: Answer) -> Answer:
        route = request.route
        if self._clock is None:
            return answer
        asked = request.path.split("/")
        if route in ("file", "estimate", "content") and any(self._hidden({"id": i}, self._clock) for i in asked):
            return text(404, "File not found")
        if route == "list_files" and answer.status == 200:
            listed = json.loads(answer.body)
            listed["data"] = [file for file in listed["data"] if not self._hidden(file, self._clock)]
            return answer.with_body(json.dumps(listed).encode())
        # What is not sent as it came has no `date`, which would be of the server's time.
        answer = answer.with_body(answer.body)
        if route not in ("submit", "list_batches", "batch", "cancel") or not 200 <= answer.status < 300:
            return answer
        found = json.loads(answer.body)
        if route == "list_batches":
            shown = (batch for batch in found["data"] if not self._hidden(batch, self._clock))
            found["data"] = [self._shift(batch, self._clock) for batch in shown]
        elif route == "batch" and self._hidden(found, self._clock):
            return text(404, f"Batch with ID {found['id']} not found")
        else:
            found = self._shift(found, self._clock)
        return answer.with_body(json.dumps(found).encode())

    def _hidden(self, batch: dict[str, Any], clock: FastClock) -> bool:
        return clock.monotonic() < self.hidden_until.get(batch["id"], 0.0)

    def _shift(self, batch: dict[str, Any], clock: FastClock) -> dict[str, Any]:
        with self._lock:
            for name, value in batch.items():
                if name.endswith("_at") and isinstance(value, int):
                    batch[name] = self._shifted.setdefault((batch["id"], name), int(value + clock.ahead))
        return batch
