import asyncio
import importlib
import mmap

import numpy as np
import pytest

from chunkykit.attributes import Embedder, describe_lexically
from chunkykit.index import blocks, describe_shards, finish_index, open_trace_index


@pytest.fixture
def mapped(tmp_path):
    """Some vectors, mapped from disk."""
    np.save(tmp_path / "vectors.npy", blocks.encode_vectors(np.eye(4)))
    return blocks.open_array(tmp_path / "vectors.npy")


def test_vectors_that_are_saved_are_not_embedded_again(demo_rows, embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SENTENCES_PER_BLOCK", 50)
    calls = []

    def interrupt_the_third_call(texts):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embedder(texts)

    interrupted = Embedder("interrupted", interrupt_the_third_call)
    asyncio.run(describe_shards(tmp_path / "i", [demo_rows], describe_lexically))
    with pytest.raises(KeyboardInterrupt):
        finish_index(tmp_path / "i", interrupted)
    finish_index(tmp_path / "i", interrupted)
    sides = open_trace_index(tmp_path / "i").meta["sides"].values()
    assert sum(calls) == calls[2] + sum(side["sentences"] for side in sides)


def test_blocks_of_other_sentences_are_deleted(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SENTENCES_PER_BLOCK", 2)
    first = blocks.pa.array(["The query asks", "The query tells", "The query is long"])
    assert [len(block) for block in blocks.embed_blocks(tmp_path, first, embedder)] == [2, 1]
    blocks.embed_blocks(tmp_path, first[:2], embedder)
    assert len(blocks.open_blocks(tmp_path)) == 1


def test_blocks_are_paired_with_their_sentences():
    places = [place for place, _ in blocks.locate_blocks([np.zeros((3, 2)), np.ones((2, 2))])]
    assert places == [slice(0, 3), slice(3, 5)]


@pytest.fixture
def unit_vectors():
    """100 unit vectors in 50 dimensions."""
    vectors = np.random.default_rng(0).standard_normal((100, 50))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_an_encoded_vector_is_more_precise_than_float16(unit_vectors):
    block = blocks.encode_vectors(unit_vectors)
    assert block.dtype == np.int16
    error = np.abs(blocks.decode_vectors(block) - unit_vectors).max()
    assert error < np.abs(unit_vectors.astype(np.float16) - unit_vectors).max()


@pytest.mark.parametrize("component", [-1, 0, 1])
def test_the_largest_components_are_encoded_exactly(component):
    block = blocks.encode_vectors(np.array([[component]], np.float32))
    assert blocks.decode_vectors(block) == component


@pytest.mark.parametrize("sizes", [(100,), (48, 52), (99, 1)])
def test_vectors_are_compared_with_all_blocks(unit_vectors, sizes):
    block = blocks.encode_vectors(unit_vectors)
    parts = np.split(block, np.cumsum(sizes)[:-1])
    cosines = blocks.compare_blocks(parts, unit_vectors[:7])
    assert np.allclose(cosines, unit_vectors[:7] @ unit_vectors.T, atol=1e-4)


@pytest.mark.parametrize("max_bytes, releases", [(2**30, 0), (0, 1)])
def test_only_many_vectors_are_released_after_a_comparison(
    mapped, monkeypatch, max_bytes, releases
):
    released = []
    monkeypatch.setattr(blocks, "MAX_MAPPED_BYTES", max_bytes)
    monkeypatch.setattr(blocks, "release_pages", released.append)
    assert np.allclose(blocks.compare_blocks([mapped], np.eye(4, dtype=np.float32)), np.eye(4))
    assert len(released) == releases


def test_vectors_of_some_sentences_are_read(unit_vectors):
    block = blocks.encode_vectors(unit_vectors)
    sentences = np.array([0, 3, 47, 48, 99])
    read = blocks.read_vectors([block[:48], block[48:]], sentences)
    assert np.array_equal(read, block[sentences])


def test_a_block_reads_the_same_after_its_pages_are_released(mapped):
    assert np.array_equal(blocks.read_block(mapped), np.eye(4))
    blocks.release_pages(mapped)
    assert np.array_equal(blocks.read_block(mapped), np.eye(4))


def test_releasing_pages_asks_the_system_once_per_mapped_block(mapped, monkeypatch):
    advice = []

    class Map:
        def madvise(self, option):
            advice.append(option)

    monkeypatch.setattr(mapped, "_mmap", Map())
    blocks.release_pages(mapped)
    blocks.release_pages(np.eye(4))  # not mapped
    assert advice == [blocks.MADV_DONTNEED]


def test_a_platform_without_madvise_keeps_its_pages(mapped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.delattr(mmap, "MADV_DONTNEED")
        importlib.reload(blocks)
        assert blocks.MADV_DONTNEED is None
        # as on Windows, where a map has no such method
        patch.setattr(mapped, "_mmap", object())
        assert np.array_equal(blocks.read_block(mapped), np.eye(4))
    importlib.reload(blocks)
    assert blocks.MADV_DONTNEED == mmap.MADV_DONTNEED
