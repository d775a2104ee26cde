"""Every knob of the local server, with the reason for its default.

Times are seconds.  Those in the block "times of the real server" are divided by `speed`; whatever a person
asks for in seconds (`delay`, `outages`, `upstream_timeout`) is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
)
LOCAL_KEY = "local-key"


@dataclass
class User:
    """One account.  `balance` below 0 refuses new batches; at 0 or below, lines of priced models fail."""

    key: str
    email: str = "local@example.com"
    balance: float = 100.0
    platform_key: bool = False
    batch_role: bool = True


@dataclass(frozen=True)
class Price:
    """US dollars for one token, as decimal text: in and out, in a batch and in a direct call."""

    batch_input: Decimal
    batch_output: Decimal
    realtime_input: Decimal
    realtime_output: Decimal


# Make-believe, so that an estimate and `--max-cost` have something to show.  Nothing here costs anything.
REHEARSAL_PRICE = Price(Decimal("0.00000010"), Decimal("0.00000040"), Decimal("0.00000020"), Decimal("0.00000080"))


@dataclass
class ModelSpec:
    """What the server knows of a model besides how to reach it."""

    type: str | None = "CHAT"  # CHAT, EMBEDDINGS, or None: fits every endpoint
    capacity: int = 200  # requests in flight; the recordings were made with 200
    price: Price | None = None
    requests_per_second: float | None = None  # None: never "at capacity"


@dataclass(frozen=True)
class FailRule:
    """`--fail PATTERN=STATUS`: requests whose body matches are answered with that status."""

    pattern: re.Pattern[str]
    status: int

    @classmethod
    def parse(cls, text: str) -> FailRule:
        pattern, equals, status = text.rpartition("=")
        if not equals or not status.isdigit() or not 400 <= int(status) <= 599:
            raise ValueError(f"expected PATTERN=STATUS with a status from 400 to 599, got {text!r}")
        return cls(re.compile(pattern), int(status))


@dataclass(frozen=True)
class Outage:
    """`--outage START:LENGTH[:drop]`, seconds after start.  Answers 503, or with `drop` hangs up."""

    start: float
    length: float
    drop: bool = False

    @classmethod
    def parse(cls, text: str) -> Outage:
        parts = text.split(":")
        if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("503", "drop")):
            raise ValueError(f"expected START:LENGTH or START:LENGTH:drop, got {text!r}")
        return cls(float(parts[0]), float(parts[1]), parts[-1] == "drop")


@dataclass
class Settings:
    speed: float = 1.0
    window_speed: float = 1.0  # divides completion windows; the times shown stay as if it did not

    users: list[User] = field(default_factory=lambda: [User(LOCAL_KEY)])

    # Models: the built-in ones, those listed by `upstream`, and what is said of either in `models`.
    builtin_models: bool = True
    real_model: bool = True
    upstream: str | None = None
    upstream_concurrency: int = 4
    upstream_timeout: float = 300.0  # a laptop may take minutes for one answer
    upstream_key: str | None = None
    models: dict[str, ModelSpec] = field(default_factory=dict)
    only_named_models: bool = False  # with `upstream`: serve those in `models`, do not ask for its list

    # Limits: those the hosted service documents.
    completion_windows: tuple[str, ...] = ("24h", "1h")
    max_file_size: int = 200_000_000
    max_requests_per_file: int = 50_000
    max_body_size: int = 10 * 1024 * 1024
    unverified_requests_per_hour: int = 0  # per hour of completion window; 0: no cap
    max_concurrent_uploads: int = 0  # 0: no limit
    max_waiting_uploads: int = 20
    max_upload_wait: float = 60.0

    # Retries.  The real server tries 1,000 times over hours; nobody at a desk waits for that.
    max_retries: int = 5
    backoff: float = 1.0
    max_backoff: float = 10.0
    stop_before_deadline: float = 0.0

    # Times of the real server, as seen; all are divided by `speed`.
    claim_interval: float = 1.0
    claim_size: int = 0  # requests claimed in one interval; 0: as many as the models take
    population_delay: float = 0.015  # a cancel that comes sooner leaves the batch in `cancelling` for good
    population_per_line: float = 0.000_036  # 50,000 lines: `validating` for 1.8 s
    cascade_delay: float = 0.030  # between a cancel and its arrival at the requests
    cascade_per_line: float = 0.000_005
    cancel_poll: float = 5.0  # requests in flight are aborted by a poll: until then they still land
    finalizer_interval: float = 10.0  # until then the list says `finalizing`
    purge_interval: float = 600.0
    # One answer in 1,000 becomes visible late while it sorts early, which is how a resumed read loses it.
    late_fraction: float = 0.001
    late_by: float = 0.5

    # Rehearsal.
    delay: float = 0.0
    rate: float = 0.0  # answers a second; 0: unlimited
    fail: list[FailRule] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)

    def scaled(self, seconds: float) -> float:
        return seconds / self.speed

    def user_of(self, key: str) -> User | None:
        return next((user for user in self.users if user.key == key), None)
