"""Methods that name trigger and chunk behind exchanges that a language model described.

ours     Tracer.trace
lexical  the same with the offline describer's sentences of the same rows and exchanges
sketch   the largest cosines alone, ranked, without calibration (see embedders.py)
hits     the paper's rule (Eqs. 3 to 6): the rows nearest to a crux, and the query attribute whose
         cluster most of them carry; with the clusters of the index
hits20   the same with clusters of twenty sentences, as in the paper's tool
nearest  rows whose prompt and answer are nearest by embedding, the sum of both cosines
tfidf    the same by TF-IDF of prompt and answer
bm25     the same by BM25 of prompt and answer

The paper ranks no chunks: for `hits` they are those of the rows that carry the trigger's cluster.
The last three rank chunks by the summed similarity of their nearest rows. They have no trigger of
their own: it is the query attribute by which these rows stand out most, as in the sketch.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from attribution_methods import bm25_weights
from embedders import (
    MIN_Z,
    first_chunk,
    largest_cosines,
    remembering,
    trigger_scores,
)
from real import behaviour_rubric
from scipy.stats import rankdata

from chunkykit.attributes import Embedder, describe_lexically, describe_text, load_embedder
from chunkykit.index import TraceIndex, index_from_attributes
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Trace, Tracer, chunk_shares, select_crux
from chunkykit.turf.association import largest

SENTENCES_PER_CLUSTER = 20  # of the paper's tool
# Rows whose similarity counts. Of 1, 3, 5, 10, 20 and 25, plain, weighted and by lift, this and
# the weights were best for the methods by texts.
N_NEIGHBOURS = 10
RUBRIC = load_rubric("rebut")  # only explanations depend on it


class Failure(NamedTuple):
    """A failing exchange, and the chunk that has its like."""

    chunk: str
    prompt: str
    response: str
    attributes: list[str]  # of the prompt
    cruxes: list[str]  # none where the judge saw no violation in the response's attributes


class Corpus(NamedTuple):
    """Rows with their attributes, and failures to trace in them."""

    rows: pd.DataFrame  # row, chunk, prompt, response
    queries: list[list[str]]
    responses: list[list[str]]
    failures: list[Failure]

    @property
    def chunks(self) -> np.ndarray:
        return self.rows["chunk"].to_numpy()

    def take(self, positions: np.ndarray) -> "Corpus":
        """The corpus with some of its rows."""
        rows = self.rows.iloc[positions].reset_index(drop=True)
        queries = [self.queries[i] for i in positions]
        return self._replace(
            rows=rows, queries=queries, responses=[self.responses[i] for i in positions]
        )

    def shuffled(self, seed: int) -> "Corpus":
        """The corpus with its responses in random order: there is nothing to find in it."""
        order = np.random.default_rng(seed).permutation(len(self.rows))
        rows = self.rows.assign(response=self.rows["response"].to_numpy()[order])
        return self._replace(rows=rows, responses=[self.responses[i] for i in order])

    def index(self, embed: Embedder, **settings) -> TraceIndex:
        return index_from_attributes(self.rows, self.queries, self.responses, embed, **settings)


class Answer(NamedTuple):
    """What a method says of one failure; None for nothing."""

    chunk: str | None
    trigger: str | None
    best: str | None  # the attribute that it ranks first, even if it names no trigger


NOTHING = Answer(None, None, None)


def read_corpus(path: Path) -> Corpus:
    """Read JSON lines: rows and failures, with what a language model wrote of them."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [record for record in records if record["kind"] == "row"]
    failures = []
    for record in records:
        if record["kind"] != "fail":
            continue
        texts = (record["prompt"], record["response"], record["query_attributes"])
        failures.append(Failure(record["chunk"], *texts, record["crux"]))
    return Corpus(
        pd.DataFrame(rows)[["chunk", "prompt", "response"]].assign(row=range(len(rows))),
        [row["query_attributes"] for row in rows],
        [row["response_attributes"] for row in rows],
        failures,
    )


def load_once(name: str) -> Embedder:
    """An embedder that embeds each text once."""
    embed = load_embedder(name)
    return Embedder(embed.name, remembering(embed), embed.settings)


def lexical_corpus(corpus: Corpus, embed: Embedder) -> Corpus:
    """Describe the texts of a corpus offline; the cruxes are what is nearest to the real ones."""
    failures = []
    for failure in corpus.failures:
        cruxes = []
        if failure.cruxes:
            attributes = describe_text(failure.response, "response")
            cruxes = select_crux(attributes, behaviour_rubric(failure.cruxes[0]), embed)
        described = describe_text(failure.prompt, "query")
        failures.append(failure._replace(attributes=described, cruxes=cruxes))
    queries = asyncio.run(describe_lexically(corpus.rows["prompt"], "query"))
    responses = asyncio.run(describe_lexically(corpus.rows["response"], "response"))
    return Corpus(corpus.rows, queries, responses, failures)


def trace_failures(corpus: Corpus, embed: Embedder) -> list[Trace]:
    tracer = Tracer(corpus.index(embed), embed)
    pairs = [(failure.attributes, failure.cruxes) for failure in corpus.failures]
    return tracer.trace_all(pairs, RUBRIC)


