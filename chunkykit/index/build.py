"""Build a trace index from rows (the offline half of TURF, paper Sec. 3), in two stages.

`describe_shards` writes the rows with their attribute sentences in shards. `finish_index` numbers
the distinct sentences, embeds each of them once, clusters them by k-means, and saves arrays that
are memory-mapped when the index is opened. Both stages stream, and both resume where they were
interrupted.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from chunkykit.attributes import SYSTEM_PROMPT, calibrate
from chunkykit.errors import UserError
from chunkykit.files import temporary_folder, writable, write_json
from chunkykit.index.blocks import embed_blocks
from chunkykit.index.kmeans import (
    Clustering,
    cluster_vectors,
    default_clusters,
    measure_repetition,
)
from chunkykit.index.place import building_folder, put_in_place
from chunkykit.index.shards import SIDE_COLUMNS, read_shards, write_shard
from chunkykit.index.store import INDEX_VERSION, TraceIndex, file_entry, open_trace_index
from chunkykit.models import remember_named
from chunkykit.types import OFFLINE, Embedder

MAX_OTHER_CLUSTERS = 4096  # of a side whose clusters cannot be triggers


def index_from_attributes(
    rows: pd.DataFrame,
    query_attributes: Sequence[list[str]],
    response_attributes: Sequence[list[str]],
    embed: Embedder,
    folder: Path | str | None = None,
    **settings,
) -> TraceIndex:
    """Build the index of rows whose attributes are known.

    Args:
        rows: DataFrame with the columns row, chunk, prompt and response.
        query_attributes: attribute sentences of each prompt.
        response_attributes: attribute sentences of each response.
        embed: the embedder.
        folder: where to save the index. None: in a temporary folder that is deleted with the
            index.
        **settings: as of `finish_index`.

    Returns:
        The index, opened.

    Raises:
        UserError: no row has an attribute, or the folder cannot be written.
    """
    place = None
    if folder is None:
        place = temporary_folder()
        folder = Path(place.name) / "index"
    attributes = {"query": query_attributes, "response": response_attributes}
    write_shard(building_folder(folder), 0, rows, attributes)
    return replace(finish_index(folder, embed, **settings), place=place)


def finish_index(
    folder: Path | str,
    embed: Embedder,
    *,
    clusters: int | None = None,
    seed: int = 0,
    **meta,
) -> TraceIndex:
    """Build the index from the shards that `describe_shards` wrote.

    Args:
        folder: where the index is to be. An older index there is replaced, and nothing else.
        embed: the embedder.
        clusters: number of query clusters; by default `default_clusters`.
        seed: of k-means.
        **meta: what else the index is to remember, such as its mixture.

    Returns:
        The index, opened.

    Raises:
        UserError: no row has an attribute, or the folder cannot be written.
    """
    folder = Path(folder).resolve()
    place = building_folder(folder)
    with writable(f"index {folder}"):
        content = _finish_sides(place, embed, clusters, seed)
        sides = content["sides"]
        saved = [path for path in place.rglob("*.*") if path.suffix in (".npy", ".arrow")]
        # as_posix: an index can be opened on another system than the one that built it
        files = {p.relative_to(place).as_posix(): file_entry(p) for p in sorted(saved)}
        header = {
            "version": INDEX_VERSION,
            "embedder": embed.name,
            "embedder_weights": dict(getattr(embed, "settings", {})),
            "calibration": _calibrate(embed, sides),
            "rows": content["rows"],
            "clusters": sides["query"]["clusters"],
            "seed": seed,
            "undescribed_queries": sides["query"]["undescribed"],
            "undescribed_responses": sides["response"]["undescribed"],
        }
        body = {"chunks": content["chunks"], "sides": sides, "files": files}
        write_json(place / "index.json", {**header, **meta, **body})
        put_in_place(place, folder)
    # who builds an index has named its models
    remember_named([embed.name, meta.get("describer", OFFLINE)])
    return open_trace_index(folder, embed, check=False)


def _calibrate(embed: Embedder, sides: dict[str, dict[str, float]]) -> dict[str, float] | None:
    """What the embedder's cosines mean; None where all sentences are types, which need none."""
    if all(side["repeated"] == 1 for side in sides.values()):
        return None
    return calibrate(embed)._asdict()


def _finish_sides(place: Path, embed: Embedder, clusters: int | None, seed: int) -> dict[str, Any]:
    """Write the arrays of all sides, and return what index.json says of them.

    Nothing is mapped any more when this returns: some systems do not move mapped files.
    """
    table = read_shards(place)
    chunk = pd.Categorical(table["chunk"].to_pandas())
    np.save(place / "chunk.npy", chunk.codes)
    counts = {}
    for side, (column, _) in SIDE_COLUMNS.items():
        if f"@{side}" in table.column_names:
            k = clusters if side == "query" else None
            texts = table[column]
            counts[side] = _finish_side(place / side, texts, table[f"@{side}"], embed, k, seed)
    if not (counts["query"]["sentences"] and counts["response"]["sentences"]):
        raise UserError(
            "index: the describer gave no attribute for any row, so there is nothing to index. "
            "Use another describer."
        )
    return {
        "rows": len(table),
        "chunks": list(chunk.categories),
        "sides": {side: count for side, count in counts.items() if count["sentences"]},
    }


