"""What each kind of fault does to a request, and on which routes it can happen.

`_before` means that the server never saw the request, `_after` that it has acted. A refusal that the scripts may
take at its word (400, 401, 402, 403, 413, 422, 429) only comes before; the others are also told by something in
between, after the server has acted.
"""

from __future__ import annotations

import email.utils
import json
import random
from collections.abc import Callable
from typing import Any

from support.proxy.exchange import Effect, Exchange
from support.proxy.http_message import Answer, text
from support.proxy.proxy import ROUTES

DEFINITE = (400, 401, 402, 403, 413, 422)
DOUBTFUL = (404, 408, 409, 499, 500, 502, 503, 504)
WAITS = ("0", "7", "120", "100000", "-5", "1e400", "nan", "soon", "9" * 40)
WRONG = (b"[]", b'"yes"', b"{}", b'{"data": 7, "id": 7}', b'{"data": [null, 3], "id": ""}')
WORDS = {
    400: "Invalid JSON on line 2: expected value at line 1 column 1",
    401: "Authentication required",
    402: "Account balance too low. Please add credits to continue.",
    403: "Insufficient permissions to Create Files",
    404: "not found",
    413: "File exceeds the maximum allowed size of 1 bytes",
    422: "Failed to deserialize the JSON body into the target type",
}
PAGE = Answer(200, {"content-type": "text/html"}, b"<!doctype html><title>Sign in</title>")
BATCH_READS = ("list_batches", "batch")
CHANGES = ("upload", "submit", "delete_file", "cancel")
BODIES = ("upload", "submit")
# A lost submission is looked for during 22 s. A replica that lags longer hides it from every look, and
# a batch that is done by then is paid for twice: no protocol over these calls can prevent that.
LONGEST_LAG_SECONDS = 20.0
# An answer of the server's to these is JSON.
JSON_ROUTES = tuple(route for route in ROUTES if route != "content")

KINDS: dict[str, Effect] = {}
ROUTES_OF: dict[str, tuple[str, ...]] = {}


def kind(name: str, routes: tuple[str, ...] = ROUTES) -> Callable[[Effect], Effect]:
    def register(effect: Effect) -> Effect:
        KINDS[name], ROUTES_OF[name] = effect, routes
        return effect

    return register


def _said(status: int) -> Answer:
    return text(status, WORDS.get(status, "temporarily unavailable"))


def _statuses() -> None:
    def before(status: int) -> Effect:
        return lambda exchange: exchange.send(_said(status))

    def after(status: int) -> Effect:
        def effect(exchange: Exchange) -> None:
            exchange.forward()
            exchange.send(_said(status))

        return effect

    for status in DEFINITE + DOUBTFUL:
        kind(f"{status}_before")(before(status))
    for status in DOUBTFUL:
        kind(f"{status}_after", CHANGES)(after(status))


_statuses()


def busy(**headers: str) -> Answer:
    body = {"error": "too_many_requests", "message": "Insufficient capacity", "retry_after_seconds": 30}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(429, {"content-type": "application/json", **named}, json.dumps(body).encode())


@kind("429_plain")
def _(exchange: Exchange) -> None:
    exchange.send(busy())


@kind("429_seconds")
def _(exchange: Exchange) -> None:
    exchange.send(busy(retry_after=str(int(exchange.fault.value) % 200)))


@kind("429_date")
def _(exchange: Exchange) -> None:
    moment = exchange.proxy.clock.now() + exchange.fault.value % 200
    exchange.send(busy(retry_after=email.utils.formatdate(moment, usegmt=True)))


@kind("429_absurd")
def _(exchange: Exchange) -> None:
    exchange.send(busy(retry_after=WAITS[int(exchange.fault.value) % len(WAITS)]))


@kind("503_seconds")
def _(exchange: Exchange) -> None:
    exchange.send(text(503, "draining", retry_after=str(int(exchange.fault.value) % 200)))


@kind("redirect")
def _(exchange: Exchange) -> None:
    exchange.send(Answer(307, {"location": f"{exchange.proxy.elsewhere.url}{exchange.request.target}"}))


@kind("web_page_before")
def _(exchange: Exchange) -> None:
    exchange.send(PAGE)


@kind("web_page_after", CHANGES)
def _(exchange: Exchange) -> None:
    exchange.forward()
    exchange.send(PAGE)


