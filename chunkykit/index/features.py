"""Features: clusters of distinct sentences, of which each says something else than the others.

Thousands of clusters of a language model's sentences are about the same few hundred features. Two
choices are made here. `common_features` takes clusters that many rows carry, for a search to draw
from. `typical_features` takes the clusters that tell a chunk from the others, for a scan.
"""

from typing import NamedTuple

import numpy as np

from chunkykit.index.incidence import (
    SameMeaning,
    central_sentences,
    least_cosine,
    row_cosines,
    sentence_vectors,
)
from chunkykit.index.store import IndexSide

SAME = 0.5  # P(same meaning) from which on two sentences say one thing
PURE = 0.8  # the same for a pool: a writer is asked for what the sentence says, so it must be true
# Probabilities from which on a row may carry a cluster, where that tells a chunk from the others
# better: a chunk can say a feature in words that are far from each central sentence.
CHUNK_LEVELS = (SAME, 0.3, 0.2, 0.1)
MIN_FEATURE_ROWS = 3  # rows that carry a feature; what fewer say is too special to be said again
MAX_SAMPLED_ROWS = 20_000  # rows by which features are chosen
MAX_CHUNK_FEATURES = 100  # features per chunk
MAX_FEATURES = 3000  # features of all chunks
CLUSTERS_PER_PASS = 1024  # clusters whose cosines are in memory at once


class Features(NamedTuple):
    """f clusters of one side of an index, and which of r rows say what they say.

    Attributes:
        rows: (r,) numbers of rows.
        clusters: (f,) numbers of clusters.
        cosines: (r, f) float16, the largest cosine of a row's sentences with the central sentence.
        cuts: (f,) cosines from which on a row carries the cluster.
        same_cut: cosine from which on a row says the same, by SAME.
    """

    rows: np.ndarray
    clusters: np.ndarray
    cosines: np.ndarray
    cuts: np.ndarray
    same_cut: float

    @property
    def carried(self) -> np.ndarray:
        """Whether each row carries each cluster, (r, f)."""
        return self.cosines >= self.cuts.astype(np.float16)


def common_features(side: IndexSide, same: SameMeaning, seed: int = 0) -> Features:
    """Choose clusters that many rows carry and that mean different things.

    The cluster that most rows carry comes first, so that of a family of sentences the general one
    is chosen, and not the one with a name in it.

    Args:
        side: a side of an index.
        same: cosines to P(same meaning).
        seed: of the sample of rows in a large index.

    Returns:
        The features over all rows, or over a sample of MAX_SAMPLED_ROWS of them.
    """
    rows = np.arange(len(side.ids))
    if len(rows) > MAX_SAMPLED_ROWS:
        rows = np.random.default_rng(seed).choice(rows, MAX_SAMPLED_ROWS, replace=False)
    vectors = sentence_vectors(side, central_sentences(side))  # (K, d)
    cut = least_cosine(same, PURE)
    n_rows = np.zeros(len(vectors), np.int64)
    for start in range(0, len(vectors), CLUSTERS_PER_PASS):
        part = slice(start, start + CLUSTERS_PER_PASS)
        n_rows[part] = (row_cosines(side, rows, vectors[part]) >= np.float16(cut)).sum(axis=0)
    clusters = _distinct(vectors, n_rows, cut)
    cosines = row_cosines(side, rows, vectors[clusters])
    return Features(rows, clusters, cosines, np.full(len(clusters), cut), cut)


def _distinct(vectors: np.ndarray, n_rows: np.ndarray, cut: float) -> np.ndarray:
    """The clusters in the order of their rows, without those that mean the same as one before."""
    chosen = []
    covered = n_rows < MIN_FEATURE_ROWS
    for cluster in np.argsort(-n_rows, kind="stable"):
        if not covered[cluster]:
            chosen.append(cluster)
            covered |= vectors @ vectors[cluster] >= cut
    return np.array(chosen, np.int64)


def typical_features(
    side: IndexSide, chunk: np.ndarray, same: SameMeaning, seed: int = 0
) -> Features:
    """Choose the clusters that tell each chunk from the others best.

    Args:
        side: a side of an index of n rows.
        chunk: (n,) number of each row's chunk, from 0.
        same: cosines to P(same meaning).
        seed: of the sample of rows by which they are chosen in a large index.

    Returns:
        The features over all rows, at most MAX_CHUNK_FEATURES per chunk.
    """
    sample = _sample_chunks(chunk, seed)
    vectors = sentence_vectors(side, central_sentences(side))  # (K, d)
    levels = np.array([least_cosine(same, probability) for probability in CHUNK_LEVELS])
    contrasts = []
    cuts = []
    for start in range(0, len(vectors), CLUSTERS_PER_PASS):
        cosines = row_cosines(side, sample, vectors[start : start + CLUSTERS_PER_PASS])
        by_level = np.stack([chunk_contrast(cosines >= cut, chunk[sample]) for cut in levels])
        contrasts.append(by_level.max(axis=0))
        cuts.append(levels[by_level.max(axis=1).argmax(axis=0)])
    contrast = np.concatenate(contrasts, axis=1)  # (n_chunks, K)
    per_chunk = min(MAX_CHUNK_FEATURES, max(1, MAX_FEATURES // len(contrast)))
    best = np.argsort(-contrast, axis=1, kind="stable")[:, :per_chunk]
    clusters = np.unique(best)
    rows = np.arange(len(chunk))
    cosines = row_cosines(side, rows, vectors[clusters])
    return Features(rows, clusters, cosines, np.concatenate(cuts)[clusters], float(levels[0]))


def _sample_chunks(chunk: np.ndarray, seed: int) -> np.ndarray:
    """Rows of all chunks, as many of each as there are, up to an equal share of the sample."""
    order = np.random.default_rng(seed).permutation(len(chunk))
    share = max(1, MAX_SAMPLED_ROWS // (int(chunk.max()) + 1))
    parts = [order[chunk[order] == number][:share] for number in range(int(chunk.max()) + 1)]
    return np.sort(np.concatenate(parts))


def chunk_contrast(carried: np.ndarray, chunk: np.ndarray) -> np.ndarray:
    """Correlate what rows carry with the chunk they belong to.

    Args:
        carried: (r, k) bool.
        chunk: (r,) number of each row's chunk, from 0.

    Returns:
        (n_chunks, k) phi coefficients between a chunk and a column, from -1 to 1.
    """
    belongs = np.eye(int(chunk.max()) + 1, dtype=np.float32)[chunk]  # (r, n_chunks)
    n = len(chunk)
    both = belongs.T @ carried.astype(np.float32)  # (n_chunks, k)
    in_chunk = belongs.sum(axis=0)[:, None].astype(np.float64)
    carriers = carried.sum(axis=0)[None, :].astype(np.float64)
    covariance = both * n - in_chunk * carriers
    variance = in_chunk * (n - in_chunk) * carriers * (n - carriers)
    return covariance / np.sqrt(np.maximum(variance, 1))
