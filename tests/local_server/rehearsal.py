"""Trouble on request: slow answers, a bounded rate, failing requests, outages of the whole server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from local_server.models import Model
from local_server.replies import Reply
from local_server.settings import Outage, Settings


class Rehearsal:
    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._started = clock()
        self._next_slot = 0.0
        self.held = False  # while it is true no model answers: for a test that waits for a moment of its own

    def outage(self) -> Outage | None:
        """The outage that is on, if any."""
        now = self._clock() - self._started
        for outage in self._settings.outages:
            if outage.start <= now < outage.start + outage.length:
                return outage
        return None

    async def ask(self, model: Model, path: str, request: dict[str, Any]) -> Reply:
        """The model's reply, after the delay and in its turn, or the failure that was asked for."""
        settings = self._settings
        while self.held:
            await asyncio.sleep(0.05)
        if settings.rate > 0:
            slot = max(self._clock(), self._next_slot)
            self._next_slot = slot + 1 / settings.rate
            await asyncio.sleep(slot - self._clock())
        if settings.delay > 0:
            await asyncio.sleep(settings.delay)
        if settings.fail:
            text = json.dumps(request, ensure_ascii=False)
            for rule in settings.fail:
                if rule.pattern.search(text):
                    message = f"rehearsal: requests that match {rule.pattern.pattern!r} are answered {rule.status}"
                    error = {"message": message, "type": "rehearsal", "param": None, "code": f"{rule.status}"}
                    return Reply(rule.status, {"error": error})
        return await model.reply(path, request)
