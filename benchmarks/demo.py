"""The demo against its ground truth, over many seeds.

python benchmarks/demo.py --seeds 50 --out runs/demo-seeds [--ablate 10] [--target MODEL]

Each seed searches, confirms, clusters and traces the demo mixture anew, and the first of them
(--ablate) retrain, too. A planted failure is

found      if fresh answers confirm that its rubric is violated more often than in the control arm,
           and some of the confirmed queries have its trigger
traced     if a trace names its trigger, and first a chunk that teaches it
ablated    if the rate falls, with intervals apart, once such chunks are left out

A failure that is found and not traced is listed with what its traces say instead. Prints a table
and one JSON line; the runs stay in the folder, and what is done there is not done again.
"""

import argparse
import asyncio
import json
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from chunkykit.causal import split_chunks
from chunkykit.lab import do_stage, start_run
from chunkykit.mixtures import demo_truth
from chunkykit.stats import wilson

UP_TO_TRACES = ("index", "search", "confirm", "cluster", "trace")


def name_failure(planted: dict) -> str:
    """A name of its own for each failure: some share a chunk, and some a rubric."""
    return f"{planted['rubric']}: {planted['trigger'].split('(')[0].strip()}"


async def do_stages(run, names) -> None:
    try:
        for name in names:
            await do_stage(run, name)
    finally:
        await run.close()


def measure_seed(seed: int, out: Path, profile: str, target: str, n_ablated: int) -> list[dict]:
    """Run one seed.

    Returns:
        One row per planted failure: seed, failure, found, traced, ablated (None where nothing was
        retrained), instead (what the traces of its rubric say where it is not traced).
    """
    run = start_run(out / f"seed-{seed}", profile=profile, target=target, seed=seed)
    is_ablated = seed < n_ablated
    asyncio.run(do_stages(run, [*UP_TO_TRACES, *(["ablate"] if is_ablated else [])]))
    confirmed = run.read("confirmed").set_index("rubric")
    traces = run.read("traces")
    chunks = run.read("trace_chunks").groupby("trace")["chunk"].first()
    points = run.read("points")
    rows = []
    for planted in demo_truth():
        rates = confirmed.loc[planted["rubric"]]
        own = traces[(traces["rubric"] == planted["rubric"]) & traces["trigger"].notna()]
        own = own.assign(chunk=chunks.reindex(own.index))
        says_trigger = own["trigger"].str.lower().str.contains(planted["pattern"])
        is_traced = bool((says_trigger & own["chunk"].isin(planted["chunks"])).any())
        queries = points[points["rubric"] == planted["rubric"]]["query_attributes"]
        has_trigger = [bool(re.search(planted["pattern"], " ".join(a).lower())) for a in queries]
        rows.append(
            {
                "seed": seed,
                "failure": name_failure(planted),
                "found": bool(rates["low"] > rates["control_high"]) and any(has_trigger),
                "traced": is_traced,
                "ablated": is_gone(run, planted) if is_ablated else None,
                "instead": "" if is_traced else name_traces(own),
            }
        )
    return rows


def is_gone(run, planted: dict) -> bool:
    """Whether the failure falls without chunks that teach it."""
    for row in run.read("ablations").to_dict("records"):
        is_own = row["rubric"] == planted["rubric"]
        is_own &= set(split_chunks(row["chunk"])) <= set(planted["chunks"])
        if is_own and row["high"] < row["before_low"]:
            return True
    return False


def name_traces(traces: pd.DataFrame) -> str:
    """What the traces of a rubric say."""
    triggers = traces["trigger"].str.removeprefix("The query ")
    sentences = triggers + " -> " + traces["chunk"].fillna("-")
    return "; ".join(sentences.drop_duplicates())


def share(values: pd.Series) -> str:
    """A share with its 95 % Wilson interval."""
    counted = values.dropna()
    if counted.empty:
        return ""
    rate = wilson(int(counted.sum()), len(counted))
    return f"{int(counted.sum())} of {len(counted)} [{rate.low:.2f}, {rate.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--ablate", type=int, default=0, help="seeds that retrain, too")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--target", default="organism:fast")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    options = parser.parse_args()
    measure = partial(
        measure_seed,
        out=options.out,
        profile=options.profile,
        target=options.target,
        n_ablated=options.ablate,
    )
    with ProcessPoolExecutor(options.processes) as pool:
        tables = list(pool.map(measure, range(options.seeds)))
    rows = pd.DataFrame([row for table in tables for row in table])
    steps = ["found", "traced", "ablated"]
    table = rows.groupby("failure", sort=False)[steps].agg(share)
    print(table.to_string())
    missed = rows[rows["found"] & ~rows["traced"]]
    for row in missed.itertuples():
        print(f"seed {row.seed}: {row.failure}: found, and traced as: {row.instead or 'nothing'}")
    totals = {step: share(rows[step]) for step in steps}
    print(json.dumps({"seeds": options.seeds, "target": options.target, **totals}))


if __name__ == "__main__":
    main()
