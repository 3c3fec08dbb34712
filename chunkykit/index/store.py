"""The trace index, opened: what each training row looks like from its sides, ready to search.

Everything is memory-mapped: the rows with their texts in shards and, for each side, its distinct
sentences, their vectors and clusters, and which rows carry what. `build` makes an index.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import Calibration
from chunkykit.errors import UserError
from chunkykit.files import file_inside
from chunkykit.index.blocks import (
    compare_blocks,
    decode_vectors,
    in_threads,
    open_array,
    open_blocks,
    read_vectors,
)
from chunkykit.index.checks import (
    SIDE_ARRAYS,
    check_files,
    check_side,
    check_table,
    checksum,
    is_valid_meta,
)
from chunkykit.index.place import MAX_META_BYTES
from chunkykit.index.shards import OTHER_COLUMNS, TEXT_COLUMNS, read_shards
from chunkykit.types import Embedder

INDEX_VERSION = 3
ROWS_PER_TASK = 4096  # rows per task of a thread; their cosines fit in its cache


@dataclass(frozen=True)
class IndexSide:
    """One side of n rows: m distinct sentences in d dimensions, in K clusters.

    Attributes:
        sentences: (m,) the distinct attribute sentences.
        ids: (n, longest row) int32, the sentences of each row, padded with -1.
        clusters: (n, longest row) int32, the clusters of each row, each once, padded with -1.
        cluster_of: (m,) int32, the cluster of each sentence.
        centroids: (K, d) float32, unit vectors.
        radius: (K,) float32, cosine of each centroid with its farthest member.
        summaries: K names of clusters: the sentence closest to the centroid, or a model's.
        starts: (m + 1,) int64; sentence i stands in `rows[starts[i]:starts[i + 1]]`.
        rows: (total,) int32, the rows of sentence 0, of sentence 1, and so on.
        repeated: how often the describer says one feature in the same words, from 0 to 1; see
            `measure_repetition`.
        blocks: encoded vectors of the sentences, each (at most SENTENCES_PER_BLOCK, d) int16; see
            `vectors`.
    """

    sentences: pa.ChunkedArray
    ids: np.ndarray
    clusters: np.ndarray
    cluster_of: np.ndarray
    centroids: np.ndarray
    radius: np.ndarray
    summaries: list[str]
    starts: np.ndarray
    rows: np.ndarray
    repeated: float
    blocks: list[np.ndarray]

    @cached_property
    def cluster_rows(self) -> np.ndarray:
        """(K,) number of rows that carry each cluster."""
        return count_cluster_rows(self.clusters, len(self.centroids))

    @property
    def has_types(self) -> bool:
        """Whether the sentences are types that many rows share, see `sentences_repeat`."""
        return self.repeated == 1

    def nearness(self, vectors: np.ndarray) -> np.ndarray:
        """Compare vectors with all sentences.

        Args:
            vectors: unit vectors, shape (k, d).

        Returns:
            Cosines, shape (k, m) float32.
        """
        return compare_blocks(self.blocks, vectors)

    def row_nearness(self, vectors: np.ndarray) -> np.ndarray:
        """Compare vectors with all rows: how near is the nearest sentence of each row?

        Args:
            vectors: unit vectors, shape (q, d).

        Returns:
            Largest cosine of each vector with any sentence of each row, shape (q, n) float32; -1
            for rows without sentences.
        """
        cosines = self.nearness(vectors)  # (q, m)
        nearness = np.empty((len(vectors), len(self.ids)), np.float32)

        def fill(start: int) -> None:
            part = slice(start, start + ROWS_PER_TASK)
            _fill_maxima(nearness[:, part], cosines, self.ids[part])

        in_threads(fill, range(0, len(self.ids), ROWS_PER_TASK))
        return nearness

    def vectors(self, sentences: np.ndarray) -> np.ndarray:
        """Read the vectors of some sentences.

        Args:
            sentences: numbers of sentences, shape (k,).

        Returns:
            Unit vectors, shape (k, d) float32.
        """
        distinct, place = np.unique(sentences, return_inverse=True)
        return decode_vectors(read_vectors(self.blocks, distinct))[place]

    def carry(self, sentences: Iterable[int]) -> np.ndarray:
        """Find the rows that carry any of some sentences.

        Args:
            sentences: numbers of sentences.

        Returns:
            (n,) bool.
        """
        carrying = np.zeros(len(self.ids), bool)
        for i in sentences:
            carrying[self.rows[self.starts[i] : self.starts[i + 1]]] = True
        return carrying

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """Find the cluster nearest to each vector by cosine (paper Eq. 5).

        Args:
            vectors: unit vectors, shape (k, d).

        Returns:
            (k,) numbers of clusters.
        """
        return np.argmax(vectors @ self.centroids.T, axis=1)


@dataclass(frozen=True)
class TraceIndex:
    """An opened index of n rows.

    Attributes:
        table: the exchanges, with the columns row, turn, chunk, prompt, response, and perhaps
            other fields of `mixtures.Exchange`.
        chunk: (n,) the chunk of each row.
        sides: "query", "response" and, where rows have them, "reasoning" and "rejected".
        meta: what the index remembers: embedder, describer, mixture, seed, counts.
        place: the temporary folder of an index without a folder; deleted with the index.
        identity: fingerprint of its files. An index that was built from other rows has another.
    """

    table: pa.Table
    chunk: pd.Categorical
    sides: dict[str, IndexSide]
    meta: dict[str, Any]
    place: object = None
    identity: str = ""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.chunk)

    @property
    def calibration(self) -> Calibration | None:
        """What cosines mean under the index's embedder; None where the index does not say."""
        stored = self.meta.get("calibration")
        return Calibration(**stored) if stored else None

    @property
    def query(self) -> IndexSide:
        """The side whose clusters can be triggers."""
        return self.sides["query"]

    def rows(self, ids: Sequence[int] | np.ndarray) -> pd.DataFrame:
        """Read training rows.

        Args:
            ids: positions of rows, from 0.

        Returns:
            The rows in this order.
        """
        return self.table.take(pa.array(np.asarray(ids, np.int64))).to_pandas()


