import json

import numpy as np
import pytest

from chunkykit.attributes import Embedder
from chunkykit.errors import UserError
from chunkykit.index import (
    blocks,
    checks,
    count_cluster_rows,
    index_from_attributes,
    open_trace_index,
    store,
)


@pytest.fixture
def saved(demo_rows, embedder, tmp_path):
    words = [[f"The query opens with {prompt.split()[0]}"] for prompt in demo_rows["prompt"]]
    index_from_attributes(demo_rows, words, words, embedder, tmp_path / "i")
    return tmp_path / "i"


def test_counts_fit_the_rows(demo_index):
    assert len(demo_index) == len(demo_index.table) == 1200
    query = demo_index.query
    carried = [set(row[row >= 0]) for row in query.clusters]
    for cluster, n_rows in enumerate(query.cluster_rows):
        assert n_rows == sum(cluster in clusters for clusters in carried)


def test_padding_is_not_a_cluster():
    assert count_cluster_rows(np.array([[1, -1], [1, 0]]), 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", ["query", "response"])
def test_a_sentence_leads_to_the_rows_that_carry_it(demo_index, name):
    side = demo_index.sides[name]
    for i in (0, 7, len(side.sentences) - 1):
        carrying = (side.ids == i).any(axis=1)
        assert np.array_equal(side.carry([i]), carrying)


def all_vectors(side):
    return side.vectors(np.arange(len(side.sentences)))


@pytest.mark.parametrize("name", ["query", "response"])
def test_vectors_are_those_of_the_embedder(demo_index, embedder, name):
    side = demo_index.sides[name]
    embedded = embedder(side.sentences.to_pylist())
    assert np.abs(all_vectors(side) - embedded).max() < 2e-5
    assert np.array_equal(side.vectors(np.array([2, 5])), all_vectors(side)[[2, 5]])


@pytest.mark.parametrize("name", ["query", "response"])
def test_nearness_is_the_cosine_with_each_sentence(demo_index, name):
    side = demo_index.sides[name]
    vectors = all_vectors(side)
    assert np.allclose(side.nearness(vectors[:2]), vectors[:2] @ vectors.T, atol=1e-6)


@pytest.mark.parametrize("name", ["query", "response"])
@pytest.mark.parametrize("n_vectors", [1, 3, 10])
def test_row_nearness_is_the_largest_cosine_of_a_row(demo_index, embedder, name, n_vectors):
    side = demo_index.sides[name]
    sentences = side.sentences.to_pylist()
    vectors = embedder(sentences[:n_vectors])
    nearness = side.row_nearness(vectors)
    assert nearness.shape == (n_vectors, 1200)
    for row in range(1200):
        row_vectors = embedder([sentences[i] for i in side.ids[row] if i >= 0])
        assert np.allclose(nearness[:, row], (vectors @ row_vectors.T).max(axis=1), atol=1e-4)


def test_rows_share_sentences_or_have_their_own(demo_rows, embedder):
    """Row 1 has none; rows 0 and 3 share one; the last has most."""
    queries = [["The query asks"], [], ["The query tells"], ["The query asks", "The query sings"]]
    responses = [["The response says"]] * 4
    index = index_from_attributes(demo_rows.head(4), queries, responses, embedder)
    vectors = embedder(["The query asks", "The query sings"])
    asks, sings = index.query.row_nearness(vectors)
    assert asks[[0, 3]] == pytest.approx(1, abs=1e-4)
    assert asks[1] == sings[1] == -1
    assert asks[2] < 0.99
    assert sings[0] == pytest.approx(vectors[0] @ vectors[1], abs=1e-4)
    assert sings[3] == pytest.approx(1, abs=1e-4)


def test_row_nearness_does_not_depend_on_the_cuts(demo_index, monkeypatch):
    side = demo_index.query
    vectors = all_vectors(side)[:5]
    whole = side.row_nearness(vectors)
    monkeypatch.setattr(store, "ROWS_PER_TASK", 7)
    monkeypatch.setattr(blocks, "SENTENCES_PER_TASK", 13)
    monkeypatch.setattr(blocks, "MULTIPLICATIONS_PER_PRODUCT", 2 * 16 * 256)
    assert np.allclose(side.row_nearness(vectors), whole, atol=1e-6)


def test_rows_come_in_the_requested_order(demo_index):
    rows = demo_index.rows([5, 2])
    assert rows["row"].tolist() == [demo_index.table["row"][i].as_py() for i in (5, 2)]
    assert not [name for name in rows if name.startswith("@")]


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip(path):
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def set_version(path, version):
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "version": version}))


@pytest.mark.parametrize(
    "file, damage, words",
    [
        ("index.json", lambda path: path.unlink(), "no index there"),
        ("index.json", lambda path: path.write_text("{"), "no index there"),
        ("index.json", lambda path: set_version(path, 99), "version 99"),
        ("index.json", lambda path: set_version(path, 2), "version 2.*reads version 3. Build it"),
        ("query/centroids.npy", lambda path: path.unlink(), "damaged"),
        ("query/ids.npy", lambda path: cut(path, 200), "damaged"),
        ("query/ids.npy", lambda path: np.save(path, np.zeros((3, 2), np.int32)), "damaged"),
        ("rows-00000.arrow", lambda path: cut(path, -1000), "damaged"),
        ("rows-00000.arrow", flip, "damaged.*rows-00000.arrow is not what was written"),
        ("response/clusters.npy", flip, "damaged.*clusters.npy is not what was written"),
    ],
)
def test_a_damaged_index_is_an_error_not_a_wrong_trace(saved, file, damage, words):
    damage(saved / file)
    with pytest.raises(UserError, match=words):
        open_trace_index(saved)


def test_checksums_of_a_large_index_are_verified_on_request(saved, monkeypatch):
    monkeypatch.setattr(checks, "MAX_CHECKED_BYTES", 0)
    flip(saved / "query" / "centroids.npy")
    open_trace_index(saved)
    with pytest.raises(UserError, match="centroids.npy"):
        open_trace_index(saved, check=True)


def test_another_embedder_is_refused(saved):
    other = Embedder("other", lambda texts: np.ones((len(texts), 2)))
    with pytest.raises(UserError, match="wordllama"):
        open_trace_index(saved, other)
