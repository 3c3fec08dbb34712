"""Blocks of sentence vectors: unit vectors on disk, memory-mapped and read one block at a time.

An index can hold more vectors than fit in memory. Each block is read, used and released, so that
the process never holds more than one of them.
"""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from chunkykit.files import replacing
from chunkykit.types import Embedder

SENTENCES_PER_BLOCK = 65_536  # sentences per block of vectors
# None on Windows, where pages cannot be released by hand
MADV_DONTNEED: int | None = getattr(mmap, "MADV_DONTNEED", None)


def release_pages(block: np.ndarray) -> None:
    """Give the memory of a mapped block back to the system.

    The pages stay in the system's cache and no longer count as memory of this process. Does
    nothing to an array that is not mapped, or where the platform cannot release pages (Windows).

    Args:
        block: an array, mapped from disk or not.
    """
    if MADV_DONTNEED is not None and isinstance(block, np.memmap):
        block._mmap.madvise(MADV_DONTNEED)  # type: ignore[attr-defined]


def read_block(block: np.ndarray) -> np.ndarray:
    """Copy a block into memory and release its mapped pages.

    Args:
        block: an array, mapped from disk or not.

    Returns:
        The copy, same shape and dtype.
    """
    vectors = np.array(block)
    release_pages(block)
    return vectors


def locate_blocks(blocks: list[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Pair each block with the sentences that it holds.

    Args:
        blocks: consecutive blocks, each (at most SENTENCES_PER_BLOCK, d).

    Yields:
        The slice of sentence numbers, and the block.
    """
    start = 0
    for block in blocks:
        yield slice(start, start + len(block)), block
        start += len(block)


def embed_blocks(folder: Path, sentences: pa.Array, embed: Embedder) -> list[np.ndarray]:
    """Embed sentences block by block, reusing the blocks that an interrupted build left.

    Args:
        folder: where the blocks are saved. Blocks of other sentences in it are deleted.
        sentences: m distinct sentences.
        embed: the embedder.

    Returns:
        The blocks, mapped from disk, each (at most SENTENCES_PER_BLOCK, d) float32.
    """
    paths = []
    for number, start in enumerate(range(0, len(sentences), SENTENCES_PER_BLOCK)):
        texts = sentences[start : start + SENTENCES_PER_BLOCK].to_pylist()
        paths.append(_embed_block(folder, number, texts, embed))
    for stale in set(folder.glob("vectors-*")) - set(paths):
        stale.unlink()
    return [open_array(path) for path in paths]


def _embed_block(folder: Path, number: int, sentences: list[str], embed: Embedder) -> Path:
    """Save the vectors of one block unless they are there already."""
    content = "\0".join([embed.name, *sentences])
    mark = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = folder / f"vectors-{number:05d}-{mark}.npy"
    if not path.exists():
        with replacing(path) as part, open(part, "wb") as file:
            np.save(file, embed(sentences))
    return path


def open_blocks(folder: Path) -> list[np.ndarray]:
    """Map the blocks of a folder.

    Args:
        folder: where `embed_blocks` saved them.

    Returns:
        The blocks, in the order of their sentences.
    """
    return [open_array(path) for path in sorted(folder.glob("vectors-*.npy"))]


def open_array(path: Path) -> np.ndarray:
    """Map a saved array.

    Args:
        path: an .npy file. It is never unpickled.

    Returns:
        The array, read-only.
    """
    return np.load(path, mmap_mode="r", allow_pickle=False)
