"""Every rule with a neighbour that passes and one that fails, the recorded verdicts, and both parsers alike."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubleword.base.failures import BadInput
from doubleword.request_file import line_json, lines, repeats
from doubleword.request_file.check import check
from doubleword.request_file.parts import PART_BYTES, PART_REQUESTS
from doubleword.request_file.verdict import Verdict

CONTRACT = Path(__file__).parent.parent / "recordings"
CHAT = "/v1/chat/completions"
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
}


def request(custom_id: Any = "a", url: str = CHAT, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": url,
        "body": {"model": "m"} | ASKED.get(url, {}) | body,
    }


def line(*args: Any, **body: Any) -> bytes:
    return json.dumps(request(*args, **body), ensure_ascii=False).encode() + b"\n"


def without(key: str, of: dict[str, Any] | None = None) -> dict[str, Any]:
    return {k: v for k, v in (of or request()).items() if k != key}


def nested(levels: int) -> bytes:
    """A line of that many levels: the request and its body are two of them."""
    return line(x="@").replace(b'"@"', b"[" * (levels - 2) + b"]" * (levels - 2))


def verdict(content: bytes, folder: Path, **limits: Any) -> Verdict:
    file = folder / "requests.jsonl"
    file.write_bytes(content)
    return check(file, **({"part_requests": PART_REQUESTS, "part_bytes": PART_BYTES} | limits))


@pytest.fixture(params=["orjson", "json"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test once with orjson and once as where it is not installed."""
    if request.param == "json":
        monkeypatch.setattr("doubleword.request_file.line_json.orjson", None)
    else:
        assert vars(line_json)["orjson"] is not None


# --- 1. the server's own verdicts ------------------------------------------------------------------

# What is refused beyond the server, and why. Everything else that it takes must pass.
BEYOND = {
    "JSON array": "the scripts find ids by their key, and no tool but the server reads such a line",
    "duplicate unknown key": "one of the two values is silently lost",
    "duplicate custom_ids": "the answers could not be told apart",
    "custom_id empty": "an answer could not be joined",
    "custom_id with a tab": "a control character breaks tables and terminals",
    "stream true": "the answers come back as one unreadable text",
    "mixed urls and models": "a batch names one endpoint",
    "truncated UTF-8 at the end": "the server drops the torn character silently",
    "spaces inside the JSON line": "it has no messages: the model would answer with an error",
    "messages: thinking (accepted)": "it has no messages",
    "reasoning_effort none": "it has no messages",
    "reasoning_effort minimal": "it has no messages",
    "reasoning_effort low": "it has no messages",
    "reasoning_effort high": "it has no messages",
    "reasoning_effort max": "it has no messages",
    "reasoning_effort None": "it has no messages",
    "body with priority, service_tier, background, metadata": "it has no messages, and n is no integer",
}
# What the server refuses and a file alone cannot show, or is mended on the way.
NOT_IN_THE_FILE = {
    "model unknown": "only the server knows its models",
    "model in other case": "only the server knows its models",
    "two good lines, then unknown model": "only the server knows its models",
    "embeddings model on chat url": "only the server knows what a model is for",
    "chat model on embeddings url": "only the server knows what a model is for",
    "embeddings model on responses url": "only the server knows what a model is for",
    "embeddings model on completions url": "only the server knows what a model is for",
    "byte order mark": "left out when the file is sent",
    "purpose fine-tune": "a field of the upload",
    "purpose empty": "a field of the upload",
    "wrong purpose after the file": "a field of the upload",
    "50,001 lines": "sent as two parts",
}


def recorded() -> Iterator[Any]:
    for scenario in ("upload_bad", "upload_good", "upload_limits"):
        for step in json.loads((CONTRACT / f"{scenario}.json").read_text("utf-8"))["steps"]:
            for part in step["request"].get("multipart") or []:
                if part["name"] == "file" and step["response"]["status"] != 413:
                    yield pytest.param(step, part, id=f"{scenario}: {step['name']}")


def content_of(part: dict[str, Any]) -> bytes:
    if "repeat" in part:
        repeat = part["repeat"]
        return str(repeat.get("prefix", "") + repeat["text"] * repeat["times"] + repeat.get("suffix", "")).encode()
    if "numbered" in part:
        numbered = part["numbered"]
        return "".join(numbered["template"].replace("{n}", str(n)) for n in range(numbered["count"])).encode()
    return base64.b64decode(part["content_base64"]) if "content_base64" in part else str(part["content"]).encode()


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("step", "part"), list(recorded()))
def test_what_the_server_refused_is_refused_and_the_rest_is_listed(
    step: dict[str, Any], part: dict[str, Any], tmp_path: Path
) -> None:
    theirs = step["response"]["status"] < 400
    ours = not verdict(content_of(part), tmp_path).counts
    if step["name"] in NOT_IN_THE_FILE and not theirs:
        return
    assert ours == (theirs and step["name"] not in BEYOND)


def test_there_are_recorded_verdicts_and_every_exception_is_among_them() -> None:
    names = {param.values[0]["name"] for param in recorded()}
    assert len(names) > 100
    assert names >= BEYOND.keys()
    assert len(NOT_IN_THE_FILE.keys() - names) == 0


# --- 2. malformed files, each beside the one that passes -------------------------------------------


