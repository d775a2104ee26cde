"""What is said after a download? What came of it, in at most 40 lines for a person."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from ..base.console import say
from ..base.text import next_command, plural, safe
from ..job.job import Job
from ..job.next_step import next_step
from ..service.cost import Spent, usd
from .results_and_errors import Summary
from .sample_pairs import OPEN
from .table_lines import Written

KINDS_SHOWN = 8


def tell(job: Job, summary: Summary, running: bool) -> None:
    """The counts, the errors by kind, what the answers are, the tokens."""
    missing = {kind: count for kind, count in summary.missing.items() if not (running and kind in OPEN)}
    failed, lacking = sum(summary.errors.values()) - summary.empty, sum(missing.values())
    say(
        f"{summary.results} of {plural(summary.requests, 'request')} answered{' so far' if running else ''},"
        f" {failed} failed, {lacking} missing, {summary.cut} cut short, {summary.empty} empty"
    )
    for kind, words in OPEN.items() if running else ():
        if summary.missing[kind]:
            say(f"  {summary.missing[kind]} {words}, not missing")
    for kinds in (summary.errors, missing):
        for kind, count in sorted(kinds.items(), key=lambda item: -item[1])[:KINDS_SHOWN]:
            example = f" (e.g. {safe(summary.examples[kind], 200)})" if kind in summary.examples else ""
            say(f"  {count} {kind}{example}")
    if summary.cut:
        say(f"  cut short at the token limit: {summary.cut} (e.g. {summary.examples['cut']}); see --max-tokens")
    if summary.unexpected:
        answers = plural(summary.unexpected, "answer")
        say(f"  {answers} came back for ids that are not in this job, or in it more than once: left out")
    for batch in (batch for part in job.submitted() for batch in part.batches if batch.reason):
        say(f"  batch {safe(batch.id, 60)} {batch.status}: {safe(batch.reason, 300)}")
        break
    _tell_answers(summary)
    of = f", of {job.reused} answers from earlier jobs, too" if job.reused else ""
    say(f"tokens: {summary.prompt_tokens} prompt, {summary.completion_tokens} completion{of}")


def _tell_answers(summary: Summary) -> None:
    tally = summary.briefs.tally()
    if tally:
        say(f"answers: {', '.join(f'{count} {safe(answer, 60)}' for answer, count in tally.items())}")
    for numbers, count in sorted(summary.vectors.items()):
        say(f"{plural(count, 'vector')} of {numbers} numbers")


def tell_cost(job: Job, spent: Spent | None, estimated: Decimal | None) -> None:
    """What the service says that all attempts cost; nothing where it says nothing."""
    if spent is None:
        return
    sent = [attempt for attempt in job.attempts if attempt.kind != "reused" and any(p.batch for p in attempt.parts)]
    attempts = " in all attempts" if len(sent) > 1 else ""
    beside = "" if estimated is None else f" (estimated {_usd(estimated)})"
    some = "" if spent.batches == spent.known else f", as far as is known: {spent.known} of {spent.batches} batches"
    say(f"cost: {_usd(spent.usd)} USD{'' if job.ended else ' so far'}{attempts}{beside}{some}")
    limit = usd(job.record.options.max_cost)
    if limit is not None and spent.usd > limit:
        say(
            f"  that is over --max-cost {limit}, which the estimate was held against: a bill can be more; tell the user"
        )


def _usd(amount: Decimal) -> str:
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.2g}"


def tell_files(job: Job, paths: list[Path], written: Written | None, running: bool) -> None:
    """What was written, and the next step."""
    for path in paths:
        say(f"wrote {safe(path)}{'' if path.stat().st_size else ' (empty)'}")
    if written:
        _tell_table(written, running)
    if running:
        if not job.unshown_trial:  # else it is said below its answers
            say(f"the rest is still to come: {next_step(job)}")
        return
    _tell_next(job)
    if (Path(__file__).parents[2] / "report.py").exists():
        say(f"a page to look at: {next_command('report.py', job.request_file())}")


def _tell_table(written: Written, running: bool) -> None:
    if written.guarded:
        cells = plural(written.guarded, "cell")
        say(f"  {cells} a spreadsheet would run as a formula got a ' before it (--no-guard leaves them)")
    if written.outside:
        say(f"  {written.outside} of its {plural(written.rows, 'row')} had no request in this job, and have no answer")
    if written.with_nul:
        say(f"  {plural(written.with_nul, 'cell')} held NUL, which no text has: it was left out")
    if running:
        say(f"  the table holds the {plural(written.rows, 'row')} answered so far alone")


def _tell_next(job: Job) -> None:
    step, done = next_step(job), job.record.downloaded
    lacking = sum(done.errors.values()) + sum(done.missing.values()) if done else 0
    if step:
        say(f"next: {step}")
    elif job.stopped:
        resume = next_command("cancel_batch.py", job.request_file(), "--resume")
        say(f"the job was cancelled before all of it was sent: ask the user; {resume} lifts the mark")
    elif lacking:
        all_the_same = next_command("retry_failed.py", job.request_file(), "--include-permanent")
        say(
            f"{plural(lacking, 'request')} without a result, and nothing says that another attempt would bring one:"
            f" read {safe(job.beside('errors.jsonl'))} and ask the user; {all_the_same} plans it all the same"
        )
    else:
        say(f"nothing is left to do; {safe(job.folder)} holds the scripts' own notes and may be deleted")