class _Occurrences(NamedTuple):
    """Where the m distinct sentences of one side stand in its n rows."""

    sentences: pa.Array  # (m,)
    lengths: np.ndarray  # (n,) sentences per row
    numbers: np.ndarray  # (total,) sentence numbers, row after row


def _finish_side(
    folder: Path,
    texts: pa.ChunkedArray,
    lists: pa.ChunkedArray,
    embed: Embedder,
    k: int | None,
    seed: int,
) -> dict[str, float]:
    """Number, embed and cluster the sentences of one side, and write its arrays."""
    folder.mkdir(exist_ok=True)
    sentences, lengths, numbers = _number_sentences(lists)
    m = len(sentences)
    n = len(lengths)
    if m == 0:
        return {"sentences": 0, "repeated": 0.0, "clusters": 0, "undescribed": n}
    weight = np.bincount(numbers, minlength=m)  # (m,) rows per sentence
    rows = np.repeat(np.arange(n, dtype=np.int32), lengths)  # (total,) row of each sentence
    ids = _spread_over_slots(numbers, rows, lengths)
    occurrences = _count_occurrences(texts, ids, m)[_is_of_text(sentences)]
    # as many occurrences a sentence as the texts themselves have
    k = k or _default_k(folder.name, m, int(occurrences.mean() * m))
    clustering = cluster_vectors(embed_blocks(folder, sentences, embed), weight, k, seed)
    arrays = {
        "ids": ids,
        "clusters": _clusters_of_rows(ids, clustering.cluster_of),
        "cluster_of": clustering.cluster_of,
        "centroids": clustering.centroids,
        "radius": clustering.radius,
        "starts": np.concatenate([[0], np.cumsum(weight)]),
        "rows": rows[np.argsort(numbers, kind="stable")],  # rows of sentence 0, 1, ...
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    _write_sentences(folder, sentences, clustering)
    undescribed = int((lengths == 0).sum())
    return {
        "sentences": m,
        "repeated": measure_repetition(occurrences),
        "clusters": len(clustering.centroids),
        "undescribed": undescribed,
    }


def _count_occurrences(texts: pa.ChunkedArray, ids: np.ndarray, m: int) -> np.ndarray:
    """(m,) rows that each sentence stands in, where rows with one text and description are one.

    Several responses to one prompt repeat its sentences, which makes no types of them.
    """
    multipliers = np.random.default_rng(0).integers(2**62, size=ids.shape[1])
    description = ids.astype(np.int64) @ multipliers  # a hash; int64 may wrap around
    rows = pa.table({"text": texts, "description": description, "row": np.arange(len(ids))})
    first = rows.group_by(["text", "description"]).aggregate([("row", "min")])
    numbers = ids[first["row_min"].to_numpy()]
    return np.bincount(numbers[numbers >= 0], minlength=m)


def _is_of_text(sentences: pa.Array) -> np.ndarray:
    """(m,) whether a sentence is of the text itself, and not of the system prompt above it.

    One system prompt stands above many rows, which makes no types of its sentences.
    """
    is_of_system = pc.starts_with(sentences, f"The {SYSTEM_PROMPT} ").to_numpy(False)
    return ~is_of_system if not is_of_system.all() else is_of_system


def _default_k(side: str, n_sentences: int, n_occurrences: int) -> int:
    k = default_clusters(n_sentences, n_occurrences)
    return k if side == "query" else min(k, MAX_OTHER_CLUSTERS)


def _number_sentences(lists: pa.ChunkedArray) -> _Occurrences:
    """Number the distinct sentences of all shards in the order in which they first stand there."""
    chunks = lists.chunks
    lengths = np.concatenate([chunk.value_lengths().to_numpy() for chunk in chunks])
    flat = pa.chunked_array([chunk.flatten() for chunk in chunks]).unify_dictionaries()
    sentences = flat.chunk(0).dictionary
    numbers = np.concatenate([chunk.indices.to_numpy() for chunk in flat.chunks])
    return _Occurrences(sentences, lengths, numbers)


def _spread_over_slots(numbers: np.ndarray, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n, longest row) int32, the sentences of each row, padded with -1."""
    ids = np.full((len(lengths), lengths.max()), -1, np.int32)
    first = np.cumsum(lengths) - lengths  # (n,) where each row begins in `numbers`
    slots = np.arange(len(numbers)) - np.repeat(first, lengths)
    ids[rows, slots] = numbers
    return ids


def _clusters_of_rows(ids: np.ndarray, cluster_of: np.ndarray) -> np.ndarray:
    """(n, longest row), the clusters of each row, each once, padded with -1."""
    clusters = np.where(ids >= 0, cluster_of[np.maximum(ids, 0)], -1)
    clusters = -np.sort(-clusters, axis=1)  # largest first, so that the padding comes last
    repeated = clusters[:, 1:] == clusters[:, :-1]
    clusters[:, 1:][repeated] = -1
    return clusters


def _write_sentences(folder: Path, sentences: pa.Array, clustering: Clustering) -> None:
    """Write the sentences, and of each cluster the sentence closest to its centroid."""
    summaries = sentences.take(pa.array(clustering.closest))
    for name, texts in {"sentences": sentences, "summaries": summaries}.items():
        table = pa.table({"sentence": texts})
        feather.write_feather(table, folder / f"{name}.arrow", compression="uncompressed")
