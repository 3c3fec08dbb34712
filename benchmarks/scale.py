"""How an index and a trace grow with the number of rows: seconds, memory, and a digest.

python benchmarks/scale.py [--rows 10000 100000 1000000] [--describer lexical|made]
    [--distinct 0.1] [--workers 2] [--dask] --out FOLDER

Describer "lexical" describes rows of the demo recipe by the lexical describer. Describer "made"
gives the same rows ten sentences per side, of words drawn by the text; a share --distinct of them
stands nowhere else. They are as many as an LLM describer's would be. Each size runs in a process
of its own, and its memory is that of its largest process. A trace is that of one crux that was not
requested before, on an index that has just been opened.
"""

import argparse
import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.index import (
    IndexSide,
    ShardReader,
    describe_shards,
    finish_index,
    open_trace_index,
)
from chunkykit.mixtures import demo_rows
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer

FIRST_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu"
LAST_SYLLABLES = "ran len mit kor dus tal ver nis gom pas"
# 200 words
WORDS = [first + last for first in FIRST_SYLLABLES.split() for last in LAST_SYLLABLES.split()]
COMMON_SENTENCES = 8000  # sentences that many texts share
SENTENCES_PER_SIDE = 10
ROWS_PER_SEED = 10_000  # rows that are drawn with one seed
CRUXES_PER_KIND = 10  # traces of common sentences, and of sentences drawn at random
BATCH_CRUXES = 100  # cruxes that are read at once
GIB = 2**30  # bytes


async def describe_made(texts: list[str], side: str, distinct: float) -> list[list[str]]:
    """A describer whose sentences are as many as an LLM describer's."""
    return [make_sentences(text, side, distinct) for text in texts]


