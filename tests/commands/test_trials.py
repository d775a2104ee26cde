"""A trial is an attempt of the job: its answers are part of it, and the rest is the next attempt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doubleword.service.refusals import Busy
from local_server.app import LocalServer
from local_server.settings import FailRule, ModelSpec
from support.canned import answer_with
from support.faults.fixture import MakeTrouble
from support.faults.fixture import make_trouble as make_trouble
from support.jobs import follow
from support.oracle import LocalOracle, read
from support.running import chat_line, json_lines, run, write_requests


def sent(server: LocalServer) -> int:
    """How many requests the server was ever asked to answer."""
    return len(read(server.database, "SELECT seq FROM requests"))


def test_a_trial_and_the_rest_are_every_request_once(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 120)

    trial = run("run_batch", "r.jsonl", "--trial", "5", "--max-cost", "5", "--json")
    assert trial.code == 8
    assert [pair["custom_id"] for pair in trial.facts["shown"]] == [f"row-{n:06}" for n in (24, 48, 72, 96, 120)]
    assert sent(server) == 5
    assert trial.facts["next"].endswith("run_batch.py r.jsonl --max-cost 5")
    assert not Path("r.results.jsonl").exists()

    whole = run("run_batch", "r.jsonl", "--max-cost", "5", "--json")
    assert (whole.code, whole.facts["results"]) == (0, 120)
    assert sent(server) == 120
    assert [line["custom_id"] for line in json_lines(Path("r.results.jsonl"))] == [f"row-{n:06}" for n in range(1, 121)]
    assert run("run_batch", "r.jsonl").code == 0
    assert sent(server) == 120


def test_a_trial_shows_what_failed_too(server: LocalServer) -> None:
    answer_with(server, lambda text: "" if text == "p2" else "fine")
    Path("r.jsonl").write_text("".join(chat_line(f"k{n}", f"p{n}", "canned") for n in range(1, 9)))
    trial = run("run_batch", "r.jsonl", "--trial", "4")
    assert trial.code == 8
    assert "[k2] p2\n  -> empty: the answer is empty" in trial.err
    assert trial.err.count("\n  -> ") == 4
    assert run("run_batch", "r.jsonl", "--timeout-seconds", "0").code in (8, 9)


def test_after_a_trial_the_rest_is_estimated_as_its_upload_is(server: LocalServer) -> None:
    """The first guess knows no answers; by then the server has some, which are shorter, and it goes by bytes."""
    answer_with(server, lambda text: "yes")
    texts = ["x" * 2000 if n % 10 == 9 else "short" for n in range(200)]
    Path("r.jsonl").write_text("".join(chat_line(f"k{n}", text, "canned") for n, text in enumerate(texts)))
    trial = run("run_batch", "r.jsonl", "--trial", "10")
    said = re.search(r"estimate for the trial is .*: about (\S+) USD for the rest", trial.err)
    assert said, trial.err
    upload = run("upload", "r.jsonl", "--json")
    assert float(said[1]) == pytest.approx(float(upload.facts["estimated_cost_usd"]), rel=0.25)


def test_a_second_trial_adds_requests_that_were_not_tried(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 30)
    assert run("run_batch", "r.jsonl", "--trial", "4").code == 8
    assert run("run_batch", "r.jsonl", "--trial", "3").code == 8
    assert sent(server) == 7
    assert run("run_batch", "r.jsonl").code == 0
    assert sent(server) == 30


def test_a_trial_that_was_not_waited_for_goes_on_with_the_same_command(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 30)
    first = run("run_batch", "r.jsonl", "--trial", "4", "--timeout-seconds", "0", "--json")
    assert first.code == 8
    assert "--trial 4" in first.facts["next"] or first.facts["shown"], "it ended within the first look, or goes on"
    assert run("run_batch", "r.jsonl", "--trial", "4").code == 8
    assert sent(server) == (4 if "--trial 4" in first.facts["next"] else 8)


def test_the_step_by_step_commands_send_the_rest_after_a_trial(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 12)
    assert run("run_batch", "r.jsonl", "--trial", "2").code == 8
    assert run("download", "r.jsonl").code == 8
    assert len(run("upload", "r.jsonl").lines) == 1
    assert run("create_batch", "r.jsonl").code == 0
    assert run("poll", "r.jsonl").code == 0
    assert run("download", "r.jsonl").code == 0
    assert sent(server) == 12


def test_what_was_uploaded_but_not_submitted_can_be_tried_first(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 12)
    assert run("upload", "r.jsonl").code == 0
    assert run("run_batch", "r.jsonl", "--trial", "2").code == 8
    assert sent(server) == 2
    assert run("run_batch", "r.jsonl").code == 0
    assert sent(server) == 12


@pytest.mark.parametrize("count", ["0", "-1", "x", "13"])
def test_a_trial_of_none_or_of_more_than_there_are_is_wrong_usage(server: LocalServer, count: str) -> None:
    write_requests(Path("r.jsonl"), 12)
    refused = run("run_batch", "r.jsonl", "--trial", count)
    assert (refused.code, refused.out) == (2, "")
    assert "--trial" in refused.err
    assert sent(server) == 0
    assert run("run_batch", "r.jsonl").code == 0


@pytest.mark.parametrize("planned", [False, True])
def test_a_trial_after_everything_was_submitted_is_wrong_usage(server: LocalServer, planned: bool) -> None:
    server.settings.fail = [FailRule.parse("number 2=400")] if planned else []
    write_requests(Path("r.jsonl"), 3)
    done = run("run_batch", "r.jsonl", "--completion-window", "1h", "--max-cost", "1")
    assert done.code == (9 if planned else 0)
    assert not planned or run("retry_failed", "r.jsonl").code == 0
    refused = run("run_batch", "r.jsonl", "--trial", "1", "--max-cost", "none")
    assert refused.code == 2
    assert "submitted already" in refused.err
    assert "--max-cost 1 --completion-window 1h" in refused.err, "what was agreed on stands"
    assert sent(server) == 3


def test_what_failed_in_a_trial_is_sent_once_more_with_the_rest(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("down=500"), FailRule.parse("refused=400")])
    prompts = ["fine", "down", "fine 2", "refused", "fine 3", "fine 4"]
    Path("r.jsonl").write_text("".join(chat_line(f"id-{n}", text) for n, text in enumerate(prompts)))

    assert trouble.run("run_batch", Path("r.jsonl"), "--trial", "3").code == 8
    assert [line["custom_id"] for line in json_lines(Path("r.job/attempt-1.jsonl"))] == ["id-1", "id-3", "id-5"]
    assert trouble.run("run_batch", Path("r.jsonl")).code == 9
    sent_again = [line["custom_id"] for line in json_lines(Path("r.job/attempt-2.jsonl"))]
    assert sent_again == ["id-0", "id-1", "id-2", "id-3", "id-4"], "a 400 is worth one more try"
    assert trouble.run("retry_failed", Path("r.jsonl"), "--json").facts["left_out"] == {"http_400": 1}


def table(name: str, rows: range) -> str:
    Path(name).write_text("id,text\n" + "".join(f"{n},text {n}\n" for n in rows))
    return name


def made(requests: str, source: str, *more: str) -> dict[str, object]:
    asked = ("--model", "echo", "--prompt", "Say {text}", "--id-column", "id", "--max-tokens", "20")
    ran = run("create_batch_file", requests, "--input", source, *asked, *more, "--json")
    assert ran.code == 0, ran.err
    return ran.facts | {"err": ran.err}


def test_last_months_table_with_new_rows_costs_the_new_rows(server: LocalServer) -> None:
    made("april.jsonl", table("april.csv", range(30)))
    assert run("run_batch", "april.jsonl").code == 0
    hinted = made("hint.jsonl", table("may.csv", range(10, 45)))
    assert "--reuse april.jsonl" in str(hinted["err"])

    facts = made("may.jsonl", "may.csv", "--reuse", "april.jsonl")
    assert facts["reused"] == 20
    assert run("run_batch", "may.jsonl", "--output", "may.out.csv").code == 0
    assert sent(server) == 30 + 15
    assert len(Path("may.out.csv").read_text().splitlines()) == 36
    assert made("may.jsonl", "may.csv", "--reuse", "april.jsonl")["reused"] == 20, "the same again changes nothing"


def test_a_cancelled_trial_is_followed_by_nothing_until_the_mark_is_lifted(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 12)
    assert run("run_batch", "r.jsonl", "--trial", "3").code == 8
    assert run("cancel_batch", "r.jsonl").code == 0
    for command in ("run_batch", "upload", "create_batch"):
        stopped = run(command, "r.jsonl")
        assert (stopped.code, stopped.out) == (4, ""), (command, stopped)
        assert "was cancelled" in stopped.err
    assert run("run_batch", "r.jsonl", "--trial", "3").code == 4
    assert sent(server) == 3
    assert run("cancel_batch", "r.jsonl", "--resume").code == 0
    assert run("run_batch", "r.jsonl").code == 0
    assert sent(server) == 12


def test_the_answers_of_a_cancelled_trial_are_downloaded_and_the_rest_is_missing(server: LocalServer) -> None:
    requests = write_requests(Path("r.jsonl"), 5)
    assert run("run_batch", requests, "--trial", "2").code == 8
    assert follow(run("cancel_batch", requests, "--json")).facts["missing"] == {"not_submitted": 3}
    done = run("download", requests, "--output", "out.csv")
    assert (done.code, len(json_lines(Path("r.results.jsonl")))) == (9, 2)
    assert Path("out.csv").read_text().count("missing: not submitted") == 3
    assert "cancel_batch.py r.jsonl --resume" in done.err
    assert "retry_failed.py" not in done.err


def test_what_a_cancelled_trial_left_out_is_not_planned_by_a_retry_until_the_mark_is_lifted(
    server: LocalServer, oracle: LocalOracle
) -> None:
    del server
    requests = write_requests(Path("r.jsonl"), 30)
    assert run("run_batch", requests, "--trial", "3").code == 8
    assert run("cancel_batch", requests).code == 0

    for command in ("retry_failed", "run_batch"):
        stopped = run(command, requests)
        assert stopped.code == 4, stopped.err
        assert "cancel_batch.py r.jsonl --resume" in stopped.err
    assert sum(batch.total for batch in oracle.batches()) == 3
    assert run("cancel_batch", requests, "--resume").code == 0
    assert run("run_batch", requests).code == 0


def test_a_cancel_before_anything_was_sent_is_not_undone_by_a_trial(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 12)
    assert run("upload", "r.jsonl").code == 0
    assert run("cancel_batch", "r.jsonl").code == 0
    assert run("run_batch", "r.jsonl", "--trial", "3").code == 4
    assert sent(server) == 0


def test_a_cancel_while_the_trial_is_waited_for_does_not_set_off_the_rest(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(population_delay=1e9)
    requests = write_requests(Path("r.jsonl"), 12)
    assert trouble.run("run_batch", requests, "--trial", "3", "--timeout-seconds", "0").code == 8
    assert trouble.run("cancel_batch", requests).code == 0
    stopped = trouble.run("run_batch", requests, "--timeout-seconds", "600")
    assert stopped.code in (4, 8), stopped
    assert len(trouble.oracle.batches()) == 1


def test_a_trial_of_which_nothing_was_answered_is_no_reason_to_go_on(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(max_retries=0, fail=[FailRule.parse("prompt=400")])
    requests = write_requests(Path("r.jsonl"), 12)
    trial = trouble.run("run_batch", requests, "--trial", "3", "--json")
    assert (trial.code, trial.facts["next"]) == (9, None)


def test_a_trial_of_all_requests_is_the_whole_job(server: LocalServer) -> None:
    write_requests(Path("r.jsonl"), 3)
    assert run("run_batch", "r.jsonl", "--trial", "3").code == 0
    assert Path("r.results.jsonl").exists()


def test_what_was_taken_over_is_not_forgotten_by_another_request_file(server: LocalServer) -> None:
    made("r.jsonl", table("t.csv", range(4)))
    assert run("run_batch", "r.jsonl").code == 0
    Path("r.job").rename("gone")
    assert run("create_batch", "r.jsonl", "--adopt").code == 0
    again = run("create_batch_file", "r.jsonl", "--input", "t.csv", "--model", "echo", "--prompt", "Other: {text}")
    assert again.code == 3
    assert "must stay as it is" in again.err
    Path("r.results.jsonl").unlink()
    assert run("download", "r.jsonl").code == 0


def test_a_kill_while_another_trial_is_planned_leaves_a_plan_that_goes_on(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_requests(Path("r.jsonl"), 20)

    def busy(*_: object, **__: object) -> None:
        raise Busy("no room")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("doubleword.service.api.Api.create_batch", busy)
        assert run("run_batch", "r.jsonl", "--trial", "5").code == 6
    with monkeypatch.context() as patch:
        patch.setattr("doubleword.results.retry.check.check", killed)  # the file is in place, the record is not saved
        assert run("run_batch", "r.jsonl", "--trial", "8").code == 130
    trial = run("run_batch", "r.jsonl", "--trial", "8", "--json")
    assert (trial.code, trial.facts["trial"]) == (8, 8), trial.err
    assert run("run_batch", "r.jsonl").code == 0
    assert sent(server) == 20
    assert len(list(Path("r.job").glob("attempt-*"))) == 2


@pytest.mark.parametrize("earlier", [0, 96])
def test_after_a_trial_that_was_billed_over_its_estimate_the_limit_is_held_against_the_bill(
    server: LocalServer, earlier: int
) -> None:
    """The server guesses from its last 100 answers: after many short ones it still guesses too low."""
    message = {"role": "assistant", "content": "so"}

    def answer(text: str) -> dict[str, object]:
        used = 4000 if text == "short" else 4  # far more than the server guesses
        usage = {"prompt_tokens": 4, "completion_tokens": used, "total_tokens": used + 4}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    answer_with(server, answer)
    if earlier:
        Path("e.jsonl").write_text("".join(chat_line(f"k{n}", f"earlier {n}", "canned") for n in range(earlier)))
        assert run("run_batch", "e.jsonl").code == 0
    Path("r.jsonl").write_text("".join(chat_line(f"k{n}", "short", "canned") for n in range(40)))
    estimate = float(run("upload", "r.jsonl", "--json").facts["estimated_cost_usd"])
    trial = run("run_batch", "r.jsonl", "--trial", "4", "--max-cost", f"{3 * estimate:.6f}")
    assert trial.code == 8, trial.err
    assert "the trial cost" in trial.err
    (told,) = re.findall(r"next: ask the user: all of it costs about ([0-9.]+) USD, over --max-cost", trial.err)

    refused = run("run_batch", "r.jsonl")

    assert refused.code == 4, refused.err
    (again,) = re.findall(r"estimated cost ([0-9.]+) USD.* is over --max-cost", refused.err)
    assert float(told) == pytest.approx(float(again), rel=0.1), "what was learnt from the bill counted twice, or not"
    assert ("by what was billed so far" in refused.err) == bool(earlier)
    assert sent(server) == earlier + 4
    (enough,) = re.findall(r"after a yes to [0-9.]+ USD, .*run_batch.py r.jsonl --max-cost ([0-9.]+) \(", trial.err)
    assert run("run_batch", "r.jsonl", "--max-cost", enough).code == 0, "the command that is told for after a yes"


@pytest.mark.parametrize("table", [(), ("--output", "out.jsonl")])
@pytest.mark.parametrize("stopped", ["before the send", "while it runs"])
def test_whoever_follows_next_is_shown_the_trial_before_its_rest_is_paid_for(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, stopped: str, table: tuple[str, ...]
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise Busy("no room")

    write_requests(Path("r.jsonl"), 20)
    if stopped == "before the send":
        with monkeypatch.context() as patch:
            patch.setattr("doubleword.service.api.Api.create_batch", busy)
            assert run("run_batch", "r.jsonl", "--trial", "5", *table).code == 6
        looked = run("upload", "r.jsonl", "--json")
    else:
        server.settings.delay = 1.0
        assert run("run_batch", "r.jsonl", "--trial", "5", *table, "--timeout-seconds", "0").code == 8
        server.settings.delay = 0.0
        while (looked := run("poll", "r.jsonl", "--json")).code == 8:
            pass
    assert looked.code == 0, looked.err

    shown = follow(looked)

    assert (shown.code, shown.facts["trial"], len(shown.facts["shown"])) == (8, 5, 5), shown.err
    assert sent(server) == 5
    assert "--trial" not in shown.facts["next"]
    assert follow(shown).code == 0
    assert sent(server) == 20


def test_a_limit_that_is_lifted_for_a_trial_is_lifted_for_no_more_than_that(make_trouble: MakeTrouble) -> None:
    trouble = make_trouble(models={"free": ModelSpec()})
    requests = write_requests(Path("r.jsonl"), 20, model="free")

    stopped = trouble.run("run_batch", requests, "--trial", "5", "--max-cost", "1")

    assert stopped.code == 4
    assert "run_batch.py r.jsonl --trial 5 --max-cost none" in stopped.err
