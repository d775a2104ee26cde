"""The template of a job's prompts is found again from the filled-in ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubleword.results.prompt_template import LOOKED_AT, Piece, Template, named_pieces, pieces, some_bodies


@pytest.mark.parametrize("size", [1, 30, 3_000])
@pytest.mark.parametrize("count", [1, 2, 7, LOOKED_AT // 2])
def test_of_few_requests_each_is_looked_at(count: int, size: int, tmp_path: Path) -> None:
    requests = tmp_path / "few.jsonl"
    bodies = [{"prompt": "x" * size + str(number)} for number in range(count)]
    requests.write_text("".join(json.dumps({"custom_id": "id", "body": body}) + "\n" for body in bodies))
    assert some_bodies(requests) == bodies


def test_of_many_requests_as_many_are_looked_at_up_to_the_end(tmp_path: Path) -> None:
    requests = tmp_path / "many.jsonl"
    requests.write_text("".join(json.dumps({"body": {"prompt": number}}) + "\n" for number in range(1_000)))
    found = [body["prompt"] for body in some_bodies(requests)]
    assert (found[0], len(found), found == sorted(set(found))) == (0, LOOKED_AT, True)
    assert found[-1] > 980


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6))
def test_a_template_found_again_fills_to_the_prompts_it_was_found_from(cells: list[tuple[str, str]]) -> None:
    filled = [(f"Of {{a}} say: {a} and {b}!", {"a": a, "b": b}) for a, b in cells]
    found = named_pieces(filled)
    if found is not None:
        for prompt, texts in filled:
            assert "".join(texts[piece.text] if piece.is_hole else piece.text for piece in found) == prompt


@given(st.lists(st.text(max_size=12), min_size=2, max_size=8))
def test_a_prompt_is_its_fixed_ends_and_what_was_cut_out(texts: list[str]) -> None:
    prompts = [f"Review: {text}\nMood?" for text in texts]
    template = Template(pieces(prompts, ["text"]))
    for prompt in prompts:
        middle, cut = template.cut(prompt)
        assert (template.start + middle + template.end if cut else middle) == prompt


def test_a_word_that_cells_begin_with_is_not_taken_for_the_template() -> None:
    found = pieces(["Say: thermos", "Say: thermal mug"], ["text"])
    assert found == [Piece("Say: "), Piece("text", True)]
