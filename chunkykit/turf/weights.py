"""Weights: which query clusters explain a crux, with the others held fixed.

Not in the paper. A response may show code because the prompt requests it; such rows say nothing
about a query that does not. A ridge regression over all clusters finds them. It needs clusters of
many rows, so it finds little where each sentence is worded anew.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MIN_EXPLAINING_WEIGHT = 0.25  # weight above which a cluster explains the crux of rows that carry it
SHRINKAGE = 10.0  # of the ridge: a cluster of this many rows gets half of the weight they show
MAX_ITERATIONS = 20  # of the least squares; more do not change which weights explain
MAX_WEIGHED_ROWS = 50_000  # rows sampled with the crux, and as many without, beyond which to sample


class CruxWeights(NamedTuple):
    """What explains a crux, with K query clusters.

    Attributes:
        weights: how much each cluster adds to the rate of the crux, shape (K,).
        rows: rows that carry a cluster with a weight over `MIN_EXPLAINING_WEIGHT`.
    """

    weights: np.ndarray
    rows: np.ndarray


def weigh_clusters(
    row_clusters: np.ndarray, n_clusters: int, shows: np.ndarray, seed: int = 0
) -> CruxWeights:
    """Estimate how much each query cluster adds to the rate of a crux.

    Args:
        row_clusters: query clusters of each row, padded with -1, shape (n, slots).
        n_clusters: K, the number of query clusters.
        shows: whether each row's response shows the crux, shape (n,), bool.
        seed: seed of the sample, where there are more rows than `MAX_WEIGHED_ROWS`.

    Returns:
        The weights, and the rows that they explain.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import lsqr

    # each sampled row counts for as many rows as it stands for: least squares takes the square
    # root of that as a factor on both sides
    rows, scale = _sample_rows(shows, seed)
    clusters = row_clusters[rows]
    row, slot = np.nonzero(clusters >= 0)
    design = csr_matrix((scale[row], (row, clusters[row, slot])), (len(rows), n_clusters))
    # no intercept: the mean over all rows is taken off, so that the shrinkage does not touch it
    excess = shows[rows] - shows.mean()
    weights = lsqr(design, scale * excess, damp=SHRINKAGE**0.5, iter_lim=MAX_ITERATIONS)[0]
    padded = np.append(weights, 0)  # the padding, -1, is the last entry: without weight
    explains = padded[row_clusters] > MIN_EXPLAINING_WEIGHT  # (n, slots)
    return CruxWeights(weights, np.flatnonzero(explains.any(axis=1)))


def _sample_rows(shows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to regress on, and the square root of how many rows each stands for."""
    rng = np.random.default_rng(seed)
    rows = []
    scales = []
    for stratum in (np.flatnonzero(shows), np.flatnonzero(~shows)):
        sample = stratum
        if len(stratum) > MAX_WEIGHED_ROWS:
            sample = np.sort(rng.choice(stratum, MAX_WEIGHED_ROWS, replace=False))
        scale = (len(stratum) / max(1, len(sample))) ** 0.5
        rows.append(sample)
        scales.append(np.full(len(sample), scale, np.float32))
    return np.concatenate(rows), np.concatenate(scales)


def rows_explained_otherwise(
    row_clusters: np.ndarray, crux_weights: CruxWeights, query_clusters: Sequence[int]
) -> np.ndarray:
    """Find the rows in which a cluster that the failing query lacks explains the crux best.

    Args:
        row_clusters: query clusters of each row, padded with -1, shape (n, slots).
        crux_weights: what explains the crux.
        query_clusters: clusters of the failing query.

    Returns:
        The rows.
    """
    weights, rows = crux_weights
    carried = row_clusters[rows]  # (r, slots)
    carried_weights = np.where(carried >= 0, weights[carried], 0)
    own = np.isin(carried, query_clusters)

    def strongest(where: np.ndarray) -> np.ndarray:
        return carried_weights.max(axis=1, where=where, initial=MIN_EXPLAINING_WEIGHT)

    return rows[strongest(~own) > strongest(own)]
