"""The local server through the client that people know: the `openai` package, sync and async, unchanged."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from openai.types import Batch

from local_server.app import LocalServer
from support.running import chat_line

ENDED = ("completed", "failed", "cancelled")
PATIENCE = 20.0  # seconds; the batches here take tenths


def lines_of(count: int) -> bytes:
    return "".join(chat_line(f"id-{n}", f"say {n}") for n in range(count)).encode()


def wait(client: OpenAI, batch: Batch) -> Batch:
    deadline = time.monotonic() + PATIENCE
    while batch.status not in ENDED:
        assert time.monotonic() < deadline, f"still {batch.status}"
        time.sleep(0.01)
        batch = client.batches.retrieve(batch.id)
    return batch


@pytest.fixture
def client(server: LocalServer) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)


def test_the_openai_package_runs_a_batch_end_to_end(client: OpenAI) -> None:
    uploaded = client.files.create(file=("in.jsonl", lines_of(5)), purpose="batch")
    assert (uploaded.filename, uploaded.purpose) == ("in.jsonl", "batch")
    assert client.files.retrieve(uploaded.id).bytes == len(lines_of(5))
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "one"}
    )
    assert batch.status == "validating"
    assert batch.output_file_id is not None
    assert batch.request_counts is not None
    assert batch.request_counts.total == 5
    output_file_id = batch.output_file_id
    batch = wait(client, batch)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 5
    results = [json.loads(line) for line in client.files.content(output_file_id).text.splitlines()]
    texts = {r["custom_id"]: r["response"]["body"]["choices"][0]["message"]["content"] for r in results}
    assert set(texts) == {f"id-{n}" for n in range(5)}
    for n in range(5):
        assert texts[f"id-{n}"].startswith("[local echo] ")
        assert texts[f"id-{n}"].endswith(f" say {n}")
    assert batch.error_file_id is not None
    assert client.files.content(batch.error_file_id).text == ""
    assert client.files.delete(uploaded.id).deleted


def test_the_async_client_does_the_same_for_several_batches_at_once(server: LocalServer) -> None:
    async def one(client: AsyncOpenAI, number: int) -> set[str]:
        uploaded = await client.files.create(file=(f"{number}.jsonl", lines_of(number)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status not in ENDED:
            await asyncio.sleep(0.02)
            batch = await client.batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        content = await client.files.content(batch.output_file_id)
        return {json.loads(line)["custom_id"] for line in content.text.splitlines()}

    async def everything() -> list[set[str]]:
        async with AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
            return await asyncio.wait_for(asyncio.gather(*(one(client, n) for n in range(1, 9))), PATIENCE)

    assert asyncio.run(everything()) == [{f"id-{n}" for n in range(count)} for count in range(1, 9)]


def test_pages_of_files_and_batches_hold_each_one_once(client: OpenAI) -> None:
    ids = [client.files.create(file=(f"{n}.jsonl", lines_of(1)), purpose="batch").id for n in range(7)]
    listed = [file.id for file in client.files.list(limit=2, purpose="batch")]
    assert listed == ids[::-1]
    assert [file.id for file in client.files.list(limit=3, purpose="batch", order="asc")] == ids
    batches = [
        client.batches.create(input_file_id=i, endpoint="/v1/chat/completions", completion_window="24h").id for i in ids
    ]
    assert [batch.id for batch in client.batches.list(limit=2)] == batches[::-1]


def test_direct_calls_answer_in_the_shape_of_their_endpoint(client: OpenAI) -> None:
    chat = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])
    assert (chat.choices[0].message.content or "").endswith("hello")
    assert client.completions.create(model="echo", prompt="hello").choices[0].text.endswith("hello")
    assert client.responses.create(model="echo", input="hello").output_text.endswith("hello")
    vectors = client.embeddings.create(model="echo-embed", input=["one", "two"]).data
    assert len(vectors[0].embedding) == 8
    assert vectors[0].embedding != vectors[1].embedding
    assert client.embeddings.create(model="echo-embed", input="one").data[0].embedding == vectors[0].embedding


def test_the_answer_of_the_echo_depends_on_the_whole_prompt(client: OpenAI) -> None:
    def answer(system: str) -> str | None:
        given = [{"role": "system", "content": system}, {"role": "user", "content": "same"}]
        chat = client.chat.completions.create(model="echo", messages=given)  # type: ignore[arg-type]
        return chat.choices[0].message.content

    assert answer("one") == answer("one")
    assert answer("one") != answer("two")


def test_an_answer_longer_than_max_tokens_is_cut_and_says_so(client: OpenAI) -> None:
    given = [{"role": "user", "content": "word " * 100}]
    chat = client.chat.completions.create(model="echo", max_tokens=10, messages=given)  # type: ignore[arg-type]
    assert chat.choices[0].finish_reason == "length"
    assert len(chat.choices[0].message.content or "") == 40


def test_the_models_are_listed(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == sorted(names)
    assert {"echo", "echo-embed"} <= set(names)


def test_a_cancel_through_the_openai_package_is_a_cancel(server: LocalServer, client: OpenAI) -> None:
    server.settings.delay = 30
    uploaded = client.files.create(file=("in.jsonl", lines_of(3)), purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status != "in_progress":
        batch = client.batches.retrieve(batch.id)
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_a_refused_line_comes_back_as_an_error_of_the_openai_package(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.files.create(file=("in.jsonl", lines_of(1).replace(b"POST", b"GET")), purpose="batch")
    assert refused.value.response.text.startswith("Line 1: Unsupported HTTP method 'GET'.")
    assert list(client.files.list()) == []


def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    with LocalServer(tmp_path, speed=200) as first:
        client = OpenAI(base_url=first.base_url, api_key=first.key, max_retries=0)
        uploaded = client.files.create(file=("in.jsonl", lines_of(2)), purpose="batch")
        batch = wait(
            client,
            client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"),
        )
        assert batch.output_file_id is not None
        before = client.files.content(batch.output_file_id).text
    with LocalServer(tmp_path, speed=200) as second:
        client = OpenAI(base_url=second.base_url, api_key=second.key, max_retries=0)
        assert client.batches.retrieve(batch.id).status == "completed"
        assert client.files.content(batch.output_file_id).text == before
