"""What an administrator does to the real server: models, users, keys, credits (its /admin/api/v1)."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from decimal import Decimal
from typing import Any

from real_server.errors import SetupError

# Known to the configuration (config.py): the server lets a trusted proxy name the user in a header.
ADMIN = "admin@example.com"
# The group every user is in; a model in it is everybody's.
EVERYONE = "00000000-0000-0000-0000-000000000000"
# Cheap enough that a test spends next to nothing, dear enough that a cost estimate is not 0.
PRICES = [
    {
        "name": "batch",
        "input_price_per_token": "0.0000001",
        "output_price_per_token": "0.0000004",
        "api_key_purpose": "batch",
        "completion_window": window,
    }
    for window in ("24h", "1h")
] + [
    {
        "name": "realtime",
        "input_price_per_token": "0.0000002",
        "output_price_per_token": "0.0000008",
        "api_key_purpose": "realtime",
    }
]
# How many lines of one model are sent at a time, unless a test says otherwise.
CONCURRENCY = 200
# The proxy in the server learns of new keys and models a little later.
LEARN_SECONDS = 30.0


class Admin:
    """The administrator of one real server, and everything he made."""

    def __init__(self, root_url: str) -> None:
        self.root_url = root_url

    def call(self, method: str, path: str, body: object = None, *, user: str = ADMIN) -> Any:
        """One call of the admin API as `user`; the decoded answer. Raises SetupError on anything but 2xx."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.root_url}/admin/api/v1{path}", data=data, method=method)
        request.add_header("x-doubleword-user", user)
        if data is not None:
            request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:500]
            raise SetupError(f"{method} {path} answered {error.code}: {said}") from error
        return json.loads(text) if text.strip() else None

    def use_upstream(self, url: str, name: str = "mock") -> str:
        """Make the OpenAI-compatible endpoint `url` (ending in /v1/) known; its id."""
        known = self.call("GET", "/endpoints")
        rows = known["data"] if isinstance(known, dict) else known
        for row in rows:
            if row["name"] == name:
                return str(row["id"])
        made = self.call("POST", "/endpoints", {"name": name, "url": url, "sync": False})
        return str(made["id"])

    def add_model(self, alias: str, *, endpoint: str, kind: str | None = "CHAT", **more: object) -> str:
        """Make a model that everybody may use; its id. `kind`: CHAT, EMBEDDINGS or None (not said)."""
        body: dict[str, object] = {
            "type": "standard", "model_name": alias, "alias": alias, "hosted_on": endpoint,
            "capacity": CONCURRENCY, "batch_capacity": CONCURRENCY, **more,
        }  # fmt: skip
        if kind:
            body["model_type"] = kind
        made = self.call("POST", "/models", body)
        self.call("POST", f"/groups/{EVERYONE}/models/{made['id']}")
        return str(made["id"])

    def models(self) -> dict[str, str]:
        """Every model's id by its name."""
        return {row["alias"]: row["id"] for row in self.call("GET", "/models?limit=100")["data"]}

    def remove_model(self, alias: str) -> None:
        """Take a model away, also under running batches."""
        self.call("DELETE", f"/models/{self.models()[alias]}")

    def new_key(self, email: str, purpose: str = "realtime") -> str:
        """A fresh API key for a user, who is made by the first call in his name."""
        made = self.call(
            "POST", "/users/current/api-keys", {"name": f"k{time.time_ns()}", "purpose": purpose}, user=email
        )
        return str(made["key"])

    def set_roles(self, email: str, roles: list[str]) -> None:
        """Replace a user's roles; the server's names: StandardUser, BatchAPIUser, PlatformManager, ..."""
        self.call("PATCH", f"/users/{self._user(email)['id']}", {"roles": roles})

    def balance(self, email: str) -> Decimal:
        """A user's credits in dollars."""
        return Decimal(str(self._user(email)["credit_balance"]))

    def set_balance(self, email: str, dollars: Decimal | str) -> None:
        """Grant or take credits until the user has exactly `dollars` (which may be below 0)."""
        user = self._user(email)
        change = Decimal(dollars) - Decimal(str(user["credit_balance"]))
        if change == 0:
            return
        self.call("POST", "/transactions", {
            "user_id": user["id"],
            "transaction_type": "admin_grant" if change > 0 else "admin_removal",
            "amount": str(abs(change)),
            "source_id": f"{user['id']}-{time.time_ns()}",
            "description": "set by a test",
        })  # fmt: skip

    def _user(self, email: str) -> dict[str, Any]:
        """A user as the administrator sees him; /users/current leaves the balance out."""
        me = self.call("GET", "/users/current", user=email)
        user: dict[str, Any] = self.call("GET", f"/users/{me['id']}?include=billing")
        return user

    def wait_until_served(self, model: str, key: str) -> None:
        """Wait until the proxy knows both, which the admin API does not wait for."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
        deadline = time.monotonic() + LEARN_SECONDS
        while True:
            request = urllib.request.Request(f"{self.root_url}/ai/v1/chat/completions", data=body, method="POST")
            request.add_header("authorization", f"Bearer {key}")
            request.add_header("content-type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
                return
            except urllib.error.HTTPError as error:
                said = f"{error.code} {error.read()[:300]!r}"
            if time.monotonic() > deadline:
                raise SetupError(f"a direct call to {model} still fails: {said}")
            time.sleep(0.1)


def provision(admin: Admin, upstream_url: str) -> None:
    """The models every test may count on, in front of the mock model; safe to do again."""
    endpoint = admin.use_upstream(f"{upstream_url}/v1/")
    have = admin.models()
    wanted: dict[str, dict[str, Any]] = {
        "mock-chat": {"tariffs": PRICES},
        "mock-embed": {"kind": "EMBEDDINGS"},
        "mock-fail": {},
        "mock-any": {"kind": None},
        "mock-native": {"open_responses_adapter": False},
    }
    for alias, properties in wanted.items():
        if alias not in have:
            admin.add_model(alias, endpoint=endpoint, **properties)
