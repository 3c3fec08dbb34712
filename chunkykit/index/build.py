"""Rows to a trace index (the offline half of TURF, paper sec. 3), streaming, in two stages that go on where they were killed.

`describe_into` writes the rows with their attribute sentences in shards, by workers where an executor is given. `finish` numbers the
distinct sentences, embeds each once, clusters them by k-means, and leaves arrays that are mapped when opened. The result does not
depend on who did the work."""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import Embedder, parse_attributes
from chunkykit.errors import UserError, describe_error
from chunkykit.files import writable, write_json
from chunkykit.index.store import (
    INDEX_VERSION,
    SENTENCES_PER_BLOCK,
    SIDE_COLUMNS,
    TraceIndex,
    file_crc,
    open_trace_index,
    read_block,
    shard_files,
)
from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.provenance import code_fingerprint

ROWS_PER_SHARD = 10_000  # rows of a shard where nothing else is asked for
MAX_TRAINING_SENTENCES = 2**21  # sentences that k-means learns from; of more, so many are sampled
MAX_CLUSTERS = 50_000  # clusters where none are asked for; the paper has 25,000
COARSE_CLUSTERS = 4096  # clusters from which on k-means goes in two steps, and the most that other sides than the query's have


def index_from_attributes(
    rows: pd.DataFrame,
    query_attributes: Sequence[list[str]],
    response_attributes: Sequence[list[str]],
    embed: Embedder,
    folder=None,
    **settings,
) -> TraceIndex:
    """The index of rows whose attributes are known, as of `finish`; without a folder it lives as long as the object.

    rows: DataFrame[row, chunk, prompt, response]; the attribute lists are parallel to it."""
    place = None if folder else tempfile.TemporaryDirectory(prefix="chunkykit-")
    folder = Path(folder or f"{place.name}/index")
    _write_shard(
        building_folder(folder),
        0,
        rows,
        {"query": query_attributes, "response": response_attributes},
        "",
    )
    return replace(finish_index(folder, embed, **settings), place=place)


async def describe_shards(
    folder,
    batches: Iterable[pd.DataFrame],
    describe: Callable,
    executor=None,
    ahead: int = 8,
    key: str = "",
) -> int:
    """Write described rows to the shards of the index that is to be in a folder; returns the number of rows.

    batches: DataFrames [row, chunk, prompt, response, perhaps reasoning and rejected], a shard each; one that is there is not described
    again. describe: `await describe(texts, side) -> attribute lists`; key: what tells it from another. executor: what has
    `submit(function, *args) -> future`, such as loky's ProcessPoolExecutor or `dask.distributed.Client(...).get_executor()`, whose workers
    share the file system; describe must then be a function that can be pickled, and at most `ahead` shards are on their way. The
    shards come out the same."""
    place, waiting, total, number = building_folder(folder), deque(), 0, -1
    try:
        for number, rows in enumerate(batches):
            mark = hashlib.sha256(
                pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()
                + f"{key}{code_fingerprint()}".encode()
            ).hexdigest()
            total += len(rows)
            if _mark(_shard(place, number)) != mark:
                if executor is None:
                    await _describe_shard(place, number, rows, describe, mark)
                else:
                    waiting.append(executor.submit(_in_worker, place, number, rows, describe, mark))
            while len(waiting) >= ahead:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    except Exception as error:
        if executor is None or isinstance(error, (UserError, OSError)):
            raise
        raise UserError(
            f"index {folder}: a worker failed ({describe_error(error)}). The same command goes on from the shards that are there."
        ) from error
    for old in shard_files(place)[number + 1 :]:
        old.unlink()
    return total


def building_folder(folder) -> Path:
    """Where an index grows until it is whole: beside its folder. UserError where that holds something else, or cannot be written."""
    folder = Path(folder).resolve()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "index.json").exists():
        raise UserError(f"index {folder}: the folder holds something else. Choose another --out.")
    place = folder.with_name(f".{folder.name}.building")
    with writable(f"index {folder}"):
        place.mkdir(parents=True, exist_ok=True)
    return place


def _shard(place: Path, number: int) -> Path:
    return place / f"rows-{number:05d}.arrow"


