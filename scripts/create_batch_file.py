#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.31,<3"]
# ///
"""Make a request file from rows and a prompt template, or check one made elsewhere. Free, and offline.

Reads:   --input: CSV, TSV, JSONL, JSON arrays, plain lines, Parquet (with pyarrow), Excel (with python-calamine or
         openpyxl), a folder of texts or of images, a request file, or - for stdin (kept in the job folder, since
         it is read again for --output).
Writes:  REQUESTS (ends in .jsonl; one request a line) and the job record beside it. A source is never altered.
Stdout:  the path of the request file; --json: one object.
Exit:    0; 2 wrong usage; 3 a row, a request or a file that must be mended: the first 20 problems, and a count by kind.

Templates: {name} is a column, {a.b} a key within a key (JSON). A {name} that is no column is an error; all other
         braces stay. {{name}} writes {name}. Lines and texts have the column {text}, folders also {file}.

Examples:
  create_batch_file.py reviews.jsonl --input reviews.csv --model M --prompt 'Label this review: {text}' --max-tokens 20
  create_batch_file.py trial.jsonl --input reviews.csv --model M --prompt 'Label: {text}' --limit 5
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

from doubleword.base.command import parser, run
from doubleword.base.console import answer, say
from doubleword.base.errors import TYPE_CHECKING, Clock, ExitCode, WrongUsage
from doubleword.base.text import plural, safe

if TYPE_CHECKING:
    from typing import Any

    from doubleword.request_file.check import Report

ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses", "messages")
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
    add("--system", metavar="TEXT", help="system prompt, a template too")
    add("--template", type=Path, metavar="FILE", help="JSON list of messages (several turns) in place of --prompt")
    add("--image-column", metavar="COL", help="column of image files or addresses, shown beside the prompt")
    add("--endpoint", default="/v1/chat/completions", metavar="URL", help="/v1/ and one of " + ", ".join(ENDPOINTS))
    add("--max-tokens", type=int, metavar="N", help="longest answer, in tokens: bounds the cost")
    add("--temperature", type=float, metavar="T")
    add("--top-p", type=float, metavar="P")
    add("--stop", action="append", metavar="S", help="ends an answer; may be repeated")
    add("--schema", type=Path, metavar="FILE", help="JSON schema that every answer must fit")
    add("--tools", type=Path, metavar="FILE", help="JSON list of tools")
    add("--set", action="append", metavar="KEY=JSON", help="any other parameter, such as reasoning_effort='\"low\"'")
    add = flags.add_argument_group("what is done").add_argument
    add("--dry-run", action="store_true", help=f"print the first {SHOWN} requests as they would be sent; write nothing")
    add("--check", nargs="?", const="", metavar="FILE", help="check an existing request file; write nothing")
    add("--fix", type=Path, metavar="OUT", help="write a copy of REQUESTS with what can be mended without guessing")
    add("--part-requests", type=int, default=50_000, metavar="N", help="requests in a part, at most (50,000)")
    add("--part-bytes", type=int, default=200_000_000, metavar="N", help="bytes in a part, at most (200,000,000)")
    args = flags.parse_args(arguments)
    if not args.endpoint.startswith("/v1/"):
        args.endpoint = "/v1/" + args.endpoint.lstrip("/")
    if args.endpoint[4:] not in ENDPOINTS:
        raise WrongUsage(f"--endpoint {safe(args.endpoint, 60)}", "one of " + ", ".join(ENDPOINTS))
    for name, most in (("part_requests", 50_000), ("part_bytes", 200_000_000), ("limit", None), ("sample", None)):
        number = getattr(args, name)
        if number is not None and not 1 <= number <= (most or number):
            flag = "--" + name.replace("_", "-")
            raise WrongUsage(f"{flag} {number}: expected at least 1" + (f", at most {most}" if most else ""))
    return args


def main(arguments: Sequence[str], clock: Clock) -> int:
    args = _arguments(arguments)
    existing = Path(args.check) if args.check else args.requests
    if existing is None:
        missing = "no request file named" + ("" if args.input or args.prompt else ", and no source")
        raise WrongUsage(missing, "for example:" + _examples())
    if args.fix or args.check is not None:
        return _existing(existing, args)
    if args.input == "":
        raise WrongUsage("--input is empty", "name a file, a folder, or - for stdin")
    if args.input is None and not args.prompt:
        raise WrongUsage("no source: neither --input nor --prompt", "for example:" + _examples())
    if existing.suffix != ".jsonl":
        raise WrongUsage(f"{safe(existing)}: the request file's name ends in .jsonl; rows are named by --input")
    if args.input is not None and len(args.prompt or ()) > 1:
        raise WrongUsage("several --prompt need no --input: with rows there is one template")
    if args.template and args.prompt:
        raise WrongUsage("--template takes the place of --prompt: one of them")
    if args.limit and args.sample:
        raise WrongUsage("--limit and --sample: one of them")
    return _make(existing, args, clock)


def _examples() -> str:
    lines = (__doc__ or "").partition("Examples:\n")[2].splitlines()
    return "".join(f"\n  {line.strip()}" for line in lines[:3])


def _make(path: Path, args: Namespace, clock: Clock) -> int:
    from tempfile import gettempdir

    from doubleword.job import begin
    from doubleword.job.job import Job
    from doubleword.job.next_step import next_step
    from doubleword.request_file import write
    from doubleword.rows.source import describe
    from doubleword.rows.stdin import kept_stdin
    from doubleword.rows.tally import Tally

    source, tally = None, Tally()
    if args.input is not None:
        options = {key: getattr(args, key) for key in ("delimiter", "encoding", "sheet", "match", "recursive")}
        options |= {key: getattr(args, key) for key in ("id_column", "limit", "sample", "seed", "empty")}
        rows = Path(args.input)
        if args.input == "-":
            rows = kept_stdin(Path(gettempdir()) if args.dry_run else Job.folder_of(path), args.format)
            say(f"stdin is kept as {safe(rows)}: download.py --output reads it again")
        source = describe(rows, form=args.format, tally=tally, **options)
    if args.dry_run:
        preview = write.preview(args, source, SHOWN)
        for line in tally.notes():
            say(f"note: {line}")
        answer([*map(_line, preview)], _facts(path, preview=preview, notes=tally.notes()))
        return ExitCode.DONE
    report, job = begin.build(path, args, source, clock, tally)
    answer([str(path)], _summary(path, report, "made", job=str(job.folder), next=next_step(job)))
    return ExitCode.DONE


def _existing(path: Path, args: Namespace) -> int:
    from doubleword.base.text import next_command
    from doubleword.job.job import Job
    from doubleword.request_file import check, fix

    fixed: list[str] = []
    if args.fix:
        fixed = fix.mend(path, args.fix)
        path = args.fix
        for what in fixed or ["nothing to mend"]:
            say(f"fix: {what}")
    report = check.check(path, part_requests=args.part_requests, part_bytes=args.part_bytes)
    report.require(path)
    record = Job.folder_of(path)
    job = str(record) if record.exists() else None
    answer([str(path)], _summary(path, report, "sound", job=job, fixed=fixed, next=next_command("upload.py", path)))
    return ExitCode.DONE


def _summary(path: Path, report: "Report", state: str, **more: "Any") -> "dict[str, Any]":
    """Says what the file holds, and returns the facts of it."""
    parts, models = len(report.spans), ", ".join(safe(model, 80) for model in list(report.models)[:5])
    say(
        f"{safe(path)}: {state}; {plural(report.requests, 'request')}, {report.size} bytes, {plural(parts, 'part')}, "
        f"model {models}, about {report.input_tokens} input tokens"
    )
    for line in report.notes + report.warnings:
        say(f"note: {line}")
    sizes = {
        key: getattr(report, key) for key in ("requests", "models", "endpoint", "input_tokens", "notes", "warnings")
    }
    return _facts(path, bytes=report.size, parts=parts, **sizes, **more)


def _facts(path: Path, **known: "Any") -> "dict[str, Any]":
    """The one object of --json: the same keys every time."""
    empty: dict[str, Any] = {"request_file": str(path), "requests": 0, "bytes": 0, "parts": 0, "models": {}}
    empty |= {"endpoint": "", "input_tokens": 0, "notes": [], "warnings": [], "preview": [], "fixed": []}
    return empty | {"job": None, "next": None} | known


def _line(request: "dict[str, Any]") -> str:
    import json

    return json.dumps(request, ensure_ascii=False)


if __name__ == "__main__":
    run(main)
