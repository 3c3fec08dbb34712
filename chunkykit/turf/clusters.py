"""Failures that look alike: UMAP and HDBSCAN over the responses."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from chunkykit.attributes import Embedder

NOISE = -1
MIN_RESPONSES = (
    12  # distinct responses below which neighbourhoods mean nothing: they are one cluster a rubric
)


def response_vectors(
    responses: Sequence[str],
    attributes: Sequence[list[str]],
    embed: Embedder,
    text_weight: float = 0.5,
) -> np.ndarray:
    """(n, d) float32 of unit norm for n responses and their attribute lists: the mean of a response's attribute vectors with its
    text's own vector behind, manner first, matter second."""
    own = embed(list(responses))
    flat = [s for sentences in attributes for s in sentences]
    said = embed(flat) if flat else np.zeros((0, own.shape[1]), np.float32)
    owner = np.repeat(np.arange(len(attributes)), [len(a) for a in attributes])
    mean = np.zeros_like(own)
    np.add.at(mean, owner, said)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    mixed = mean + text_weight * own
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)


def cluster_vectors(
    vectors: np.ndarray,
    *,
    dimensions: int = 8,
    min_size: int = 8,
    neighbors: int = 15,
    seed: int = 0,
) -> pd.DataFrame:
    """DataFrame[cluster, x, y], parallel to vectors; cluster -1 is noise. Clusters come from more dimensions than the map's two.

    Equal vectors are collapsed first (they would pull UMAP apart, and HDBSCAN would see density where there is only
    repetition) and share one place. Fixed by the seed. Fewer than FEWEST distinct vectors are one cluster."""
    unique, inverse = np.unique(np.round(vectors, 5), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    if len(unique) < MIN_RESPONSES:
        flat = unique - unique.mean(0) if len(unique) else unique
        basis = (
            np.linalg.svd(flat, full_matrices=False)[2][:2]
            if len(unique) > 2
            else np.eye(2, vectors.shape[1])
        )
        labels, places = np.zeros(len(unique), int), flat @ basis.T
    else:
        import hdbscan
        import umap

        def project(d: int) -> np.ndarray:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore",
                    message="n_jobs value|Spectral initialisation failed|Graph is not fully connected",
                )
                return umap.UMAP(
                    n_components=d,
                    n_neighbors=min(neighbors, len(unique) - 1),
                    min_dist=0.0 if d > 2 else 0.15,
                    metric="cosine",
                    random_state=seed,
                    init="random" if d >= len(unique) - 1 else "spectral",
                ).fit_transform(unique)

        places = project(2)
        wide = project(dimensions) if len(unique) > dimensions + 2 else places
        size = int(np.clip(min_size, 2, max(2, len(unique) // 3)))
        labels = hdbscan.HDBSCAN(min_cluster_size=size, allow_single_cluster=True).fit_predict(
            wide.astype(np.float64)
        )
    return pd.DataFrame(
        {"cluster": labels[inverse], "x": places[inverse, 0], "y": places[inverse, 1]}
    )


def label_clusters(
    attributes: Sequence[list[str]], clusters: Sequence[int], most: int = 2
) -> dict[int, str]:
    """A name for every cluster: the response attributes that set it apart, by share inside less share outside."""
    long = pd.DataFrame(
        {"cluster": list(clusters), "attribute": [list(dict.fromkeys(a)) for a in attributes]}
    ).explode("attribute")
    sizes = pd.Series(list(clusters)).value_counts()
    counts = (
        long.groupby(["attribute", "cluster"])
        .size()
        .unstack(fill_value=0)
        .reindex(columns=sizes.index, fill_value=0)
    )
    names = {}
    for c in sizes.index:
        inside = counts[c] / sizes[c]
        outside = (counts.sum(axis=1) - counts[c]) / max(1, len(clusters) - sizes[c])
        apart = (inside - outside)[inside > 0.3].sort_values(ascending=False, kind="stable")
        words = [a.removeprefix("The response ") for a in apart.index[:most]]
        names[int(c)] = "noise" if c == NOISE else "; ".join(words) or "no common attribute"
    return names


def cluster_table(points: pd.DataFrame, attributes: Sequence[list[str]]) -> pd.DataFrame:
    """DataFrame[id, size, rubric, label] of the clusters, largest first, noise left out; `rubric` is the commonest inside.
    points: rubric and cluster of every failure; attributes: of its response."""
    names = label_clusters(attributes, points["cluster"])
    rows = [
        (int(c), len(mine), mine["rubric"].mode()[0], names[int(c)])
        for c, mine in points.groupby("cluster")
        if c != NOISE
    ]
    return pd.DataFrame(
        sorted(rows, key=lambda r: (-r[1], r[0])), columns=["id", "size", "rubric", "label"]
    )
