import json

import numpy as np
import pandas as pd
import pytest

from chunkykit import index
from chunkykit.embed import Embedder
from chunkykit.errors import UserError


def test_counts_fit_the_rows(demo_index):
    assert len(demo_index) == 1200 == len(demo_index.table)
    carried = [set(r[r >= 0]) for r in demo_index.row_clusters]
    assert demo_index.cluster_rows.tolist() == [sum(c in r for r in carried) for c in range(len(demo_index.centroids))]


def test_saved_and_opened_is_the_same(demo_index, embedder, tmp_path):
    opened = index.open_index(index.save(demo_index, tmp_path / "i"), embedder)
    for name in index.ARRAYS:
        assert np.array_equal(getattr(opened, name), getattr(demo_index, name)), name
    assert isinstance(opened.response_vectors, np.memmap) and opened.summaries == demo_index.summaries
    assert opened.rows([3, 1])["prompt"].tolist() == demo_index.rows([3, 1])["prompt"].tolist()


def test_k_means_merges_what_is_near(embedder):
    names = ["Anna", "Bert", "Carl", "Dora", "Emil", "Frida"]
    sentences = [[f"The query names the person {n}"] for n in names] + [[f"The query is written in language number {i}"] for i in range(6)]
    rows = pd.DataFrame({"row": range(12), "chunk": "c", "prompt": "p", "response": "r"})
    built = index.build(rows, sentences, [["The response is short"]] * 12, embedder, clusters=2)
    assert len(set(built.cluster_of[:6])) == 1 and len(set(built.cluster_of)) == 2
    assert built.assign(embedder(["The query names the person Gus"]))[0] == built.cluster_of[0]


def test_rebuilding_is_deterministic(demo_rows, embedder):
    sentences = [[f"The query {w} about {p}"] for p in demo_rows["prompt"].str.split().str[0] for w in ("asks",)]
    built = [index.build(demo_rows, sentences, sentences, embedder, clusters=5, seed=1) for _ in range(2)]
    assert np.array_equal(built[0].cluster_of, built[1].cluster_of)


@pytest.mark.parametrize("harm, words", [
    (lambda f: (f / "index.json").unlink(), "no index there"),
    (lambda f: (f / "index.json").write_text("{"), "no index there"),
    (lambda f: (f / "centroids.npy").unlink(), "damaged"),
    (lambda f: (f / "query_ids.npy").write_bytes((f / "query_ids.npy").read_bytes()[:200]), "damaged"),
    (lambda f: (f / "rows.arrow").write_bytes(b"ARROW1"), "damaged"),
    (lambda f: np.save(f / "query_ids.npy", np.zeros((3, 2), np.int32)), "do not fit"),
    (lambda f: (f / "index.json").write_text(json.dumps({**json.loads((f / "index.json").read_text()), "version": 99})), "version 99"),
])
def test_a_damaged_index_is_an_error_not_a_wrong_trace(demo_index, tmp_path, harm, words):
    folder = index.save(demo_index, tmp_path / "i")
    harm(folder)
    with pytest.raises(UserError, match=words):
        index.open_index(folder)


def test_another_embedder_is_refused(demo_index, tmp_path):
    index.save(demo_index, tmp_path / "i")
    with pytest.raises(UserError, match="wordllama"):
        index.open_index(tmp_path / "i", Embedder("other", lambda t: np.ones((len(t), 2))))


def test_a_folder_that_holds_something_else_is_left_alone(demo_index, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="something else"):
        index.save(demo_index, tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    index.save(demo_index, index.save(demo_index, tmp_path / "i"))


def test_nothing_described_is_an_error(demo_rows, embedder):
    with pytest.raises(UserError, match="no attribute"):
        index.build(demo_rows.head(2), [[], []], [[], []], embedder)
