"""Which flags of create_batch_file.py go together, and the texts and files they name: judged before rows are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base.failures import BadInput, WrongUsage
from ..base.files import open_regular
from ..base.text import NO_TEXT, safe
from ..rows.file_kind import START_BYTES, encoding_of, kind_of, not_text
from .endpoints import ENDPOINTS, endpoint_meant
from .line_json import Unreadable, parse
from .parts import PART_BYTES, PART_REQUESTS

_AT_MOST = {"part_requests": PART_REQUESTS, "part_bytes": PART_BYTES, "limit": None, "sample": None}

# Flags by the names that argparse gives them.
_OF_EVERY_MODE = frozenset(("json", "quiet", "part_requests", "part_bytes"))
_OF_A_FILE = ("format", "delimiter", "encoding", "sheet", "match", "recursive")
_OF_ROWS = (*_OF_A_FILE, "id_column", "limit", "sample", "seed", "empty", "image_column", "template")
_ONE_OF = (
    ("prompt", "template"),
    ("prompt", "prompt_file"),
    ("prompt_file", "template"),
    ("system", "system_file"),
    ("limit", "sample"),
    ("dry_run", "reuse"),
)
_TEXTS = ("prompt", "system", "model", "id_column", "image_column", "choices", "stop", "set", "endpoint", "delimiter")


def flag(name: str) -> str:
    return "REQUESTS" if name == "requests" else "--" + name.replace("_", "-")


def require_sense(given: Mapping[str, Any], examples: str) -> None:
    """Raises WrongUsage for flags that cannot be meant, or would have no effect beside the others.

    `given`: only those that stand on the command line.
    """
    for name, most in _AT_MOST.items():
        number = given.get(name, 1)
        if not 1 <= number <= (most or number):
            raise WrongUsage(f"{flag(name)} {number}: expected at least 1" + (f", at most {most}" if most else ""))
    if "check" in given:
        own = {"check"} if given["check"] else {"check", "requests"}
        _require_only(given, own, "--check, which looks at one file and writes nothing")
    elif "fix" in given:
        _require_only(given, {"fix", "requests"}, "--fix, which writes a mended copy of REQUESTS")
    if not given.get("check") and "requests" not in given:
        missing = "no request file named" + ("" if {"input", "prompt"} & set(given) else ", and no source")
        raise WrongUsage(missing, "for example:" + examples)
    if not {"check", "fix"} & set(given):
        _require_making(given, examples)


def _require_making(given: Mapping[str, Any], examples: str) -> None:
    if not {"input", "prompt", "prompt_file"} & set(given):
        raise WrongUsage("no source: neither --input nor --prompt", "for example:" + examples)
    path = given["requests"]
    if path.suffix != ".jsonl":
        raise WrongUsage(f"{safe(path)}: the request file's name ends in .jsonl; rows are named by --input")
    for name in () if "input" in given else _OF_ROWS:
        if name in given:
            raise WrongUsage(f"{flag(name)} is about the rows of --input, and there is no --input")
    if "seed" in given and "sample" not in given:
        raise WrongUsage("--seed is of --sample, and there is no --sample")
    if "input" in given and len(given.get("prompt", ())) > 1:
        raise WrongUsage("several --prompt need no --input: with rows there is one template")
    for one, other in _ONE_OF:
        if one in given and other in given:
            raise WrongUsage(f"{flag(one)} and {flag(other)}: one of them")


def _require_only(given: Mapping[str, Any], own: set[str], mode: str) -> None:
    others = sorted(set(given) - own - _OF_EVERY_MODE)
    if others:
        raise WrongUsage(f"{', '.join(map(flag, others))}: no effect beside {mode}", "leave it out")


def texts(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that hold texts, each in UTF-8 whatever the locale is.

    Raises WrongUsage for a text that cannot be sent, or that names a file where the text itself is expected.
    """
    found: dict[str, Any] = {}
    for name in (name for name in _TEXTS if name in given):
        several = isinstance(given[name], list)
        made = [_text(flag(name), text) for text in (given[name] if several else [given[name]])]
        for text in made if name in ("prompt", "system") else ():
            if not text.strip():
                raise WrongUsage(f"{flag(name)} is empty; a text was expected")
            if _names_file(text):
                what = f"{flag(name)} {safe(text, 80)} would be sent as it is"
                raise WrongUsage(what, f"{flag(name)}-file {safe(text.removeprefix('@'))}")
        found[name] = made if several else made[0]
    if "endpoint" in found:
        url = endpoint_meant(found["endpoint"])
        if not url:
            raise WrongUsage(f"--endpoint {safe(found['endpoint'], 60)}: expected one of {', '.join(ENDPOINTS)}")
        found["endpoint"] = url
    return found


def _text(name: str, given: str) -> str:
    if not NO_TEXT.search(given):
        return given
    try:
        return os.fsencode(given).decode()  # in a plain locale the bytes of UTF-8 come as halves of surrogate pairs
    except UnicodeError:
        raise WrongUsage(f"{name} {safe(given, 60)}: not UTF-8", "write it in UTF-8") from None


def _names_file(text: str) -> bool:
    """Whether a text is a file's name where the text itself is expected, or `@` and one, as other tools take it."""
    if "{" in text or "\n" in text or len(text) > 250:
        return False
    named = text.removeprefix("@")
    is_marked = text[0] == "@"
    if is_marked and len(text.split()) == 1:
        return True
    return (is_marked or Path(named).suffix != "") and os.path.isfile(named)  # False also for what no name can be


def _bytes(flag: str, path: Path) -> bytes:
    """The text in a file, as UTF-8 without a mark. Raises BadInput for what is no text."""
    try:
        with open_regular(path) as file:
            raw = file.read()
    except BadInput as error:
        raise BadInput(f"{flag}: {error.what}", error.next_step) from None
    kind, encoding = kind_of(raw[:START_BYTES]), encoding_of(raw)
    if kind is not None:
        failure = not_text(path, kind)
        raise BadInput(f"{flag} {failure.what}", failure.next_step)
    try:
        raw = raw if encoding is None else raw.decode(encoding).encode()
    except UnicodeError:
        raise BadInput(f"{flag} {safe(path)} is not {encoding}, as its mark says", "save it as UTF-8 text") from None
    if b"\0" in raw:
        raise BadInput(f"{flag} {safe(path)} is no text: it holds NUL bytes", "save it as UTF-8 text")
    return raw


def json_file(flag: str, path: Path) -> Any:
    """The JSON in a file that a flag names. Raises BadInput."""
    raw = _bytes(flag, path)
    try:
        return parse(raw, "one JSON value")
    except Unreadable as error:
        what = f"{flag} {safe(path)} is not JSON: {safe(error.value, 60)}; expected {error.expected}"
        raise BadInput(what, "mend that file") from None


def text_file(flag: str, path: Path) -> str:
    """The text in a file that a flag names, without the last line end. Raises BadInput."""
    raw = _bytes(flag, path)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{flag} {safe(path)} is not UTF-8: {safe(error.reason)}", "save it as UTF-8 text") from None
    if not text.strip():
        raise BadInput(f"{flag} {safe(path)} is empty; a text was expected")
    return text.replace("\r\n", "\n").removesuffix("\n")
