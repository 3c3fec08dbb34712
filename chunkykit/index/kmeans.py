"""Spherical k-means over sentence vectors that may not fit in memory, with faiss.

Two things differ from the textbook. A sentence weighs as much as the number of its rows, so that
the clusters are those of all attributes, as in the paper, although each distinct sentence is
embedded once. And many clusters are learned in two steps, which costs the square root: coarse
clusters first, then k-means inside each of them.
"""

import logging
from typing import NamedTuple

import numpy as np

from chunkykit.index.blocks import SENTENCES_PER_BLOCK, locate_blocks, read_block

MAX_TRAINING_SENTENCES = 2**21  # sentences that k-means learns from; a random sample of more
MAX_CLUSTERS = 50_000  # default number of clusters at most; the paper has 25,000
COARSE_CLUSTERS = 4096  # clusters from which on k-means works in two steps
SENTENCES_PER_CLUSTER = 20  # about the paper's density
MIN_CLUSTERS = 1024  # clusters below which sentences are not merged by default
MIN_OCCURRENCES = 2  # rows per sentence from which on sentences are types, and merging is rare
CLUSTERS_PER_ROOT = 24  # clusters per square root of the number of sentences that do not repeat
ITERATIONS = 12  # of k-means


class Clustering(NamedTuple):
    """m sentences in K clusters, none of them empty.

    Attributes:
        cluster_of: (m,) int32, the cluster of each sentence by cosine.
        centroids: (K, d) float32, unit vectors.
        closest: (K,) the sentence closest to each centroid.
        radius: (K,) float32, cosine of each centroid with its farthest member.
    """

    cluster_of: np.ndarray
    centroids: np.ndarray
    closest: np.ndarray
    radius: np.ndarray


def sentences_repeat(n_sentences: int, n_occurrences: int) -> bool:
    """Whether sentences are types that many rows share.

    A lexical describer has a few thousand sentences, and each stands in many rows. Those of a
    language model are nearly all distinct, and say one feature in many ways.

    Args:
        n_sentences: the number of distinct sentences.
        n_occurrences: the number of sentences of all rows.

    Returns:
        Whether a sentence stands in at least MIN_OCCURRENCES rows on average.
    """
    return n_occurrences >= MIN_OCCURRENCES * n_sentences


def default_clusters(n_sentences: int, n_occurrences: int) -> int:
    """Choose a number of clusters.

    Our choice. Sentences that repeat: SENTENCES_PER_CLUSTER sentences per cluster, the paper's
    density, but no fewer than MIN_CLUSTERS clusters while there are few sentences. They are types
    already, and merging them would merge triggers.

    Sentences that do not repeat: CLUSTERS_PER_ROOT times the square root of their number. The more
    sentences there are, the more of them say one feature, and the root keeps the clusters equally
    pure (docs/measured.md).

    Args:
        n_sentences: the number of distinct sentences.
        n_occurrences: the number of sentences of all rows.

    Returns:
        The number of clusters, from 1 to MAX_CLUSTERS.
    """
    if sentences_repeat(n_sentences, n_occurrences):
        unmerged = min(n_sentences, MIN_CLUSTERS)
        wanted = max(n_sentences // SENTENCES_PER_CLUSTER, unmerged)
    else:
        wanted = min(n_sentences, round(CLUSTERS_PER_ROOT * n_sentences**0.5))
    return min(max(wanted, 1), MAX_CLUSTERS)


def cluster_vectors(
    blocks: list[np.ndarray], weight: np.ndarray, k: int, seed: int = 0
) -> Clustering:
    """Cluster unit vectors by cosine.

    Args:
        blocks: m encoded vectors in d dimensions, in blocks of at most SENTENCES_PER_BLOCK.
        weight: (m,) rows that carry each sentence.
        k: number of clusters.
        seed: of the sample and of the start.

    Returns:
        The clustering. It has fewer than `k` clusters where some stayed empty.
    """
    m = len(weight)
    if k >= m:  # each sentence is its own cluster
        every = np.arange(m)
        return Clustering(
            cluster_of=every.astype(np.int32),
            centroids=np.concatenate([read_block(block) for block in blocks]),
            closest=every,
            radius=np.ones(m, np.float32),
        )
    sample = _sample_sentences(m, seed)
    centroids = _learn_centroids(_read_vectors(blocks, sample), weight[sample], k, seed)
    return _assign(blocks, centroids)


def _sample_sentences(m: int, seed: int) -> np.ndarray:
    """The sentences that k-means learns from, ascending."""
    if m <= MAX_TRAINING_SENTENCES:
        return np.arange(m)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(m, MAX_TRAINING_SENTENCES, replace=False))


