"""Clusters: failures that resemble each other, by UMAP and HDBSCAN over the responses.

`labels` names them.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pandas as pd

from chunkykit.errors import requires_extra
from chunkykit.progress import step
from chunkykit.types import Embedder

NOISE = -1
MIN_RESPONSES = 12  # distinct responses below which neighbourhoods mean nothing
STOCK_DISTANCE = 0.3  # cosine distance up to which two stock answers are alike (our choice)
MIN_NORM = 1e-9  # of a vector, so that a zero vector stays zero
# UMAP compiles these anew in every process: ten seconds of its first map
COMPILED_BY_UMAP = {
    "umap_": ["fast_knn_indices", "smooth_knn_dist", "compute_membership_strengths"],
    "layouts": ["_nb_optimize_layout_euclidean_single_epoch"],
}
COMPILE = "from chunkykit.turf import compile_umap; compile_umap()"
LOWEST_PRIORITY = 19
UMAP_WARNINGS = "n_jobs value|Spectral initialisation failed|Graph is not fully connected"


def response_vectors(
    responses: Sequence[str],
    attributes: Sequence[list[str]],
    embed: Embedder,
    text_weight: float = 0.5,
) -> np.ndarray:
    """Embed responses so that manner counts more than matter.

    Our choice: the mean of a response's attribute vectors, plus the vector of its text at a lower
    weight.

    Args:
        responses: n texts.
        attributes: the sentences that describe each.
        embed: the embedder.
        text_weight: weight of the text beside the mean of the attributes.

    Returns:
        Unit vectors, shape (n, d), float32.
    """
    text_vectors = embed(list(responses))  # (n, d)
    mean = np.zeros_like(text_vectors)
    sentences = [sentence for described in attributes for sentence in described]
    if sentences:
        owner = np.repeat(np.arange(len(attributes)), [len(described) for described in attributes])
        np.add.at(mean, owner, embed(sentences))
    mixed = _normalise(mean) + text_weight * text_vectors
    return _normalise(mixed)


def _normalise(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, MIN_NORM)


def cluster_vectors(
    vectors: np.ndarray,
    *,
    dimensions: int = 8,
    min_size: int = 8,
    neighbors: int = 15,
    seed: int = 0,
) -> pd.DataFrame:
    """Cluster vectors, and lay them out as a map.

    Clusters come from more dimensions than the map has, because two dimensions tear groups apart.
    Equal vectors are collapsed first and share one place: they would distort UMAP's neighbourhoods,
    and HDBSCAN would see density where there is only repetition. A stock answer, which is repeated
    as often as a cluster is large, is no noise all the same.

    Args:
        vectors: unit vectors, shape (n, d).
        dimensions: dimensions that the clusters are found in.
        min_size: smallest cluster.
        neighbors: neighbours per point that UMAP preserves.
        seed: fixes the result.

    Returns:
        One row per vector: cluster (-1 is noise), x and y. Fewer than `MIN_RESPONSES` distinct
        vectors are one cluster.

    Raises:
        UserError: umap-learn or hdbscan is not installed.
    """
    unique, inverse, counts = _distinct(vectors)
    if len(unique) < MIN_RESPONSES:
        labels = np.zeros(len(unique), int)
        places = _principal_plane(unique)
    else:
        # the first use of UMAP in a process compiles it
        with step("map by UMAP, which compiles at first", 3, "steps") as advance:
            places = _umap(unique, 2, neighbors, seed)
            advance()
            wide = places
            if len(unique) > dimensions + 2:
                wide = _umap(unique, dimensions, neighbors, seed)
            advance()
            labels = _hdbscan(wide, min_size)
            labels = _cluster_stock_answers(unique, labels, counts >= min_size)
            advance()
    return pd.DataFrame(
        {"cluster": labels[inverse], "x": places[inverse, 0], "y": places[inverse, 1]}
    )


def _distinct(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct vectors, the number of each vector among them, and how often each is there."""
    # rounded, so that vectors count as equal that differ in the last bits alone
    rounded = np.round(vectors, 5)
    unique, inverse, counts = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
    return unique, inverse.ravel(), counts


