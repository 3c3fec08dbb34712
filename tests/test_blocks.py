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
    np.save(tmp_path / "vectors.npy", np.eye(4, dtype=np.float32))
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


def test_a_block_reads_the_same_after_its_pages_are_released(mapped):
    assert np.array_equal(blocks.read_block(mapped), np.eye(4))
    blocks.release_pages(mapped)
    assert np.array_equal(mapped, np.eye(4))


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
