"""Models of an OpenAI-compatible endpoint: Ollama, vLLM, llama.cpp, or the service itself."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from local_server.errors import compact
from local_server.models import Registry
from local_server.replies import Reply, Timeout
from local_server.settings import ModelSpec, Settings

LIST_SECONDS = 5.0  # for the endpoint's list of models, at start and at each look for more
CONNECT_SECONDS = 10.0
_INTERNAL = {
    "message": "An internal error occurred. Please try again later.",
    "type": "internal_error",
    "param": None,
    "code": "internal_error",
}


class Upstream:
    """One endpoint and its client.  The client is made on first use, in the loop that uses it."""

    def __init__(self, settings: Settings) -> None:
        assert settings.upstream is not None
        self._settings = settings
        self.url = settings.upstream.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    def names(self) -> list[str]:
        """The models that the endpoint lists; raises OSError with a readable text."""
        try:
            answer = httpx.get(f"{self.url}/models", headers=self._headers(), timeout=LIST_SECONDS, trust_env=False)
            answer.raise_for_status()
            return [str(entry["id"]) for entry in answer.json()["data"]]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise OSError(f"{self.url}/models gave no list of models: {error}") from None

    def _headers(self) -> dict[str, str]:
        key = self._settings.upstream_key
        return {"authorization": f"Bearer {key}"} if key else {}

    async def post(self, path: str, request: dict[str, Any], own_url: str) -> Reply:
        """A connection that breaks or is refused looks like a 502, as through the real server's proxy."""
        seconds = self._settings.upstream_timeout
        if self._client is None:
            timeout = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        headers = self._headers() | {"content-type": "application/json"}
        try:
            # httpx bounds each wait; a server that sends a byte now and then needs a bound of the whole.
            answer = await asyncio.wait_for(
                self._client.post(self.url + path, content=compact(request), headers=headers), seconds
            )
        except (httpx.TimeoutException, asyncio.TimeoutError, TimeoutError):
            raise Timeout(f"error sending request for url ({own_url})") from None
        except httpx.HTTPError:
            return Reply(502, compact({"error": _INTERNAL}))
        kept = {name: answer.headers[name] for name in ("retry-after",) if name in answer.headers}
        return Reply(answer.status_code, answer.content, answer.headers.get("content-type", ""), kept)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


class UpstreamModel:
    def __init__(self, upstream: Upstream, spec: ModelSpec, own_base_url: str) -> None:
        self.spec = spec
        self._upstream = upstream
        self._own_base_url = own_base_url

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        if request.get("stream") is True and path == "/chat/completions":
            request = request | {"stream_options": {"include_usage": True}}  # as the real server asks
        return await self._upstream.post(path, request, self._own_base_url + path)


def add_models(registry: Registry, upstream: Upstream, settings: Settings, own_base_url: str) -> None:
    """Those in `settings.models`, and, unless only these are wanted, those the endpoint lists (OSError)."""
    names = list(settings.models)
    if not settings.only_named_models:
        names += [name for name in upstream.names() if name not in settings.models]
    for name in names:
        kind = "EMBEDDINGS" if "embed" in name.lower() else "CHAT"
        spec = settings.models.get(name, ModelSpec(kind, capacity=settings.upstream_concurrency))
        registry.add(name, UpstreamModel(upstream, spec, own_base_url))