def _read_vectors(blocks: list[np.ndarray], sentences: np.ndarray) -> np.ndarray:
    """The vectors of some sentences, ascending, with one whole block in memory at a time."""
    parts = []
    for place, block in locate_blocks(blocks):
        inside = sentences[(sentences >= place.start) & (sentences < place.stop)]
        parts.append(read_block(block)[inside - place.start])
    return np.concatenate(parts)


def _learn_centroids(vectors: np.ndarray, weight: np.ndarray, k: int, seed: int) -> np.ndarray:
    """About k centroids, learned in one step or, from COARSE_CLUSTERS on, in two."""
    if k < COARSE_CLUSTERS:
        return _fit(vectors, weight, k, seed)
    coarse = _fit(vectors, weight, round(k**0.5), seed)
    cell = _nearest_in_memory(vectors, coarse)
    fine = []
    for c in range(len(coarse)):
        members = np.flatnonzero(cell == c)
        if len(members) == 0:
            continue
        share = max(1, round(k * len(members) / len(vectors)))
        fine.append(_fit(vectors[members], weight[members], share, seed))
    return np.concatenate(fine)


def _fit(vectors: np.ndarray, weight: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Centroids of one run of k-means."""
    if k >= len(vectors):
        return vectors
    kmeans = _faiss().Kmeans(
        vectors.shape[1],
        k,
        niter=ITERATIONS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=2**31 - 1,  # faiss would sample by itself
    )
    # The most common sentences start as centroids, so that common attributes stay apart. Ties are
    # broken at random.
    tie_breaker = np.random.default_rng(seed).random(len(vectors))
    heaviest = np.lexsort((tie_breaker, -weight))[:k]
    kmeans.train(vectors, weights=weight.astype(np.float32), init_centroids=vectors[heaviest])
    return kmeans.centroids


def _nearest_in_memory(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest centroid of each vector."""
    search = _search_index(centroids)
    parts = []
    for start in range(0, len(vectors), SENTENCES_PER_BLOCK):
        _, nearest = search.search(vectors[start : start + SENTENCES_PER_BLOCK], 1)
        parts.append(nearest.ravel())
    return np.concatenate(parts)


def _assign(blocks: list[np.ndarray], centroids: np.ndarray) -> Clustering:
    """Put each sentence into the cluster of its nearest centroid; drop empty clusters."""
    search = _search_index(centroids)
    all_closeness = []
    all_nearest = []
    for block in blocks:
        block_closeness, block_nearest = search.search(read_block(block), 1)
        all_closeness.append(block_closeness.ravel())
        all_nearest.append(block_nearest.ravel())
    closeness = np.concatenate(all_closeness)  # (m,)
    used, cluster_of = np.unique(np.concatenate(all_nearest), return_inverse=True)

    # Sort by cluster and, inside a cluster, from its farthest member to its closest.
    order = np.lexsort((closeness, cluster_of))
    last = np.cumsum(np.bincount(cluster_of)) - 1  # (K,) place of the closest member
    first = np.concatenate([[0], last[:-1] + 1])  # (K,) place of the farthest member
    return Clustering(
        cluster_of=cluster_of.astype(np.int32),
        centroids=centroids[used],
        closest=order[last],
        radius=closeness[order[first]],
    )


def _search_index(centroids: np.ndarray):
    """A faiss index that searches centroids by cosine, exactly."""
    index = _faiss().IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    return index


def _faiss():
    """The faiss library, imported where it is used: it takes long to load."""
    # faiss logs each instruction set that it tries to load
    logging.getLogger("faiss").setLevel(logging.WARNING)
    import faiss

    return faiss