def body(**changes: Any) -> bytes:
    return line(**changes)


def messages(*turns: Any) -> bytes:
    return line(messages=list(turns))


def turn(content: Any, role: Any = "user", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


def picture(url: Any) -> bytes:
    return messages(turn([{"type": "image_url", "image_url": url}]))


def raw(text: str) -> bytes:
    return line().replace(b'"hi"', text.encode())


def at(url: str, **changes: Any) -> bytes:
    made = request(url=url)
    made["body"] |= changes
    return json.dumps(made).encode() + b"\n"


# The longest text in a body of 10 MiB, as the server writes it.
ROOM = 10 * 1024 * 1024 - len(json.dumps(request()["body"], separators=(",", ":"))) + len("hi")

# name: (kind, the file that fails, its neighbour that passes)
MALFORMED: dict[str, tuple[str, bytes, bytes]] = {
    # the file
    "empty file": ("empty", b"", line()),
    "blank lines alone": ("empty", b"\n \n\t\r\n", b"\n" + line()),
    "a byte order mark alone": ("empty", b"\xef\xbb\xbf", b"\xef\xbb\xbf" + line()),
    "a byte order mark on the second line": ("json", line() + b"\xef\xbb\xbf" + line("b"), line() + line("b")),
    "UTF-16": ("utf8", line().decode().encode("utf-16"), line()),
    "Latin-1": ("utf8", line("é").decode().encode("latin-1"), line("é")),
    "a character cut off at the end": ("utf8", raw('"é"')[:-7], raw('"é"')[:-1]),
    "a surrogate as UTF-8 bytes": ("utf8", raw('"@"').replace(b"@", b"\xed\xa0\x80"), raw('"\U00010000"')),
    "an overlong NUL": ("utf8", raw('"@"').replace(b"@", b"\xc0\x80"), raw('"\\u0000"')),
    "a lone CR between lines": ("json", line()[:-1] + b"\r" + line("b"), line()[:-1] + b"\r\n" + line("b")),
    "an object over several lines": ("json", json.dumps(request(), indent=1).encode(), json.dumps(request()).encode()),
    "two objects on one line": ("json", line()[:-1] + line("b"), line() + line("b")),
    "a JSON array of requests": ("not_an_object", b"[" + line()[:-1] + b"]\n", line()),
    "a CSV": ("json", b"id,text\n1,hi\n", line()),
    # JSON
    "words": ("json", b"hello\n", line()),
    "a text": ("not_an_object", b'"x"\n', line()),
    "a number": ("not_an_object", b"7\n", line()),
    "null": ("not_an_object", b"null\n", line()),
    "cut off": ("json", line()[:40] + b"\n", line()),
    "a comma too many": ("json", line().replace(b"}}\n", b"},}\n"), line()),
    "single quotes": ("json", b"{'custom_id':'a'}\n", line()),
    "a comment": ("json", line()[:-1] + b" // a comment\n", line()[:-1] + b"  \n"),
    "NaN": ("json", body(temperature=float("nan")), body(temperature=0)),
    "Infinity": ("json", body(temperature=float("inf")), body(temperature=1)),
    "minus Infinity": ("json", body(seed=float("-inf")), body(seed=-1)),
    "a float out of range": ("number", raw('"hi", "x": 1e400'), raw('"hi", "x": 1e308')),
    "an integer out of range": ("number", raw(f'"hi", "x": {10**310}'), raw(f'"hi", "x": {10**307}')),
    "an integer of 5,000 digits": ("number", raw(f'"hi", "x": {"9" * 5000}'), raw(f'"hi", "x": {"9" * 300}')),
    "a leading zero": ("json", raw('"hi", "x": 01'), raw('"hi", "x": 10')),
    "a raw control character": ("json", raw('"a\x01b"'), raw('"a\\u0001b"')),
    "a raw tab in a text": ("json", raw('"a\tb"'), raw('"a\\tb"')),
    "an unknown escape": ("json", raw('"\\x41"'), raw('"\\u0041"')),
    "a high surrogate alone": ("surrogate", raw('"\\ud83d"'), raw('"\\ud83d\\ude00"')),
    "a low surrogate alone": ("surrogate", raw('"\\ude00 x"'), raw('"\\\\ude00 x"')),
    "a surrogate in a key": ("surrogate", raw('"hi", "\\uD83D": 1'), raw('"hi", "\\uD83D\\uDE00": 1')),
    "128 levels": ("depth", nested(128), nested(127)),
    "2,000 levels": ("depth", nested(2000), nested(20)),
    "custom_id twice": ("duplicate_key", line().replace(b"{", b'{"custom_id": "b", ', 1), line()),
    "model twice": ("duplicate_key", raw('"hi"').replace(b'"body": {', b'"body": {"model": "n", '), line()),
    "a key twice deep down": (
        "duplicate_key",
        body(x=[{"@": 1}]).replace(b'"@": 1', b'"k": 1, "k": 1'),
        body(x=[{"k": 1}]),
    ),
    "a key twice, once escaped": (
        "duplicate_key",
        raw('"hi", "k": 1, "\\u006b": 2'),
        raw('"hi", "k": 1, "\\u006c": 2'),
    ),
    "a key twice, spaced": ("duplicate_key", raw('"hi", "k" : 1, "k" : 2'), raw('"hi", "k" : 1, "l" : 2')),
    "a key twice beside a text with a colon": (
        "duplicate_key",
        raw('"\\":hi", "k": 1, "k": ":"'),
        raw('"\\":hi", "k": ":"'),
    ),
    "a key twice that ends in a backslash": (
        "duplicate_key",
        raw('"hi", "k\\\\": 1, "k\\\\": 2'),
        raw('"hi", "k\\\\": 1'),
    ),
    # the line
    "no custom_id": ("missing", json.dumps(without("custom_id")).encode(), line()),
    "no method": ("missing", json.dumps(without("method")).encode(), line()),
    "no url": ("missing", json.dumps(without("url")).encode(), line()),
    "no body": ("missing", json.dumps(without("body")).encode(), line()),
    "custom_id a number": ("custom_id", line(7), line("7")),
    "custom_id null": ("custom_id", line(None), line("null")),
    "custom_id empty": ("custom_id", line(""), line("x")),
    "custom_id of spaces": ("custom_id", line("  "), line(" x ")),
    "custom_id of 65 bytes": ("custom_id", line("x" * 65), line("x" * 64)),
    "custom_id of 33 letters of two bytes": ("custom_id", line("ä" * 33), line("ä" * 32)),
    "custom_id with a line break": ("custom_id", line("a\nb"), line("a b")),
    "custom_id with a NUL": ("custom_id", line("a\x00"), line("a0")),
    "custom_id with DEL": ("custom_id", line("a\x7f"), line("a~")),
    "custom_id with a control character of Latin-1": ("custom_id", line("a\x85"), line("a\xa1")),
    "the same custom_id twice": ("duplicate_id", line() + line(), line() + line("b")),
    "the same custom_id, once escaped": (
        "duplicate_id",
        line() + line().replace(b'"a"', b'"\\u0061"'),
        line() + line("A"),
    ),
    "method GET": ("method", line().replace(b"POST", b"GET"), line().replace(b"POST", b"post")),
    "method a number": ("method", line().replace(b'"POST"', b"1"), line()),
    "url unknown": ("url", line(url="/v1/nope"), line()),
    "url without /v1": ("url", line().replace(b"/v1/chat", b"/chat"), line()),
    "url with a slash at the end": ("url", line(url=CHAT + "/"), line()),
    "url with a host": ("url", line(url="https://x.example" + CHAT), line()),
    "url null": ("url", line().replace(f'"{CHAT}"'.encode(), b"null"), line()),
    "url a list": ("url", line().replace(f'"{CHAT}"'.encode(), b"[]"), line()),
    "url of another endpoint than the first": ("url", line() + at("/v1/embeddings").replace(b'"a"', b'"b"'), line()),
    "body a text": ("body", line().replace(b'"body": {', b'"body": "x", "y": {'), line()),
    "body null": ("body", json.dumps(request() | {"body": None}).encode(), line()),
    "body a list": ("body", json.dumps(request() | {"body": []}).encode(), line()),
    "body of 10 MiB and one byte": ("size", raw(f'"{"x" * (ROOM + 1)}"'), raw(f'"{"x" * ROOM}"')),
    "model missing": ("model", line(model="@").replace(b'"model": "@"', b'"y": 1'), line()),
    "model null": ("model", body(model=None), line()),
    "model a number": ("model", body(model=5), line()),
    "model with what cannot be seen in it": ("model", body(model="m\u200b"), body(model="m-\u00e9")),
    "custom_id of what cannot be seen": ("custom_id", line("\u200b\ufeff"), line("a\u200b")),
    "model with a space behind it": ("model", body(model="m "), body(model="m 2")),
    "model empty": ("model", body(model=""), body(model="x")),
    # what is asked
    "messages missing": ("messages", body(messages=None), line()),
    "messages empty": ("messages", messages(), messages(turn("hi"))),
    "messages a text": ("messages", body(messages="hi"), line()),
    "a message that is a text": ("messages", messages("hi"), messages(turn("hi"))),
    "a role that is none": ("messages", messages(turn("hi", "robot")), messages(turn("hi", "developer"), turn("x"))),
    "no role": ("messages", messages({"content": "hi"}), messages(turn("hi"))),
    "no content": ("messages", messages({"role": "user"}), messages(turn("hi"))),
    "content a number": ("messages", messages(turn(5)), messages(turn("5"))),
    "content of no parts": ("messages", messages(turn([])), messages(turn([{"type": "text", "text": "hi"}]))),
    "a part without a type": ("messages", messages(turn([{"text": "hi"}])), messages(turn([{"type": "x"}]))),
    "a text part without text": ("messages", messages(turn([{"type": "text"}])), messages(turn("x"))),
    "an image without an address": ("messages", picture({}), picture({"url": "data:image/png;base64,AA=="})),
    "an image that is a path": ("messages", picture({"url": "cat.png"}), picture({"url": "https://x.example/cat.png"})),
    "an assistant that says nothing": (
        "messages",
        messages(turn(None, "assistant")),
        messages(turn(None, "assistant", tool_calls=[{"id": "1"}]), turn("x", "tool", tool_call_id="1")),
    ),
    "a tool that answers no call": (
        "messages",
        messages(turn("x", "tool")),
        messages(turn("x", "tool", tool_call_id="1")),
    ),
    "prompt missing": ("messages", at("/v1/completions", prompt=None), at("/v1/completions")),
    "prompt an object": ("messages", at("/v1/completions", prompt={}), at("/v1/completions", prompt=["a", "b"])),
    "input empty list": ("messages", at("/v1/embeddings", input=[]), at("/v1/embeddings", input=[1, 2])),
    "input of mixed kinds": ("messages", at("/v1/embeddings", input=["a", 1]), at("/v1/embeddings", input=[[1], [2]])),
    "input of responses a number": ("messages", at("/v1/responses", input=1), at("/v1/responses", input=[turn("hi")])),
    "max_tokens missing where it is needed": ("missing", at("/v1/messages", max_tokens=None), at("/v1/messages")),
    # The vendor's server takes each of these and answers with an error, or leaves out what is asked (seen there).
    "a system message in messages": (
        "messages",
        at("/v1/messages", messages=[turn("be brief", "system"), turn("hi")]),
        at("/v1/messages", system="be brief"),
    ),
    "a developer message in messages": (
        "messages",
        at("/v1/messages", messages=[turn("be brief", "developer"), turn("hi")]),
        at("/v1/messages", messages=[turn("hi"), turn("ho", "assistant"), turn("hi")]),
    ),
    "a system prompt of messages that is a number": (
        "messages",
        at("/v1/messages", system=5),
        at("/v1/messages", system=[{"type": "text", "text": "be brief"}]),
    ),
    "an image of chat completions in messages": (
        "messages",
        at("/v1/messages", messages=[turn([{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}])]),
        at("/v1/messages", messages=[turn([{"type": "image", "source": {"type": "url", "url": "https://x.example"}}])]),
    ),
    "a text of responses in messages": (
        "messages",
        at("/v1/messages", messages=[turn([{"type": "input_text", "text": "hi"}])]),
        at("/v1/messages", messages=[turn([{"type": "text", "text": "hi"}])]),
    ),
    "an image of messages without its source": (
        "messages",
        at("/v1/messages", messages=[turn([{"type": "image", "source": "x"}])]),
        at("/v1/messages", messages=[turn([{"type": "image", "source": {}}])]),
    ),
    "tools of chat completions in messages": (
        "parameter",
        at("/v1/messages", tools=[{"type": "function", "function": {"name": "f"}}]),
        at("/v1/messages", tools=[{"name": "f", "input_schema": {}}]),
    ),
    "top_k -1 in messages": ("parameter", at("/v1/messages", top_k=-1), at("/v1/messages", top_k=0)),
    "an item of responses that asks nothing": ("messages", at("/v1/responses", input=[{}]), at("/v1/responses")),
    "an item of responses without content": (
        "messages",
        at("/v1/responses", input=[{"role": "user"}]),
        at("/v1/responses", input=[turn("hi"), {"type": "function_call_output", "call_id": "c", "output": "5"}]),
    ),
    # parameters
    "stream true": ("stream", body(stream=True), body(stream=False)),
    "stream a number": ("stream", body(stream=1), body(stream=None)),
    "temperature too high": ("parameter", body(temperature=2.1), body(temperature=2)),
    "temperature below 0": ("parameter", body(temperature=-0.1), body(temperature=0.0)),
    "temperature a text": ("parameter", body(temperature="1"), body(temperature=1)),
    "temperature true": ("parameter", body(temperature=True), body(temperature=None)),
    "top_p too high": ("parameter", body(top_p=1.01), body(top_p=1)),
    "max_tokens 0": ("parameter", body(max_tokens=0), body(max_tokens=1)),
    "max_tokens a float": ("parameter", body(max_tokens=5.0), body(max_tokens=5)),
    "max_tokens a text": ("parameter", body(max_tokens="5"), body(max_tokens=None)),
    "max_tokens over 64 bits": ("parameter", body(max_tokens=2**70), body(max_tokens=2**40)),
    "max_completion_tokens -1": ("parameter", body(max_completion_tokens=-1), body(max_completion_tokens=9)),
    "max_output_tokens 0": (
        "parameter",
        at("/v1/responses", max_output_tokens=0),
        at("/v1/responses", max_output_tokens=1),
    ),
    "n 0": ("parameter", body(n=0), body(n=2)),
    "stop a number": ("parameter", body(stop=1), body(stop="\n")),
    "stop an empty list": ("parameter", body(stop=[]), body(stop=["a", "b"])),
    "stop a list of numbers": ("parameter", body(stop=[1]), body(stop=["1"])),
    "presence_penalty 3": ("parameter", body(presence_penalty=3), body(presence_penalty=-2)),
    "frequency_penalty a text": ("parameter", body(frequency_penalty="0"), body(frequency_penalty=0.5)),
    "top_k -2": ("parameter", body(top_k=-2), body(top_k=-1)),
    "min_p 2": ("parameter", body(min_p=2), body(min_p=0.05)),
    "seed a float": ("parameter", body(seed=0.5), body(seed=-3)),
    "logprobs a text": ("parameter", body(logprobs="yes"), body(logprobs=True, top_logprobs=3)),
    "top_logprobs -1": ("parameter", body(top_logprobs=-1), body(top_logprobs=0)),
    "logit_bias a list": ("parameter", body(logit_bias=[]), body(logit_bias={"50": -100})),
    "metadata a text": ("parameter", body(metadata="x"), body(metadata={"a": "b"})),
    "response_format a text": (
        "parameter",
        body(response_format="json"),
        body(response_format={"type": "json_object"}),
    ),
    "a schema without a name": (
        "parameter",
        body(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
        body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
    ),
    "tools an object": ("parameter", body(tools={}), body(tools=[{"type": "function", "function": {"name": "f"}}])),
    "tools of messages in chat completions": (
        "parameter",
        body(tools=[{"name": "f", "parameters": {}}]),
        body(tools=[{"type": "custom", "name": "f"}]),
    ),
    "tools without a type": ("parameter", body(tools=[{}]), body(tools=[{"type": "function"}])),
    "tool_choice a number": ("parameter", body(tool_choice=1), body(tool_choice="auto")),
    "parallel_tool_calls a text": ("parameter", body(parallel_tool_calls="no"), body(parallel_tool_calls=False)),
    "encoding_format hex": (
        "parameter",
        at("/v1/embeddings", encoding_format="hex"),
        at("/v1/embeddings", encoding_format="base64"),
    ),
    "dimensions 0": ("parameter", at("/v1/embeddings", dimensions=0), at("/v1/embeddings", dimensions=256)),
    "stop_sequences a text": (
        "parameter",
        at("/v1/messages", stop_sequences="x"),
        at("/v1/messages", stop_sequences=["x"]),
    ),
    # reasoning
    "reasoning_effort nonsense": ("reasoning", body(reasoning_effort="nonsense"), body(reasoning_effort="xhigh")),
    "reasoning_effort a number": ("reasoning", body(reasoning_effort=3), body(reasoning_effort=None)),
    "reasoning on chat": ("reasoning", body(reasoning={"effort": "low"}), body(reasoning_effort="low")),
    "thinking on chat": (
        "reasoning",
        body(thinking={"type": "enabled"}),
        at("/v1/messages", thinking={"type": "enabled"}),
    ),
    "chat_template_kwargs": ("reasoning", body(chat_template_kwargs={"enable_thinking": False}), body(other={"x": 1})),
    "thinking_token_budget": ("reasoning", body(thinking_token_budget=10), body(reasoning_effort="none")),
    "reasoning_effort on responses": (
        "reasoning",
        at("/v1/responses", reasoning_effort="low"),
        at("/v1/responses", reasoning={"effort": "low"}),
    ),
    "reasoning a text on responses": (
        "reasoning",
        at("/v1/responses", reasoning="low"),
        at("/v1/responses", reasoning=None),
    ),
    "reasoning.effort huge": (
        "reasoning",
        at("/v1/responses", reasoning={"effort": "huge"}),
        at("/v1/responses", reasoning={"summary": "auto"}),
    ),
    "reasoning_effort on completions": (
        "reasoning",
        at("/v1/completions", reasoning_effort="low"),
        at("/v1/embeddings", reasoning_effort="low"),
    ),
}


def test_at_least_eighty_malformed_files_are_tried() -> None:
    assert len(MALFORMED) >= 80
    assert len({fails for _, fails, _ in MALFORMED.values()}) >= 80


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_and_its_neighbour_passes(name: str, tmp_path: Path) -> None:
    kind, fails, passes = MALFORMED[name]
    report = verdict(fails, tmp_path)
    assert set(report.counts) >= {kind}
    assert report.problems[0].text.startswith(f"line {report.problems[0].line}: ")
    with pytest.raises(BadInput, match=f"{kind}|a request file (has|is)"):
        report.require(tmp_path / "requests.jsonl")
    assert verdict(passes, tmp_path).counts == {}


AMONG_OTHERS = [name for name, (kind, fails, _) in MALFORMED.items() if kind != "empty" and len(fails) < 100_000]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("name", AMONG_OTHERS)
def test_a_bad_line_is_found_among_good_ones_alike(name: str, tmp_path: Path) -> None:
    """The shortcut for lines alike must not wave a bad one through."""
    fails = MALFORMED[name][1]
    before = b"".join(line(f"x{n}") for n in range(50))
    after = b"".join(line(f"y{n}") for n in range(50))
    fails = fails if fails.endswith(b"\n") else fails + b"\n"
    assert verdict(before + fails + after, tmp_path).counts != {}


# --- 3. what a report says -------------------------------------------------------------------------


def test_twenty_problems_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    report = verdict(b"".join(line(f"r{n}", temperature=3) for n in range(500)) + b"oops\n", tmp_path)
    assert (len(report.problems), report.counts) == (20, {"parameter": 500, "json": 1})
    assert report.problems[19].text == "line 20: body.temperature: 3; expected a number from 0 to 2"
    with pytest.raises(BadInput) as failure:
        report.require(tmp_path / "requests.jsonl")
    assert "501 problems (1 json, 500 parameter)" in failure.value.what
    assert len(failure.value.problems) == 20


def test_several_problems_of_one_line_are_told_together(tmp_path: Path) -> None:
    report = verdict(line("", temperature=9, n=0, stream=True), tmp_path)
    assert report.counts == {"custom_id": 1, "parameter": 2, "stream": 1}


def test_lines_are_counted_physically_blank_ones_and_all(tmp_path: Path) -> None:
    report = verdict(b"\n\n" + line() + b"\n" + b"oops\n", tmp_path)
    assert [p.line for p in report.problems] == [5]


@pytest.mark.parametrize(
    ("raw", "custom_id"),
    [
        (b'{"custom_id": "a"}', "a"),
        (b' { "custom_id" : "\xc3\xa9" }', "é"),
        (b'{"body": {"custom_id": "b"}, "custom_id": "\\u0061"}', "a"),
        (b'{"custom_id": 7}', None),
        (b'{"custom_id": "\\ud83d"}', None),
        (b'{"custom_id": "\xff"}', None),
        (b"[" * 100_000, None),
        (b"[1]", None),
        (b"oops", None),
    ],
)
def test_the_id_of_a_line_is_read_in_one_place(raw: bytes, custom_id: str | None) -> None:
    assert lines.custom_id_of(raw) == custom_id


@pytest.mark.usefixtures("parser")
def test_a_duplicate_names_the_line_of_the_first(tmp_path: Path) -> None:
    content = b"".join(line(f"req-{n}") for n in range(1, 41)) + b"\n" + line("req-17")
    (problem,) = verdict(content, tmp_path).problems
    assert problem.text == 'line 42: custom_id: duplicate "req-17" (first on line 17)'
    assert (problem.line, problem.field, problem.kind) == (42, "custom_id", "duplicate_id")


def test_duplicates_far_apart_are_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats.Repeats, "BLOCK", 100)
    content = b"".join(line(f"r{n}") for n in range(1000)) + b"".join(line(f"r{n}") for n in range(0, 1000, 10))
    report = verdict(content, tmp_path)
    assert report.counts == {"duplicate_id": 100}
    assert [p.line for p in report.problems] == list(range(1001, 1021))


@given(
    items=st.lists(st.sampled_from([bytes([65 + n]) for n in range(12)]), max_size=60),
    block=st.sampled_from([1, 3, 7, 99]),
)
def test_what_occurs_again_is_counted_in_any_order_and_block(items: list[bytes], block: int) -> None:
    found = repeats.Repeats()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats.Repeats, "BLOCK", block)
        for item in items:
            found.add(item)
    times = Counter(items)
    assert found.suspects() == {hash(item) for item, count in times.items() if count > 1}
    assert found.extra == len(items) - len(times)
    assert found.repeated == sum(count > 1 for count in times.values())


