"""Methods that rank the query attributes and the chunks behind failing exchanges.

turf     Tracer.trace, and Tracer.trace_group for a group
hits     the paper's rule (Eqs. 3 to 6): raw hits among the rows nearest to the crux, and the share
         of each chunk in those rows
nearest  rows whose prompts are nearest by embedding: their commonest attribute and chunk
tfidf    the same by TF-IDF of the prompt
tfidf2   the same by TF-IDF of prompt and answer
bm25     the same by BM25 of the prompt
shared   the attributes that most failing queries of the group have; random for a single query
random   a random order

The other methods rank a group by the sum of the scores of its pairs.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from chunkykit.attributes import describe_lexically, load_embedder
from chunkykit.index import index_from_attributes
from chunkykit.rubrics import Rubric
from chunkykit.turf import Trace, Tracer

METHODS = ("turf", "hits", "nearest", "tfidf2", "tfidf", "bm25", "shared", "random")
N_NEIGHBOURS = 20  # rows that the methods by nearness look at
BM25_K1 = 1.5
BM25_B = 0.75


class Pair(NamedTuple):
    """A failing exchange, described."""

    query: str
    response: str
    attributes: list[str]
    cruxes: list[str]


class Ranking(NamedTuple):
    """What a method names, best first."""

    attributes: list[str]
    chunks: list[str]


class Scores(NamedTuple):
    """What a method gives each attribute and each chunk."""

    attributes: Counter
    chunks: Counter


class Methods:
    """All methods over the rows of one mixture."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        self.embed = load_embedder()
        self.rng = np.random.default_rng(seed)
        self.queries = asyncio.run(describe_lexically(rows["prompt"], "query"))
        responses = asyncio.run(describe_lexically(rows["response"], "response"))
        index = index_from_attributes(rows, self.queries, responses, self.embed, seed=seed)
        self.tracer = Tracer(index, self.embed, seed=seed)
        self.chunk = rows["chunk"].to_numpy()
        self.prompt_vectors = self.embed(list(rows["prompt"]))  # (n, d)
        self.exchange_words = TfidfVectorizer(sublinear_tf=True)
        self.exchange_vectors = self.exchange_words.fit_transform(
            rows["prompt"] + " " + rows["response"]
        )
        self.prompt_words = TfidfVectorizer(sublinear_tf=True)
        self.prompt_word_vectors = self.prompt_words.fit_transform(rows["prompt"])
        self.counter = CountVectorizer()
        counts = self.counter.fit_transform(rows["prompt"]).tocsr().astype(float)
        self.bm25_weights = bm25_weights(counts)

    def rankings(self, method: str, pairs: Sequence[Pair], rubric: Rubric) -> list[Ranking]:
        """Rank each pair, and last the group of them."""
        if method == "turf":
            return self._trace(pairs, rubric)
        scores = [self.scores(method, pair) for pair in pairs]
        attributes = sum((s.attributes for s in scores), Counter())
        chunks = sum((s.chunks for s in scores), Counter())
        rankings = []
        for each in (*scores, Scores(attributes, chunks)):
            blind = method == "random"
            rankings.append(Ranking(*(self._order(side, blind) for side in each)))
        return rankings

    def _trace(self, pairs: Sequence[Pair], rubric: Rubric) -> list[Ranking]:
        traces = [self.tracer.trace(p.attributes, p.cruxes, rubric) for p in pairs]
        groups = self.tracer.trace_group([(p.attributes, p.cruxes) for p in pairs], rubric)
        with_trigger = [trace for trace in groups if trace.trigger]
        group = with_trigger[0] if with_trigger else groups[0]
        return [trace_ranking(trace) for trace in (*traces, group)]

    def _order(self, scores: Counter, blind: bool) -> list[str]:
        """Highest first, ties in random order; all in random order where `blind`."""
        names = list(scores)
        if not names:
            return []
        values = [0 if blind else -scores[name] for name in names]
        order = np.lexsort((self.rng.random(len(names)), values))
        return [names[i] for i in order]

    def scores(self, method: str, pair: Pair) -> Scores:
        """Score the attributes of one pair's query, and the chunks."""
        if method in ("shared", "random"):
            ones = Counter(dict.fromkeys(pair.attributes, 1))
            return Scores(ones, Counter(dict.fromkeys(np.unique(self.chunk), 1)))
        if method == "hits":
            return self._count_hits(pair)
        similarity = self._similarity(method, pair.query, pair.response)
        near = np.argsort(-similarity, kind="stable")[:N_NEIGHBOURS]
        attributes = Counter()
        for row in near:
            attributes.update(a for a in self.queries[row] if a in pair.attributes)
        return Scores(attributes, Counter(self.chunk[near]))

    def _count_hits(self, pair: Pair) -> Scores:
        """The paper's rule; chunks are those of the rows that carry the first attribute."""
        query = self.tracer.index.query
        clusters = query.assign(self.embed(pair.attributes))
        attributes = Counter()
        best_hits = -1
        best_order = 0
        carrying = np.zeros(0, int)
        for crux in pair.cruxes:
            evidence = self.tracer.evidence(crux)
            for order, (attribute, cluster) in enumerate(zip(pair.attributes, clusters)):
                hits = int(evidence.hits[cluster])
                attributes[attribute] = max(attributes[attribute], hits)
                # equal hits: the attribute that the describer lists first
                if (hits, -order) > (best_hits, -best_order):
                    best_hits = hits
                    best_order = order
                    carries = (query.clusters[evidence.rows] == cluster).any(axis=1)
                    carrying = evidence.rows[carries]
        return Scores(attributes, Counter(self.chunk[carrying]))

    def _similarity(self, method: str, query: str, response: str) -> np.ndarray:
        """Similarity of a pair with each row, (n,)."""
        if method == "nearest":
            return self.prompt_vectors @ self.embed([query])[0]
        if method == "bm25":
            has_word = (self.counter.transform([query]) > 0).astype(float)
            products = self.bm25_weights @ has_word.T
        elif method == "tfidf":
            products = self.prompt_word_vectors @ self.prompt_words.transform([query]).T
        else:
            exchange = self.exchange_words.transform([f"{query} {response}"])
            products = self.exchange_vectors @ exchange.T
        return products.toarray().ravel()


def bm25_weights(counts: csr_matrix) -> csr_matrix:
    """The BM25 weight of each word in each row (Robertson and Zaragoza 2009).

    Args:
        counts: how often each word stands in each row, shape (n, n_words); it is changed.
    """
    n = counts.shape[0]
    length = counts.sum(1).A1
    document_frequency = np.diff(counts.tocsc().indptr)
    idf = np.log(1 + (n - document_frequency + 0.5) / (document_frequency + 0.5))
    norm = BM25_K1 * (1 - BM25_B + BM25_B * length / length.mean())
    norm_of_count = np.repeat(norm, np.diff(counts.indptr))
    counts.data = idf[counts.indices] * counts.data * (BM25_K1 + 1) / (counts.data + norm_of_count)
    return counts


def trace_ranking(trace: Trace) -> Ranking:
    """Read a trace as a ranking: its trigger, then its other candidates; its chunks."""
    chunks = list(trace.chunks["chunk"])
    if not trace.trigger:
        return Ranking([], chunks)
    candidates = trace.candidates["attribute"].drop_duplicates()
    others = [attribute for attribute in candidates if attribute != trace.trigger]
    return Ranking([trace.trigger, *others], chunks)
