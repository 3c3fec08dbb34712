"""Which embedder traces best? Speed and attribution on the demo's own failures, and on real rebuttals where they are given.

python benchmarks/embedders.py [--run runs/demo] [--mixture M --pairs FILE --chunk NAME] wordllama onnx:FOLDER ...

The pairs of a finished demo run are traced with each embedder and held against the ground truth: chunk top-1, and a trigger
that says what was planted. `--mixture`, `--pairs` and `--chunk` do the same for a rebuttal set that should lead to one chunk.
"""

import argparse
import asyncio
import json
import re
import time

import pandas as pd

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import demo_truth, load_mixture
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer, select_crux


def described(rows):
    return [
        asyncio.run(describe_lexically(rows[c], s))
        for c, s in (("prompt", "query"), ("response", "response"))
    ]


def shares(tracer, pairs):
    """(chunk right, trigger right) over pairs of (rubric, query, response, chunk, trigger pattern)."""
    chunk = trigger = 0
    for of, query, response, wanted, pattern in pairs:
        cruxes = select_crux(describe_text(response, "response"), of, tracer.embed)
        traced = tracer.trace(describe_text(query, "query"), cruxes, of)
        chunk += len(traced.chunks) > 0 and traced.chunks["chunk"][0] == wanted
        trigger += bool(traced.trigger and re.search(pattern, traced.trigger.lower()))
    return chunk / len(pairs), trigger / len(pairs)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("embedders", nargs="+")
    ap.add_argument("--run", default="runs/demo")
    ap.add_argument("--mixture")
    ap.add_argument("--pairs")
    ap.add_argument("--chunk")
    a = ap.parse_args()
    tables = f"{a.run}/tables"
    rows, probes = (
        pd.read_parquet(f"{tables}/rows.parquet"),
        pd.read_parquet(f"{tables}/points.parquet"),
    )
    planted = {}
    for t in demo_truth():
        planted.setdefault(t["rubric"], []).append(t)
    of = {name: load_rubric(name) for name in planted}
    # rubrics with one planted chunk: the truth of each failing pair is then known
    pairs = [
        (
            of[p.rubric],
            p.query,
            p.response,
            planted[p.rubric][0]["chunk"],
            planted[p.rubric][0]["pattern"],
        )
        for p in probes.itertuples()
        if len(planted[p.rubric]) == 1
    ]
    sides = described(rows)
    real = load_mixture(a.mixture).rows if a.mixture else None
    real_sides = described(real) if a.mixture else None
    for name in a.embedders:
        embed = load_embedder(name)
        sentences = sorted({s for side in sides for attributes in side for s in attributes})
        began = time.perf_counter()
        embed(sentences)
        speed = len(sentences) / (time.perf_counter() - began)
        chunk, trigger = shares(Tracer(index_from_attributes(rows, *sides, embed), embed), pairs)
        line = {
            "embedder": name,
            "sentences_per_s": round(speed),
            "pairs": len(pairs),
            "chunk_top1": round(chunk, 3),
            "trigger_planted": round(trigger, 3),
        }
        if a.mixture:
            rebut = load_rubric("rebut")
            loaded = [json.loads(x) for x in open(a.pairs, encoding="utf-8")]
            known = [
                (rebut, x["query"], x.get("response") or x["bad_response"], a.chunk, ".")
                for x in loaded
            ]
            line["real_pairs"], line["real_chunk_top1"] = (
                len(known),
                round(
                    shares(Tracer(index_from_attributes(real, *real_sides, embed), embed), known)[
                        0
                    ],
                    3,
                ),
            )
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
