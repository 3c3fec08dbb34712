"""Retrieve as the paper does: the k rows nearest to a crux, and the clusters of their queries.

Deviations from the paper: a row is retrieved once, by its nearest attribute, and counts once for
each distinct cluster of its query (Eq. 4 pairs query slot l with response slot l, though slots are
unrelated). Raw hits favour common clusters, so lift and a p-value stand beside them. A trace itself
weighs graded evidence over all rows (`tracer`); its reader sees what the paper's count would have
chosen.
"""

from typing import NamedTuple

import numpy as np

from chunkykit.index import TraceIndex, count_cluster_rows
from chunkykit.stats import adjust, enrichment_p
from chunkykit.turf.association import largest

TIE_TOLERANCE = 1e-6  # cosines closer than this are equally near


class Evidence(NamedTuple):
    """What an index says about one crux, with K query clusters.

    Attributes:
        rows: retrieved rows, nearest first, shape (r,).
        hits: retrieved rows that carry each query cluster (paper Eq. 4), shape (K,).
        p: hypergeometric p-value of the hits, adjusted over all clusters, shape (K,).
        lift: rate of the hits over the cluster's base rate, shape (K,).
    """

    rows: np.ndarray
    hits: np.ndarray
    p: np.ndarray
    lift: np.ndarray


def retrieve_rows(nearness: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Retrieve the k rows with the attributes nearest to a crux (paper Eq. 3).

    Equally near rows that do not all fit into k are drawn at random, so that the order of the
    mixture cannot decide.

    Args:
        nearness: largest cosine of the crux with any attribute of each row, shape (n,).
        k: rows to retrieve.
        seed: seed of the draw among equally near rows.

    Returns:
        The rows, nearest first.
    """
    steps = np.round(nearness / TIE_TOLERANCE)
    drawn = np.random.default_rng(seed).random(len(nearness))  # less than a step
    return largest(steps + drawn, k)


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
    lift = hits / max(1, n_rows) / (base / n)
    return adjust(p), lift


def gather_evidence(index: TraceIndex, nearness: np.ndarray, k: int, seed: int = 0) -> Evidence:
    """Retrieve the rows of a crux, and count the query clusters that they carry.

    Args:
        index: the index, with n rows.
        nearness: largest cosine of the crux with any attribute of each row, shape (n,).
        k: rows to retrieve.
        seed: seed of the draw among equally near rows.

    Returns:
        The evidence.
    """
    query = index.query
    rows = retrieve_rows(nearness, k, seed)
    hits = count_cluster_rows(query.clusters[rows], len(query.centroids))
    p, lift = cluster_enrichment(hits, len(rows), query.cluster_rows, len(index))
    return Evidence(rows, hits, p, lift)