def by_trace(corpus: Corpus, embed: Embedder) -> list[Answer]:
    answers = []
    for trace in trace_failures(corpus, embed):
        chunk = trace.chunks["chunk"][0] if len(trace.chunks) else None
        best = trace.trigger
        if best is None and len(trace.candidates) and trace.cruxes:
            best = trace.candidates.set_index("attribute")["correlation"].idxmax()
        answers.append(Answer(chunk, trace.trigger, best))
    return answers


def by_sketch(corpus: Corpus, embed: Embedder) -> list[Answer]:
    answers = []
    for failure in corpus.failures:
        if not failure.cruxes:
            answers.append(NOTHING)
            continue
        shows = largest_cosines(failure.cruxes, corpus.responses, embed).mean(axis=0)
        carries = largest_cosines(failure.attributes, corpus.queries, embed)
        z = trigger_scores(carries, shows)
        both = rankdata(shows) * rankdata(carries[z.argmax()])
        answers.append(name_trigger(failure, z, first_chunk(both, corpus.chunks)))
    return answers


def name_trigger(failure: Failure, z: np.ndarray, chunk: str) -> Answer:
    best = failure.attributes[z.argmax()]
    return Answer(chunk, best if z.max() > MIN_Z else None, best)


def by_hits(corpus: Corpus, embed: Embedder, clusters: int | None = None) -> list[Answer]:
    tracer = Tracer(corpus.index(embed, clusters=clusters), embed)
    return [count_hits(tracer, failure) for failure in corpus.failures]


def by_hits_of_twenty(corpus: Corpus, embed: Embedder) -> list[Answer]:
    distinct = {sentence for row in corpus.queries for sentence in row}
    return by_hits(corpus, embed, len(distinct) // SENTENCES_PER_CLUSTER)


def count_hits(tracer: Tracer, failure: Failure) -> Answer:
    """The attribute whose cluster has most hits, and the chunk of the rows that carry it."""
    query = tracer.index.query
    clusters = query.assign(tracer.embed(failure.attributes))
    most_hits = 0
    answer = NOTHING
    for crux in failure.cruxes:
        evidence = tracer.evidence(crux)
        hits = evidence.hits[clusters]  # (n_attributes,)
        best = int(hits.argmax())
        if hits[best] <= most_hits:
            continue
        most_hits = hits[best]
        carries = (query.clusters[evidence.rows] == clusters[best]).any(axis=1)
        shares = chunk_shares(tracer.index, evidence.rows[carries])
        attribute = failure.attributes[best]
        answer = Answer(shares["chunk"][0], attribute, attribute)
    return answer


def by_texts(similarity: np.ndarray, corpus: Corpus, embed: Embedder) -> list[Answer]:
    """Name what stands out in the rows that are most similar; similarity: (n_failures, n_rows)."""
    answers = []
    for failure, similar in zip(corpus.failures, similarity):
        carries = largest_cosines(failure.attributes, corpus.queries, embed)
        z = trigger_scores(carries, similar)
        answers.append(name_trigger(failure, z, chunk_of_nearest(similar, corpus.chunks)))
    return answers


def chunk_of_nearest(similar: np.ndarray, chunks: np.ndarray) -> str:
    """The chunk with the largest summed similarity of the nearest rows; similar: (n_rows,)."""
    nearest = largest(similar, N_NEIGHBOURS)
    names, place = np.unique(chunks[nearest], return_inverse=True)
    return names[np.bincount(place, similar[nearest]).argmax()]


def exchange_texts(corpus: Corpus) -> tuple[list[str], list[str]]:
    """Prompt and answer as one text, of the rows and of the failures."""
    rows = corpus.rows["prompt"] + "\n" + corpus.rows["response"]
    return list(rows), [f"{failure.prompt}\n{failure.response}" for failure in corpus.failures]


def by_nearest(corpus: Corpus, embed: Embedder) -> list[Answer]:
    similarity = np.zeros((len(corpus.failures), len(corpus.rows)))
    for side in ("prompt", "response"):
        of_failures = embed([getattr(failure, side) for failure in corpus.failures])
        similarity += of_failures @ embed(list(corpus.rows[side])).T
    return by_texts(similarity, corpus, embed)


def by_tfidf(corpus: Corpus, embed: Embedder) -> list[Answer]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows, failures = exchange_texts(corpus)
    words = TfidfVectorizer(sublinear_tf=True)
    of_rows = words.fit_transform(rows)
    return by_texts((words.transform(failures) @ of_rows.T).toarray(), corpus, embed)


def by_bm25(corpus: Corpus, embed: Embedder) -> list[Answer]:
    from sklearn.feature_extraction.text import CountVectorizer

    rows, failures = exchange_texts(corpus)
    words = CountVectorizer()
    weights = bm25_weights(words.fit_transform(rows).tocsr().astype(float))
    has_word = (words.transform(failures) > 0).astype(float)
    return by_texts((has_word @ weights.T).toarray(), corpus, embed)


METHODS: dict[str, Callable[[Corpus, Embedder], list[Answer]]] = {
    "ours": by_trace,
    "lexical": by_trace,  # of `lexical_corpus`
    "sketch": by_sketch,
    "hits": by_hits,
    "hits20": by_hits_of_twenty,
    "nearest": by_nearest,
    "tfidf": by_tfidf,
    "bm25": by_bm25,
}
