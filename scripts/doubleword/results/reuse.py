"""Which requests has an earlier job answered? Its answers are taken for those with the same endpoint and body.

What is taken is kept in the job folder as if it had been received: an attempt of the kind `reused`, whose parts have no
batch on the server. Its lines are the server's, under this job's custom_ids, with `reused` saying where they came from.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.console import say
from ..base.failures import BadInput, Clock, WrongUsage
from ..base.files import digest, open_regular, state_of, whole_file
from ..base.own_files import own_folder
from ..base.text import next_command, plural, safe
from ..job.batch import DELETED, Batch, Fetched
from ..job.job import Job
from ..job.outputs import why_not_ours
from ..job.record import Attempt, Part, attempt_over_all
from ..request_file.answer_form import expected_in
from ..request_file.lines import Span, custom_id_of, lines, request_lines
from ..request_file.repeats import Repeats
from . import line_outcome as outcomes
from . import results_and_errors
from .fetch import is_settled
from .spool import spool_files

if TYPE_CHECKING:
    import sqlite3

SAMPLE = 1000  # requests of each file that are compared, to tell whether a job in the folder would serve


class Answer(NamedTuple):
    """An answer of an earlier job: to which request, and where its line lies."""

    request: dict[str, Any]
    path: Path
    offset: int
    length: int


def digest_of(request: Any) -> bytes:
    """What makes two requests the same: endpoint and body, whatever the order of keys; 16 bytes."""
    body = json.dumps([request.get("url"), request.get("body")], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=16).digest()


# --- the answers of an earlier job ---------------------------------------------------------------


def answers_of(named: Path) -> Iterator[Answer]:
    """The real answers of an earlier job, named by its request file or its results file.

    The results file beside the request file is enough: the job folder may be gone. Where there is one, what the job has
    received is taken. Raises BadInput where there is neither, or where answers are still to be fetched: they are paid.
    """
    if named.name.endswith(".results.jsonl"):
        requests, results = named.with_name(named.name.removesuffix(".results.jsonl") + ".jsonl"), named
    else:
        requests, results = named, named.with_name(named.name.removesuffix(".jsonl") + ".results.jsonl")
    if not requests.exists():
        raise BadInput(f"--reuse {safe(named)}: there is no request file {safe(requests)}", "check the path")
    job = Job.load(requests)
    _require_its_own(named, job, requests, results)
    if job is None and not results.exists():
        raise BadInput(
            f"--reuse {safe(named)}: neither {safe(results.name)} nor a job folder is there",
            f"{next_command('download.py', requests)} fetches the answers of a job",
        )
    found = _from_files(requests, results) if job is None or not _holds_all(job, named, results) else _from_spools(job)
    named_once = _named_once(requests)
    yield from (answer for answer in found if named_once(answer.request["custom_id"]))


def _from_spools(job: Job) -> Iterator[Answer]:
    requests = job.request_file()
    raws = (raw for span in job.requests.sections for _, raw in request_lines(requests, span))
    for covered, raw in zip(results_and_errors.cover(job), raws, strict=True):
        found = covered.outcome
        if found is not None and found.is_result:
            yield Answer(json.loads(raw), found.spool, found.offset, found.length)


def _require_its_own(named: Path, job: Job | None, requests: Path, results: Path) -> None:
    """Raises BadInput if requests were edited since: their answers are to what stood there before."""
    if job is None:
        fits = not results.exists() or results.stat().st_mtime >= requests.stat().st_mtime
    else:
        fits = digest(requests) == job.requests.sha256 and not (results.exists() and why_not_ours(job, results))
    if not fits:
        raise BadInput(
            f"--reuse {safe(named)}: {safe(requests.name)} or its results changed since they were made",
            "restore them; answers to other prompts would be taken",
        )


def _holds_all(job: Job, named: Path, results: Path) -> bool:
    """Whether the spool holds every answer that was paid for; else the results file does, of a job that was tidied up.

    Raises BadInput where answers are on their way, or counted by the server and in neither.
    """
    batches = [(part, batch) for part in job.sent() for batch in part.batches if batch.status != DELETED]
    if not job.reused and not job.submitted():
        raise BadInput(
            f"--reuse {safe(named)}: nothing of that job was submitted, as far as its record says",
            "leave it out; or, if it was (a record restored from a backup), "
            f"{next_command('create_batch.py', job.request_file(), '--adopt')} finds its batches",
        )
    unclear = any(part.submission and not part.batch for part in job.sent())
    ended = not unclear and all(batch.ended for _, batch in batches)
    if ended and all(_has_all_answers(part, batch) for part, batch in batches):
        if all(is_settled(job, batch) for _, batch in batches):
            return True
        done = job.record.downloaded
        if results.exists() and done is not None and done.batches == len(job.submitted()):
            return False
    open_ones = f"answers that are not in {safe(results.name)} yet" if ended else "batches that run, as far as is known"
    without = f"; or move {safe(job.folder)} away to take what {safe(results.name)} has" if results.exists() else ""
    raise BadInput(
        f"--reuse {safe(named)}: that job has {open_ones}; they would be paid for again",
        f"{next_command('download.py', job.request_file())} first, then the same command again{without}",
    )


def _has_all_answers(part: Part, batch: Batch) -> bool:
    held = batch.fetched
    return held is not None and held.completed >= batch.completed and batch.counts_what_ran(part.requests)


def _from_files(requests: Path, results: Path) -> Iterator[Answer]:
    """Both files are in input order: one walk over them finds the request of every answer."""
    with open_regular(results) as file:
        offset, raw, expected = 0, file.readline(), expected_in(requests)
        for line in lines(requests):
            if line.blank or not raw:
                continue
            request = _object(line.raw, requests, line.number)
            found = outcomes.outcome_of(raw, results, offset, expected, {})
            if found.custom_id == request.get("custom_id"):
                if found.is_result:
                    yield Answer(request, results, offset, len(raw))
                offset, raw = offset + len(raw), file.readline()


def _named_once(requests: Path) -> Callable[[str], bool]:
    """Whether an id stands for one request alone. The server takes a file in which one occurs twice, and which answer
    belongs to which line is then unknown."""
    ids = Repeats()
    for line in lines(requests):
        if not line.blank:
            ids.add((custom_id_of(line.raw) or "").encode("utf-8", "surrogatepass"))
    again = ids.suspects()
    if again:
        say(f"--reuse {safe(requests)}: ids occur more than once; nothing is taken for these")
    none = ids.repeated > len(again)
    return lambda custom_id: not none and hash(custom_id.encode("utf-8", "surrogatepass")) not in again


def _object(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{safe(path)} line {number} is no request", "mend that line")
    return found


# --- taking them ---------------------------------------------------------------------------------


def require_answers(earlier: list[Path]) -> None:
    """Raises BadInput where an earlier job cannot be reused: before the new one is made, which would be paid whole."""
    for path in earlier:
        next(answers_of(path), None)


def take(job: Job, earlier: list[Path], clock: Clock) -> int:
    """Takes the answers of earlier jobs into a new one; returns how many. The same again changes nothing.

    Raises WrongUsage for the job itself, BadInput if something of this job was submitted already.
    """
    if not earlier:
        return job.reused
    for path in earlier:
        same = path.exists() and path.samefile(job.request_file())
        if same or Job.folder_of(path) == job.folder or path == job.beside("results.jsonl"):
            raise WrongUsage(f"--reuse {safe(path)} is this very job", "name an earlier one")
    with job.locked(clock):
        if job.submitted() and job.attempts[0].kind == "reused":
            return job.attempts[0].requests
        if any(part.submission or part.batch for part in job.sent()) or any(
            attempt.cancelled_at is not None for attempt in job.attempts
        ):
            raise BadInput(
                f"{safe(job.request_file())} was submitted or cancelled already; --reuse comes before that",
                f"{next_command('run_batch.py', job.request_file())} goes on with it as it is;"
                " or make the request file under another name",
            )
        before = _files(job)
        job.record.attempts = [attempt_over_all(job.requests)]
        attempt = _known_from(job, earlier, clock)
        if attempt is not None:
            job.record.attempts = [attempt]
        job.save()
        for path in before:  # only now: a kill leaves the record with the files that it names
            path.unlink(missing_ok=True)
        return job.reused


def _known_from(job: Job, earlier: list[Path], clock: Clock) -> Attempt | None:
    """The attempt of what earlier jobs have answered, or None."""
    import sqlite3  # the one thing here that some builds of Python lack

    try:
        # A temporary database, so that memory stays flat.
        with closing(sqlite3.connect("", isolation_level=None)) as known:
            known.execute("PRAGMA journal_mode = OFF")
            known.execute("CREATE TABLE answers (digest BLOB, path BLOB, offset INTEGER, length INTEGER)")
            known.execute("BEGIN")
            rows = (
                (digest_of(answer.request), os.fsencode(answer.path), answer.offset, answer.length)
                for path in earlier
                for answer in answers_of(path)
            )
            known.executemany("INSERT INTO answers VALUES (?, ?, ?, ?)", rows)
            known.execute("CREATE INDEX by_digest ON answers (digest)")
            return _attempt(job, known, clock.now())
    except sqlite3.Error as error:
        raise BadInput(f"what earlier jobs answered cannot be noted down: {error}", "free some space") from None


def _files(job: Job) -> list[Path]:
    """The files of what was taken so far."""
    taken = [attempt for attempt in job.attempts if attempt.kind == "reused"]
    spools = [spool_files(job, part.batch)[0] for attempt in taken for part in attempt.parts if part.batch]
    return [*spools, *(job.request_file(attempt) for attempt in taken)]


def _attempt(job: Job, known: sqlite3.Connection, now: float) -> Attempt | None:
    """Writes the spools and the list of ids, under new names; one part for each section of the request file that has
    any."""
    own_folder(job.folder / "spool", job.folder)
    token = secrets.token_hex(4)
    path, parts, origin = job.folder / f"attempt-1-{token}.jsonl", list[Part](), list[list[int]]()
    with whole_file(path) as members:
        line = 0
        for section, span in enumerate(job.requests.sections, 1):
            # What stands for a batch; no id of the server's has a slash.
            name = f"reused/{token}/{len(parts) + 1}"
            batch = Batch(name, "completed", 0, 0, 0, now, 0.0, True, None, None, "", now, now)
            spool, start, ids = spool_files(job, batch)[0], members.tell(), hashlib.sha256()
            with whole_file(spool) as out:
                for custom_id, raw in _matches(job, span, known):
                    out.write(raw)
                    batch.completed += 1
                    member = json.dumps({"custom_id": custom_id}, ensure_ascii=False).encode() + b"\n"
                    members.write(member)
                    ids.update(member)
            count = batch.total = batch.completed
            if not count:
                spool.unlink()
                continue
            batch.fetched = Fetched(count, 0, "completed", True, [spool.stat().st_size, -1])
            lines_of_part = Span(line + 1, line + count, start, members.tell(), count, ids.hexdigest())
            parts.append(Part(len(parts) + 1, lines_of_part, batch=batch))
            origin.append([section, count])
            line += count
    if not parts:
        path.unlink()
        return None
    return Attempt(1, "reused", path.name, state_of(path), digest(path), line, origin, parts=parts)


def _matches(job: Job, span: Span, known: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """(custom_id, result line) of every request of a section that an earlier job has answered; of several answers the
    first."""
    first = "SELECT path, offset, length FROM answers WHERE digest = ? ORDER BY rowid LIMIT 1"
    with ExitStack() as opened:
        file_of = functools.cache(lambda path: opened.enter_context(open_regular(path)))
        for _, raw in request_lines(job.request_file(), span):
            request = json.loads(raw)
            for name, offset, length in known.execute(first, (digest_of(request),)):
                path = Path(os.fsdecode(name))
                file = file_of(path)
                file.seek(offset)
                line = json.loads(file.read(length))
                came_from = {"from": _results_name(path), "custom_id": line["custom_id"]}
                line |= {"custom_id": request["custom_id"], "reused": line.get("reused") or came_from}
                text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
                yield request["custom_id"], text.encode("utf-8", "surrogatepass") + b"\n"


def _results_name(path: Path) -> str:
    """The results file that an answer stands in, or would stand in: a spool lies in `old.job/spool/`."""
    folder = path.parent.parent.name
    return folder.removesuffix("job") + "results.jsonl" if path.parent.name == "spool" else path.name


# --- what would serve ----------------------------------------------------------------------------


def would_serve(job: Job) -> list[str]:
    """Names of earlier jobs in the folder that have answers for some of the first requests of this one."""
    wanted = set(_first_digests(job.request_file()))
    found = []
    for results in sorted(job.folder.parent.glob("*.results.jsonl"))[:20]:
        requests = results.with_name(results.name.removesuffix(".results.jsonl") + ".jsonl")
        if requests == job.request_file() or not requests.is_file():
            continue
        try:
            _require_its_own(requests, Job.load(requests), requests, results)
            same = wanted.intersection(_first_digests(requests))
        except BadInput:
            continue
        if same:
            found.append(requests.name)
    return found


def _first_digests(path: Path) -> Iterator[bytes]:
    for line in lines(path):
        if line.number > SAMPLE:
            return
        if not line.blank:
            yield digest_of(_object(line.raw, path, line.number))


def summary(job: Job, taken: int) -> str:
    rest = job.requests.requests - taken
    return f"{plural(taken, 'answer')} taken from earlier jobs; {plural(rest, 'request')} left to send"