def _fill_maxima(maxima: np.ndarray, cosines: np.ndarray, ids: np.ndarray) -> None:
    """Fill in the largest cosines (q, rows) of some rows; -1 for rows without sentences.

    Args:
        maxima: (q, rows), to fill in.
        cosines: (q, m), of each sentence.
        ids: (rows, slots), the sentences of each row, padded with -1.
    """
    first = ids[:, :1]
    filled = np.where(ids >= 0, ids, first)  # the first sentence once more changes no maximum
    slots = np.ascontiguousarray(filled.T, np.intp)  # (slots, rows)
    for i, sentence_cosines in enumerate(cosines):
        maxima[i] = sentence_cosines.take(slots).max(axis=0)
    maxima[:, first[:, 0] < 0] = -1


def count_cluster_rows(row_clusters: np.ndarray, k: int) -> np.ndarray:
    """Count the rows in which each cluster stands.

    Our reading of paper Eq. 4: a row counts once for each distinct cluster of its query. As
    printed, the equation pairs query slot l with response slot l, but slots are unrelated.

    Args:
        row_clusters: (rows, slots), the clusters of each row, each once, padded with -1.
        k: number of clusters.

    Returns:
        (k,) numbers of rows.
    """
    return np.bincount(row_clusters[row_clusters >= 0], minlength=k)


def file_entry(path: Path) -> tuple[int, int]:
    """Compute what index.json remembers of a file.

    Args:
        path: the file.

    Returns:
        Its size in bytes, and its CRC-32.
    """
    return path.stat().st_size, checksum(path)