def test_equal_strings_take_no_more_memory_than_different_ones() -> None:
    tracemalloc.start()
    found = repeats.Repeats()
    for _ in range(300_000):
        found.add(b"the same")
    found.suspects()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.extra, found.repeated) == (299_999, 1)
    assert peak < 6_000_000


def test_equal_hashes_of_different_ids_are_no_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("check", "repeats"):
        monkeypatch.setattr(f"doubleword.request_file.{module}.hash", len, raising=False)
    assert verdict(line("ab") + line("cd") + line("xyz"), tmp_path).counts == {}


def test_hostile_values_are_cut_and_cleaned_of_control_characters(tmp_path: Path) -> None:
    report = verdict(line(model="\x1b[31m" + "x" * 500, n="\x1b]0;title\x07" + "y" * 500), tmp_path)
    (problem,) = report.problems
    assert len(problem.value) <= 80
    assert "\x1b" not in problem.text


def test_harmless_things_are_accepted_and_said(tmp_path: Path) -> None:
    report = verdict(b"\xef\xbb\xbf" + line("a")[:-1] + b"\r\n\r\n" + line("b")[:-1], tmp_path)
    assert report.counts == {}
    assert sorted(report.notes) == [
        "CRLF line ends: accepted",
        "a byte order mark: accepted",
        "blank lines: accepted",
        "no newline at the end: accepted",
    ]


