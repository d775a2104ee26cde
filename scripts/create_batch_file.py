#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Make a request file from rows and a prompt template, or check one made elsewhere. Free, and offline.

Reads:   --input: CSV, TSV, JSONL, JSON, plain lines, Parquet (with pyarrow), Excel (with python-calamine or
         openpyxl), a folder of texts or of images, a request file, or - for stdin (kept in the job folder, since
         it is read again for --output).
Writes:  REQUESTS (ends in .jsonl; one request a line) and the job record beside it. A source is never altered.
Stdout:  the path of the request file; --json: one object.
Exit:    0; 2 wrong usage; 3 a row, a request or a file that must be mended: the first 20 problems, and a count by kind.

Templates: {name} is a column, {a.b} a key within a cell of JSON. A {name} that is no column is an error; all other
         braces stay. {{name}} writes {name}. Lines and texts have the column {text}, folders also {file}.

Examples:
  create_batch_file.py reviews.jsonl --input reviews.csv --model M --prompt 'Mood of: {text}' --choices good,bad,mixed
  create_batch_file.py may.jsonl --input may.csv --model M --prompt 'Label: {text}' --reuse april.jsonl
  create_batch_file.py two.jsonl --model M --prompt 'Name a river.' --prompt 'Name a lake.'
  create_batch_file.py --check made_elsewhere.jsonl
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # python -I and -P leave it out

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from doubleword.base.command_line import Done, given, parser, run
from doubleword.base.console import say
from doubleword.base.failures import TYPE_CHECKING, Clock, ExitCode
from doubleword.base.text import next_command, safe

if TYPE_CHECKING:
    from doubleword.request_file.body import Asked

ENDPOINTS = "chat/completions, completions, embeddings, responses, messages"
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SHOWN = 3  # requests of a dry run


def _arguments(arguments: Sequence[str]) -> Namespace:
    flags = parser(__doc__)
    add = flags.add_argument
    add("requests", type=Path, nargs="?", metavar="REQUESTS", help="the request file to write")
    rows = flags.add_argument_group("rows")
    add = rows.add_argument
    add("--input", metavar="ROWS", help="file, folder, or - for stdin")
    add("--format", choices=("csv", "tsv", "jsonl", "json", "lines", "texts", "images", "parquet", "excel"))
    add("--delimiter", metavar="C", help="between the cells of a CSV (told from its first line)")
    add("--encoding", metavar="NAME", help="of a text source (UTF-8)")
    add("--sheet", metavar="NAME", help="of a workbook: its name, or its number from 1 (the first)")
    add("--match", metavar="GLOB", help="of a folder: the files that match alone, such as '*.png'")
    add("--recursive", action="store_true", help="of a folder: the files of its subfolders, too")
    add("--id-column", metavar="COL", help="the column of the custom_ids (row-000001, row-000002, ...)")
    add("--limit", type=int, metavar="N", help="the first N rows alone")
    add("--sample", type=int, metavar="N", help="N rows drawn at random, in their order")
    add("--seed", type=int, default=0, metavar="S", help="of --sample (0)")
    add("--empty", choices=("refuse", "keep", "skip"), default="refuse", help="a row whose used cell is empty (refuse)")
    add = flags.add_argument_group("requests").add_argument
    add("--model", metavar="M")
    add("--prompt", action="append", metavar="TEXT", help="template for each row; without --input a request itself")
    add("--prompt-file", type=Path, metavar="FILE", help="the same, from a file")
    add("--system", metavar="TEXT", help="system prompt, a template too")
    add("--system-file", type=Path, metavar="FILE", help="the same, from a file")
    add("--template", type=Path, metavar="FILE", help="JSON list of messages (several turns) in place of --prompt")
    add("--image-column", action="append", metavar="COL", help="image files or addresses to show; may be repeated")
    add("--endpoint", metavar="URL", help=f"/v1/ and one of {ENDPOINTS}")
    add("--choices", metavar="A,B,C", help="every answer is one of these words; quoted as in CSV")
    add("--schema", type=Path, metavar="FILE", help="JSON schema that every answer must fit")
    add("--max-tokens", type=int, metavar="N", help="longest answer, in tokens: bounds the cost")
    add("--reasoning-effort", choices=EFFORTS, help="how long the model thinks, where it can be told")
    add("--temperature", type=float, metavar="T")
    add("--top-p", type=float, metavar="P")
    add("--stop", action="append", metavar="S", help="ends an answer; may be repeated")
    add("--tools", type=Path, metavar="FILE", help="JSON list of tools")
    add("--set", action="append", metavar="KEY=JSON", help="any other parameter, such as seed=7")
    add = flags.add_argument_group("what is done").add_argument
    add("--reuse", type=Path, action="append", metavar="OTHER", help="an earlier job whose answers are taken")
    add("--dry-run", action="store_true", help=f"print the first {SHOWN} requests as they would be sent; write nothing")
    add("--check", nargs="?", const="", metavar="FILE", help="check an existing request file; write nothing")
    add("--fix", type=Path, metavar="OUT", help="write a copy of REQUESTS with what can be mended without guessing")
    add("--part-requests", type=int, default=50_000, metavar="N", help="requests in a part, at most (50,000)")
    add("--part-bytes", type=int, default=200_000_000, metavar="N", help="bytes in a part, at most (200,000,000)")
    args = flags.parse_args(arguments)
    from doubleword.request_file.flags import require_sense, texts

    here = given(args)
    require_sense(here, _examples())
    vars(args).update(texts(here))
    return args