def open_trace_index(
    folder: Path | str, embed: Embedder | None = None, check: bool | None = None
) -> TraceIndex:
    """Open a saved index, memory-mapped.

    Args:
        folder: of the index.
        embed: the embedder that will be used with it; None if none will.
        check: whether to verify the checksum of each file, not only its size. None: verify in an
            index of up to MAX_CHECKED_BYTES.

    Returns:
        The index.

    Raises:
        UserError: there is no index, it is damaged, another version of the package made it, or
            another embedder.
    """
    folder = Path(folder)
    meta = read_index_meta(folder)
    if embed is not None and embed.name != meta["embedder"]:
        raise UserError(
            f"index {folder}: made with embedder '{meta['embedder']}', not '{embed.name}'."
        )
    files = meta.pop("files")
    identity = _identify(files)
    try:
        check_files(folder, files, meta["sides"], check)
        table = _open_rows(folder)
        codes = np.load(folder / "chunk.npy", allow_pickle=False)
        chunk = pd.Categorical.from_codes(codes, meta["chunks"])
        if not len(chunk) == len(table) == meta["rows"]:
            raise ValueError(f"{len(chunk)} chunks for {len(table)} of {meta['rows']} rows")
        sides = {
            side: _open_side(folder / side, float(counts["repeated"]), len(table))
            for side, counts in meta["sides"].items()
        }
    except UserError:
        raise
    # what a damaged file makes NumPy and Arrow raise
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
        raise UserError(
            f"index {folder}: a file is missing or damaged ({error}). Build it again."
        ) from None
    return TraceIndex(table, chunk, sides, meta, identity=identity)


def _open_rows(folder: Path) -> pa.Table:
    """Map the rows of an index, without their attributes, which its sides have."""
    table = read_shards(folder)
    names = [name for name in table.column_names if not name.startswith("@")]
    texts = [column for column in TEXT_COLUMNS if column in names]
    table = check_table(table.select(names), ["chunk", "prompt", "response", *texts])
    for name, kind in {"row": pa.int64(), **OTHER_COLUMNS}.items():
        if name in names and table.schema.field(name).type != kind:
            raise ValueError(f"column {name} does not hold {kind}")
    if "turn" not in names:  # an index of an earlier version, or of rows of one exchange each
        table = table.append_column("turn", pa.array(np.ones(len(table), np.int32)))
    return table


def identify_index(folder: Path | str) -> str:
    """Identify the index that is in a folder now, without opening it.

    Args:
        folder: of the index.

    Returns:
        The `identity` that the index would have, opened.

    Raises:
        UserError: there is no index, or another version of the package made it.
    """
    return _identify(read_index_meta(Path(folder))["files"])


def _identify(files: dict[str, tuple[int, int]]) -> str:
    content = json.dumps(files, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def read_index_meta(folder: Path | str) -> dict[str, Any]:
    """Read what an index remembers, without opening it.

    Args:
        folder: of the index.

    Returns:
        The content of its index.json.

    Raises:
        UserError: there is no index, or another version of the package made it.
    """
    folder = Path(folder)
    try:
        path = file_inside(folder, "index.json", MAX_META_BYTES)
        meta = json.loads(path.read_text("utf-8"))
        version = meta.get("version")
    except UserError as error:
        raise UserError(f"index {error}") from None
    except (OSError, ValueError, AttributeError, RecursionError):
        raise UserError(
            f"index {folder}: no index there (no readable index.json). "
            "Make one with: chunkykit index --mixture M --out DIR"
        ) from None
    if version != INDEX_VERSION:
        raise UserError(
            f"index {folder}: it has version {version}, and this package reads version "
            f"{INDEX_VERSION}. Build it again."
        )
    if meta.get("unfinished"):
        raise UserError(
            f"index {folder}: a build was stopped while it replaced this index. Run the same "
            "`chunkykit index` command again."
        )
    if not is_valid_meta(meta):
        raise UserError(f"index {folder}: its index.json is damaged. Build it again.")
    return meta


def _open_side(folder: Path, repeated: float, n_rows: int) -> IndexSide:
    arrays = {name: open_array(folder / f"{name}.npy") for name in SIDE_ARRAYS}
    side = IndexSide(
        sentences=_open_sentences(folder / "sentences.arrow"),
        summaries=_open_sentences(folder / "summaries.arrow").to_pylist(),
        repeated=repeated,
        blocks=open_blocks(folder),
        **arrays,
    )
    check_side(side, n_rows)
    return side


def _open_sentences(path: Path) -> pa.ChunkedArray:
    table = feather.read_table(path, columns=["sentence"], memory_map=True)
    return check_table(table, ["sentence"])["sentence"]