def test_what_is_merely_unwise_is_counted_and_accepted(tmp_path: Path) -> None:
    content = b"".join(line(str(n)) for n in range(30)) + line("x", max_tokens=5) + line(" y", max_tokens=5)
    report = verdict(content, tmp_path)
    assert report.counts == {}
    said = " / ".join(report.warnings)
    assert "30 requests without max_tokens" in said
    assert "30 requests with a bare number" in said
    assert "1 request with spaces around" in said


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("url", "body", "what"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 3}, "with n over 1"),
        ("/v1/completions", {"prompt": "x", "best_of": 4}, "with best_of over 1"),
        ("/v1/completions", {"prompt": ["x", "y"]}, "with several texts as prompt"),
        ("/v1/embeddings", {"input": ["x", "y"]}, "with several texts as input"),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, "with several texts as input"),
        ("/v1/embeddings", {"input": [1, 2]}, ""),
        ("/v1/embeddings", {"input": ["x"]}, ""),
    ],
)
def test_answers_that_are_paid_for_and_not_taken_are_said(
    url: str, body: dict[str, Any], what: str, tmp_path: Path
) -> None:
    body = {"model": "m", "max_tokens": 5} | body
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body}) + "\n")
    warnings = " ".join(check(path, part_requests=10, part_bytes=10_000).warnings)
    assert what in warnings
    assert ("only the first is taken" in warnings) == bool(what)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("bad", [b"\\x", b"\t", b'"', b"\\ud83d", b"\xff", b"\x01"])
