"""Which row carries which cluster: as its sentences were clustered, or by what they mean.

The sentences of a lexical describer are types, and a row carries the clusters of its sentences.
Those of a language model are nearly all distinct, and k-means gives each of them to a cluster,
however far it is. There a row carries a cluster if one of its sentences means the same as the
central sentence of the cluster, by the cosine of the two.
"""

from collections.abc import Callable

import numpy as np

from chunkykit.attributes import at_odds
from chunkykit.index.blocks import locate_blocks, read_block, release_pages
from chunkykit.index.store import IndexSide, TraceIndex

ROWS_PER_PASS = 4096  # rows whose sentences are compared at once
VECTORS_PER_PASS = 1024  # vectors that they are compared with at once
MAX_USUAL_SENTENCES = 500  # sentences by which the usual cosine is found
MAX_USUAL_ROWS = 2000  # and rows
COSINE_STEPS = 20_001  # cosines at which a calibration is looked up

SameMeaning = Callable[[np.ndarray], np.ndarray]  # cosines to P(same meaning), not decreasing


def incidence(clusters: np.ndarray, k: int):
    """Build the incidence matrix of rows and clusters.

    Args:
        clusters: (n, slots), the clusters of each row, padded with -1.
        k: number of clusters.

    Returns:
        (n, k) scipy CSR matrix of counts.
    """
    from scipy.sparse import csr_matrix

    rows, slots = np.nonzero(clusters >= 0)
    ones = np.ones(len(rows), np.int32)
    return csr_matrix((ones, (rows, clusters[rows, slots])), (len(clusters), k))


def column_sums(matrix) -> np.ndarray:
    """Sum the columns of a sparse matrix.

    Args:
        matrix: (n, k).

    Returns:
        (k,) sums.
    """
    return np.asarray(matrix.sum(axis=0)).ravel()


def column_rows(matrix, column: int) -> np.ndarray:
    """List the rows in which a column is not zero.

    Args:
        matrix: (n, k), in CSC format.
        column: number of the column.

    Returns:
        Numbers of rows, ascending.
    """
    return matrix.indices[matrix.indptr[column] : matrix.indptr[column + 1]]


def least_cosine(same: SameMeaning, probability: float) -> float:
    """Find the cosine from which on two sentences mean the same with some probability.

    Args:
        same: cosines to P(same meaning), not decreasing.
        probability: the probability to reach.

    Returns:
        The cosine; infinity where none reaches it.
    """
    cosines = np.linspace(-1, 1, COSINE_STEPS)
    reached = np.flatnonzero(np.asarray(same(cosines)) >= probability)
    return float(cosines[reached[0]]) if len(reached) else float("inf")


def central_sentences(side: IndexSide) -> np.ndarray:
    """Find the sentence of each cluster that is closest to its centroid.

    Args:
        side: a side of an index, with K clusters.

    Returns:
        (K,) numbers of sentences.
    """
    closeness = centroid_cosines(side)
    order = np.lexsort((closeness, side.cluster_of))
    sizes = np.bincount(side.cluster_of, minlength=len(side.centroids))
    return order[np.cumsum(sizes) - 1]


def centroid_cosines(side: IndexSide) -> np.ndarray:
    """Compute the cosine of each sentence with the centroid of its cluster.

    Args:
        side: a side of an index, with m distinct sentences.

    Returns:
        (m,) cosines.
    """
    cosines = np.empty(len(side.sentences), np.float32)
    for place, block in locate_blocks(side.blocks):
        centroids = side.centroids[side.cluster_of[place]]
        cosines[place] = np.einsum("md,md->m", read_block(block), centroids)
    return cosines


def sentence_vectors(side: IndexSide, sentences: np.ndarray) -> np.ndarray:
    """Read the vectors of some sentences.

    Args:
        side: a side of an index, of vectors in d dimensions.
        sentences: k numbers of sentences, in any order.

    Returns:
        Unit vectors, shape (k, d).
    """
    vectors = np.empty((len(sentences), side.centroids.shape[1]), np.float32)
    for place, block in locate_blocks(side.blocks):
        inside = np.flatnonzero((sentences >= place.start) & (sentences < place.stop))
        if len(inside):
            vectors[inside] = read_block(block[sentences[inside] - place.start])
            release_pages(block)
    return vectors


def usual_cosine(side: IndexSide, seed: int = 0) -> float:
    """Find the cosine that a row has with a sentence that is not about it, as a rule.

    An embedder puts all sentences of one kind near to each other, so a cosine says little without
    this. Calibrations that start from it are the same for any kind.

    Args:
        side: a side of an index.
        seed: of the sample of rows and sentences.

    Returns:
        The median, over sentences and rows, of the largest cosine of a row's sentences with one.
    """
    rng = np.random.default_rng(seed)
    sentences = rng.permutation(len(side.sentences))[:MAX_USUAL_SENTENCES]
    rows = np.sort(rng.permutation(len(side.ids))[:MAX_USUAL_ROWS])
    cosines = row_cosines(side, rows, sentence_vectors(side, sentences))
    return float(np.median(cosines[(side.ids[rows] >= 0).any(axis=1)]))


def same_meaning(index: TraceIndex, side: str = "query") -> SameMeaning | None:
    """Say what cosines between the sentences of an index mean.

    Args:
        index: an index.
        side: which of its sides the sentences are of.

    Returns:
        Cosines to P(same meaning); None where the sentences are types, so that others mean
        something else.
    """
    calibration = index.calibration
    if calibration is None or index.sides[side].has_types:
        return None
    usual = usual_cosine(index.sides[side])
    return lambda cosines: at_odds(calibration.evidence(cosines, usual))


def row_cosines(side: IndexSide, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Compare rows with sentences by the nearest of each row's own sentences.

    Args:
        side: a side of an index, of vectors in d dimensions.
        rows: r numbers of rows.
        vectors: unit vectors of k sentences, shape (k, d).

    Returns:
        (r, k) float16, the largest cosine; -1 for a row without sentences.
    """
    cosines = np.empty((len(rows), len(vectors)), np.float16)
    for start in range(0, len(rows), ROWS_PER_PASS):
        ids = side.ids[rows[start : start + ROWS_PER_PASS]]  # (rows, slots), padded with -1
        own = np.zeros((*ids.shape, vectors.shape[1]), np.float32)  # (rows, slots, d)
        own[ids >= 0] = sentence_vectors(side, ids[ids >= 0])
        for left in range(0, len(vectors), VECTORS_PER_PASS):
            columns = slice(left, left + VECTORS_PER_PASS)
            nearest = _nearest(own, ids >= 0, vectors[columns])
            cosines[start : start + len(ids), columns] = nearest
    return cosines


def _nearest(own: np.ndarray, is_there: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The largest cosine of each row's sentences, (rows, slots, d), with k vectors, (rows, k)."""
    nearest = np.full((len(own), len(vectors)), -1, np.float32)
    for slot in range(own.shape[1]):
        there = np.flatnonzero(is_there[:, slot])
        if len(there) == len(own):  # nearly always, so it is worth no copy
            np.maximum(nearest, own[:, slot] @ vectors.T, out=nearest)
        elif len(there):
            nearest[there] = np.maximum(nearest[there], own[there, slot] @ vectors.T)
    return nearest
