"""Clients that others wrote work unchanged, against the local server and against the vendor's own.

`openai`: files, batches, contents, pages, sync and async. `autobatcher`: the vendor's drop-in client, in batch mode.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from autobatcher import BatchOpenAI

from local_server.app import LocalServer
from support.running import chat_line

# A client that makes its own connections closes them when it is collected, which is no concern of ours.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
PATIENCE_SECONDS = 30.0
UNKNOWN = "00000000-0000-4000-8000-000000000000"


class Service(NamedTuple):
    """One of the two servers, with the names its models have there."""

    base_url: str
    key: str
    chat: str
    embeddings: str

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base_url, api_key=self.key, max_retries=0)

    def lines(self, count: int, prompt: str = "third party") -> tuple[str, io.BytesIO, str]:
        text = "".join(chat_line(f"id-{n}", f"{prompt} {n}", self.chat) for n in range(count))
        return "third.jsonl", io.BytesIO(text.encode()), "application/jsonl"


@pytest.fixture(params=["local", pytest.param("real", marks=pytest.mark.real)])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    if request.param == "real":
        real = request.getfixturevalue("real_server")
        yield Service(real.base_url, real.key, "mock-chat", "mock-embed")
        return
    with LocalServer(tmp_path / "server", speed=50, real_model=False) as local:
        yield Service(local.base_url, local.key, "echo", "echo-embed")


def finished(client: openai.OpenAI, batch_id: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (batch := client.batches.retrieve(batch_id)).status in ("validating", "in_progress", "finalizing"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
    return batch


def answers(text: str) -> dict[str, str]:
    found = [json.loads(line) for line in text.splitlines()]
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in found}


def test_openai_takes_a_batch_from_upload_to_answers(service: Service) -> None:
    with service.client() as client:
        assert service.chat in [model.id for model in client.models.list()]
        uploaded = client.files.create(file=service.lines(4), purpose="batch")
        assert (uploaded.object, uploaded.filename, uploaded.purpose) == ("file", "third.jsonl", "batch")
        assert client.files.retrieve(uploaded.id).bytes == uploaded.bytes
        created = client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"made_by": "openai"},
        )
        assert created.status == "validating"
        batch = finished(client, created.id)
        assert batch.status == "completed"
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (4, 4, 0)
        assert batch.metadata["made_by"] == "openai"
        got = answers(client.files.content(batch.output_file_id).text)
        assert sorted(got) == ["id-0", "id-1", "id-2", "id-3"]
        assert all(f"third party {name[-1]}" in text for name, text in got.items())
        assert client.files.content(uploaded.id).text.count("\n") >= 3
        deleted = client.files.delete(uploaded.id)
        assert (deleted.id, deleted.deleted) == (uploaded.id, True)
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(uploaded.id)


def test_openai_pages_through_files_and_batches(service: Service) -> None:
    with service.client() as client:
        files = [client.files.create(file=service.lines(1, f"page {n}"), purpose="batch").id for n in range(5)]
        batches = [
            client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h").id
            for file in files
        ]
        # Walking on over the pages, two at a time, newest first.
        listed = [file.id for _, file in zip(range(5), client.files.list(limit=2, purpose="batch"), strict=False)]
        assert listed == files[::-1]
        first = client.batches.list(limit=2)
        assert [batch.id for batch in first.data] == batches[:2:-1]
        assert first.has_next_page()
        walked = [batch.id for _, batch in zip(range(5), client.batches.list(limit=2), strict=False)]
        assert walked == batches[::-1]
        assert [file.id for file in client.files.list(limit=100)].count(files[0]) == 1
        for batch_id in batches:
            finished(client, batch_id)


def test_openai_cancels_and_reads_refusals(service: Service) -> None:
    with service.client() as client:
        uploaded = client.files.create(file=service.lines(300, "to be cancelled"), purpose="batch")
        created = client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        cancelled = client.batches.cancel(created.id)
        assert (cancelled.id, cancelled.status) == (created.id, cancelled.status)
        assert cancelled.status in ("cancelling", "cancelled")
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve(UNKNOWN)
        with pytest.raises(openai.BadRequestError) as refusal:
            client.files.create(file=("bad.jsonl", b"hello\n"), purpose="batch")
        assert "JSON" in refusal.value.response.text
        with pytest.raises(openai.BadRequestError):
            client.batches.create(input_file_id=uploaded.id, endpoint="/v1/nope", completion_window="24h")  # type: ignore[arg-type]
    stranger = service._replace(key="sk-wrong").client()
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.batches.list()


def test_openai_async_runs_several_batches_at_once(service: Service) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> dict[str, str]:
        uploaded = await client.files.create(file=service.lines(3, f"async {number}"), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status != "completed":
            await asyncio.sleep(0.1)
            batch = await client.batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        return answers((await client.files.content(batch.output_file_id)).text)

    async def main() -> list[dict[str, str]]:
        async with openai.AsyncOpenAI(base_url=service.base_url, api_key=service.key, max_retries=0) as client:
            got = await asyncio.wait_for(asyncio.gather(*(one(client, n) for n in range(3))), PATIENCE_SECONDS)
            newest = [batch.id async for batch in client.batches.list(limit=2)]
            assert len(newest) == len(set(newest)) >= 3
            return got

    for number, got in enumerate(asyncio.run(main())):
        assert sorted(got) == ["id-0", "id-1", "id-2"]
        assert all(f"async {number}" in text for text in got.values())


def test_autobatcher_gathers_calls_into_batches_of_24_hours(service: Service) -> None:
    """Not its `responses`: its parser demands fields that neither server sends in a batch's /v1/responses answers."""
    events: list[dict[str, Any]] = []

    async def main() -> tuple[list[str], list[list[float]]]:
        client = BatchOpenAI(
            base_url=service.base_url,
            api_key=service.key,
            completion_window="24h",
            batch_window_seconds=0.2,
            poll_interval_seconds=0.2,
            batch_metadata={"made_by": "autobatcher"},
            batch_event_handler=events.append,
        )
        chats = [
            client.chat.completions.create(model=service.chat, messages=[{"role": "user", "content": f"call {n}"}])
            for n in range(6)
        ]
        embeddings = [client.embeddings.create(model=service.embeddings, input=f"embed {n}") for n in range(2)]
        try:
            got: list[Any] = await asyncio.wait_for(asyncio.gather(*chats, *embeddings), PATIENCE_SECONDS)
            while len([event for event in events if event["event"] == "batch_completed"]) < 2:
                await asyncio.sleep(0.1)
        finally:
            await client.close()
        return (
            [chat.choices[0].message.content for chat in got[:6]],
            [embedding.data[0].embedding for embedding in got[6:]],
        )

    chats, embeddings = asyncio.run(main())

    assert all(f"call {n}" in text for n, text in enumerate(chats))
    assert all(embedding for embedding in embeddings)
    submitted = [event for event in events if event["event"] == "batch_submitted"]
    assert sorted(event["request_count"] for event in submitted) == [2, 6]
    assert [event["event"] for event in events].count("batch_completed") == 2
    with service.client() as client:
        batch = client.batches.retrieve(submitted[0]["batch_id"])
        assert (batch.completion_window, (batch.metadata or {})["made_by"]) == ("24h", "autobatcher")