def test_a_text_that_is_no_json_string_is_found_among_lines_alike(bad: bytes, tmp_path: Path) -> None:
    lines = [json.dumps(request(f"id-{n}", messages=[{"role": "user", "content": f"text {n}"}])) for n in range(40)]
    content = "\n".join(lines).encode().replace(b"text 33", b"text" + bad + b"33")
    report = verdict(content, tmp_path)
    assert [problem.line for problem in report.problems] == [34]


def test_requests_whose_id_stands_last_are_told_apart_by_what_they_ask(tmp_path: Path) -> None:
    def asking(text: str, custom_id: str) -> str:
        made = request(custom_id, messages=[{"role": "user", "content": text}])
        return json.dumps({"body": made.pop("body")} | made) + "\n"

    path = tmp_path / "r.jsonl"
    path.write_text("".join(asking(f"text {n}", f"a{n}") for n in range(20)))
    assert "ask the same" not in "".join(check(path, part_requests=100, part_bytes=10**6, bodies=True).warnings)
    path.write_text("".join(asking("text", f"a{n}") for n in range(20)))
    assert "20 of 20 requests (100%) ask the same" in "".join(
        check(path, part_requests=100, part_bytes=10**6, bodies=True).warnings
    )


def test_counts_are_the_same_whether_lines_are_alike_or_not(tmp_path: Path) -> None:
    alike = b"".join(line(f"r{n}", model="one") for n in range(400))
    mixed = b"".join(line(f"s{n}", model=f"m{n % 7}", max_tokens=n + 1) for n in range(400))
    report = verdict(alike + mixed, tmp_path)
    assert sum(report.models.values()) == report.requests == 800
    assert (report.models["one"], report.models["m0"]) == (400, 58)
    assert report.warnings[0].startswith("400 requests without max_tokens")


