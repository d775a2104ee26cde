"""A download of 50,000 answers with a table in each form, against one without, on a fast server.

python tests/bench/table.py [BYTES_OF_A_ROW BYTES_OF_AN_ANSWER]

Without sizes three corpora, of which the first is that of the other benches:
- rows of 200 bytes and answers of 3,600 characters, so that 185 MB come down: what 1.3 times was promised for. Each
  answer is parsed once more for the table, looked through for formulas, and written a second time.
- rows of 200 bytes and answers of a word, 18 MB down: the download itself is short, so each step for a row shows. The
  merge hands such answers on, and they are not parsed again.
- rows of 3,000 bytes and answers of a word: 155 MB of rows are hashed, read, and written again beside a download of
  18 MB. For CSV their lines are copied; for the other forms the csv module alone takes half as long for them as all of
  that download, and 1.3 times cannot be had.
Beside them stands what plain Python takes for the table alone, without the download: where that is more than 0.3, no
tool in Python reaches 1.3 that reads the rows with the csv module and writes each once.
For Parquet, pyarrow has to be loaded first (0.3 s, 45 MiB), and what the answers are has to be known before the first
row is written.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from fast_server import BATCH, ERRORS, OUTPUT
from measure import REQUESTS, SCRIPTS, WORDS, bench_folder, compare, reviews, served

DOWNLOAD = """
import contextlib, io, json, shutil, sys, time
from pathlib import Path
record = Path(sys.argv[1])
shutil.rmtree(record.with_name("spool"), ignore_errors=True)
record.parent.with_suffix(".results.jsonl").unlink(missing_ok=True)
text = json.loads(record.read_text())
text["attempts"][0]["parts"][0]["batch"]["fetched"] = None
record.write_text(json.dumps(text))
import download
from doubleword.base.command_line import outcome
with contextlib.redirect_stdout(io.StringIO()):
    assert outcome(download.main, [str(record), "--quiet", *sys.argv[2:]]) == 0
"""
# What the modules of Python alone take for the same table, from results that lie there in order, all of which
# are texts: nothing is checked, guarded, kept as it was written, hashed, brought to the disk, or renamed.
PLAIN = """
import csv, json, sys, time
begun, used = time.perf_counter(), time.process_time()
rows, results, out = sys.argv[1:]
form = out.rpartition(".")[2]
if form == "parquet":
    import pyarrow.parquet
import orjson
with open(rows, newline="") as source, open(results, "rb") as answers, open(out, "w", newline="") as made:
    table = csv.reader(source)
    names = [*next(table), "answer"]
    texts = (orjson.loads(line)["response"]["body"]["choices"][0]["message"]["content"] for line in answers)
    joined = ((*cells, text) for cells, text in zip(table, texts, strict=True))
    if form == "jsonl":
        made.writelines(json.dumps(dict(zip(names, row)), ensure_ascii=False) + "\\n" for row in joined)
    elif form == "parquet":
        pyarrow.parquet.write_table(pyarrow.table([pyarrow.array(column) for column in zip(*joined)], names), out)
    else:
        csv.writer(made, "excel" if form == "csv" else "excel-tab").writerows([names, *joined])
print(time.perf_counter() - begun, time.process_time() - used)
"""
FORMS = ("csv", "tsv", "jsonl", "parquet")
WORD = 8
CORPORA = ((200, 3600), (200, WORD), (3000, WORD))  # bytes of a row, of an answer
GOAL = 1.3  # not reached in each: see above why, and README for what is


def prepare(folder: Path, size: int, answer: int) -> Path:
    """The rows, their requests, what the server would send, and the record of a batch that has ended."""
    sys.path.insert(0, str(SCRIPTS))
    from doubleword.base.failures import Clock
    from doubleword.job.job import Job
    from doubleword.service.server_objects import told_of

    chance, words = random.Random(1), [word.strip() or "and" for word in WORDS]
    rows = folder / "rows.csv"
    with rows.open("w", encoding="utf-8", newline="") as file:
        file.write("id,text,rating\r\n")
        for number in range(1, REQUESTS + 1):
            text = " ".join(chance.choices(words, k=size // 6)).replace('"', "'").replace(",", "")
            file.write(f'{number},"{text}, and so on",{number % 5}\r\n')
    requests = folder / "bench.jsonl"
    made = [str(SCRIPTS / "create_batch_file.py"), str(requests), "--input", str(rows), "--model", "m", "--quiet"]
    subprocess.run([sys.executable, *made, "--prompt", "The mood of: {text}"], check=True, stdout=subprocess.DEVNULL)
    with (folder / "bench.output").open("w", encoding="utf-8", newline="\n") as file:
        numbers = list(range(1, REQUESTS + 1))
        chance.shuffle(numbers)
        texts = reviews() if answer > WORD else (chance.choice(["positive", "negative", "mixed"]) for _ in numbers)
        for number, text in zip(numbers, texts, strict=True):
            message = {"content": text[:answer], "role": "assistant"}
            choice = {"finish_reason": "stop", "index": 0, "message": message}
            usage = {"completion_tokens": 20, "prompt_tokens": 900, "total_tokens": 920}
            body = {"choices": [choice], "id": f"resp_{number:032x}", "usage": usage}
            line: dict[str, object] = {"id": f"batch_req_{number:032x}", "custom_id": f"row-{number:06d}"}
            line |= {"response": {"status_code": 200, "request_id": None, "body": body}, "error": None}
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    job = Job.need(requests)
    counts = {"total": REQUESTS, "completed": REQUESTS, "failed": 0}
    batch = {"id": BATCH, "status": "completed", "request_counts": counts, "created_at": 1.0}
    batch |= {"output_file_id": OUTPUT, "error_file_id": ERRORS}
    with job.locked(Clock()):
        job.latest.parts[0].batch = told_of(batch, "batch", Clock()).batch
        job.save()
    return job.path


def main(size: int, answer: int) -> int:
    with bench_folder() as folder:
        # In a process of its own: the peak memory of a child is never reported below that of the parent it came from.
        subprocess.run([sys.executable, __file__, str(size), str(answer), str(folder)], check=True)
        record, output = folder / "bench.job/record.json", folder / "bench.output"
        with served(output):
            contenders: dict[str, tuple[str, list[str | Path]]] = {"without a table": (DOWNLOAD, [record])}
            for form in FORMS:
                contenders[form] = (DOWNLOAD, [record, "--output", folder / f"out.{form}"])
            for form in FORMS:
                files: list[str | Path] = [
                    folder / "rows.csv",
                    folder / "bench.results.jsonl",
                    folder / f"plain.{form}",
                ]
                contenders[f"{form} alone, plain Python"] = (PLAIN, files)
            what = f"rows of {size} bytes, answers of {answer}"
            fine = compare(
                f"download of {REQUESTS} answers, {what}, ratio to one without a table",
                contenders,
                dict.fromkeys(FORMS, GOAL),
            )
        shutil.rmtree(record.parent, ignore_errors=True)
        for made in (*folder.glob("out.*"), *folder.glob("plain.*"), *folder.glob("bench.*"), folder / "rows.csv"):
            made.unlink(missing_ok=True)  # of another size next time
    return 0 if fine else 1


if __name__ == "__main__":
    if len(sys.argv) > 3:
        prepare(Path(sys.argv[3]), int(sys.argv[1]), int(sys.argv[2]))
    else:
        corpora = [(int(sys.argv[1]), int(sys.argv[2]))] if len(sys.argv) > 2 else CORPORA
        raise SystemExit(max([main(*corpus) for corpus in corpora]))
