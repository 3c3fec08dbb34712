"""Blocks of sentence vectors: unit vectors on disk, memory-mapped and read one block at a time.

An index can hold more vectors than fit in memory. Each block is read, used and released, so that
the process never holds more than one of them. Only a trace keeps those of a small index mapped,
because it reads all of them again and again.

A component is stored as an int16. For unit vectors that is more precise than float16, because no
bits are spent on an exponent, and NumPy converts it to float32 twenty times as fast.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from chunkykit.files import replacing
from chunkykit.progress import step
from chunkykit.types import Embedder

SENTENCES_PER_BLOCK = 65_536  # sentences per block of vectors
MAX_COMPONENT = 2**15 - 1  # int16 that stands for a component of 1
MAX_MAPPED_BYTES = 2**30  # of the blocks of one side that stay mapped from trace to trace
SENTENCES_PER_TASK = 2048  # sentences per task of a thread; their vectors fit in its cache
# BLAS takes matrices of few rows as they are, and products of at most 2**18 multiplications in one
# thread. It would copy larger matrices first, which takes as long as the product.
SENTENCES_PER_PRODUCT = 16
MULTIPLICATIONS_PER_PRODUCT = 2**18
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


def encode_vectors(vectors: np.ndarray) -> np.ndarray:
    """Encode unit vectors for a block.

    Args:
        vectors: unit vectors, shape (m, d).

    Returns:
        (m, d) int16. A cosine with decoded vectors is off by at most 1e-4 in practice.
    """
    return np.rint(vectors * MAX_COMPONENT).astype(np.int16)


def decode_vectors(block: np.ndarray) -> np.ndarray:
    """Decode a block, or a part of one.

    Args:
        block: what `encode_vectors` returned, shape (m, d).

    Returns:
        Unit vectors, shape (m, d) float32.
    """
    return block * np.float32(1 / MAX_COMPONENT)


def read_block(block: np.ndarray) -> np.ndarray:
    """Decode a block and release its mapped pages.

    Args:
        block: what `encode_vectors` returned, mapped from disk or not.

    Returns:
        Unit vectors, shape (m, d) float32.
    """
    vectors = decode_vectors(np.asarray(block))
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


def read_vectors(blocks: list[np.ndarray], sentences: np.ndarray) -> np.ndarray:
    """Read the vectors of some sentences, one block at a time.

    Args:
        blocks: consecutive blocks, each (at most SENTENCES_PER_BLOCK, d) int16.
        sentences: numbers of sentences, ascending.

    Returns:
        Their encoded vectors, shape (n_sentences, d) int16.
    """
    vectors = np.empty((len(sentences), blocks[0].shape[1]), np.int16)
    for place, block in locate_blocks(blocks):
        first, last = np.searchsorted(sentences, (place.start, place.stop))
        vectors[first:last] = block[sentences[first:last] - place.start]
        release_pages(block)
    return vectors


def compare_blocks(blocks: list[np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Compare vectors with all sentences.

    Blocks of more than MAX_MAPPED_BYTES in all are in memory one at a time.

    Args:
        blocks: consecutive blocks with m sentences, each (at most SENTENCES_PER_BLOCK, d) int16.
        vectors: unit vectors, shape (k, d).

    Returns:
        Cosines, shape (k, m) float32.
    """
    cosines = np.empty((len(vectors), sum(map(len, blocks))), np.float32)
    scaled = vectors / np.float32(MAX_COMPONENT)
    stay_mapped = sum(block.nbytes for block in blocks) <= MAX_MAPPED_BYTES
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for place, block in locate_blocks(blocks):
            compare_part = partial(_compare_part, block, scaled, cosines[:, place])
            list(executor.map(compare_part, range(0, len(block), SENTENCES_PER_TASK)))
            if not stay_mapped:
                release_pages(block)
    return cosines


def _compare_part(block: np.ndarray, vectors: np.ndarray, cosines: np.ndarray, start: int) -> None:
    """Fill in the cosines (k, sentences of the block) of one part of a block."""
    part = block[start : start + SENTENCES_PER_TASK]
    m, d = part.shape
    n_products = -(-m // SENTENCES_PER_PRODUCT)
    padded = np.empty((n_products * SENTENCES_PER_PRODUCT, d), np.float32)
    padded[:m] = part
    padded[m:] = 0
    factors = padded.reshape(n_products, SENTENCES_PER_PRODUCT, d)
    step = max(1, MULTIPLICATIONS_PER_PRODUCT // (SENTENCES_PER_PRODUCT * d))
    for first in range(0, len(vectors), step):
        group = vectors[first : first + step]
        products = (factors @ group.T).reshape(len(padded), len(group))
        cosines[first : first + step, start : start + m] = products[:m].T


def in_threads(task: Callable[[int], Any], numbers: Iterable[int]) -> list[Any]:
    """Run a task for each of some numbers, in as many threads as there are cores.

    Args:
        task: a function of where a part of an array starts, or of the number of a part. It spends
            its time in NumPy or faiss, which let the other threads run.
        numbers: what it is called with.

    Returns:
        What it returned, in the order of the numbers.
    """
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return list(executor.map(task, numbers))


def embed_blocks(folder: Path, sentences: pa.Array, embed: Embedder) -> list[np.ndarray]:
    """Embed sentences block by block, reusing the blocks that an interrupted build left.

    Args:
        folder: where the blocks are saved. Blocks of other sentences in it are deleted.
        sentences: m distinct sentences.
        embed: the embedder.

    Returns:
        The blocks, mapped from disk, each (at most SENTENCES_PER_BLOCK, d) int16.
    """
    paths = []
    with step("sentences embedded", len(sentences), "sentences") as advance:
        for number, start in enumerate(range(0, len(sentences), SENTENCES_PER_BLOCK)):
            texts = sentences[start : start + SENTENCES_PER_BLOCK].to_pylist()
            paths.append(_embed_block(folder, number, texts, embed))
            advance(len(texts))
    for stale in set(folder.glob("vectors-*")) - set(paths):
        stale.unlink()
    return [open_array(path) for path in paths]


def _embed_block(folder: Path, number: int, sentences: list[str], embed: Embedder) -> Path:
    """Save the vectors of one block unless they are there already."""
    # the type, because an older version may have left float32 blocks
    content = "\0".join(["int16", embed.name, *sentences])
    mark = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = folder / f"vectors-{number:05d}-{mark}.npy"
    if not path.exists():
        with replacing(path) as part, open(part, "wb") as file:
            np.save(file, encode_vectors(embed(sentences)))
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
