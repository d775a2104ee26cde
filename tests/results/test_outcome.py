"""One line of the server's: a result or an error of a kind, with its text; what counts as an answer, in one place."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from doubleword.base import json_text
from doubleword.request_file.answer_form import Expected, choice_format, expected_of
from doubleword.results import line_outcome, response_body
from doubleword.results.answer import split_thinking
from doubleword.results.schema_fit import misfit
from doubleword.rows.cell_to_text import text


def line(
    custom_id: str = "a", status: int = 200, body: Any = None, error: Any = None, **changes: Any
) -> dict[str, Any]:
    response = None if error is not None else {"status_code": status, "request_id": None, "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error} | changes


def chat(content: Any, finish: str = "stop", usage: Any = None, **changes: Any) -> dict[str, Any]:
    choice = {"finish_reason": finish, "index": 0, "message": {"content": content, "role": "assistant"}}
    found = {"choices": [choice], "created": 1, "id": "resp_1", "model": "m", "object": "chat.completion"}
    return found | changes | {"usage": usage or {"completion_tokens": 5, "prompt_tokens": 3, "total_tokens": 8}}


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def damaged(raw: bytes) -> st.SearchStrategy[bytes]:
    """One byte of it replaced."""
    places = st.integers(0, len(raw) - 1)
    return st.tuples(places, st.binary(min_size=1, max_size=2)).map(lambda c: raw[: c[0]] + c[1] + raw[c[0] + 1 :])


def read_one(raw: bytes, tmp_path: Path, expected: Expected | None = None) -> line_outcome.Outcome:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(raw)
    (found,) = line_outcome.read(path, expected)
    return found


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.skipif("orjson" not in sys.modules, reason="without orjson there is one reading")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(raw=st.one_of(values.map(dumped), st.binary(), values.map(dumped).flatmap(damaged)))
@example(b'{"a": NaN}')
@example(b'{"a": "\\ud800"}')
@example(b'"\xff"')
@example(b"\xef\xbb\xbf{}")
@example(b'"\x01"')
@example(b'{"a": -Infinity}')
@example(b"[" * 3000)
@example(b"-0")
@example(b"9" * 400)
@example(b"-9223372036854775809")
def test_a_line_is_json_or_none_with_and_without_orjson(raw: bytes) -> None:
    def verdict(reader: Any) -> Any:
        with patch.object(json_text, "orjson", reader):
            try:
                return repr(json_text.read_json(raw))
            except ValueError:
                return "no JSON"

    assert verdict(vars(json_text)["orjson"]) == verdict(None)


@pytest.mark.parametrize(
    "broken", [b"bad \\q escape", b"raw \x01 control", b"no \xff UTF-8", b'an unescaped " quote', b"a \\ud800 half"]
)
def test_a_line_that_does_not_parse_is_no_result_however_its_ends_look(tmp_path: Path, broken: bytes) -> None:
    raw = dumped(line(body=chat("HERE"))).replace(b"HERE", broken)
    found = read_one(raw, tmp_path)
    assert (found.custom_id, found.kind) == ("", "not_json")


@pytest.mark.parametrize(
    ("value", "kind", "status", "text"),
    [
        (line(body="<html>oops</html>"), "not_json", 200, "<html>oops</html>"),
        (line(body=""), "not_json", 200, "(an empty body)"),
        (line(body={"x": 1}, status=404), "http_404", 404, "{'x': 1}"),
        (line(error={"code": "rate_limit", "message": "slow down"}), "rate_limit", None, "slow down"),
        (line(error={"code": None, "message": None}), "error", None, "None"),
        (
            line(
                error={
                    "code": None,
                    "message": json.dumps(
                        {
                            "type": "NonRetriableHttpStatus",
                            "details": {"status": 400, "body": json.dumps({"error": {"message": "bad \x1b[31mthing"}})},
                        }
                    ),
                }
            ),
            "http_400",
            400,
            "bad [31mthing",
        ),
        (
            line(error={"code": None, "message": json.dumps({"type": "Timeout", "details": {"error": "too slow"}})}),
            "timeout",
            None,
            "too slow",
        ),
        (
            line(error={"code": None, "message": json.dumps({"type": "TaskTerminated"})}),
            "task_terminated",
            None,
            "TaskTerminated",
        ),
        (line(response=None), "error", None, "None"),
    ],
)
def test_what_is_no_result_is_an_error_of_a_kind(
    tmp_path: Path, value: Any, kind: str, status: int | None, text: str
) -> None:
    raw = dumped(value)
    found = read_one(raw, tmp_path)
    assert (found.custom_id, found.kind, found.status) == ("a", kind, status)
    assert not found.is_result
    failed = line_outcome.error_of(raw, None)
    assert failed is not None
    assert (failed.kind, failed.status, failed.text) == (kind, status, text)


@pytest.mark.parametrize("raw", [b"[]\n", b"not json\n", b'"text"\n', b"{}\n", b"\n"])
def test_a_line_that_is_none_belongs_to_no_request(tmp_path: Path, raw: bytes) -> None:
    assert read_one(raw, tmp_path).custom_id == ""


def responses(*output: Any, **changes: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 5}
    return (
        {"id": "resp_1", "object": "response", "status": "completed", "error": None, "output": [*output]}
        | {"usage": usage}
        | changes
    )


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def messages(*content: Any, **changes: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [*content], "stop_reason": "end_turn"} | changes


def completion(text: Any, finish: str = "stop") -> dict[str, Any]:
    return {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
FUNCTION = {"type": "function_call", "name": "look", "arguments": "{}"}


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"error": {"code": 502, "message": "bad gateway"}}, "http_502", "bad gateway"),
        ({"error": {"type": "server_error", "message": "oops"}, "choices": []}, "server_error", "oops"),
        ({"error": "overloaded"}, "error", "overloaded"),
        ({"choices": None}, "no_answer", "no choices"),
        ({"choices": []}, "no_answer", "no choices"),
        ({"choices": [None]}, "no_answer", "no choice"),
        ({"choices": [{"finish_reason": "stop", "message": None}]}, "no_answer", "no message"),
        ({}, "no_answer", "no choices"),
        ({"data": []}, "no_answer", "no choices"),
        ({"data": [{"embedding": []}]}, "no_answer", "no embedding"),
        (chat("half", "error"), "error", "half"),
        (chat("", "content_filter"), "content_filter", "content_filter"),
        (chat("\n\n"), "empty", "empty"),
        (chat(None), "empty", "empty"),
        (chat("", "length", {"prompt_tokens": 1, "completion_tokens": 64}), "empty", "--reasoning-effort"),
        (chat("<think>so much to say", "length"), "empty", "thinking used up all tokens"),
        (chat("<think>done</think>\n"), "empty", "empty"),
        (completion(" "), "empty", "empty"),
        (completion("x", "content_filter"), "content_filter", "x"),
        (responses(said("")), "empty", "empty"),
        (responses(status="failed", error={"code": "server_error", "message": "it broke"}), "server_error", "it broke"),
        (responses(status="failed"), "failed", "failed"),
        (responses(status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", "filtered"),
        (
            responses({"type": "reasoning", "summary": []}, status="incomplete",
                      incomplete_details={"reason": "max_output_tokens"}),
            "empty",
            "--max-tokens",
        ),
        (messages(), "empty", "empty"),
        (messages({"type": "thinking", "thinking": "hm"}, stop_reason="max_tokens"), "empty", "thinking used up"),
        (messages({"type": "text", "text": "part"}, stop_reason="refusal"), "refusal", "part"),
        (chat(None) | {"choices": [{"message": {"content": None, "refusal": "no"}}]}, "refusal", "refused: no"),
        (chat([{"type": "refusal", "refusal": "no"}]), "refusal", "refused: no"),
        (responses({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}), "refusal", "refused: no"),
        (chat("half", "abort"), "abort", "half"),
        (chat("half", "SAFETY"), "safety", "half"),
        (chat("half", "sensitive"), "sensitive", "half"),
        (chat("half", "insufficient_system_resource"), "insufficient_system_resource", "half"),
        (chat("", "MAX_TOKENS"), "empty", "token limit"),
        (chat("\ufeff\u200b"), "empty", "empty"),
        (chat("\0"), "empty", "empty"),
        (responses(said("half"), status="in_progress"), "in_progress", "in progress"),
        ({"data": [{"embedding": {"x": 1}}]}, "no_answer", "no embedding"),
        ({"data": [{"embedding": 1.5}]}, "no_answer", "no embedding"),
        ({"data": [{"embedding": [0.1, None]}]}, "no_answer", "no embedding"),
        ({"data": [{"embedding": [True]}]}, "no_answer", "no embedding"),
        ({"data": [{"embedding": [1.0], "index": 0}, {"embedding": None, "index": 1}]}, "no_answer", "no embedding"),
        ({"data": [{"embedding": [1.0], "index": 0}, None]}, "no_answer", "not every one"),
        ({"data": [{"embedding": [1.0], "index": 0}, {"embedding": [2.0], "index": 2}]}, "no_answer", "not every one"),
        ({"data": [{"embedding": "no base64"}]}, "no_answer", "no embedding"),
        ({"data": 5}, "no_answer", "no embedding"),
        (responses({"type": "web_search_call", "status": "completed", "id": "w"}), "empty", "empty"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "overloaded_error", "busy"),
    ],
)  # fmt: skip
def test_a_body_without_an_answer_is_an_error_whatever_its_status(
    tmp_path: Path, body: dict[str, Any], kind: str, words: str
) -> None:
    raw = dumped(line(body=body))
    assert read_one(raw, tmp_path).kind == kind
    failed = line_outcome.error_of(raw, None)
    assert failed is not None
    assert words in failed.text


@pytest.mark.parametrize(
    "body",
    [
        chat("half", "length"),
        chat("half", "MAX_TOKENS"),
        chat("half", "model_length"),
        completion("half", "max_tokens"),
        messages({"type": "text", "text": "half"}, stop_reason="max_tokens"),
        messages({"type": "text", "text": "half"}, stop_reason="model_context_window_exceeded"),
        responses(said("half"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ],
)
def test_an_answer_that_came_to_a_limit_is_cut_whatever_the_service_calls_it(body: dict[str, Any]) -> None:
    assert response_body.read(body).cut


@pytest.mark.parametrize("nothing", [None, "", {}, [], False, {"code": None, "message": None}, {"message": ""}])
def test_an_error_that_says_nothing_is_none_wherever_it_stands(tmp_path: Path, nothing: Any) -> None:
    assert read_one(dumped(line(body=chat("yes")) | {"error": nothing}), tmp_path).is_result
    body = chat("yes") | {"error": nothing}
    body["choices"][0]["error"] = nothing
    assert read_one(dumped(line(body=body)), tmp_path).is_result


def value_of(body: dict[str, Any], expected: Expected | None = None) -> Any:
    _, answer = line_outcome.answered(body, expected)
    assert answer.failure is None
    return answer.value


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (chat("yes"), "yes"),
        (chat("<think>a</think>yes"), "<think>a</think>yes"),
        (chat([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), "yes"),
        (chat(None) | {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}, [CALL]),
        (
            chat(None) | {"choices": [{"message": {"content": "let me look", "tool_calls": [CALL]}}]},
            {"text": "let me look", "tool_calls": [CALL]},
        ),
        (chat(None) | {"choices": [{"message": {"content": "\n\n", "tool_calls": [CALL]}}]}, [CALL]),
        (completion("yes"), "yes"),
        (responses(said("y"), said("es")), "yes"),
        (responses(said("ok"), FUNCTION), {"text": "ok", "tool_calls": [FUNCTION]}),
        (messages({"type": "text", "text": "yes"}), "yes"),
        (messages({"type": "text", "text": "ok"}, USE), {"text": "ok", "tool_calls": [USE]}),
        ({"data": [{"embedding": [0.5, 1]}]}, [0.5, 1]),
        ({"data": [{"embedding": [1]}, {"embedding": [2]}]}, [[1], [2]]),
        ({"data": [{"embedding": [2], "index": 1}, {"embedding": [1], "index": 0}]}, [[1], [2]]),
        (chat(["a", "b"]), "ab"),
        (chat({"a": 1}), '{"a": 1}'),
        (chat(5), "5"),
        ({"choices": [{"index": 1, "text": "second"}, {"index": 0, "text": "first"}]}, "first"),
        ({"choices": [{"index": None, "message": {"content": "one"}}]}, "one"),
        ({"choices": [{"index": 1, "message": "one"}]}, "one"),
        (chat({"type": "text", "text": "part"}), "part"),
        (chat([{"type": "text", "text": {"value": "part"}}]), "part"),
        ({"data": [{"embedding": [2], "index": 2}, {"embedding": [1], "index": 1}]}, [[1], [2]]),
        ({"data": [{"embedding": "AACAPw=="}]}, "AACAPw=="),
        (responses(output_text="shortcut"), "shortcut"),
        ({"object": "response", "output": "text"}, "text"),
        ({"object": "response", "output_text": "shortcut"}, "shortcut"),
        (responses(said("found"), {"type": "web_search_call", "status": "completed"}), "found"),
    ],
)
def test_the_answer_of_each_endpoint(body: dict[str, Any], value: Any) -> None:
    assert value_of(body) == value


CHOICES = expected_of({"response_format": {"type": "json_schema", "json_schema": choice_format(("good", "bad"))}})
SCHEMA = expected_of(
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "place",
                "schema": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string"},
                        "size": {"enum": ["small", "large"]},
                        "people": {"type": ["integer", "null"]},
                        "streets": {"type": "array", "items": {"$ref": "#/$defs/street"}},
                    },
                    "required": ["city", "size"],
                    "additionalProperties": False,
                    "$defs": {"street": {"type": "object", "required": ["name"]}},
                },
            },
        }
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"answer": "good"}', "good"),
        ('"bad"', "bad"),
        ("good", "good"),
        (" Good\n", "good"),
        ('<think>well: {"answer": "bad"}</think>\n```json\n{"answer": "good"}\n```', "good"),
        ('reasoning without its tag</think>{"answer": "good"}', "good"),
    ],
)
def test_a_choice_is_taken_in_each_form_that_models_give_it(text: str, value: str) -> None:
    assert value_of(chat(text), CHOICES) == value


NUMBERS = expected_of(
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": choice_format(("1", "10", "2.50", "true", "None", "naïve", "Yes, sure", "*", "***", "👍")),
        }
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", "10"),
        ('{"answer": 10}', "10"),
        ("True", "true"),
        ('{"answer": true}', "true"),
        ("```\n10\n```", "10"),
        ("<think>1 or 10?</think>```json\n1\n```", "1"),
        ("nai\u0308ve", "naïve"),
        ("yes,\u00a0sure\u200b", "Yes, sure"),
        ("```10```", "10"),
        ("`10`", "10"),
        ("```\n10", "10"),
        ("~~~\n10\n~~~", "10"),
        ("10.", "10"),
        ("'10'", "10"),
        ("“Yes, sure.”", "Yes, sure"),
        ("**true**", "true"),
        ("１０", "10"),  # noqa: RUF001
        ("👍\ufe0f", "👍"),
        ('{"answer": 10.0}', "10"),
        ('{"answer": 2.5}', "2.50"),
        ("2.50", "2.50"),
        ('{"answer": "none"}', "None"),
        ("***", "***"),
        ("so I say </think> 10", "10"),
        ('<think>end it with </think> then</think>{"answer": 1}', "1"),
    ],
)
def test_a_choice_is_a_word_whatever_it_is_as_json(text: str, value: str) -> None:
    assert value_of(chat(text), NUMBERS) == value


@pytest.mark.parametrize(
    ("choices", "text", "value"),
    [
        ("-1 0 1", "0.", "0"),
        ("-1 0 1", "**0**", "0"),
        ("-1 0 1", '{"answer": 0.0}', "0"),
        ("-1 0 1", "\u22121", "-1"),
        ("don't e-mail", "Don\u2019t", "don't"),
        ("don't e-mail", "e\u2011mail.", "e-mail"),
        ("don\u2019t 0\u20131", "don't", "don\u2019t"),
        ("don\u2019t 0\u20131", "0-1", "0\u20131"),
        ("yes no", "\u2039yes\u203a", "yes"),
        ("yes no", "\u300cno\u300d", "no"),
    ],
)
def test_a_choice_is_taken_with_other_quotes_and_dashes_and_zero_is_one(choices: str, text: str, value: str) -> None:
    assert (
        value_of(
            chat(text),
            expected_of(
                {"response_format": {"type": "json_schema", "json_schema": choice_format(tuple(choices.split()))}}
            ),
        )
        == value
    )


def test_a_refusal_is_no_choice_whatever_its_words_are() -> None:
    body = chat(None) | {"choices": [{"message": {"content": None, "refusal": "bad"}}]}
    _, answer = line_outcome.answered(body, CHOICES)
    assert answer.failure == ("refusal", "the model refused: bad")


@pytest.mark.parametrize("unseen", ["\ufeff", "\xa0", "\0", "\u200b\n", "\u2028"])
def test_what_stands_unseen_around_json_is_not_in_its_way(unseen: str) -> None:
    fitting = value_of(chat(unseen + '{"city": "Rome", "size": "large"}' + unseen), SCHEMA)
    assert fitting == {"city": "Rome", "size": "large"}


@pytest.mark.parametrize("text", ['{"label": "10"}', '{"label": null}', "**", '["10"]', "I say ```10``` or 1", "11"])
def test_what_is_no_word_of_the_list_is_none(tmp_path: Path, text: str) -> None:
    words = expected_of({"response_format": {"type": "json_schema", "json_schema": choice_format(("1", "10", "null"))}})
    assert read_one(dumped(line(body=chat(text))), tmp_path, words).kind == "off_list"


def test_a_choice_that_was_cut_short_may_be_the_beginning_of_another(tmp_path: Path) -> None:
    assert read_one(dumped(line(body=chat("1", "length"))), tmp_path, NUMBERS).kind == "not_json"


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        ("because</think>yes", "because"),
        ("because\n</think>\n\nyes", "because"),
        ("Close it with </think> at the end.", ""),
        ("write `</think>`", ""),
    ],
)
def test_a_text_that_mentions_the_end_of_thinking_is_no_thinking(text: str, thinking: str) -> None:
    assert split_thinking(text)[0] == thinking


def schema_of(**properties: Any) -> Expected:
    schema = {"type": "object", "properties": properties, "$defs": {"whole": {"type": "integer"}}}
    return Expected(schema=schema, columns=tuple(properties))


@pytest.mark.parametrize(
    "number", ["12345678901234567890123", "-18446744073709551617", "0.1234567890123456789", "12345678901234567.89"]
)
def test_numbers_keep_the_digits_that_came(number: str) -> None:
    for expected in (
        schema_of(n={"type": "number"}),
        schema_of(n={"enum": [1, json_text.read_json(number, exact=True)]}),
    ):
        found = value_of(chat(f'{{"n": {number}}}'), expected)
        assert text(found["n"]) == number
        assert text({"within": [found]}) == f'{{"within": [{{"n": {number}}}]}}'


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"type": ["integer", "null"]},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"$ref": "#/$defs/whole"},
        {"allOf": [{"$ref": "#/$defs/whole"}]},
        {"enum": [1, 3]},
        {"const": 3},
    ],
)
@pytest.mark.parametrize("written", ["3.0", "3.00", "3e0", "30e-1"])
def test_an_integer_is_one_however_it_is_written(schema: dict[str, Any], written: str) -> None:
    assert text(value_of(chat(f'{{"n": {written}}}'), schema_of(n=schema))) == '{"n": 3}'
    nested = {"type": "array", "prefixItems": [schema], "items": {"patternProperties": {"^n": schema}}}
    assert (
        text(value_of(chat(f'{{"n": [{written}, {{"n1": {written}}}]}}'), schema_of(n=nested)))
        == '{"n": [3, {"n1": 3}]}'
    )


def test_a_number_stays_as_it_was_written() -> None:
    assert text(value_of(chat('{"n": 3.0}'), schema_of(n={"type": "number"}))) == '{"n": 3.0}'


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7.0, "completion_tokens": 3.0}, (7, 3)),
        ({"prompt_tokens": 7, "completion_tokens": True}, (7, 0)),
        ({"prompt_tokens": "7", "completion_tokens": -1}, (0, 0)),
    ],
)
def test_tokens_are_whole_numbers(tmp_path: Path, usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    found = read_one(dumped(line(body=chat("yes", usage=usage))), tmp_path)
    assert (repr(found.prompt_tokens), repr(found.completion_tokens)) == tuple(map(repr, tokens))


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False}, {"x_1": 3}, True),
        ({"patternProperties": {"^x_": {"type": "integer"}}}, {"x_1": "no"}, False),
        ({"patternProperties": {"(": {"type": "integer"}}, "additionalProperties": False}, {"x_1": "no"}, True),
        ({"patternProperties": {"a{99999999999}": False}, "additionalProperties": False}, {"x_1": "no"}, True),
        ({"patternProperties": {"^\\p{L}+$": False}}, {"x": "no"}, True),
        ({"properties": {"a": {"$ref": "#Foo"}}}, {"a": "x"}, True),
        ({"$id": "http://x/s", "$ref": "http://x/s#/$defs/t", "$defs": {"t": {"type": "string"}}}, 1, False),
        (
            {
                "properties": {"a": {"$id": "/a", "properties": {"b": {"$ref": "#/$defs/t"}}}},
                "$defs": {"t": {"type": "string"}},
            },
            {"a": {"b": 1}},
            True,
        ),
        ({"items": [{"type": "string"}]}, [1], True),
        ({"type": "date", "not": {}, "if": {}, "then": False, "minimum": 5, "pattern": "x"}, 1, True),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 3}}, "$ref": "#/$defs/a"}, 1, True),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "string"}, 1, False),
        ({"required": [{}, "a"]}, {"a": 1}, True),
        ({"type": "string", "nullable": True}, None, True),
        ({"$ref": "#/$defs/My%20T", "$defs": {"My T": {"type": "string"}}}, 1, False),
        ({"$ref": "#/anyOf/0", "anyOf": [{"type": "string"}]}, 1, False),
        ({"enum": [[1]]}, [True], False),
        ({"enum": [{"a": 1}]}, {"a": True}, False),
        ({"enum": [{"a": 1}]}, {"a": 1.0}, True),
    ],
)
def test_a_schema_refuses_what_it_says_and_nothing_else(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert (misfit(value, schema) == "") is fits


@pytest.mark.parametrize(
    ("body", "expected", "kind", "words"),
    [
        (chat('{"answer": "so-so"}'), CHOICES, "off_list", "so-so"),
        (chat("I think it is good"), CHOICES, "off_list", "good, bad"),
        (chat("[]"), CHOICES, "off_list", "[]"),
        (chat('{"answer": "go', "length"), CHOICES, "not_json", "--max-tokens"),
        (chat("sorry, no"), SCHEMA, "not_json", "sorry, no"),
        (chat('{"city": "Rome"}'), SCHEMA, "schema", "'size'"),
        (chat('{"city": 5, "size": "small"}'), SCHEMA, "schema", "city: 5; expected string"),
        (chat('{"city": "Rome", "size": "huge"}'), SCHEMA, "schema", "huge"),
        (chat('{"city": "Rome", "size": "small", "people": true}'), SCHEMA, "schema", "people"),
        (chat('{"city": "Rome", "size": "small", "streets": [{}]}'), SCHEMA, "schema", "streets[0] has no 'name'"),
        (chat('{"city": "Rome", "size": "small", "more": 1}'), SCHEMA, "schema", "more"),
        (chat(None) | {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}, SCHEMA, "not_json", "tool"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error_of_its_row(
    tmp_path: Path, body: dict[str, Any], expected: Expected, kind: str, words: str
) -> None:
    raw = dumped(line(body=body))
    assert read_one(raw, tmp_path, expected).kind == kind
    failed = line_outcome.error_of(raw, expected)
    assert failed is not None
    assert words in failed.text


def test_an_answer_that_fits_is_typed() -> None:
    found = {"city": "Rome", "size": "small", "people": 3, "streets": [{"name": "Via"}]}
    assert value_of(chat(f"```\n{json.dumps(found)}\n```"), SCHEMA) == found


def test_an_answer_or_an_error_of_very_many_brackets_is_no_json(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    anything = expected_of({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}})
    assert read_one(dumped(line(body=chat(deep))), tmp_path, anything).kind == "not_json"
    reason = json.dumps({"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": deep}})
    failed = line_outcome.error_of(dumped(line(error={"code": None, "message": reason})), None)
    assert failed is not None
    assert failed.kind == "http_400"


@pytest.mark.parametrize("with_orjson", [True, False])
@pytest.mark.parametrize("body", [{"error": {"message": "too long"}}, ["too long"], 7, None])
def test_a_reason_that_is_no_text_is_read_as_it_is(body: Any, with_orjson: bool) -> None:
    reason = {"type": "NonRetriableHttpStatus", "details": {"status": 400, "body": body}}
    raw = dumped(line(error={"code": None, "message": json.dumps(reason)}))
    with patch.object(json_text, "orjson", vars(json_text)["orjson"] if with_orjson else None):
        failed = line_outcome.error_of(raw, None)
    assert failed is not None
    assert failed.kind == "http_400"
    assert body != {"error": {"message": "too long"}} or failed.text == "too long"


ODD: tuple[Any, ...] = (
    None,
    "",
    "length",
    "error",
    0,
    7.0,
    True,
    [],
    {},
    ["x"],
    {"text": "x"},
    [{"text": "x", "refusal": "no"}],
    {"message": "x"},
)


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_what_a_body_says_is_the_same_at_one_look_and_read_with_care(value: Any) -> None:
    usual = chat("fine", choices=[{"finish_reason": "stop", "index": 0, "message": {"role": "assistant"}}])
    names = ["error", "choices", "output", "content", "data", "usage", "finish_reason", "message", "text", "refusal"]
    names += ["role", "tool_calls", "function_call", "reasoning", "prompt_tokens", "completion_tokens", "index"]
    for name in names:
        for where in range(4):
            body: dict[str, Any] = json.loads(json.dumps(usual))
            message = body["choices"][0]["message"]
            message["content"] = "fine"
            (body, body["choices"][0], message, body["usage"])[where][name] = value
            said = response_body.read(body)
            message["annotations"] = ["x"]  # not usual, and of no meaning
            assert response_body.read(body) == said._replace(plain=False), (name, where)
            if said.plain:
                assert message["content"] == said.text
