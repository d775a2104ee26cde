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

from doubleword.base.command import parser, run
from doubleword.base.console import answer, say
from doubleword.base.errors import TYPE_CHECKING, Clock, ExitCode, WrongUsage
from doubleword.base.text import next_command, plural, safe

if TYPE_CHECKING:
    from typing import Any

    from doubleword.request_file.body import Asked
    from doubleword.request_file.check import Report
    from doubleword.rows.source import Source
    from doubleword.rows.tally import Tally

ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses", "messages")
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
    add("--endpoint", metavar="URL", help="/v1/ and one of " + ", ".join(ENDPOINTS))
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
    if args.endpoint is not None:
        args.endpoint = "/v1/" + args.endpoint.removeprefix("/").removeprefix("v1/")
        if args.endpoint[4:] not in ENDPOINTS:
            raise WrongUsage(f"--endpoint {safe(args.endpoint, 60)}: expected one of {', '.join(ENDPOINTS)}")
    for name, most in (("part_requests", 50_000), ("part_bytes", 200_000_000), ("limit", None), ("sample", None)):
        number = getattr(args, name)
        if number is not None and not 1 <= number <= (most or number):
            flag = "--" + name.replace("_", "-")
            raise WrongUsage(f"{flag} {number}: expected at least 1" + (f", at most {most}" if most else ""))
    _require_texts(args)
    return args


def _require_texts(args: Namespace) -> None:
    """Raises WrongUsage for a text that cannot be sent, or that names a file where the text itself is expected."""
    for name, given in vars(args).items():
        flag = "--" + name.replace("_", "-")
        for text in given if isinstance(given, list) else [given]:
            if not isinstance(text, str) or name == "input":
                continue
            if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
                raise WrongUsage(f"{flag} {safe(text, 60)}: not UTF-8", "write it in UTF-8")
            if name in ("prompt", "system") and not text.strip():
                raise WrongUsage(f"{flag} is empty; a text was expected")
            if name in ("prompt", "system") and _names_file(text):
                raise WrongUsage(f"{flag} {safe(text, 80)} would be sent as it is", f"{flag}-file {safe(text[1:])}")


def _names_file(text: str) -> bool:
    """Whether a text is `@` and a file, as other tools take it."""
    if text[0] != "@" or "{" in text or len(text) > 250:
        return False
    return len(text.split()) == 1 or Path(text[1:]).is_file()


def main(arguments: Sequence[str], clock: Clock) -> int:
    args = _arguments(arguments)
    existing = Path(args.check) if args.check else args.requests
    if existing is None:
        missing = "no request file named" + ("" if args.input or args.prompt else ", and no source")
        raise WrongUsage(missing, "for example:" + _examples())
    if args.fix or args.check is not None:
        if args.dry_run:
            raise WrongUsage("--dry-run is of making requests; --check writes nothing either, and --fix only OUT")
        return _existing(existing, args)
    if args.input == "":
        raise WrongUsage("--input is empty", "name a file, a folder, or - for stdin")
    if args.input is None and not (args.prompt or args.prompt_file):
        raise WrongUsage("no source: neither --input nor --prompt", "for example:" + _examples())
    if existing.suffix != ".jsonl":
        raise WrongUsage(f"{safe(existing)}: the request file's name ends in .jsonl; rows are named by --input")
    if args.input is not None and len(args.prompt or ()) > 1:
        raise WrongUsage("several --prompt need no --input: with rows there is one template")
    for one, other in (("prompt", "template"), ("prompt", "prompt_file"), ("prompt_file", "template")):
        _one_of(args, one, other)
    _one_of(args, "system", "system_file")
    _one_of(args, "limit", "sample")
    if args.image_column and args.input is None:
        raise WrongUsage("--image-column names a column of --input, and there is no --input")
    return _make(existing, args, clock)


def _one_of(args: Namespace, one: str, other: str) -> None:
    if getattr(args, one) and getattr(args, other):
        raise WrongUsage(f"--{one.replace('_', '-')} and --{other.replace('_', '-')}: one of them")


def _examples() -> str:
    lines = (__doc__ or "").partition("Examples:\n")[2].splitlines()
    return "".join(f"\n  {line.strip()}" for line in lines[:3])


