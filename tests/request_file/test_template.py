"""Templates, and the lines made of them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword.base.failures import BadInput
from doubleword.request_file.template import Line, Template, encode


def filled(template: str, **cells: Any) -> str:
    return Template(
        template, lambda name: name if name in cells else None, lambda: ", ".join(f"{{{name}}}" for name in cells)
    ).fill(cells, [])


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("Label: {text}", "Label: T"),
        ("{text}{text}", "TT"),
        ("{a.b} {with space} {x-y}", "dot space dash"),
        ('Answer as {"label": "x"} for {text}', 'Answer as {"label": "x"} for T'),
        ('{"a": {"b": "{text}"}}', '{"a": {"b": "T"}}'),
        ('{"a": {"b": {"c": 1}}} {text}', '{"a": {"b": {"c": 1}}} T'),
        ('{"a": [{"b": {}}]}', '{"a": [{"b": {}}]}'),
        ("{{text}}", "{text}"),
        ("{{{text}}}", "{T}"),
        ('{{"a": "{text}"}}', '{"a": "T"}'),
        ('{{"a": {{"b": "{text}"}}}}', '{"a": {"b": "T"}}'),
        ("a } b { c", "a } b { c"),
        ("{}", "{}"),
        ("{ }", "{ }"),
        ("{!}", "{!}"),
        ("", ""),
        ("no columns", "no columns"),
        ("{brace}", "{text}"),
        ("{größe (cm)}", "12"),
    ],
)
def test_a_template_is_filled_in_one_pass_and_other_braces_stay(template: str, result: str) -> None:
    columns = {"text": "T", "a.b": "dot", "with space": "space", "x-y": "dash", "brace": "{text}", "größe (cm)": "12"}
    assert filled(template, **columns) == result


@pytest.mark.parametrize(
    "written",
    [
        "{text!r}",
        "{text:>10}",
        "{text:.50}",
        "{text:d}",
        "{ text | upper }",
        "{text[0]}",
        "{text.strip()}",
        "{row['text']}",
        '{row["text"]}',
        "{a b:,.2f}",
        "x {text|lower} {a b}",
    ],
)
def test_a_column_with_a_format_or_a_function_is_refused_with_the_name_alone(written: str) -> None:
    with pytest.raises(BadInput, match="without formats and functions") as failure:
        filled(written, text="T", **{"a b": "1"})
    assert f"write {{{'a b' if 'a b:' in written else 'text'}}}, or " in failure.value.next_step


@pytest.mark.parametrize(
    "written",
    [
        "{text: string}",
        "{text:string}",
        "{yes|no}",
        "{x:>10}",
        "{text, a b}",
        "{text: 5}",
        "{text:5}",
        "{text:-0.5}",
        "{text:}",
        "{text|a b}",
        "{text|none}",
        "{text | no, yes}",
    ],
)
def test_what_only_looks_so_stays(written: str) -> None:
    assert filled(written, text="T", **{"a b": "1"}) == written


@pytest.mark.parametrize("inside", ["a" * 40_000 + "!", " " * 40_000, "a." * 20_000 + "(", "a b-" * 10_000 + ":"])
def test_a_long_text_in_braces_is_looked_at_once(inside: str) -> None:
    before = time.process_time()
    written = f"{{{inside}}}"
    assert Template(written, lambda _: None, str).literals == [written]
    assert time.process_time() - before < 1


def test_a_column_in_other_marks_is_told_to_stay_as_it_is() -> None:
    written = "$text %(text)s \uff5btext\uff5d {{ text | upper }} $5 $USD %(other)s {text}"

    def column(name: str) -> str | None:
        if name == "USD":
            raise BadInput("near")
        return name if name == "text" else None

    assert [kept.split(" (")[0] for kept in Template(written, column, str).kept] == [
        "{{ text | upper }}",
        "$text",
        "%(text)s",
        "\uff5btext\uff5d",
    ]


def test_what_stays_in_its_braces_is_known() -> None:
    written = 'As {"a": {"b": 1}} or {!} {{text}} {text}; {text'
    assert Template(written, lambda name: name if name == "text" else None, str).kept == [
        '{"b": 1}',
        "{!}",
        "{{text}} (one pair of braces puts the column in)",
        "{text…, which is never closed",
    ]


@pytest.mark.parametrize("name", ["texts", "Text", "a.c", "no such", "x_y", "0"])
def test_an_unknown_name_is_refused_with_the_headers_that_exist(name: str) -> None:
    with pytest.raises(BadInput) as failure:
        filled(f"{{{name}}}", text="T", **{"x-y": 1})
    assert f"{{{name}}}" in failure.value.what
    assert "{text}, {x-y}" in failure.value.what


json_values = st.recursive(
    st.text(alphabet='":a1, ', max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l", "text"]), inner, max_size=2),
)


@given(value=json_values, indent=st.sampled_from([None, 1]))
def test_json_in_a_prompt_stays_as_it_is(value: Any, indent: int | None) -> None:
    written = json.dumps(value, indent=indent)
    assert filled(f"Answer as {written}, please: {{text}}", text="T") == f"Answer as {written}, please: T"


def test_nested_keys_other_types_and_empty_cells() -> None:
    template = Template("{a.b} {n} {gone} {list}", lambda name: name, str)
    empty: list[str] = []
    made = template.fill({"a": {"b": "deep"}, "n": 1.5, "list": [1, "é"], "gone": None}, empty)
    assert made == 'deep 1.5  [1, "é"]'
    assert empty == ["gone"]


@given(text=st.text() | st.text(alphabet='a"\\\n\r\t\x00\x1f\x7fé\u2028🙂', min_size=90))
def test_a_text_is_encoded_to_the_same_bytes_as_by_json(text: str) -> None:
    assert encode(text) == json.dumps(text, ensure_ascii=False).encode()
    with pytest.raises(UnicodeEncodeError):
        encode(text + "\ud800")


@given(
    cell=st.text(max_size=40),
    custom_id=st.text(max_size=10),
    body=st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.integers(), max_size=4),
)
def test_a_line_is_the_json_of_its_request_whatever_the_cells_hold(
    cell: str, custom_id: str, body: dict[str, Any]
) -> None:
    line = Line("/v1/x")
    template = Template("a {t} b", lambda name: name if name == "t" else None, str)
    line.close(
        {
            "x": body,
            "asked": line.hole(lambda cells, empty: encode(template.fill(cells, empty))),
            "again": [line.hole(lambda cells, _: encode(cells["t"]))],
        }
    )
    written = line.write(custom_id, {"t": cell}, [])
    assert written.startswith(b'{"custom_id": ')
    assert written.count(b"\n") == 1
    assert list(json.loads(written)) == ["custom_id", "method", "url", "body"]
    assert json.loads(written) == {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/x",
        "body": {"x": body, "asked": f"a {cell} b", "again": [cell]},
    }
