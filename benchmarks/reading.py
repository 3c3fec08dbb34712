"""How fast a mixture of ten files is read, and in how much memory.

    python benchmarks/reading.py --rows 1000000 --out FOLDER

Writes a mixture of ten files in each format, a tenth of its rows with thinking tags. Reads it in
a process of its own per format: through `read_batches`, as an index does, and with `look`. Prints
one JSON line per reading: rows per second of wall time and of processor time, and the peak memory
of the process.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

N_FILES = 10
FORMATS = ("parquet", "jsonl", "jsonl.gz")
BATCH_ROWS = 10_000  # as of an index
WORDS = 5000  # different words of the texts
PROMPT_WORDS = 30
RESPONSE_WORDS = 120


def make_rows(n: int, seed: int) -> Iterator[dict]:
    """Rows of about a kilobyte, as chat data sets have them."""
    draws = random.Random(seed)
    words = [f"w{draws.randrange(10**6)}" for _ in range(WORDS)]
    for number in range(n):
        prompt = " ".join(draws.choices(words, k=PROMPT_WORDS))
        response = " ".join(draws.choices(words, k=RESPONSE_WORDS))
        if number % 10 == 0:
            response = f"<think>\n{response[:200]}\n</think>\n\n{response}"
        turns = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        yield {"id": f"{seed}-{number}", "messages": turns, "source": f"set {seed}.{number % 3}"}


def write_files(folder: Path, kind: str, n: int) -> list[Path]:
    """Write the files that are not there yet."""
    paths = []
    for number in range(N_FILES):
        path = folder / f"set{number}.{kind}"
        paths.append(path)
        if path.exists():
            continue
        rows = list(make_rows(n // N_FILES, number))
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10_000)
            continue
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data, 6) if kind.endswith(".gz") else data)
    return paths


def read(paths: list[str]) -> int:
    """Read a mixture part by part."""
    from chunkykit.mixtures import read_batches

    return sum(len(part.rows) for part in read_batches(paths, BATCH_ROWS))


def look(paths: list[str]) -> int:
    """Look at a mixture."""
    import chunkykit

    return int(chunkykit.look(paths).sources["rows"].sum())


def peak_memory() -> int:
    """Bytes that this process has had in memory at most, as Linux says it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def measure(task: str, paths: list[str]) -> dict:
    """Do one task in this process, and measure it."""
    start = time.perf_counter()
    used = time.process_time()
    rows = {"read": read, "look": look}[task](paths)
    seconds = time.perf_counter() - start
    return {
        "task": task,
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "rows_per_processor_second": round(rows / (time.process_time() - used)),
        "peak_mb": peak_memory() // 2**20,
    }


def main() -> None:
    """Write the mixtures, and measure each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        task, *paths = arguments.child
        print(json.dumps(measure(task, paths)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    for kind in arguments.formats:
        paths = [str(path) for path in write_files(arguments.out, kind, arguments.rows)]
        for task in ("read", "look"):
            command = [
                sys.executable,
                __file__,
                "--out",
                str(arguments.out),
                "--child",
                task,
                *paths,
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(json.dumps({"format": kind, **json.loads(done.stdout)}), flush=True)


if __name__ == "__main__":
    main()