@kind("garbled_json", JSON_ROUTES)
def _(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(answer.with_body(answer.body[: len(answer.body) // 2]))


@kind("wrong_json", JSON_ROUTES)
def _(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(answer.with_body(WRONG[int(exchange.fault.value) % len(WRONG)]))


# --- connections ---


@kind("refused")
def _(exchange: Exchange) -> None:
    exchange.cut(reset=True)
    exchange.proxy.refuse(exchange.fault.value)


@kind("cut_before")
def _(exchange: Exchange) -> None:
    exchange.request.body()
    exchange.cut(reset=exchange.fault.value % 2 >= 1)


@kind("cut_after", CHANGES)
def _(exchange: Exchange) -> None:
    exchange.forward()
    exchange.cut(reset=exchange.fault.value % 2 >= 1)


@kind("late", CHANGES)
def _(exchange: Exchange) -> None:
    exchange.hold(exchange.fault.value)


@kind("cut_request_body", BODIES)
def _(exchange: Exchange) -> None:
    exchange.request.half_of_body()
    exchange.cut(reset=True)


@kind("cut_answer")
def _(exchange: Exchange) -> None:
    answer = exchange.forward()
    cut = int(len(answer.body) * (exchange.fault.value % 10) / 10)
    data = answer.encoded()
    exchange.send_part(data[: len(data) - len(answer.body) + cut])


@kind("cut_chunked_answer")
def _(exchange: Exchange) -> None:
    answer = exchange.forward()
    half = answer.body[: int(len(answer.body) * (exchange.fault.value % 10) / 10)]
    head = Answer(answer.status, answer.headers | {"transfer-encoding": "chunked"}).encoded(announce=False)
    exchange.send_part(head + (b"%x\r\n%s\r\n" % (len(half), half) if half else b""))


@kind("stall_before")
def _(exchange: Exchange) -> None:
    exchange.request.body()
    exchange.stall()


@kind("stall_after", CHANGES)
def _(exchange: Exchange) -> None:
    exchange.forward()
    exchange.stall()


@kind("stall_in_answer", ("content", "list_batches", "batch", "submit"))
def _(exchange: Exchange) -> None:
    answer = exchange.forward()
    data = answer.encoded()
    exchange.connection.sendall(data[: len(data) - len(answer.body) // 2])
    exchange.stall()


# --- content ---


def _lines(exchange: Exchange, change: Callable[[list[bytes]], list[bytes]]) -> None:
    answer = exchange.forward()
    lines = answer.body.splitlines(keepends=True)
    changed = change(lines)
    if changed == lines:
        exchange.missed()
    exchange.send(answer.with_body(b"".join(changed)))


@kind("duplicate_lines", ("content",))
def _(exchange: Exchange) -> None:
    _lines(exchange, lambda lines: lines[:1] + lines)


@kind("reordered_lines", ("content",))
def _(exchange: Exchange) -> None:
    _lines(exchange, lambda lines: random.Random(exchange.fault.value).sample(lines, len(lines)))


@kind("lost_line", ("content",))
def _(exchange: Exchange) -> None:
    """As the server does it: one line is missing and another comes twice, so the number of lines is right."""
    _lines(exchange, lambda lines: lines[1:] + lines[-1:])


@kind("short_content", ("content",))
def _(exchange: Exchange) -> None:
    _lines(exchange, lambda lines: lines[:-1])


@kind("torn_line", ("content",))
def _(exchange: Exchange) -> None:
    """The answer ends in the middle of a line, and its length says that this is all."""
    answer = exchange.forward()
    if not answer.body:
        exchange.missed()
    exchange.send(answer.with_body(answer.body[:-9]))


# --- what is read of batches ---


def _batches(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> None:
    answer = exchange.forward()
    if answer.status == 200 and exchange.route in BATCH_READS:
        found = json.loads(answer.body)
        for batch in found.get("data", [found]):
            change(batch)
        answer = answer.with_body(json.dumps(found).encode())
    exchange.send(answer)


@kind("wrong_counts", BATCH_READS)
def _(exchange: Exchange) -> None:
    def change(batch: dict[str, Any]) -> None:
        counts = batch["request_counts"]
        counts["completed"] = max(0, counts["completed"] + (1 if exchange.fault.value % 2 >= 1 else -1))

    _batches(exchange, change)


@kind("unknown_status", BATCH_READS)
def _(exchange: Exchange) -> None:
    _batches(exchange, lambda batch: batch.update(status="reticulating"))


@kind("expired_at", BATCH_READS)
def _(exchange: Exchange) -> None:
    _batches(exchange, lambda batch: batch.update(expired_at=1))


@kind("replica_lag", ("submit",))
def _(exchange: Exchange) -> None:
    """The batch is made and told, but reads do not know it yet."""
    exchange.send(_hidden(exchange))


@kind("replica_lag_and_lost", ("submit",))
def _(exchange: Exchange) -> None:
    """The batch is made, the answer is lost, and reads do not know it yet."""
    _hidden(exchange)
    exchange.cut()


def _hidden(exchange: Exchange) -> Answer:
    answer = exchange.forward()
    if answer.status == 201:
        until = exchange.proxy.clock.monotonic() + min(exchange.fault.value, LONGEST_LAG_SECONDS)
        made = json.loads(answer.body)
        for name in ("id", "output_file_id", "error_file_id"):
            exchange.proxy.time.hidden_until[str(made.get(name))] = until
    return answer


@kind("lag_of_files", ("upload",))
def _(exchange: Exchange) -> None:
    """The file is there and told, but reads do not know it yet."""
    exchange.send(_hidden(exchange))


# --- clocks, and other commands ---


@kind("clock_set")
def _(exchange: Exchange) -> None:
    """Somebody sets this machine's clock, an hour back or hours ahead."""
    exchange.proxy.clock.set_by = (exchange.fault.value - 60.0) * 60.0
    exchange.send(exchange.forward())


@kind("meanwhile", ("upload", "estimate", "list_batches", "batch", "content", "file"))
def _(exchange: Exchange) -> None:
    """Another command runs on the same job while this request, or its answer, is on its way."""
    other, exchange.proxy.meanwhile = exchange.proxy.meanwhile, None  # it has none of its own
    if other is None:
        exchange.missed()
        exchange.send(exchange.forward())
        return
    answer = exchange.forward() if exchange.fault.value % 2 >= 1 else None
    other(exchange.fault.value)
    exchange.proxy.meanwhile = other
    exchange.send(answer or exchange.forward())


# --- bodies that are somebody else's ---

PORTAL = b'{"status": "login required", "id": "portal", "object": "page", "url": "http://portal.example/"}'
STRANGER = "7e57ab1e-0000-4000-8000-000000000000"


def _portal(value: float) -> Answer:
    if value % 2 >= 1:
        return Answer(200, {"content-type": "application/json"}, PORTAL)
    return Answer(200, {"content-type": "text/plain"}, b"Please sign in to the network.\n")


@kind("portal_before")
def _(exchange: Exchange) -> None:
    exchange.send(_portal(exchange.fault.value))


@kind("portal_after", CHANGES)
def _(exchange: Exchange) -> None:
    exchange.forward()
    exchange.send(_portal(exchange.fault.value))


def _changed(exchange: Exchange, change: Callable[[dict[str, Any]], None]) -> None:
    answer = exchange.forward()
    if 200 <= answer.status < 300 and answer.body:
        found = json.loads(answer.body)
        change(found)
        answer = answer.with_body(json.dumps(found).encode())
    exchange.send(answer)


@kind("other_object", ("file", "batch", "estimate", "cancel", "delete_file", "upload", "submit"))
def _(exchange: Exchange) -> None:
    """The answer is the one to somebody else's request."""
    ids = ("id", "file_id", "input_file_id", "output_file_id", "error_file_id")
    other = dict.fromkeys(ids, STRANGER) | {"filename": "another.jsonl", "metadata": {}}
    _changed(exchange, lambda found: found.update({name: other[name] for name in other if name in found}))


@kind("other_rows", ("list_batches", "list_files"))
def _(exchange: Exchange) -> None:
    """A listing that holds somebody else's things first."""

    def change(found: dict[str, Any]) -> None:
        others = [
            {**row, "id": STRANGER, "input_file_id": STRANGER, "filename": "x", "metadata": {}}
            for row in found["data"][:1]
        ]
        found["data"] = others + found["data"]

    _changed(exchange, change)


@kind("other_lines", ("content",))
def _(exchange: Exchange) -> None:
    """Lines of another job stand among the answers."""

    def change(lines: list[bytes]) -> list[bytes]:
        other = [
            json.dumps(json.loads(line) | {"id": STRANGER, "custom_id": "x"}).encode() + b"\n" for line in lines[:1]
        ]
        return other + (lines[1:] if exchange.fault.value % 2 >= 1 else lines)

    _lines(exchange, change)
