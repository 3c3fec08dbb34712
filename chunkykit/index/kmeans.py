"""Spherical k-means over sentence vectors that may not fit in memory, with faiss.

Two things differ from the textbook. A sentence weighs as much as the number of its rows, so that
the clusters are those of all attributes, as in the paper, although each distinct sentence is
embedded once. And many clusters are learned in two steps, which costs the square root: cells
first, which are coarse clusters, then k-means inside each of them. A sentence is compared with the
clusters of the cells nearest to it.

Cells are worked on in threads of our own. Those of faiss wait for each other after every step,
which takes longer than the step where a cell is small or the cores are busy.
"""

import logging
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from chunkykit.index.blocks import (
    SENTENCES_PER_TASK,
    decode_vectors,
    in_threads,
    read_block,
    read_vectors,
    release_pages,
)
from chunkykit.progress import step

MAX_TRAINING_SENTENCES = 2**21  # sentences that k-means learns from; a random sample of more
MAX_CLUSTERS = 50_000  # default number of clusters at most; the paper has 25,000
TWO_STEP_CLUSTERS = 2048  # clusters from which on k-means works in two steps
CELLS_PER_ROOT = 2  # cells per square root of the number of clusters
SENTENCES_PER_CELL = 256  # sentences per cell that the cells are learned from
NEAREST_CELLS = 4  # cells whose clusters a sentence is compared with
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
        n_occurrences: the number of sentences of all different texts.

    Returns:
        Whether a sentence describes at least MIN_OCCURRENCES different texts on average.
    """
    return n_occurrences >= MIN_OCCURRENCES * n_sentences


def measure_repetition(occurrences: np.ndarray) -> float:
    """Say how often a describer says one feature in the same words.

    Args:
        occurrences: the number of different texts that each sentence describes, shape (m,).

    Returns:
        1 for sentences that are types, see `sentences_repeat`: there, other words mean another
        feature. Else the share of all sentences, text by text, that describe another text, too.
    """
    if sentences_repeat(len(occurrences), int(occurrences.sum())):
        return 1.0
    return float(occurrences[occurrences > 1].sum() / max(1, occurrences.sum()))


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
        n_occurrences: the number of sentences of all different texts.

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
    sample = _sample_sentences(m, MAX_TRAINING_SENTENCES, seed)
    with step(f"k-means: {m:,} sentences, {k:,} clusters"):
        search = _learn(read_vectors(blocks, sample), weight[sample], k, seed)
        return _assign(blocks, search)


def _sample_sentences(m: int, size: int, seed: int) -> np.ndarray:
    """At most `size` of m sentences, ascending."""
    if m <= size:
        return np.arange(m)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(m, size, replace=False))


def _learn(vectors: np.ndarray, weight: np.ndarray, k: int, seed: int) -> Any:
    """Learn about k centroids of encoded vectors, as a faiss index that searches them."""
    if k < TWO_STEP_CLUSTERS:
        return _search_index(_fit(vectors, weight, k, seed))
    n_cells = round(CELLS_PER_ROOT * k**0.5)
    sample = _sample_sentences(len(vectors), SENTENCES_PER_CELL * n_cells, seed)
    cells = _fit(vectors[sample], weight[sample], n_cells, seed)
    _, cell_of = _search([vectors], _search_index(cells))

    def learn_cell(cell: int) -> np.ndarray:
        _use_one_thread()
        members = np.flatnonzero(cell_of == cell)
        share = max(1, round(k * len(members) / len(vectors)))
        learned = _fit(vectors[members], weight[members], share, seed)
        advance()
        return learned

    with step("k-means in cells", int(cell_of.max()) + 1, "cells") as advance:
        centroids = in_threads(learn_cell, np.unique(cell_of))
    return _search_index(np.concatenate(centroids), cells)


def _fit(vectors: np.ndarray, weight: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Centroids of one run of k-means over encoded vectors."""
    vectors = decode_vectors(vectors)
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


def _assign(blocks: list[np.ndarray], search: Any) -> Clustering:
    """Put each sentence into the cluster of its nearest centroid; drop empty clusters."""
    closeness, nearest = _search(blocks, search)
    used, cluster_of = np.unique(nearest, return_inverse=True)

    # Sort by cluster and, inside a cluster, from its farthest member to its closest.
    order = np.lexsort((closeness, cluster_of))
    last = np.cumsum(np.bincount(cluster_of)) - 1  # (K,) place of the closest member
    first = np.concatenate([[0], last[:-1] + 1])  # (K,) place of the farthest member
    return Clustering(
        cluster_of=cluster_of.astype(np.int32),
        centroids=search.reconstruct_n(0, search.ntotal)[used],
        closest=order[last],
        radius=closeness[order[first]],
    )


def _search(blocks: list[np.ndarray], search: Any) -> tuple[np.ndarray, np.ndarray]:
    """The cosine of each sentence with its nearest centroid, and which one that is, (m,) each."""

    def search_part(block: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        _use_one_thread()
        vectors = decode_vectors(block[start : start + SENTENCES_PER_TASK])
        return search.search(vectors, 1)

    parts = []
    for block in blocks:
        parts += in_threads(partial(search_part, block), range(0, len(block), SENTENCES_PER_TASK))
        release_pages(block)
    closeness, nearest = zip(*parts)
    return np.concatenate(closeness).ravel(), np.concatenate(nearest).ravel()


def _search_index(centroids: np.ndarray, cells: np.ndarray | None = None) -> Any:
    """A faiss index that searches centroids by cosine: all, or those of the nearest cells."""
    faiss = _faiss()
    index = faiss.IndexFlatIP(centroids.shape[1])
    if cells is not None:
        index.add(cells)
        index = faiss.IndexIVFFlat(index, cells.shape[1], len(cells), faiss.METRIC_INNER_PRODUCT)
        index.nprobe = NEAREST_CELLS
        index.make_direct_map()
    index.add(centroids)
    return index


def _use_one_thread() -> None:
    """Keep faiss from starting threads of its own where it is called from this thread."""
    _faiss().omp_set_num_threads(1)


def _faiss():
    """The faiss library, imported where it is used: it takes long to load."""
    # faiss logs each instruction set that it tries to load
    logging.getLogger("faiss").setLevel(logging.WARNING)
    import faiss

    return faiss