def test_an_empty_text_or_an_odd_id_at_the_start_is_not_said_of_the_lines_alike(tmp_path: Path) -> None:
    asked = [line(f"r{n}", messages=[turn(f"text {n}" if n != 1 else "")], max_tokens=5) for n in range(100)]
    assert verdict(b"".join(asked), tmp_path).warnings == ["1 request with an empty message"]
    named = [line(f"r{n}" if n != 1 else " r1", max_tokens=5) for n in range(100)]
    assert verdict(b"".join(named), tmp_path).warnings == ["1 request with spaces around the custom_id"]


def test_lines_may_differ_in_several_texts_and_have_their_keys_in_any_order(tmp_path: Path) -> None:
    def made(n: int) -> bytes:
        turns = [turn(f'system {n} "quoted"', "system"), turn("the same"), turn(f"user {n}")]
        return json.dumps(request(f"id-{n}", messages=turns, max_tokens=3), sort_keys=n < 100).encode() + b"\n"

    report = verdict(b"".join(map(made, range(200))) + made(7), tmp_path)
    assert report.models == {"m": 201}
    assert report.counts == {"duplicate_id": 1}


def test_an_id_whose_key_is_escaped_is_no_other_texts_id(tmp_path: Path) -> None:
    """The shortcut takes the one literal "custom_id" for the line's id; here it belongs to the metadata."""
    lines = [
        line("same", metadata={"custom_id": f"m{n}"}).replace(b'"custom_id"', b'"custom\\u005fid"', 1) for n in range(9)
    ]
    assert verdict(b"".join(lines), tmp_path).counts == {"duplicate_id": 8}


