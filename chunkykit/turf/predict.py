"""Predict: which query clusters call up a behaviour, from the data alone."""

import numpy as np

from chunkykit.index import IndexSide
from chunkykit.stats import adjust
from chunkykit.turf.graded import Grades

MAX_P_VALUE = 0.01  # adjusted p from which a cluster does not stand out
MIN_LIFT = 2.0
MAX_Z = 5.0  # bound of a score, so that no cluster takes a whole search


def predict_clusters(query: IndexSide, shows: Grades) -> np.ndarray:
    """Score the query clusters by what the responses of their rows show.

    Args:
        query: the side of the index with the queries, of n rows in K clusters.
        shows: how likely each row shows the behaviour, shape (n,).

    Returns:
        The z-score of each cluster, at most `MAX_Z`; 0 where the cluster does not stand out.
        Shape (K,).
    """
    from scipy.stats import gamma, norm

    n = len(shows.evidence)
    size = query.cluster_rows  # (K,)
    mean = size * shows.evidence.mean()
    variance = size * (1 - size / n) * shows.evidence.var() * n / max(1, n - 1)
    varies = (variance > 0) & (mean > 0)
    scale = np.where(varies, variance, 1) / np.where(varies, mean, 1)
    tail = gamma.sf(_sums(query, shows.evidence), np.where(varies, mean, 1) / scale, scale=scale)
    p = adjust(np.where(varies, tail, 1.0))
    lift = _sums(query, shows.probability) / np.maximum(size * shows.probability.mean(), 1e-9)
    stands_out = (p < MAX_P_VALUE) & (lift >= MIN_LIFT)
    z = norm.isf(np.maximum(p, 1e-300))  # p underflows to 0 in large indexes
    return np.where(stands_out, np.minimum(z, MAX_Z), 0.0)


def _sums(query: IndexSide, values: np.ndarray) -> np.ndarray:
    """Sum of the rows' values in each cluster, (K,)."""
    rows, slots = np.nonzero(query.clusters >= 0)
    clusters = query.clusters[rows, slots]
    return np.bincount(clusters, values[rows], minlength=len(query.centroids))
