import numpy as np
import pytest

from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError


def test_default_gives_unit_vectors_without_a_network(embedder):
    vectors = embedder(
        ["The query asks for code", "The query asks for a program", "The response is a poem"]
    )
    assert vectors.dtype == np.float32 and np.allclose(
        np.linalg.norm(vectors, axis=1), 1, atol=1e-5
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_identical_texts_are_encoded_once():
    batches = []

    def count(texts):
        batches.append(list(texts))
        return np.random.default_rng(0).normal(size=(len(texts), 4))

    vectors = load_embedder(count)(["a", "b", "a", "a"])
    assert (
        batches == [["a", "b"]]
        and np.array_equal(vectors[0], vectors[2])
        and vectors.shape == (4, 4)
    )


@pytest.mark.parametrize(
    "encode",
    [lambda t: np.ones((1, 3)), lambda t: np.full((len(t), 3), np.nan), lambda t: np.ones(len(t))],
)
def test_a_bad_embedder_is_an_error(encode):
    with pytest.raises(UserError, match="embedder"):
        load_embedder(encode)(["a", "b"])


def test_unknown_names_and_missing_folders():
    with pytest.raises(UserError, match="not known"):
        load_embedder("word2vec")
    with pytest.raises(UserError, match="no model.onnx"):
        load_embedder("onnx:/nowhere")