def make_sentences(text: str, side: str, distinct: float) -> list[str]:
    """Sentences drawn by a text, a share of which stands nowhere else."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:15], 16))
    sentences = []
    for i in rng.integers(COMMON_SENTENCES, size=SENTENCES_PER_SIDE):
        sentence = f"The {side} is about {WORDS[i % 40]} and {WORDS[i // 40 % 200]}"
        if rng.random() < distinct:
            words = [WORDS[j] for j in rng.integers(200, size=6)]
            sentence = f"The {side} {' '.join(words)}"
        sentences.append(sentence)
    return sentences


def unlike_rows(n: int) -> Iterator[dict]:
    """Rows of the demo recipe, each with words that make it unlike all others."""
    for seed in range(-(-n // ROWS_PER_SEED)):
        n_rows = min(ROWS_PER_SEED, n - seed * ROWS_PER_SEED)
        for i, row in enumerate(demo_rows(n_rows, seed)):
            places = (seed, 13 * seed + i // 200, i // 7)
            words = " ".join(WORDS[(place + i) % 200] for place in places)
            for side in ("prompt", "response"):
                row[side] = f"{row[side]} {words.capitalize()}."
            yield row


def write_rows(path: Path, n: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row in unlike_rows(n):
            file.write(json.dumps(row) + "\n")


def peak_memory() -> dict[str, float]:
    """GiB of this process and of its largest worker at their peak."""
    kinds = {"main": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    return {
        f"peak_gb_{name}": round(resource.getrusage(kind).ru_maxrss / 2**20, 2)
        for name, kind in kinds.items()
    }


def resident_gib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def digest_index(folder: Path) -> str:
    """Identify the arrays and sentences of an index."""
    paths = [path for path in folder.rglob("*.*") if path.suffix in (".npy", ".arrow")]
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(content).hexdigest()[:12]


def index_folder(args: argparse.Namespace, n: int) -> Path:
    return args.out / f"index-{args.describer}-{n}"


def describer_of(args: argparse.Namespace) -> Callable:
    if args.describer == "lexical":
        return describe_lexically
    return partial(describe_made, distinct=args.distinct)


def open_executor(args: argparse.Namespace, stack: ExitStack):
    """The executor that the command line names, or None; the stack closes it."""
    if args.dask:
        from dask.distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=None)
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        return client.get_executor()
    if args.workers:
        return stack.enter_context(ProcessPoolExecutor(args.workers))
    return None


def measure_build(args: argparse.Namespace, n: int) -> dict:
    """Build the index of n rows."""
    source = args.out / f"rows-{n}.jsonl"
    folder = index_folder(args, n)
    embed = load_embedder()
    if not source.exists():
        write_rows(source, n)
    began = time.perf_counter()
    with ExitStack() as stack:
        executor = open_executor(args, stack)
        asyncio.run(describe_shards(folder, ShardReader(source), describer_of(args), executor))
    described = time.perf_counter()
    index = finish_index(folder, embed)
    ended = time.perf_counter()
    files = [path for path in folder.rglob("*") if path.is_file()]
    measured = {
        "rows": n,
        "describer": args.describer,
        "describe_s": round(described - began, 1),
        "finish_s": round(ended - described, 1),
        **peak_memory(),
    }
    for side, counts in index.meta["sides"].items():
        measured[side] = {name: counts[name] for name in ("sentences", "clusters")}
    measured["gb_on_disk"] = round(sum(path.stat().st_size for path in files) / GIB, 2)
    if args.digest:
        measured["digest"] = digest_index(folder)
    return measured


def choose_cruxes(side: IndexSide, rng: np.random.Generator) -> list[str]:
    """The sentences of most rows, and sentences drawn at random."""
    rows_per_sentence = np.diff(side.starts)
    common = np.argsort(-rows_per_sentence)[:CRUXES_PER_KIND]
    m = len(side.sentences)
    drawn = rng.choice(m, min(CRUXES_PER_KIND, m), replace=False)
    return read_sentences(side, [*common, *drawn])


def read_sentences(side: IndexSide, ids) -> list[str]:
    return [side.sentences[int(i)].as_py() for i in ids if i >= 0]


def measure_recall(exact: Tracer, probing: Tracer, cruxes: list[str]) -> float:
    """The mean share of the exact evidence that a tracer with probes finds."""
    shares = []
    for crux in cruxes:
        rows = set(exact.evidence(crux).rows)
        shared = rows & set(probing.evidence(crux).rows)
        shares.append(len(shared) / max(1, len(rows)))
    return float(np.mean(shares))


def measure_trace(args: argparse.Namespace, n: int) -> dict:
    """Open the index of n rows and trace some cruxes."""
    began = time.perf_counter()
    embed = load_embedder()
    index = open_trace_index(index_folder(args, n), embed)
    opened = time.perf_counter()
    tracer = Tracer(index, embed)
    rubric = load_rubric("rebut")
    side = index.sides["response"]
    rng = np.random.default_rng(0)
    cruxes = choose_cruxes(side, rng)
    times = []
    for crux in cruxes:
        query = read_sentences(index.query, index.query.ids[rng.integers(n)])
        start = time.perf_counter()
        tracer.trace(query, [crux], rubric)
        times.append(time.perf_counter() - start)
    resident = resident_gib()
    m = len(side.sentences)
    batch = read_sentences(side, rng.choice(m, min(BATCH_CRUXES, m), replace=False))
    start = time.perf_counter()
    tracer.read(batch)
    batch_seconds = time.perf_counter() - start
    recall = measure_recall(tracer, Tracer(index, embed, probes=args.probes), cruxes)
    return {
        "rows": n,
        "attributes": int((side.ids >= 0).sum()),
        "distinct": m,
        "open_s": round(opened - began, 2),
        "first_trace_s": round(times[0], 3),
        "trace_s_median": round(float(np.median(times)), 3),
        "trace_s_max": round(max(times[1:]), 3),
        "hundred_cruxes_s": round(batch_seconds, 2),
        "rss_gb": round(resident, 2),
        "peak_gb": peak_memory()["peak_gb_main"],
        f"recall_{args.probes}_probes": round(recall, 3),
    }


STAGES = {"build": measure_build, "trace": measure_trace}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--describer", choices=("lexical", "made"), default="lexical")
    parser.add_argument("--distinct", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=2, help="0: one process does everything")
    parser.add_argument("--dask", action="store_true", help="workers of a Dask cluster")
    parser.add_argument("--digest", action="store_true", help="hash the index")
    parser.add_argument("--probes", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--do", choices=STAGES, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.do:
        print(json.dumps(STAGES[args.do](args, args.rows[0])), flush=True)
        return
    # argparse takes the last --rows, so the same command line runs one size in a process of its own
    command = [sys.executable, __file__, *sys.argv[1:]]
    for n in args.rows:
        for stage in STAGES:
            subprocess.run([*command, "--rows", str(n), "--do", stage], check=True)


if __name__ == "__main__":
    main()
