"""The strict reader of JSON: the same verdicts with and without orjson, and the server's words for what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_server import strict_json
from local_server.errors import ApiError
from local_server.models import Echo, Registry
from local_server.request_lines import read_line

MEGABYTE = 1_000_000
REFUSED = {
    "hello": "expected value at line 1 column 1",
    "": "EOF while parsing a value at line 1 column 0",
    "{": "EOF while parsing an object at line 1 column 1",
    '{"a":1': "EOF while parsing an object at line 1 column 6",
    '{"a":1,}': "trailing comma at line 1 column 8",
    "[1,]": "trailing comma at line 1 column 4",
    "{'a':1}": "key must be a string at line 1 column 2",
    "NaN": "expected value at line 1 column 1",
    '{"a":1}{"a":1}': "trailing characters at line 1 column 8",
    '"\\ud83d"': "unexpected end of hex escape at line 1 column 8",
    '"\\ude00"': "lone leading surrogate in hex escape at line 1 column 7",
    '"a\x01"': "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 3",
    "[" * 200 + "]" * 200: "recursion limit exceeded at line 1 column 128",
}
ACCEPTED = ["1", " [1, 2] ", '{"a":{"b":[true,null,"\\ud83d\\ude00"]}}', "[" * 127 + "]" * 127, '{"a":1,"a":2}']


@pytest.fixture(params=["with orjson", "without"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(strict_json, "fast", None)


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=[repr(t)[:20] for t in REFUSED])
def test_what_the_server_refuses_is_refused_in_its_words(text: str, words: str) -> None:
    with pytest.raises(strict_json.JsonError) as refused:
        strict_json.loads(text)
    assert str(refused.value) == words


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("text", ACCEPTED, ids=[t[:20] for t in ACCEPTED])
def test_what_the_server_accepts_is_accepted(text: str) -> None:
    assert strict_json.loads(text) == json.loads(text)


@pytest.mark.usefixtures("_reader")
def test_numbers_are_rewritten_as_the_server_does() -> None:
    read = strict_json.loads('{"b":1e3,"a":12345678901234567890123,"c":18446744073709551615}')
    assert json.loads(strict_json.dumps_sorted(read)) == {"a": 1.2345678901234568e22, "b": 1000.0, "c": 2**64 - 1}
    assert strict_json.dumps_sorted(read).startswith(b'{"a":1.2345678901234568e+22,"b":1000.0,')


@given(st.text(alphabet='{}[]",:\\u0dcba9e1-. \ttruefalsn\n', max_size=40))
def test_both_readers_give_the_same_verdict(text: str) -> None:
    verdicts = []
    fast = strict_json.fast
    for reader in (fast, None):
        strict_json.fast = reader
        try:
            verdicts.append(("read", repr(strict_json.loads(text))))
        except strict_json.JsonError as error:
            verdicts.append(("refused", str(error)))
        finally:
            strict_json.fast = fast
    assert verdicts[0] == verdicts[1]


def test_a_line_comes_back_normalised() -> None:
    registry = Registry()
    registry.add("echo", Echo())
    text = (
        '{"note":1,"method":"post","custom_id":"a","url":"/v1/chat/completions",'
        '"body":{"zeta":1,"priority":5,"model":"echo"}}'
    )
    line = read_line(text, 1, registry.type_of, MEGABYTE)
    assert line.line == (
        b'{"custom_id":"a","method":"post","url":"/v1/chat/completions","body":{"model":"echo","zeta":1}}\n'
    )
    assert (line.model, line.body_bytes) == ("echo", len(b'{"model":"echo","zeta":1}'))


def test_the_same_key_twice_is_refused_only_where_the_server_knows_it() -> None:
    registry = Registry()
    registry.add("echo", Echo())
    rest = '"method":"POST","url":"/v1/chat/completions","body":{"model":"echo","url":"x","url":"y"}}'
    assert read_line('{"custom_id":"a","n":1,"n":2,' + rest, 1, registry.type_of, MEGABYTE).custom_id == "a"
    with pytest.raises(ApiError, match="Invalid JSON on line 7: duplicate field `custom_id`"):
        read_line('{"custom_id":"a","custom_id":"b",' + rest, 7, registry.type_of, MEGABYTE)
