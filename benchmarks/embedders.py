"""Which embedder traces best? Speed and attribution on the demo's own failures, and on real ones.

    python benchmarks/embedders.py [--run runs/demo] wordllama onnx:FOLDER ...
    python benchmarks/embedders.py --mixture M --pairs FILE --chunk NAME wordllama ...

The failures of a finished demo run are traced with each embedder and compared to what was planted:
is the first chunk the right one, and does the trigger say what was planted? `--mixture`, `--pairs`
and `--chunk` do the same for a file of rebuttals that should lead to one chunk.
"""

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import demo_truth, load_mixture
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.turf import Tracer, select_crux


class Pair(NamedTuple):
    """A failure, and where it should be traced to."""

    rubric: Rubric
    query: str
    response: str
    chunk: str
    trigger_pattern: str  # a regular expression for the trigger's sentence


class Corpus(NamedTuple):
    """Training rows with their attributes, and failures to trace in them."""

    rows: pd.DataFrame
    query_attributes: list[list[str]]
    response_attributes: list[list[str]]
    pairs: list[Pair]


def describe_corpus(rows: pd.DataFrame, pairs: list[Pair]) -> Corpus:
    queries = asyncio.run(describe_lexically(rows["prompt"], "query"))
    responses = asyncio.run(describe_lexically(rows["response"], "response"))
    return Corpus(rows, queries, responses, pairs)


def demo_corpus(run: Path) -> Corpus:
    """A finished demo run, with the failures whose cause is known."""
    rows = pd.read_parquet(run / "tables" / "rows.parquet")
    probes = pd.read_parquet(run / "tables" / "points.parquet")
    truth = pd.DataFrame(demo_truth())
    # With two planted chunks for a rubric, the true chunk of a failure would be unknown.
    unique = truth.drop_duplicates("rubric", keep=False).set_index("rubric")
    rubrics = {name: load_rubric(name) for name in unique.index}
    pairs = []
    for probe in probes.itertuples():
        if probe.rubric in rubrics:
            planted = unique.loc[probe.rubric]
            pairs.append(
                Pair(
                    rubrics[probe.rubric],
                    probe.query,
                    probe.response,
                    planted["chunk"],
                    planted["pattern"],
                )
            )
    return describe_corpus(rows, pairs)


def real_corpus(mixture: str, pairs_file: Path, chunk: str) -> Corpus:
    """A mixture and rebuttals that one chunk of it should have caused."""
    rubric = load_rubric("rebut")
    pairs = []
    for line in pairs_file.read_text("utf-8").splitlines():
        case = json.loads(line)
        response = case.get("response") or case["bad_response"]
        pairs.append(Pair(rubric, case["query"], response, chunk, "."))
    return describe_corpus(load_mixture(mixture).rows, pairs)


def shares_right(corpus: Corpus, embed) -> tuple[float, float]:
    """The share of pairs with the right first chunk, and with the right trigger."""
    index = index_from_attributes(
        corpus.rows, corpus.query_attributes, corpus.response_attributes, embed
    )
    tracer = Tracer(index, embed)
    right_chunks = 0
    right_triggers = 0
    for pair in corpus.pairs:
        response_attributes = describe_text(pair.response, "response")
        cruxes = select_crux(response_attributes, pair.rubric, tracer.embed)
        trace = tracer.trace(describe_text(pair.query, "query"), cruxes, pair.rubric)
        if len(trace.chunks) and trace.chunks["chunk"][0] == pair.chunk:
            right_chunks += 1
        if trace.trigger and re.search(pair.trigger_pattern, trace.trigger.lower()):
            right_triggers += 1
    return right_chunks / len(corpus.pairs), right_triggers / len(corpus.pairs)


def sentences_per_second(corpus: Corpus, embed) -> float:
    sentences: set[str] = set()
    for attributes in (*corpus.query_attributes, *corpus.response_attributes):
        sentences.update(attributes)
    start = time.perf_counter()
    embed(sorted(sentences))
    return len(sentences) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embedders", nargs="+")
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--mixture")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--chunk")
    options = parser.parse_args()
    if options.mixture and not (options.pairs and options.chunk):
        parser.error("--mixture needs --pairs and --chunk")
    demo = demo_corpus(options.run)
    real = None
    if options.mixture:
        real = real_corpus(options.mixture, options.pairs, options.chunk)
    for name in options.embedders:
        embed = load_embedder(name)
        speed = sentences_per_second(demo, embed)
        chunk_share, trigger_share = shares_right(demo, embed)
        line = {
            "embedder": name,
            "sentences_per_s": round(speed),
            "pairs": len(demo.pairs),
            "chunk_top1": round(chunk_share, 3),
            "trigger_planted": round(trigger_share, 3),
        }
        if real:
            line["real_pairs"] = len(real.pairs)
            line["real_chunk_top1"] = round(shares_right(real, embed)[0], 3)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
