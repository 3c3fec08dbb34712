"""Retrieve: the training rows whose responses show a crux, and the query clusters they carry.

Deviations from the paper: only attributes within a cosine of the crux are retrieved (Eq. 3 takes
the k nearest, however far), and a row counts once for each distinct cluster of its query (Eq. 4
pairs query slot l with response slot l, though slots are unrelated). Raw hits favour common
clusters, so lift and a p-value stand beside them.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.index import IndexSide, TraceIndex, count_cluster_rows
from chunkykit.stats import adjust, enrichment_p

# cosine with the crux below which an attribute says something else; our choice, measured on the
# sentences of the lexical describer under the default embedder
MIN_COSINE = 0.85
TIE_TOLERANCE = 1e-6  # cosines closer than this are equally near


class Evidence(NamedTuple):
    """What an index says about one crux, with K query clusters.

    Attributes:
        rows: retrieved rows, nearest first, shape (r,).
        near: sentences that say the crux: those with a cosine of at least `MIN_COSINE`.
        hits: retrieved rows that carry each query cluster (paper Eq. 4), shape (K,).
        p: hypergeometric p-value of the hits, adjusted over all clusters, shape (K,).
        lift: rate of the hits over the cluster's base rate, shape (K,).
    """

    rows: np.ndarray
    near: np.ndarray
    hits: np.ndarray
    p: np.ndarray
    lift: np.ndarray


def retrieve_rows(
    side: IndexSide,
    nearness: np.ndarray,
    k: int,
    seed: int = 0,
    floor: float = MIN_COSINE,
    excluded: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Retrieve the rows of the k attributes nearest to a crux (paper Eq. 3).

    Equally near attributes that do not all fit into k are drawn at random, so that the order of
    the mixture cannot decide.

    Args:
        side: the side of the index whose attributes are searched, with m distinct sentences.
        nearness: cosine of the crux with each distinct sentence, shape (m,).
        k: attributes to retrieve.
        seed: seed of the draw among equally near attributes.
        floor: cosine below which no attribute is retrieved.
        excluded: rows to leave out, shape (n,), bool; None for none.

    Returns:
        The rows, each once and nearest first, and the sentences that led to them.
    """
    order = np.flatnonzero(nearness >= floor)
    order = order[np.argsort(-nearness[order], kind="stable")]
    if excluded is None:
        order = order[:k]  # each sentence stands in at least one row, so k of them suffice
    retrieved = [np.zeros(0, np.int32)]
    room = k
    n_used = 0
    for sentences in _ties(order, nearness):
        rows = _rows_with(side, sentences)
        if excluded is not None:
            rows = rows[~excluded[rows]]
        n_used += len(sentences)
        if len(rows) >= room:
            retrieved.append(_draw(rows, room, seed))
            break
        retrieved.append(rows)
        room -= len(rows)
    return pd.unique(np.concatenate(retrieved)), order[:n_used]


def _ties(order: np.ndarray, nearness: np.ndarray) -> list[np.ndarray]:
    """Split sentences in order of nearness into groups of equal nearness."""
    if not len(order):
        return []
    drops = np.diff(nearness[order]) < -TIE_TOLERANCE
    return np.split(order, np.flatnonzero(drops) + 1)


def _rows_with(side: IndexSide, sentences: np.ndarray) -> np.ndarray:
    """Rows that carry any of some sentences, in the order of the index."""
    if len(sentences) > 1:
        return np.flatnonzero(side.carry(sentences))
    (sentence,) = sentences
    return side.rows[side.starts[sentence] : side.starts[sentence + 1]]


def _draw(rows: np.ndarray, size: int, seed: int) -> np.ndarray:
    """At most `size` of the rows, drawn at random where there are more."""
    if len(rows) <= size:
        return rows
    return np.random.default_rng(seed).choice(rows, size, replace=False)


def cluster_enrichment(
    hits: np.ndarray, n_rows: int, base: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold the hits of each query cluster against how common the cluster is anyway.

    Args:
        hits: retrieved rows that carry each cluster, shape (K,).
        n_rows: retrieved rows.
        base: rows of the index that carry each cluster, shape (K,).
        n: rows of the index.

    Returns:
        p: upper hypergeometric tail, adjusted over all clusters (Benjamini-Hochberg), shape (K,).
        lift: rate of the hits over the base rate, shape (K,).
    """
    # most clusters have no hit, and without one p is 1: the tail is computed for the others only
    with_hits = np.flatnonzero(hits)
    p = np.ones(len(hits))
    p[with_hits] = enrichment_p(hits[with_hits], n_rows, base[with_hits], n)
    # a cluster may have no rows left where rows are excluded; its lift is then 0, not NaN
    base_rate = np.maximum(base, 1) / max(1, n)
    lift = hits / max(1, n_rows) / base_rate
    return adjust(p), lift


def gather_evidence(
    index: TraceIndex,
    side: IndexSide,
    nearness: np.ndarray,
    k: int,
    seed: int = 0,
    *,
    literal: bool = False,
    excluded: np.ndarray | None = None,
) -> Evidence:
    """Retrieve the rows of a crux, and weigh the query clusters that they carry.

    Args:
        index: the index, with n rows.
        side: its side that holds the cruxes, with m distinct sentences.
        nearness: cosine of the crux with each distinct sentence, shape (m,).
        k: attributes to retrieve.
        seed: seed of the draw among equally near attributes.
        literal: count hits as paper Eq. 4 prints it, over the k nearest attributes however far.
        excluded: rows to leave out, of the base rates too, shape (n,), bool; None for none.

    Returns:
        The evidence.
    """
    query = index.query
    n_clusters = len(query.centroids)
    floor = -1.0 if literal else MIN_COSINE
    rows, sentences = retrieve_rows(side, nearness, k, seed, floor, excluded)
    if literal:
        hits = _literal_hits(query, side, rows, sentences)
    else:
        hits = count_cluster_rows(query.clusters[rows], n_clusters)
    base = query.cluster_rows
    n = len(index)
    if excluded is not None:
        base = base - count_cluster_rows(query.clusters[excluded], n_clusters)
        n -= int(excluded.sum())
    p, lift = cluster_enrichment(hits, len(rows), base, n)
    return Evidence(rows, np.flatnonzero(nearness >= MIN_COSINE), hits, p, lift)


def _literal_hits(
    query: IndexSide, side: IndexSide, rows: np.ndarray, sentences: np.ndarray
) -> np.ndarray:
    """Hits as paper Eq. 4 prints it: query slot l with response slot l, (K,)."""
    retrieved = np.isin(side.ids[rows], sentences)  # (r, response slots)
    row, slot = np.nonzero(retrieved[:, : query.ids.shape[1]])
    query_sentences = query.ids[rows[row], slot]
    clusters = query.cluster_of[query_sentences[query_sentences >= 0]]
    return np.bincount(clusters, minlength=len(query.centroids))