# --- 4. sizes, parts and hashes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        (line("a") + line("b"), {}),
        (line("a") + line("b") + line("c"), {"part_requests": 2}),
        (b"".join(line(f"r{n}") for n in range(50)), {"part_bytes": 1000}),
        (b"\xef\xbb\xbf" + line(), {}),
        (b"\n" + line() + b"\n\n" + line("b") + b"\n", {}),
        (line() + b"\n\n" + line("b") + b"\n" + line("c") + b"\n\n", {"part_requests": 1}),
        (b"\n\n" + line() + b"\r\n" + line("b")[:-1], {"part_requests": 1}),
        (b"\xef\xbb\xbf\n" + line() + b" \n" + line("b") + b"\n" + line("c"), {"part_requests": 2}),
        (b"\xef\xbb\xbf\n \n", {}),
        (b"", {}),
    ],
)
def test_the_hash_is_that_of_the_file_and_the_parts_hold_every_request(
    content: bytes, limits: dict[str, int], tmp_path: Path
) -> None:
    report = verdict(content, tmp_path, **limits)
    assert (report.sha256, report.size) == (hashlib.sha256(content).hexdigest(), len(content))
    kept = b"".join(content[span.start : span.end] for span in report.spans)
    assert [json.loads(text) for text in kept.split(b"\n") if text.strip()] == [
        json.loads(text) for text in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if text.strip()
    ]
    for span in report.spans:
        assert span.sha256 == hashlib.sha256(content[span.start : span.end]).hexdigest()
    assert sum(span.requests for span in report.spans) == report.requests


