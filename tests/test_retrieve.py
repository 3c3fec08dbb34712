import numpy as np
import pandas as pd
import pytest

from chunkykit.attributes import Embedder
from chunkykit.index import index_from_attributes
from chunkykit.turf import Tracer, retrieve_rows

SENTENCES = ["a", "b", "c", "x", "y"]


def one_hot(texts):
    return np.eye(8)[[SENTENCES.index(text) for text in texts]]


EMBEDDER = Embedder("one-hot", one_hot)


def tiny_index(query_attributes, response_attributes):
    n = len(query_attributes)
    rows = pd.DataFrame({"row": range(n), "chunk": "p", "prompt": "p", "response": "r"})
    return index_from_attributes(rows, query_attributes, response_attributes, EMBEDDER)


def test_a_row_is_a_hit_once_for_each_distinct_cluster():
    index = tiny_index([["a", "a"], ["a", "b"], ["b"], ["c"]], [["x"], ["x", "y"], ["y"], ["y"]])
    evidence = Tracer(index, EMBEDDER, k=2).evidence("x")
    assert sorted(evidence.rows.tolist()) == [0, 1]
    assert dict(zip(index.query.summaries, evidence.hits)) == {"a": 2, "b": 1, "c": 0}
    lift = dict(zip(index.query.summaries, evidence.lift))
    assert lift["a"] == pytest.approx((2 / 2) / (2 / 4))


def test_ties_over_k_are_drawn_at_random_with_the_seed(demo_index, embedder):
    side = demo_index.sides["response"]
    (nearness,) = side.row_nearness(embedder(["The response contains numbers"]))

    def drawn(seed):
        return retrieve_rows(nearness, 20, seed)

    assert len(drawn(0)) == 20
    assert np.array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))
    assert drawn(0).max() > 300, "not the head of the mixture"
