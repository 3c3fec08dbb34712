"""The trace index, opened: what every training row looks like from its sides, ready to be searched. `build` makes one.

Everything is memory-mapped: rows with their texts in shards, and for each side its distinct sentences, their vectors and clusters, and
which rows carry what."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from mmap import MADV_DONTNEED
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import Embedder
from chunkykit.errors import UserError

INDEX_VERSION = 2
SENTENCES_PER_BLOCK = 65_536  # sentences of a block of vectors, and what is read of them at once
SIDE_COLUMNS = {
    "query": ("prompt", "query"),
    "response": ("response", "response"),
    "reasoning": ("reasoning", "reasoning"),
    "rejected": ("rejected", "response"),
}  # of each side: its column, and what it is described as; the last two where rows have them
MAX_CHECKED_BYTES = (
    2**28
)  # bytes up to which the content of an index is checked when it is opened, not its sizes alone


@dataclass(frozen=True)
class IndexSide:
    """One side of n rows: m distinct sentences in d dimensions, K clusters of them; arrays mapped from disk."""

    sentences: pa.ChunkedArray  # (m,)
    ids: np.ndarray  # (n, most) int32, a row's sentences, padded with -1
    clusters: np.ndarray  # (n, most) int32, a row's clusters, each once, padded with -1
    cluster_of: np.ndarray  # (m,) int32
    centroids: np.ndarray  # (K, d) float32, unit norm
    radius: np.ndarray  # (K,) float32, cosine of the centroid with its farthest member
    summaries: list[str]  # (K,) the sentence closest to the centroid
    starts: np.ndarray  # (m + 1,) int64: sentence i stands in rows[starts[i]:starts[i + 1]]
    rows: np.ndarray  # int32
    blocks: list[np.ndarray]  # vectors, (at most BLOCK, d) float32, unit norm

    @cached_property
    def cluster_rows(self) -> np.ndarray:
        """(K,) rows that carry each cluster."""
        return count_cluster_rows(self.clusters, len(self.centroids))

    def nearness(self, vectors: np.ndarray, probes: int | None = None) -> np.ndarray:
        """(len(vectors), m) cosines; exact, with one block of sentences in memory at a time. probes: only with the members of so many
        nearest clusters, -1 with all others."""
        found = np.full((len(vectors), len(self.sentences)), -1, np.float32)
        if probes:
            for i, vector in enumerate(vectors):
                chosen = np.argsort(-(self.centroids @ vector))[:probes]
                for s in np.flatnonzero(np.isin(self.cluster_of, chosen)):
                    found[i, s] = (
                        self.blocks[s // SENTENCES_PER_BLOCK][s % SENTENCES_PER_BLOCK] @ vector
                    )
            return found
        for at, block in zip(range(0, found.shape[1], SENTENCES_PER_BLOCK), self.blocks):
            found[:, at : at + len(block)] = vectors @ block.T
            block._mmap.madvise(
                MADV_DONTNEED
            )  # it stays in the system's cache, but not in this process
        return found

    def carry(self, sentences: Iterable[int]) -> np.ndarray:
        """(n,) whether a row carries any of these sentences."""
        found = np.zeros(len(self.ids), bool)
        for s in sentences:
            found[self.rows[self.starts[s] : self.starts[s + 1]]] = True
        return found

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """(len(vectors),) nearest cluster by cosine (paper Eq. 5)."""
        return np.argmax(vectors @ self.centroids.T, axis=1)


@dataclass(frozen=True)
class TraceIndex:
    """An opened index of n rows."""

    table: pa.Table  # (n) row, chunk, prompt, response
    chunk: pd.Categorical  # (n,)
    sides: dict[str, IndexSide]
    meta: dict  # embedder, describer, mixture, counts
    place: object = None  # the temporary folder of an index without one

    def __len__(self) -> int:
        return len(self.chunk)

    @property
    def query(self) -> IndexSide:
        """The side whose clusters can be triggers."""
        return self.sides["query"]

    def rows(self, ids) -> pd.DataFrame:
        """The training rows of these positions, in this order."""
        return self.table.take(pa.array(np.asarray(ids, np.int64))).to_pandas()


def count_cluster_rows(row_clusters: np.ndarray, k: int) -> np.ndarray:
    """(k,) rows in which each cluster stands; a row counts once for each distinct cluster of its query.

    Our reading of paper Eq. 4: as printed it pairs query slot l with response slot l, but slots are unrelated."""
    return np.bincount(row_clusters[row_clusters >= 0], minlength=k)


def read_block(block: np.ndarray) -> np.ndarray:
    """A block in memory; what was mapped of it is given back."""
    vectors = np.array(block)
    if isinstance(block, np.memmap):
        block._mmap.madvise(MADV_DONTNEED)
    return vectors


def shard_files(folder: Path) -> list[Path]:
    """The files of an index, or of one that grows, that hold its rows."""
    return sorted(folder.glob("rows-*.arrow"))


def file_crc(path: Path) -> int:
    """The CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while part := file.read(2**24):
            value = zlib.crc32(part, value)
    return value


def open_trace_index(
    folder, embed: Embedder | None = None, check: bool | None = None
) -> TraceIndex:
    """Open a saved index, memory-mapped. With `embed` given, refuses an index that another embedder made.

    check: whether every file's content is held against its checksum, and not its size alone; by default up to CHECKED bytes."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / "index.json").read_text())
        version = meta.get("version")
    except (OSError, ValueError, AttributeError):
        raise UserError(
            f"index {folder}: no index there (no readable index.json). "
            "Make one with: chunkykit index --mixture M --out DIR"
        ) from None
    if version != INDEX_VERSION:
        raise UserError(
            f"index {folder}: version {version}, this package reads {INDEX_VERSION}. Build it again."
        )
    if embed is not None and embed.name != meta["embedder"]:
        raise UserError(
            f"index {folder}: made with embedder '{meta['embedder']}', not '{embed.name}'."
        )
    files = meta.pop("files")
    check = sum(size for size, _ in files.values()) <= MAX_CHECKED_BYTES if check is None else check
    try:
        for name, (size, known) in files.items():
            path = folder / name
            if path.stat().st_size != size or check and file_crc(path) != known:
                raise ValueError(f"{name} is not what was written")
        table = pa.concat_tables(
            [feather.read_table(path, memory_map=True) for path in shard_files(folder)]
        )
        table = table.drop_columns([name for name in table.column_names if name.startswith("@")])
        chunk = pd.Categorical.from_codes(
            np.load(folder / "chunk.npy", allow_pickle=False), meta["chunks"]
        )
        sides = {side: _open_side(folder / side) for side in meta["sides"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"index {folder}: a file is missing or damaged ({error}). Build it again."
        ) from None
    return TraceIndex(table, chunk, sides, meta)


def _open_side(folder: Path) -> IndexSide:
    texts = {
        name: feather.read_table(folder / f"{name}.arrow", memory_map=True)["sentence"]
        for name in ("sentences", "summaries")
    }
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("ids", "clusters", "cluster_of", "centroids", "radius", "starts", "rows")
    }
    blocks = [
        np.load(path, mmap_mode="r", allow_pickle=False)
        for path in sorted(folder.glob("vectors-*.npy"))
    ]
    return IndexSide(
        texts["sentences"], summaries=texts["summaries"].to_pylist(), blocks=blocks, **arrays
    )
