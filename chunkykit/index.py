"""The trace index: what every training row looks like from both sides, ready to be searched.

Offline half of TURF (paper sec. 3): attribute sentences of both sides are embedded (each distinct sentence once), those of
the queries are clustered by k-means, and everything is written to a folder that is memory-mapped when opened again.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from chunkykit.embed import Embedder
from chunkykit.errors import UserError

VERSION = 1
SENTENCES = ("query_sentences", "response_sentences", "summaries")
ARRAYS = ("query_ids", "response_ids", "query_vectors", "response_vectors", "cluster_of", "centroids")


@dataclass(frozen=True)
class TraceIndex:
    """An index in memory or mapped from disk; n rows, d dimensions, m distinct sentences a side, K query clusters."""

    table: pa.Table  # (n) row, chunk, prompt, response
    query_ids: np.ndarray  # (n, most) int32, a row's sentences, padded with -1
    response_ids: np.ndarray  # the same of the other side
    query_sentences: list[str]  # m
    response_sentences: list[str]
    query_vectors: np.ndarray  # (m, d) float32, unit norm
    response_vectors: np.ndarray
    cluster_of: np.ndarray  # (m_query,) int32
    centroids: np.ndarray  # (K, d) float32, unit norm
    summaries: list[str]  # K sentences, the members closest
    meta: dict  # embedder, describer, mixture, counts

    def __len__(self) -> int:
        return len(self.query_ids)

    def rows(self, ids) -> pd.DataFrame:
        """The training rows of these positions, in this order."""
        return self.table.take(np.asarray(ids, np.int64)).to_pandas()

    @cached_property
    def chunk(self) -> pd.Categorical:
        """(n,) the chunk of every row."""
        return pd.Categorical(self.table.column("chunk").to_pandas())

    @cached_property
    def row_clusters(self) -> np.ndarray:
        """(n, most) int32: the query clusters of a row, each once, padded with -1."""
        clusters = np.where(self.query_ids >= 0, self.cluster_of[np.maximum(self.query_ids, 0)], -1)
        clusters = -np.sort(-clusters, axis=1)
        clusters[:, 1:][clusters[:, 1:] == clusters[:, :-1]] = -1  # all but the first of each
        return clusters

    @cached_property
    def cluster_rows(self) -> np.ndarray:
        """(K,) rows that carry each query cluster."""
        return count_clusters(self.row_clusters, len(self.centroids))

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """(len(vectors),) nearest query cluster by cosine (paper Eq. 5)."""
        return np.argmax(vectors @ self.centroids.T, axis=1)


def count_clusters(row_clusters: np.ndarray, k: int) -> np.ndarray:
    """(k,) rows in which each cluster stands; a row counts once for each distinct cluster of its query.

    Our reading of paper Eq. 4: as printed it pairs query slot l with response slot l, but slots are unrelated.
    """
    return np.bincount(row_clusters[row_clusters >= 0], minlength=k)


def build(rows: pd.DataFrame, query_attributes: Sequence[list[str]], response_attributes: Sequence[list[str]],
          embed: Embedder, *, clusters: int | None = None, seed: int = 0, **meta) -> TraceIndex:
    """Cluster and embed described rows.

    rows: DataFrame[row, chunk, prompt, response]; the attribute lists are parallel to it.
    clusters: K; default `default_clusters`. Raises UserError when no query attribute was described.
    """
    query_sentences, query_ids = _number(query_attributes)
    response_sentences, response_ids = _number(response_attributes)
    if not query_sentences or not response_sentences:
        raise UserError("the describer gave no attribute for any row, so there is nothing to index.")
    query_vectors, response_vectors = embed(query_sentences), embed(response_sentences)
    k = min(clusters or default_clusters(len(query_sentences)), len(query_sentences))
    cluster_of, centroids = _kmeans(query_vectors, k, seed)
    closeness = np.einsum("md,md->m", query_vectors, centroids[cluster_of])
    best = pd.Series(closeness).groupby(cluster_of).idxmax().sort_index()
    table = pa.Table.from_pandas(rows[["row", "chunk", "prompt", "response"]], preserve_index=False)
    meta = {"version": VERSION, "embedder": embed.name, "rows": len(rows), "clusters": len(centroids),
            "seed": seed, "undescribed_queries": sum(not a for a in query_attributes),
            "undescribed_responses": sum(not a for a in response_attributes), **meta}
    return TraceIndex(table, query_ids, response_ids, query_sentences, response_sentences, query_vectors, response_vectors,
                      cluster_of, centroids, [query_sentences[i] for i in best], meta)


def default_clusters(sentences: int) -> int:
    """About 20 distinct attributes a cluster (the paper's density), and no coarser than 1,024 clusters while the sentences
    are few: a lexical describer's sentences are types already, and merging them would merge triggers."""
    return max(sentences // 20, min(sentences, 1024), 1)


def _number(attributes: Sequence[list[str]]) -> tuple[list[str], np.ndarray]:
    """Distinct sentences, and each row's as numbers (n, most), padded with -1."""
    known: dict[str, int] = {}
    ids = np.full((len(attributes), max((len(a) for a in attributes), default=0) or 1), -1, np.int32)
    for i, sentences in enumerate(attributes):
        ids[i, : len(sentences)] = [known.setdefault(s, len(known)) for s in sentences]
    return list(known), ids


def _kmeans(vectors: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(m,) cluster of each vector and (K, d) unit centroids; clusters that stay empty are dropped."""
    from sklearn.cluster import MiniBatchKMeans

    if k >= len(vectors):
        return np.arange(len(vectors), dtype=np.int32), vectors.copy()
    fit = MiniBatchKMeans(k, random_state=seed, n_init=1, batch_size=max(2048, 3 * k), reassignment_ratio=0).fit(vectors)
    centroids = fit.cluster_centers_ / np.maximum(np.linalg.norm(fit.cluster_centers_, axis=1, keepdims=True), 1e-9)
    nearest = np.concatenate([np.argmax(part @ centroids.T, axis=1) for part in np.array_split(vectors, len(vectors) // 4096 + 1)])
    kept, cluster_of = np.unique(nearest, return_inverse=True)
    return cluster_of.astype(np.int32), centroids[kept].astype(np.float32)


def save(index: TraceIndex, folder) -> Path:
    """Write the index to a folder, whole or not at all: a folder beside it is filled and then renamed."""
    folder = Path(folder).resolve()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "index.json").exists():
        raise UserError(f"index {folder}: the folder holds something else. Choose another --out.")
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        feather.write_feather(index.table, building / "rows.arrow", compression="uncompressed")
        for name in SENTENCES:
            feather.write_feather(pa.table({"sentence": getattr(index, name)}), building / f"{name}.arrow", compression="uncompressed")
        for name in ARRAYS:
            np.save(building / f"{name}.npy", getattr(index, name))
        (building / "index.json").write_text(json.dumps(index.meta, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(building, folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise UserError(f"index {folder}: cannot be written ({error.strerror or error}).") from None
    return folder


def open_index(folder, embed: Embedder | None = None) -> TraceIndex:
    """Open a saved index, memory-mapped. With `embed` given, refuses an index that another embedder made."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / "index.json").read_text())
        version = meta.get("version")
    except (OSError, ValueError, AttributeError):
        raise UserError(f"index {folder}: no index there (no readable index.json). "
                        "Make one with: chunkykit index --mixture M --out DIR") from None
    if version != VERSION:
        raise UserError(f"index {folder}: version {version}, this package reads {VERSION}. Build it again.")
    if embed is not None and embed.name != meta["embedder"]:
        raise UserError(f"index {folder}: made with embedder '{meta['embedder']}', not '{embed.name}'.")
    try:
        sentences = {name: feather.read_table(folder / f"{name}.arrow")["sentence"].to_pylist() for name in SENTENCES}
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        table = feather.read_table(folder / "rows.arrow", memory_map=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"index {folder}: a file is missing or damaged ({error}). Build it again.") from None
    of = {name: len(value) for name, value in (sentences | arrays).items()}
    sizes = (len(table), of["query_ids"], of["response_ids"], meta["rows"])
    if not (len(set(sizes)) == 1 and of["query_sentences"] == of["query_vectors"] == of["cluster_of"]
            and of["response_sentences"] == of["response_vectors"] and of["summaries"] == of["centroids"]):
        raise UserError(f"index {folder}: its files do not fit each other (rows {sizes}). Build it again.")
    return TraceIndex(table, meta=meta, **sentences, **arrays)
