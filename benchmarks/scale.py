"""How an index and a trace grow with the rows: seconds, memory, and the same index whoever did the work.

python benchmarks/scale.py [--rows 10000 100000 1000000] [--describer lexical|made] [--distinct 0.1] [--workers 2] [--dask] --out FOLDER

lexical: rows of the demo recipe, described by the lexical describer. made: the same rows with ten sentences a side made of words drawn by
the text, of which a share --distinct stands nowhere else: what an LLM describer's would be like in number. Each size runs in a
process of its own; memory is the largest process's. A trace is one crux that was not asked before, on an index that is opened anew.
"""

import argparse
import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.index import ROWS_PER_SHARD, describe_shards, finish_index, open_trace_index
from chunkykit.mixtures import demo_rows, read_batches
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer

WORDS = [
    a + b
    for a in "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()
    for b in "ran len mit kor dus tal ver nis gom pas".split()
]
DISTINCT = 0.1


def made(text: str, side: str) -> list[str]:
    draw = np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))
    common = [
        f"The {side} is about {WORDS[i % 40]} and {WORDS[i // 40 % 200]}"
        for i in draw.integers(8000, size=10)
    ]
    return [
        s
        if draw.random() >= DISTINCT
        else f"The {side} {' '.join(WORDS[i] for i in draw.integers(200, size=6))}"
        for s in common
    ]


async def describe_made(texts, side):
    return [made(text, side) for text in texts]


def write_rows(path: Path, n: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for seed in range(-(-n // 10_000)):
            for i, row in enumerate(demo_rows(min(10_000, n - seed * 10_000), seed)):
                mark = " ".join(
                    WORDS[(x + i) % 200] for x in (seed, 13 * seed + i // 200, i // 7)
                )  # no two rows alike
                row |= {
                    side: f"{row[side]} {mark.capitalize()}." for side in ("prompt", "response")
                }
                file.write(json.dumps(row) + "\n")


def peak() -> dict:
    return {
        f"peak_gb_{who}": round(resource.getrusage(kind).ru_maxrss / 2**20, 2)
        for who, kind in (("main", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN))
    }


def digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*.*") if p.suffix in (".npy", ".arrow"))
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()[
        :12
    ]


def build_one(a, n: int) -> dict:
    source, folder, embed = (
        a.out / f"rows-{n}.jsonl",
        a.out / f"index-{a.describer}-{n}",
        load_embedder(),
    )
    if not source.exists():
        write_rows(source, n)
    say = describe_lexically if a.describer == "lexical" else describe_made
    batches = (m.rows for m in read_batches(source, ROWS_PER_SHARD))
    began = time.perf_counter()
    if a.dask:
        from dask.distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=a.workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            asyncio.run(describe_shards(folder, batches, say, client.get_executor()))
    elif a.workers:
        with ProcessPoolExecutor(a.workers) as executor:
            asyncio.run(describe_shards(folder, batches, say, executor))
    else:
        asyncio.run(describe_shards(folder, batches, say))
    described = time.perf_counter()
    built = finish_index(folder, embed)
    ended = time.perf_counter()
    sides = {
        side: {k: v for k, v in c.items() if k != "undescribed"}
        for side, c in built.meta["sides"].items()
    }
    return {
        "rows": n,
        "describer": a.describer,
        "describe_s": round(described - began, 1),
        "finish_s": round(ended - described, 1),
        **peak(),
        **sides,
        "gb_on_disk": round(
            sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**30, 2
        ),
        **({"digest": digest(folder)} if a.digest else {}),
    }


def trace_one(a, n: int) -> dict:
    began = time.perf_counter()
    embed = load_embedder()
    index = open_trace_index(a.out / f"index-{a.describer}-{n}", embed)
    opened = time.perf_counter()
    tracer, of, times = Tracer(index, embed), load_rubric("rebut"), []
    side, rng = index.sides["response"], np.random.default_rng(0)
    most = np.argsort(-np.diff(side.starts))[:40]
    cruxes = [
        side.sentences[int(s)].as_py()
        for s in [
            *most[:10],
            *rng.choice(len(side.sentences), min(10, len(side.sentences)), replace=False),
        ]
    ]
    for crux in cruxes:
        query = [
            index.query.sentences[int(s)].as_py()
            for s in index.query.ids[rng.integers(n)]
            if s >= 0
        ]
        start = time.perf_counter()
        tracer.trace(query, [crux], of)
        times.append(time.perf_counter() - start)
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30
    start = time.perf_counter()
    tracer.read(
        [
            side.sentences[int(s)].as_py()
            for s in rng.choice(len(side.sentences), min(100, len(side.sentences)), replace=False)
        ]
    )
    batch = time.perf_counter() - start
    recall = [
        len(set(exact) & set(near)) / max(1, len(exact))
        for exact, near in (
            (tracer.evidence(c).rows, Tracer(index, embed, probes=a.probes).evidence(c).rows)
            for c in cruxes
        )
    ]
    return {
        "rows": n,
        "attributes": int((side.ids >= 0).sum()),
        "distinct": len(side.sentences),
        "open_s": round(opened - began, 2),
        "first_trace_s": round(times[0], 3),
        "trace_s_median": round(float(np.median(times)), 3),
        "trace_s_max": round(max(times[1:]), 3),
        "hundred_cruxes_s": round(batch, 2),
        "rss_gb": round(rss, 2),
        "peak_gb": peak()["peak_gb_main"],
        f"recall_{a.probes}_probes": round(float(np.mean(recall)), 3),
    }


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    ap.add_argument("--describer", choices=("lexical", "made"), default="lexical")
    ap.add_argument("--distinct", type=float, default=DISTINCT)
    ap.add_argument("--workers", type=int, default=2, help="0: none, everything in one process")
    ap.add_argument("--dask", action="store_true")
    ap.add_argument("--digest", action="store_true", help="hash the index")
    ap.add_argument("--probes", type=int, default=64)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--do", choices=("build", "trace"), help=argparse.SUPPRESS)
    a = ap.parse_args()
    globals()["DISTINCT"] = a.distinct
    a.out.mkdir(parents=True, exist_ok=True)
    if a.do:
        print(json.dumps({"build": build_one, "trace": trace_one}[a.do](a, a.rows[0])), flush=True)
        return
    for n in a.rows:
        for do in ("build", "trace"):
            options = [
                "--describer",
                a.describer,
                "--distinct",
                a.distinct,
                "--workers",
                a.workers,
                "--probes",
                a.probes,
                "--out",
                a.out,
                "--rows",
                n,
                "--do",
                do,
                *(["--dask"] if a.dask else []),
                *(["--digest"] if a.digest else []),
            ]
            subprocess.run([sys.executable, __file__, *map(str, options)], check=True)


if __name__ == "__main__":
    main()