def _cluster_stock_answers(
    vectors: np.ndarray, labels: np.ndarray, is_stock: np.ndarray
) -> np.ndarray:
    """The labels, with clusters of the stock answers that are noise to HDBSCAN.

    Args:
        vectors: distinct vectors, shape (n, d).
        labels: their clusters, shape (n,).
        is_stock: whether so many exchanges share the vector as make a cluster, shape (n,).

    Returns:
        The labels, shape (n,).
    """
    stray = np.flatnonzero(is_stock & (labels == NOISE))
    if not len(stray):
        return labels
    groups = np.zeros(len(stray), int)
    if len(stray) > 1:
        from sklearn.cluster import AgglomerativeClustering

        alike = AgglomerativeClustering(
            n_clusters=None, distance_threshold=STOCK_DISTANCE, metric="cosine", linkage="average"
        )
        groups = alike.fit_predict(vectors[stray])
    extended = labels.copy()
    extended[stray] = labels.max() + 1 + groups
    return extended


def _principal_plane(vectors: np.ndarray) -> np.ndarray:
    """A few vectors on the plane of their largest variance, (n, 2)."""
    if not len(vectors):
        return np.zeros((0, 2))
    centred = vectors - vectors.mean(0)
    basis = np.eye(2, vectors.shape[1])
    if len(vectors) > 2:
        basis = np.linalg.svd(centred, full_matrices=False)[2][:2]
    return centred @ basis.T


def _umap(vectors: np.ndarray, dimensions: int, neighbors: int, seed: int) -> np.ndarray:
    """Vectors in fewer dimensions, (n, dimensions)."""
    umap = _import_umap()
    _keep_compiled(umap)
    is_map = dimensions <= 2
    # the spectral start needs more points than dimensions
    fits_spectral = dimensions < len(vectors) - 1
    reducer = umap.UMAP(
        n_components=dimensions,
        n_neighbors=min(neighbors, len(vectors) - 1),
        # room between the points of a map; clusters are denser without it
        min_dist=0.15 if is_map else 0.0,
        metric="cosine",
        random_state=seed,
        init="spectral" if fits_spectral else "random",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=UMAP_WARNINGS)
        return reducer.fit_transform(vectors)


@contextmanager
def compiling_umap() -> Iterator[None]:
    """Compile UMAP in another process meanwhile, where that is still to do.

    numba does it the first time on a machine and keeps it on disk. It takes a core for a quarter of
    a minute, so the process yields to all others.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def compile_umap() -> None:
    """Draw a map of random vectors, for which UMAP must be compiled, at the lowest priority."""
    if hasattr(os, "nice"):
        os.nice(LOWEST_PRIORITY)
    vectors = np.random.default_rng(0).normal(size=(2 * MIN_RESPONSES, 8))
    _umap(vectors.astype(np.float32), 2, 5, 0)


def _import_umap() -> ModuleType:
    with requires_extra("figures"):
        try:
            import umap
        except RuntimeError:
            # numba, which it uses, has no folder to write to: a read-only installation, no home
            import numba

            place = tempfile.TemporaryDirectory("chunkykit-numba", ignore_cleanup_errors=True)
            atexit.register(place.cleanup)
            numba.config.CACHE_DIR = place.name  # type: ignore[attr-defined]
            import umap
    return umap


def _keep_compiled(umap: ModuleType) -> None:
    """Let numba keep on disk what it compiles for UMAP, where this version has these functions."""
    for module, names in COMPILED_BY_UMAP.items():
        for name in names:
            # RuntimeError: there is no folder that numba may write to
            with contextlib.suppress(AttributeError, RuntimeError):
                getattr(getattr(umap, module), name).enable_caching()


def _hdbscan(points: np.ndarray, min_size: int) -> np.ndarray:
    """The cluster of each point, -1 for noise."""
    with requires_extra("figures"):
        import hdbscan

    # few points are at most three clusters' worth
    size = int(np.clip(min_size, 2, max(2, len(points) // 3)))
    clusterer = hdbscan.HDBSCAN(min_cluster_size=size, allow_single_cluster=True)
    return clusterer.fit_predict(points.astype(np.float64))
