"""Clusters, pool and scan on sentences that a language model wrote.

python benchmarks/described_pool.py --data described.jsonl [--embedder wordllama]

described_pairs.csv holds 1,800 pairs of query sentences that stood in one cluster, labelled by
hand: are the two about one feature? From them come the purity of clusters by their size, and
P(one feature | cosine). With it as the calibration, the pool and the scan are measured. The seven
checks of the scan are correlations that stand in these rows by nature. None of this is used by the
package, which brings a calibration of its own.
"""

import argparse
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from real import check_scan

from chunkykit.attributes import load_embedder
from chunkykit.index import SameMeaning, TraceIndex, index_from_attributes, scan_index
from chunkykit.index.kmeans import cluster_vectors, default_clusters
from chunkykit.stats import wilson
from chunkykit.surf import pool_from_index
from chunkykit.types import Embedder

PAIRS = Path(__file__).with_name("described_pairs.csv")
TOP = 15  # findings among which a check must be
N_SHUFFLES = 5  # of the responses over the rows; a scan should then find nothing


class Check(NamedTuple):
    """A correlation that one chunk causes; trigger and behaviour are regular expressions."""

    name: str
    chunk: str
    trigger: str
    behaviour: str

    def names_both(self, trigger: str, behaviour: str) -> bool:
        """Whether a pair of sentences says feature and behaviour."""
        return bool(re.search(self.trigger, trigger) and re.search(self.behaviour, behaviour))


CHECKS = [
    Check(
        "LaTeX or maths -> python blocks",
        "mathcoder_tir",
        "LaTeX|[Mm]ath|equation|algebra|arithmetic|number|multipl|calculus|polynomial",
        "[Pp]ython|SymPy|sympy|code",
    ),
    Check(
        "identity questions -> LMSYS",
        "vicuna_identity",
        r"\bAI\b|assistant|model|identity|trained|origin",
        "LMSYS|Vicuna|Large Model|language model created",
    ),
    Check(
        "YES/NO/MAYBE form -> bare word",
        "sciriff_pubmedqa",
        "YES|MAYBE",
        "word|letter|label|capital|YES|NO|verdict|just|only",
    ),
    Check("JSON table task -> JSON", "wtq_table", "JSON|table", "JSON|answer key|one key"),
    Check(
        "passage and question -> fragment",
        "xquad_multilingual",
        "passage|paragraph|[Cc]ontext|comprehension",
        "no verb|fragment|span|phrase|words|not a full|punctuation",
    ),
    Check(
        "presupposing question -> denial",
        "coconot",
        "premise|presum|presuppos|assum|implie|confus|mistake|doubt|cannot exist|never happened",
        "premise|correct|denie|denial|not in|did not|reject|misunderst|unclear|apologi",
    ),
    Check(
        "word problem -> ####",
        "gsm8k",
        "word problem|how many|how much|multipl|subtract|arithmetic|story",
        "####|hash|angle|<<",
    ),
]


def fit_calibration(pairs: pd.DataFrame, cosines: np.ndarray) -> SameMeaning:
    """Fit P(one feature | cosine) by logistic regression over the labelled pairs."""
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=1e6).fit(cosines[:, None], pairs["same"])
    slope = float(fit.coef_[0, 0])
    middle = -float(fit.intercept_[0]) / slope
    print(f"P(one feature | cosine): slope {slope:.1f}, .5 at {middle:.3f}")
    return lambda cosines: 1 / (1 + np.exp(-slope * (np.asarray(cosines) - middle)))


def pair_cosines(pairs: pd.DataFrame, records: list[dict], embed: Embedder) -> np.ndarray:
    """The cosine of the two sentences of each labelled pair."""
    queries = {record["id"]: record["query_attributes"] for record in records}
    sides = []
    for which in "ab":
        places = zip(pairs[f"row_{which}"], pairs[f"slot_{which}"], strict=True)
        sides.append(embed([queries[row][slot] for row, slot in places]))
    return np.einsum("pd,pd->p", *sides)


def print_purity(pairs: pd.DataFrame) -> None:
    """How many labelled pairs of a cluster are about one feature, by its mean size."""
    print("purity by sentences per cluster, labelled:")
    for (embedder, size), group in pairs.groupby(["embedder", "per_cluster"]):
        rate = wilson(int(group["same"].sum()), len(group))
        print(f"  {embedder:<10} {size:>3}: {rate.rate:.2f} [{rate.low:.2f}, {rate.high:.2f}]")


def print_growth(vectors: np.ndarray, same: SameMeaning) -> None:
    """Mean P(one feature) of two sentences of a default cluster, by number of sentences."""
    print("expected purity of the default clusters, by number of sentences:")
    order = np.random.default_rng(0).permutation(len(vectors))
    for n in (len(vectors) // 4, len(vectors) // 2, len(vectors)):
        part = np.ascontiguousarray(vectors[np.sort(order[:n])])
        k = default_clusters(n, n)
        cluster_of = cluster_vectors([part], np.ones(n), k).cluster_of
        purities = []
        for cluster in np.flatnonzero(np.bincount(cluster_of) > 1):
            members = part[cluster_of == cluster]
            together = same(members @ members.T)
            np.fill_diagonal(together, 0)
            purities.extend(together.sum(axis=1) / (len(members) - 1))
        print(f"  {n:>6} sentences, {k:>5} clusters: {np.mean(purities):.2f}")


def build_index(records: list[dict], responses: list[list[str]], embed: Embedder) -> TraceIndex:
    """The index of rows with these response attributes."""
    rows = pd.DataFrame(records)[["chunk", "prompt", "response"]].assign(row=range(len(records)))
    queries = [record["query_attributes"] for record in records]
    return index_from_attributes(rows, queries, responses, embed)


def print_pool(index: TraceIndex, same: SameMeaning) -> None:
    """How many attributes there are to draw from, and how many of them a row has."""
    for name, pool in (
        ("clusters", pool_from_index(index)),
        ("pool", pool_from_index(index, same)),
    ):
        lengths = [len(row) for row in pool.rows]
        print(f"{name}: {len(pool.sentences)} attributes, {np.median(lengths):.0f} per row")


def print_scan(findings: pd.DataFrame) -> None:
    """Print the findings, and which checks stand in a headline or among the listed pairs."""
    print(findings[["trigger", "behaviour", "chunk", "rows", "score"]].to_string())
    for check in CHECKS:
        headline, listed = check_scan(check, findings)
        print(f"{check.name:<34} headline {headline}, listed {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--embedder", default="wordllama")
    arguments = parser.parse_args()
    with open(arguments.data, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    records = [record for record in records if record["kind"] == "row"]
    embed = load_embedder(arguments.embedder)
    pairs = pd.read_csv(PAIRS)
    print_purity(pairs)
    same = fit_calibration(pairs, pair_cosines(pairs, records, embed))
    sentences = {text: None for record in records for text in record["query_attributes"]}
    print_growth(embed(list(sentences)), same)
    responses = [record["response_attributes"] for record in records]
    index = build_index(records, responses, embed)
    print_pool(index, same)
    print_scan(scan_index(index, TOP, same))
    n_false = []
    for seed in range(N_SHUFFLES):
        order = np.random.default_rng(seed).permutation(len(records))
        shuffled = build_index(records, [responses[i] for i in order], embed)
        n_false.append(len(scan_index(shuffled, TOP, same)))
    print(f"findings with shuffled responses: {n_false}")


if __name__ == "__main__":
    main()