def test_tokens_are_estimated_as_a_quarter_of_the_bodies(tmp_path: Path) -> None:
    made = [request(f"request-{n}") for n in range(100)]
    report = verdict(b"".join(json.dumps(r).encode() + b"\n" for r in made), tmp_path)
    assert report.input_tokens == sum(len(json.dumps(r["body"])) for r in made) // 4


def test_a_file_for_another_endpoint_than_the_job_has_is_refused(tmp_path: Path) -> None:
    assert verdict(line(), tmp_path, endpoint="/v1/embeddings").counts == {"url": 1}
    assert verdict(line(), tmp_path, endpoint=CHAT).endpoint == CHAT


@pytest.mark.parametrize("what", ["folder", "missing", "fifo", "device"])
def test_what_is_no_plain_file_is_an_error_at_once(what: str, tmp_path: Path) -> None:
    import os

    path = {"folder": tmp_path, "missing": tmp_path / "x", "fifo": tmp_path / "fifo", "device": Path("/dev/zero")}[what]
    if what == "fifo":
        os.mkfifo(path)
    with pytest.raises(BadInput):
        check(path, part_requests=5, part_bytes=500)


def test_a_file_that_grows_while_it_is_checked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "requests.jsonl"

    def meanwhile(*_: object) -> None:
        with file.open("ab") as other:
            other.write(line("late"))

    monkeypatch.setattr("doubleword.request_file.rules.look", meanwhile)
    with pytest.raises(BadInput, match="changed while it was read"):
        verdict(line(stream=True), tmp_path)


# --- 5. both parsers, and the shortcut, say the same -----------------------------------------------

SEEDS = [
    line("a"),
    line("b", max_tokens=3, temperature=0.5),
    raw('"\\ud83d\\ude00 {\\"a\\": \\":\\"} \\\\"'),
    at("/v1/embeddings"),
]
TOKENS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b" :",
    b'": ',
    b",",
    b"\\u",
    b"\\ud83d",
    b"\\u0022",
    b"null",
    b"NaN",
    b"1e400",
]
TOKENS += [
    b"true",
    b'"k": 1, ',
    b'"content": "x", ',
    b'"custom_id": "z", ',
    b"\xff",
    b"\xc3\xa9",
    b"\x00",
    b"\r",
    b"\n",
    b"0",
    b"9" * 400,
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_parsers_and_the_shortcut_give_the_same_report(data: st.DataObject, tmp_path: Path) -> None:
    seed = data.draw(st.sampled_from(SEEDS))
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        cut = data.draw(st.integers(0, 3))
        damaged[place : place + cut] = data.draw(st.sampled_from(TOKENS))
    alike = [seed.replace(b'"a"', f'"q{n}"'.encode()).replace(b'"b"', f'"q{n}"'.encode()) for n in range(3)]
    content = b"".join(alike) + bytes(damaged) + b"\n" + seed.replace(b'"a"', b'"z"')
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        for orjson in (vars(line_json)["orjson"], None):
            patch.setattr("doubleword.request_file.line_json.orjson", orjson)
            reports.append(verdict(content, tmp_path))
            with pytest.MonkeyPatch.context() as slow:
                slow.setattr(line_json.Likeness, "custom_id", lambda *_: None)
                reports.append(verdict(content, tmp_path))
    assert all(report == reports[0] for report in reports[1:])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**66) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "temperature",
    "max_tokens",
    "stop",
    "messages",
    "model",
    "stream",
    "tools",
    "reasoning_effort",
    "n",
    "response_format",
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3), ascii_only=st.booleans())
def test_any_value_of_any_parameter_is_judged_alike_by_both_parsers(
    changes: dict[str, Any], ascii_only: bool, tmp_path: Path
) -> None:
    content = json.dumps(request("a", **changes), ensure_ascii=ascii_only).encode("utf-8", "replace") + b"\n"
    with pytest.MonkeyPatch.context() as patch:
        first = verdict(content, tmp_path)
        patch.setattr("doubleword.request_file.line_json.orjson", None)
        second = verdict(content, tmp_path)
    assert first.counts == second.counts
    assert first.warnings == second.warnings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"maxTokens": 5}, "with maxTokens, which no model knows: is max_tokens meant?"),
        ({"top-p": 1}, "with top-p, which no model knows: is top_p meant?"),
        ({"service_tier": "flex"}, "with service_tier, which the server takes out of them"),
        ({"tool_choice": "auto"}, "with tool_choice and without tools, which most models refuse"),
        ({"top_logprobs": 3}, "with top_logprobs and without logprobs, which most models refuse"),
        (
            {"stream_options": {"include_usage": True}},
            "with stream_options and without stream, which most models refuse",
        ),
        ({"tool_choice": "none", "logprobs": True, "top_logprobs": 3, "service_tier": None, "myOwn": 1}, None),
    ],
)
def test_a_parameter_without_effect_is_said(changes: dict[str, Any], said: str | None, tmp_path: Path) -> None:
    found = verdict(line(max_tokens=5, **changes), tmp_path)
    assert not found.counts
    assert found.warnings == ([] if said is None else [f"1 request {said}"])


def test_responses_take_top_logprobs_alone(tmp_path: Path) -> None:
    body = {"model": "m", "input": "hi", "max_output_tokens": 5, "top_logprobs": 3}
    request = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    assert not verdict(json.dumps(request).encode() + b"\n", tmp_path).warnings