def _mark(path: Path) -> str | None:
    """What a shard was made from; None where there is none, or half of one."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).schema.metadata[b"mark"].decode()
    except (OSError, pa.ArrowInvalid, KeyError, TypeError):
        return None


def _in_worker(*args) -> None:
    asyncio.run(_describe_shard(*args))


async def _describe_shard(
    place: Path, number: int, rows: pd.DataFrame, describe: Callable, mark: str
) -> None:
    said = {}
    for side, (column, described_as) in SIDE_COLUMNS.items():
        if column in rows:
            texts = rows[column].fillna("")
            known = texts[texts != ""]
            lists = pd.Series(
                await describe(list(known), described_as), known.index, object
            ).reindex(texts.index)
            said[side] = [x if isinstance(x, list) else [] for x in lists]
    _write_shard(place, number, rows, said, mark)


def _write_shard(
    place: Path, number: int, rows: pd.DataFrame, said: dict[str, Sequence[list[str]]], mark: str
) -> None:
    columns = {"row": pa.array(rows["row"], pa.int64())}
    columns |= {
        c: pa.array([t if isinstance(t, str) else None for t in rows[c]], pa.large_string())
        for c in ("chunk", *(column for column, _ in SIDE_COLUMNS.values()))
        if c in rows
    }
    for side, lists in said.items():
        flat = pa.array(
            [s for sentences in lists for s in sentences], pa.string()
        ).dictionary_encode()
        columns[f"@{side}"] = pa.ListArray.from_arrays(
            np.cumsum([0, *map(len, lists)], dtype=np.int32), flat
        )
    part = _shard(place, number).with_suffix(f".{os.getpid()}.part")
    feather.write_feather(
        pa.table(columns).replace_schema_metadata({"mark": mark}), part, compression="uncompressed"
    )
    os.replace(part, _shard(place, number))


def finish_index(
    folder, embed: Embedder, *, clusters: int | None = None, seed: int = 0, **meta
) -> TraceIndex:
    """The index of the shards that `describe_into` wrote, opened.

    clusters: K of the queries; default `default_clusters`. Raises UserError where nothing was described or the folder cannot be written."""
    folder, place = Path(folder).resolve(), building_folder(folder)
    with writable(f"index {folder}"):
        table = pa.concat_tables(
            [feather.read_table(path, memory_map=True) for path in shard_files(place)]
        )
        chunk = pd.Categorical(table["chunk"].to_pandas())
        np.save(place / "chunk.npy", chunk.codes)
        counts = {
            side: _finish_side(
                place / side, table[f"@{side}"], embed, clusters if side == "query" else None, seed
            )
            for side in SIDE_COLUMNS
            if f"@{side}" in table.column_names
        }
        if not (counts["query"]["sentences"] and counts["response"]["sentences"]):
            raise UserError(
                "the describer gave no attribute for any row, so there is nothing to index."
            )
        counts = {side: count for side, count in counts.items() if count["sentences"]}
        files = {
            str(p.relative_to(place)): (p.stat().st_size, file_crc(p))
            for p in sorted(place.rglob("*.*"))
            if p.suffix in (".npy", ".arrow")
        }
        write_json(
            place / "index.json",
            {
                "version": INDEX_VERSION,
                "embedder": embed.name,
                "rows": len(table),
                "clusters": counts["query"]["clusters"],
                "seed": seed,
                "undescribed_queries": counts["query"]["undescribed"],
                "undescribed_responses": counts["response"]["undescribed"],
                **meta,
                "chunks": list(chunk.categories),
                "sides": counts,
                "files": files,
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(place, folder)
    return open_trace_index(folder, embed, check=False)


def _finish_side(
    place: Path, lists: pa.ChunkedArray, embed: Embedder, k: int | None, seed: int
) -> dict:
    """Number, embed and cluster the sentences of one side; what is there of another build is removed."""
    place.mkdir(exist_ok=True)
    lengths = np.concatenate([chunk.value_lengths().to_numpy() for chunk in lists.chunks])
    values = pa.chunked_array([chunk.flatten() for chunk in lists.chunks]).unify_dictionaries()
    sentences = values.chunk(0).dictionary
    flat = np.concatenate([chunk.indices.to_numpy() for chunk in values.chunks])
    m, n = len(sentences), len(lengths)
    if not m:
        return {"sentences": 0, "clusters": 0, "undescribed": n}
    rows = np.repeat(np.arange(n, dtype=np.int32), lengths)
    ids = np.full((n, lengths.max()), -1, np.int32)
    ids[rows, np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)] = flat
    weight = np.bincount(flat, minlength=m)
    blocks = [
        _embed_block(
            place,
            sentences[i : i + SENTENCES_PER_BLOCK].to_pylist(),
            i // SENTENCES_PER_BLOCK,
            embed,
        )
        for i in range(0, m, SENTENCES_PER_BLOCK)
    ]
    for old in {*place.glob("vectors-*")} - {Path(block.filename) for block in blocks}:
        old.unlink()
    cluster_of, centroids, closest, radius = _kmeans(
        blocks,
        weight,
        k or min(default_clusters(m), COARSE_CLUSTERS if place.name != "query" else m),
        seed,
    )
    row_clusters = np.where(ids >= 0, cluster_of[np.maximum(ids, 0)], -1)
    row_clusters = -np.sort(-row_clusters, axis=1)
    row_clusters[:, 1:][
        row_clusters[:, 1:] == row_clusters[:, :-1]
    ] = -1  # all but the first of each
    arrays = {
        "ids": ids,
        "clusters": row_clusters,
        "cluster_of": cluster_of,
        "centroids": centroids,
        "radius": radius,
        "starts": np.concatenate([[0], np.cumsum(weight)]),
        "rows": rows[np.argsort(flat, kind="stable")],
    }
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array)
    for name, texts in {
        "sentences": sentences,
        "summaries": sentences.take(pa.array(closest)),
    }.items():
        feather.write_feather(
            pa.table({"sentence": texts}), place / f"{name}.arrow", compression="uncompressed"
        )
    return {"sentences": m, "clusters": len(centroids), "undescribed": int((lengths == 0).sum())}


def _embed_block(place: Path, sentences: list[str], number: int, embed: Embedder) -> np.ndarray:
    """The vectors of a block of sentences, mapped; those that are there are not computed again."""
    mark = hashlib.sha256("\0".join([embed.name, *sentences]).encode()).hexdigest()[:16]
    path = place / f"vectors-{number:05d}-{mark}.npy"
    if not path.exists():
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.save(file, embed(sentences))
        os.replace(part, path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


async def name_query_clusters(folder, model, members: int = 12) -> TraceIndex:
    """A finished index whose query clusters are summed up by a chat model, from the members closest to the centroid (paper sec. 3); where
    the model gives no sentence, or a cluster has one member, the closest stays."""
    folder, index = Path(folder), open_trace_index(folder)
    query, closeness = index.query, []
    for at, block in zip(range(0, len(index.query.sentences), SENTENCES_PER_BLOCK), query.blocks):
        closeness.append(
            np.einsum(
                "md,md->m",
                read_block(block),
                query.centroids[query.cluster_of[at : at + len(block)]],
            )
        )
    order = np.lexsort((-np.concatenate(closeness), query.cluster_of))
    groups = [
        group[:members]
        for group in np.split(order, np.flatnonzero(np.diff(query.cluster_of[order])) + 1)
    ]

    async def name(group: np.ndarray, closest: str) -> str:
        sentences = query.sentences.take(pa.array(group)).to_pylist()
        asked, schema = fill_prompt(
            "name", sentences=json.dumps(sentences, ensure_ascii=False, indent=0)
        )
        try:
            return (
                closest
                if len(group) < 2
                else (
                    await ask_parsed(
                        model,
                        asked,
                        lambda t: parse_attributes(t, "query"),
                        max_tokens=2000,
                        schema=schema,
                    )
                )[0]
            )
        except Exception as error:
            describe_error(error)
            return closest

    names = await asyncio.gather(
        *(name(group, closest) for group, closest in zip(groups, query.summaries))
    )
    with writable(f"index {folder}"):
        path, meta = (
            folder / "query" / "summaries.arrow",
            json.loads((folder / "index.json").read_text()),
        )
        feather.write_feather(pa.table({"sentence": names}), path, compression="uncompressed")
        write_json(
            folder / "index.json",
            {
                **meta,
                "files": {
                    **meta["files"],
                    "query/summaries.arrow": (path.stat().st_size, file_crc(path)),
                },
            },
        )
    return open_trace_index(folder)


def default_clusters(sentences: int) -> int:
    """About 20 distinct attributes a cluster (the paper's density), and no coarser than 1,024 clusters while the sentences
    are few: a lexical describer's sentences are types already, and merging them would merge triggers. MOST at most."""
    return min(max(sentences // 20, min(sentences, 1024), 1), MAX_CLUSTERS)


def _kmeans(
    blocks: list[np.ndarray], weight: np.ndarray, k: int, seed: int
) -> tuple[np.ndarray, ...]:
    """(m,) cluster of each vector by cosine, (K, d) unit centroids, (K,) the vector closest to each, (K,) the cosine of the farthest;
    clusters that stay empty are dropped.

    A sentence weighs as many rows as it stands in, as if every attribute were clustered (the paper). From COARSE clusters on, k-means
    divides coarse clusters, which costs the square root."""
    faiss = _faiss()
    m, d = len(weight), blocks[0].shape[1]
    if k >= m:
        return (
            np.arange(m, dtype=np.int32),
            np.concatenate(blocks),
            np.arange(m),
            np.ones(m, np.float32),
        )
    sample = (
        np.arange(m)
        if m <= MAX_TRAINING_SENTENCES
        else np.sort(np.random.default_rng(seed).choice(m, MAX_TRAINING_SENTENCES, replace=False))
    )
    vectors = np.concatenate(
        [
            read_block(block)[sample[(sample >= at) & (sample < at + SENTENCES_PER_BLOCK)] - at]
            for at, block in zip(range(0, m, SENTENCES_PER_BLOCK), blocks)
        ]
    )

    def fit(part: np.ndarray, parts: int) -> np.ndarray:
        if parts >= len(part):
            return vectors[part]
        kmeans = faiss.Kmeans(
            d,
            parts,
            niter=12,
            seed=seed,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=2**31 - 1,
        )
        heavy = np.lexsort((np.random.default_rng(seed).random(len(part)), -weight[sample[part]]))[
            :parts
        ]  # what is common starts apart
        learnt = vectors if len(part) == len(vectors) else vectors[part]
        kmeans.train(
            learnt, weights=weight[sample[part]].astype(np.float32), init_centroids=learnt[heavy]
        )
        return kmeans.centroids

    search = faiss.IndexFlatIP(d)
    centroids = fit(np.arange(len(sample)), k if k < COARSE_CLUSTERS else round(k**0.5))
    if k >= COARSE_CLUSTERS:
        search.add(centroids)
        cell = np.concatenate(
            [
                search.search(vectors[i : i + SENTENCES_PER_BLOCK], 1)[1].ravel()
                for i in range(0, len(vectors), SENTENCES_PER_BLOCK)
            ]
        )
        parts = [np.flatnonzero(cell == c) for c in range(len(centroids))]
        search = faiss.IndexFlatIP(d)
        centroids = np.concatenate(
            [fit(part, max(1, round(k * len(part) / len(sample)))) for part in parts if len(part)]
        )
    del vectors
    search.add(centroids)
    found = [search.search(block, 1) for block in map(read_block, blocks)]
    nearest, closeness = (np.concatenate([part[i].ravel() for part in found]) for i in (1, 0))
    kept, cluster_of = np.unique(nearest, return_inverse=True)
    order = np.lexsort((closeness, cluster_of))
    last = np.cumsum(np.bincount(cluster_of)) - 1
    return (
        cluster_of.astype(np.int32),
        centroids[kept],
        order[last],
        closeness[order[np.concatenate([[0], last[:-1] + 1])]],
    )


def _faiss():
    logging.getLogger("faiss").setLevel(
        logging.WARNING
    )  # it tells of every instruction set that it tries
    import faiss

    return faiss