def _examples() -> str:
    lines = (__doc__ or "").partition("Examples:\n")[2].splitlines()
    return "".join(f"\n  {line.strip()}" for line in lines[:3])


def main(arguments: Sequence[str], clock: Clock) -> Done:
    args = _arguments(arguments)
    if args.check is not None or args.fix:
        return _existing(Path(args.check or args.requests), args)
    asked = _asked(args)
    if args.input != "-":
        return _make(args, asked, args.input and Path(args.input), clock)
    from tempfile import TemporaryDirectory

    from doubleword.job.job import Job
    from doubleword.rows.stdin import kept_stdin

    if args.dry_run:
        with TemporaryDirectory() as folder, kept_stdin(Path(folder), args.format) as rows:
            return _make(args, asked, rows, clock)
    with kept_stdin(Job.folder_of(args.requests), args.format) as rows:
        say(f"stdin is kept as {safe(rows)}: download.py --output reads it again")
        return _make(args, asked, rows, clock)


def _asked(args: Namespace) -> "Asked":
    """What is asked, judged before any row is read."""
    from doubleword.request_file import body
    from doubleword.request_file.flag_parameters import Parameters
    from doubleword.request_file.flags import text_file
    from doubleword.rows.headers import folded

    prompts, system = tuple(args.prompt or ()), args.system
    if args.prompt_file:
        prompts = (text_file("--prompt-file", args.prompt_file),)
    if args.system_file:
        system = text_file("--system-file", args.system_file)
    single = ("max_tokens", "temperature", "top_p", "reasoning_effort", "choices", "schema", "tools")
    alone = {name: getattr(args, name) for name in single}
    parameters = Parameters(**alone, stop=tuple(args.stop or ()), settings=tuple(args.set or ()))
    about = prompts, system, args.template, tuple(args.image_column or ())
    model = args.model and folded(args.model)
    return body.judged(body.Asked(args.endpoint, model, *about, parameters))


def _make(args: Namespace, asked: "Asked", rows: "Path | None", clock: Clock) -> Done:
    from doubleword.job import begin
    from doubleword.job.next_step import next_step
    from doubleword.job.record import Options
    from doubleword.request_file import body, from_rows, line_json
    from doubleword.request_file.parts import Cutter
    from doubleword.results import reuse
    from doubleword.rows.left_out import Tally
    from doubleword.rows.source import describe

    path, limits, tally = args.requests, (args.part_requests, args.part_bytes), Tally()
    options = ("delimiter", "encoding", "sheet", "match", "recursive", "id_column", "limit", "sample", "seed", "empty")
    about = {key: getattr(args, key) for key in options}
    source = describe(rows, form=args.format, tally=tally, **about) if rows else None
    if args.dry_run:
        verdict, lines = from_rows.preview(path, body.composed(asked, source), Cutter(*limits), SHOWN, tally)
        say(verdict.said(path, "not written, would be sound"))
        facts = verdict.facts(path, preview=[*map(line_json.parse, lines)])
        return Done(ExitCode.DONE, [line.decode().rstrip() for line in lines], facts)
    reuse.require_answers(args.reuse or [])
    verdict, job = begin.build(path, asked, source, Options(*limits), clock, tally)
    taken = reuse.take(job, args.reuse or [], clock)
    say(verdict.said(path, "made"))
    if args.reuse:
        say(reuse.summary(job, taken))
    for name in () if args.reuse or job.submitted() else reuse.would_serve(job):
        say(f"note: {safe(name)} has answers to some of these requests: with --reuse {safe(name)} they cost nothing")
    facts = verdict.facts(path, job=str(job.folder), reused=taken, next=next_step(job))
    return Done(ExitCode.DONE, [str(path)], facts)


def _existing(path: Path, args: Namespace) -> Done:
    from doubleword.job.job import Job
    from doubleword.request_file import check, fix

    mended = None
    if args.fix:
        mended, path = fix.mend(path, args.fix), args.fix
        say(f"{safe(path)}: written; {mended.said()}")
    verdict = check.check(path, part_requests=args.part_requests, part_bytes=args.part_bytes, bodies=True)
    if mended:
        verdict.problems = [mended.before(problem) for problem in verdict.problems]
    verdict.require(path, written=mended is not None)
    say(verdict.said(path, "sound"))
    record, changes, fixed = Job.folder_of(path), *((mended.changes, mended.summary()) if mended else ([], []))
    facts = verdict.facts(path, job=str(record) if record.exists() else None, notes=verdict.notes + changes)
    facts |= {"fixed": fixed, "next": next_command("upload.py", path)}
    return Done(ExitCode.DONE, [str(path)], facts)


if __name__ == "__main__":
    run(main)