def _asked(args: Namespace) -> "Asked":
    """What is asked, judged before any row is read."""
    from doubleword.request_file import body, flag_files
    from doubleword.request_file.parameters import Parameters

    prompts, system = tuple(args.prompt or ()), args.system
    if args.prompt_file:
        prompts = (flag_files.text_file("--prompt-file", args.prompt_file),)
    if args.system_file:
        system = flag_files.text_file("--system-file", args.system_file)
    parameters = Parameters(
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        stop=tuple(args.stop or ()),
        reasoning_effort=args.reasoning_effort,
        choices=args.choices,
        schema=args.schema,
        tools=args.tools,
        settings=tuple(args.set or ()),
    )
    images = tuple(args.image_column or ())
    asked = body.Asked(args.endpoint, args.model, prompts, system, args.template, images, parameters)
    body.judge(asked)
    return asked


def _source(path: Path, args: Namespace, tally: "Tally") -> "Source | None":
    from tempfile import gettempdir

    from doubleword.job.job import Job
    from doubleword.rows.source import describe
    from doubleword.rows.stdin import kept_stdin

    if args.input is None:
        return None
    options = {key: getattr(args, key) for key in ("delimiter", "encoding", "sheet", "match", "recursive")}
    options |= {key: getattr(args, key) for key in ("id_column", "limit", "sample", "seed", "empty")}
    rows = Path(args.input)
    if args.input == "-":
        rows = kept_stdin(Path(gettempdir()) if args.dry_run else Job.folder_of(path), args.format)
        say(f"stdin is kept as {safe(rows)}: download.py --output reads it again")
    return describe(rows, form=args.format, tally=tally, **options)


def _make(path: Path, args: Namespace, clock: Clock) -> int:
    from doubleword.job import begin
    from doubleword.job.next_step import next_step
    from doubleword.request_file import body, write
    from doubleword.request_file.parts import Cutter, Limits
    from doubleword.results import reuse
    from doubleword.rows.tally import Tally

    asked, limits, tally = _asked(args), Limits(args.part_requests, args.part_bytes), Tally()
    source = _source(path, args, tally)
    if args.dry_run:
        report, preview = write.preview(asked, body.composed(asked, source), Cutter(*limits), SHOWN, tally)
        report.require(path if source is None else Path(source.path), rows=source is not None and not asked.rewrites)
        answer([*map(_line, preview)], _summary(path, report, "not written, would be sound", preview=preview))
        return ExitCode.DONE
    report, job = begin.build(path, asked, source, limits, clock, tally)
    taken = reuse.take(job, args.reuse or [], clock)
    facts = _summary(path, report, "made", job=str(job.folder), reused=taken, next=next_step(job))
    if args.reuse:
        say(reuse.summary(job, taken))
    for name in () if args.reuse or job.submitted() else reuse.would_serve(job):
        say(f"note: {safe(name)} has answers to some of these requests: with --reuse {safe(name)} they cost nothing")
    answer([str(path)], facts)
    return ExitCode.DONE


def _existing(path: Path, args: Namespace) -> int:
    from doubleword.job.job import Job
    from doubleword.request_file import check, fix

    changes, fixed = list[str](), list[str]()
    if args.fix:
        mended = fix.mend(path, args.fix)
        path, changes, fixed = args.fix, mended.changes, mended.summary()
        say(f"{safe(path)}: written; {'; '.join(fixed) or 'nothing to mend, a copy'}")
        for change in changes:
            say(f"fix: {change}")
    report = check.check(path, part_requests=args.part_requests, part_bytes=args.part_bytes, bodies=True)
    if args.fix:
        report.problems = [mended.before(problem) for problem in report.problems]
    report.require(path, written=bool(args.fix))
    record = Job.folder_of(path)
    facts = _summary(path, report, "sound", fixed=fixed, next=next_command("upload.py", path))
    facts |= {"job": str(record) if record.exists() else None, "notes": report.notes + changes}
    answer([str(path)], facts)
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
    return empty | {"job": None, "reused": 0, "next": None} | known


def _line(request: "dict[str, Any]") -> str:
    import json

    return json.dumps(request, ensure_ascii=False)


if __name__ == "__main__":
    run(main)
