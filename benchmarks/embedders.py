"""Which embedder traces best? Speed and attribution on the demo's own failures, and on real ones.

    python benchmarks/embedders.py [--run runs/demo] wordllama onnx:FOLDER ...
    python benchmarks/embedders.py --mixture M --pairs FILE --chunk NAME wordllama ...
    python benchmarks/embedders.py --described FILE wordllama minilm ...

The failures of a finished demo run are traced with each embedder and compared to what was planted:
is the first chunk the right one, and does the trigger say what was planted? `--mixture`, `--pairs`
and `--chunk` do the same for a file of rebuttals that should lead to one chunk.

`--described` reads rows and failures whose attributes a language model wrote, one JSON object per
line (`kind`: row or fail, `chunk`, `query_attributes`, `response_attributes`, and the `crux` of a
failure). The tracer plays no part there: a bare ranking by cosine compares the embedders alone.
"""

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from chunkykit.attributes import describe_lexically, describe_text, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import demo_truth, load_mixture
from chunkykit.rubrics import Rubric, load_rubric
from chunkykit.stats import wilson
from chunkykit.turf import Tracer, select_crux

TOP_ROWS = 25  # rows that a failure is traced to
MIN_Z = 3.5  # of a named trigger; `named_shuffled` counts how often chance reaches it
N_SHUFFLES = 3  # of the rows, per failure
SPEED_SENTENCES = 400


class Pair(NamedTuple):
    """A failure, and where it should be traced to."""

    rubric: Rubric
    query: str
    response: str
    chunks: list[str]  # any of them
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
                    planted["chunks"],
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
        pairs.append(Pair(rubric, case["query"], response, [chunk], "."))
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
        if len(trace.chunks) and trace.chunks["chunk"][0] in pair.chunks:
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


class Described(NamedTuple):
    """Rows and failures that a language model described."""

    chunks: np.ndarray  # of each row
    query_attributes: list[list[str]]
    response_attributes: list[list[str]]
    failures: list[dict]


def described_corpus(path: Path) -> Described:
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [record for record in records if record["kind"] == "row"]
    return Described(
        np.array([row["chunk"] for row in rows]),
        [row["query_attributes"] for row in rows],
        [row["response_attributes"] for row in rows],
        # without a crux there is nothing to trace
        [record for record in records if record["kind"] == "fail" and record["crux"]],
    )


def largest_cosines(sentences: list[str], attributes: list[list[str]], embed) -> np.ndarray:
    """The largest cosine of each row's attributes with each sentence, (n_sentences, n_rows)."""
    starts = np.cumsum([0, *map(len, attributes[:-1])])
    of_rows = embed([sentence for row in attributes for sentence in row])
    return np.maximum.reduceat(embed(sentences) @ of_rows.T, starts, axis=1)


def first_chunk(scores: np.ndarray, chunks: np.ndarray) -> str:
    """The chunk that is most frequent in the top rows, by its frequency in all rows."""
    top = chunks[top_rows(scores)]
    lifts = {name: wilson(int((top == name).sum()), TOP_ROWS).low for name in np.unique(chunks)}
    return max(lifts, key=lambda name: lifts[name] / (chunks == name).mean())


def top_rows(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:TOP_ROWS]


def trigger_scores(similarity: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Mann-Whitney z of each query attribute: the top rows against the rest, (n_attributes,)."""
    n_rows = similarity.shape[1]
    rank_sums = rankdata(similarity, axis=1)[:, top_rows(scores)].sum(1)
    mean = TOP_ROWS * (n_rows + 1) / 2
    variance = TOP_ROWS * (n_rows - TOP_ROWS) * (n_rows + 1) / 12
    return (rank_sums - mean) / variance**0.5


def trace_described(corpus: Described, embed) -> dict:
    """Trace each failure to a chunk: by the crux, and by the crux and the best trigger."""
    embed = remembering(embed)
    random = np.random.default_rng(0)
    counts = dict.fromkeys(("by_crux", "by_crux_and_trigger", "named", "named_shuffled"), 0)
    for failure in corpus.failures:
        cruxes = [failure["crux"]] if isinstance(failure["crux"], str) else failure["crux"]
        scores = largest_cosines(cruxes, corpus.response_attributes, embed).mean(0)  # (n_rows,)
        similarity = largest_cosines(failure["query_attributes"], corpus.query_attributes, embed)
        z = trigger_scores(similarity, scores)
        product = rankdata(scores) * rankdata(similarity[z.argmax()])
        counts["by_crux"] += first_chunk(scores, corpus.chunks) == failure["chunk"]
        counts["by_crux_and_trigger"] += first_chunk(product, corpus.chunks) == failure["chunk"]
        counts["named"] += z.max() > MIN_Z
        for _ in range(N_SHUFFLES):
            shuffled = random.permutation(scores)
            counts["named_shuffled"] += trigger_scores(similarity, shuffled).max() > MIN_Z
    return {name: int(count) for name, count in counts.items()}


def remembering(embed):
    """Embed each sentence once."""
    vectors = {}

    def embed_once(sentences: list[str]) -> np.ndarray:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in vectors]
        if new:
            vectors.update(zip(new, embed(new)))
        return np.array([vectors[sentence] for sentence in sentences])

    return embed_once


def measure_described(corpus: Described, name: str) -> dict:
    embed = load_embedder(name)
    sentences = sorted({sentence for row in corpus.query_attributes for sentence in row})
    sample = np.random.default_rng(0).choice(sentences, SPEED_SENTENCES, replace=False).tolist()
    embed(sample[:8])
    start = time.perf_counter()
    embed(sample)
    speed = SPEED_SENTENCES / (time.perf_counter() - start)
    line = {"embedder": name, "sentences_per_s": round(speed), "failures": len(corpus.failures)}
    return line | trace_described(corpus, embed)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embedders", nargs="+")
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--described", type=Path)
    parser.add_argument("--mixture")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--chunk")
    options = parser.parse_args()
    if options.mixture and not (options.pairs and options.chunk):
        parser.error("--mixture needs --pairs and --chunk")
    if options.described:
        described = described_corpus(options.described)
        for name in options.embedders:
            print(json.dumps(measure_described(described, name)), flush=True)
        return
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
