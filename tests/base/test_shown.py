"""What a person is shown: foreign text without the key, and no more problems than can be read."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from doubleword.base import console
from doubleword.base.failures import BadInput
from doubleword.base.problem import Problem
from doubleword.base.text import safe

KEY = "sk-a/b+c==0123456789"


@pytest.mark.parametrize("form", [KEY, quote(KEY), quote(KEY, safe="")])
def test_the_key_is_blotted_out_as_it_is_and_as_a_url_has_it(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    assert safe(f"GET /v1/models?key={form} refused") == "GET /v1/models?key=*** refused"


@pytest.mark.parametrize("as_json", [False, True])
def test_of_many_problems_twenty_are_shown(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem(n, "text", "empty", f"cell {n}", "a text") for n in range(1, 31)]
    console.set_voice(as_json=as_json, quiet=False)
    try:
        console.report(BadInput("30 problems", "mend them", problems))
    finally:
        console.set_voice(as_json=False, quiet=False)
    shown = capsys.readouterr().err
    if as_json:
        assert [problem["line"] for problem in json.loads(shown)["error"]["problems"]] == list(range(1, 21))
    else:
        assert [line.split(":")[0].strip() for line in shown.splitlines()[1:-1]] == [f"line {n}" for n in range(1, 21)]
