"""Check an index that somebody else may have made, before its arrays are used.

A number that points outside its array, or an offset outside its text, would crash the process or
give a wrong trace. Everything is looked at once, when the index is opened.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types as arrow_types

from chunkykit.attributes import Calibration
from chunkykit.files import file_inside
from chunkykit.index.shards import SIDE_COLUMNS

SIDE_ARRAYS = ("ids", "clusters", "cluster_of", "centroids", "radius", "starts", "rows")
SIDE_TABLES = ("sentences", "summaries")
MAX_CHECKED_BYTES = 2**28  # bytes of an index up to which its checksums are verified by default
CHECKSUM_PART_BYTES = 2**24  # bytes in memory at a time while a checksum is computed


def checksum(path: Path) -> int:
    """Compute the CRC-32 of a file.

    Args:
        path: the file.

    Returns:
        The checksum.
    """
    value = 0
    with open(path, "rb") as file:
        while part := file.read(CHECKSUM_PART_BYTES):
            value = zlib.crc32(part, value)
    return value


def check_files(
    folder: Path, files: dict[str, Any], sides: dict[str, Any], check: bool | None
) -> None:
    """Check that the files of an index are those that its index.json lists.

    Args:
        folder: of the index.
        files: what index.json lists: size and checksum of each file.
        sides: the sides that index.json lists.
        check: whether to verify checksums, too; None for an index of up to MAX_CHECKED_BYTES.

    Raises:
        ValueError: a file is not what was written, or is not listed.
        OSError: a file is missing.
    """
    if check is None:
        check = sum(int(size) for size, _ in files.values()) <= MAX_CHECKED_BYTES
    for name, (size, written) in files.items():
        path = file_inside(folder, name)
        is_same = path.stat().st_size == size
        if is_same and check:
            is_same = checksum(path) == written
        if not is_same:
            raise ValueError(f"{name} is not what was written")
    arrays = [f"{side}/{name}.npy" for side in sides for name in SIDE_ARRAYS]
    tables = [f"{side}/{name}.arrow" for side in sides for name in SIDE_TABLES]
    blocks = [path for side in sides for path in (folder / side).glob("vectors-*.npy")]
    parts = [*blocks, *folder.glob("rows-*.arrow")]
    opened = ["chunk.npy", *arrays, *tables, *(p.relative_to(folder).as_posix() for p in parts)]
    for name in opened:
        if name not in files:
            raise ValueError(f"{name} is not listed in index.json")


# What an index remembers of its mixture; earlier versions know less.
SOURCE_KINDS = {"digest": str, "read": int, "chunk": str, "turns": str}


def is_valid_meta(meta: dict[str, Any]) -> bool:
    """Tell whether an index.json holds what everything else relies on.

    Args:
        meta: its content.

    Returns:
        Whether it does.
    """
    kinds = {"embedder": str, "chunks": list, "files": dict, "sides": dict, "rows": int}
    if not all(isinstance(meta.get(key), kind) for key, kind in kinds.items()):
        return False
    return (
        {"query", "response"} <= meta["sides"].keys() <= SIDE_COLUMNS.keys()
        and all(isinstance(name, str) for name in meta["chunks"])
        and isinstance(meta.get("describer", ""), str)
        and _fits(meta.get("source"), SOURCE_KINDS, can_lack=True)
        and _fits(meta.get("calibration"), dict.fromkeys(Calibration._fields, (int, float)))
    )


def _fits(value: Any, kinds: dict[str, Any], can_lack: bool = False) -> bool:
    """Whether a value is None, or a dict of these keys with values of these kinds."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() - kinds.keys():
        return False
    return all(
        can_lack and value.get(key) is None or isinstance(value.get(key), kind)
        for key, kind in kinds.items()
    )


def check_table(table: pa.Table, texts: list[str]) -> pa.Table:
    """Check a table that is mapped from disk.

    Args:
        table: the table.
        texts: columns that must be texts.

    Returns:
        The table.

    Raises:
        ValueError: a column is not a text, or its offsets or texts are not valid.
    """
    for name in texts:
        kind = table.schema.field(name).type
        if not (arrow_types.is_string(kind) or arrow_types.is_large_string(kind)):
            raise ValueError(f"column {name} holds {kind}, not texts")
    if table.nbytes <= MAX_CHECKED_BYTES:
        table.validate(full=True)
    else:
        # texts of a large index stay on disk: only where they begin and end is read
        table.validate()
        for name in texts:
            for chunk in table[name].chunks:
                _check_offsets(chunk)
    return table


def _check_offsets(texts: pa.Array) -> None:
    """Raise a ValueError unless each text of a mapped array ends behind its beginning."""
    width = np.int64 if arrow_types.is_large_string(texts.type) else np.int32
    offsets = np.frombuffer(texts.buffers()[1], width)[texts.offset :][: len(texts) + 1]
    if len(offsets) and not (offsets[0] >= 0 and (np.diff(offsets) >= 0).all()):
        raise ValueError("the offsets of a text are not valid")


def check_side(side: Any, n_rows: int) -> None:
    """Check the arrays of one side.

    Args:
        side: the opened side.
        n_rows: rows of the index.

    Raises:
        ValueError: shapes do not fit each other, or a number points outside its array.
    """
    m = len(side.sentences)
    k, d = _shape(side.centroids, 2, "f")
    n_slots = _shape(side.ids, 2, "i")[1]
    _check_numbers("ids", side.ids, (n_rows, n_slots), -1, m)
    _check_numbers("clusters", side.clusters, (n_rows, n_slots), -1, k)
    _check_numbers("cluster_of", side.cluster_of, (m,), 0, k)
    _check_numbers("rows", side.rows, side.rows.shape[:1], 0, n_rows)
    _check_numbers("starts", side.starts, (m + 1,), 0, len(side.rows) + 1)
    is_ascending = bool((np.diff(side.starts) >= 0).all())
    has_radius = side.radius.shape == (k,) and side.radius.dtype.kind == "f"
    blocks = [_shape(block, 2, "i") for block in side.blocks]
    has_vectors = sum(rows for rows, _ in blocks) == m and {width for _, width in blocks} == {d}
    if not (is_ascending and has_radius and has_vectors and len(side.summaries) == k):
        raise ValueError("the arrays of a side do not fit each other")


def _shape(array: np.ndarray, n_axes: int, kind: str) -> tuple[int, ...]:
    if array.ndim != n_axes or array.dtype.kind != kind:
        raise ValueError(f"an array has {array.ndim} axes of {array.dtype}")
    return array.shape


def _check_numbers(
    name: str, array: np.ndarray, shape: tuple[int, ...], least: int, end: int
) -> None:
    """Raise a ValueError unless an array of integers has a shape, and numbers in a range."""
    if array.shape != shape or array.dtype.kind != "i":
        raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, not {shape}")
    if array.size and not (least <= array.min() and array.max() < end):
        raise ValueError(f"{name} has numbers outside of {least} to {end - 1}")
