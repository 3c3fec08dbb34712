import subprocess
import sys

import numpy as np
import pytest

from chunkykit.attributes import load_embedder
from chunkykit.errors import UserError
from chunkykit.types import Embedder

SENTENCES = ["The query asks for code", "The query asks for a program", "The response is a poem"]


def test_the_default_gives_unit_vectors_without_a_network(embedder):
    vectors = embedder(SENTENCES)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_identical_texts_are_encoded_once():
    batches = []

    def encode(texts):
        batches.append(list(texts))
        return np.random.default_rng(0).normal(size=(len(texts), 4))

    embedder: Embedder = load_embedder(encode)
    vectors = embedder(["a", "b", "a", "a"])
    assert batches == [["a", "b"]]
    assert np.array_equal(vectors[0], vectors[2])
    assert vectors.shape == (4, 4)
    assert embedder.name == "encode"


def test_no_texts_are_no_vectors(embedder):
    assert embedder([]).shape == (0, 0)


@pytest.mark.parametrize(
    "encode",
    [
        lambda texts: np.ones((1, 3)),
        lambda texts: np.full((len(texts), 3), np.nan),
        lambda texts: np.ones(len(texts)),
    ],
)
def test_a_bad_encoder_is_an_error(encode):
    with pytest.raises(UserError, match="embedder"):
        load_embedder(encode)(["a", "b"])


def test_an_unknown_name_is_an_error():
    with pytest.raises(UserError, match="not known"):
        load_embedder("word2vec")


def test_a_missing_file_is_an_error():
    with pytest.raises(UserError, match="no model.onnx"):
        load_embedder("onnx:/nowhere")


PROGRAM = """
import logging

{setup}
root = logging.getLogger()
before = (root.level, list(root.handlers))
from chunkykit.attributes import load_embedder

vectors = load_embedder()(["a sentence"])
assert vectors.shape == (1, 256)
assert (root.level, list(root.handlers)) == before, (root.level, root.handlers)
logging.getLogger("httpx").info("a request")
logging.getLogger("httpx").warning("a problem")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup, shown",
    [
        ("", ["a problem"]),
        ("logging.basicConfig(level=logging.INFO)", ["a request", "a problem"]),
        ("logging.getLogger('httpx').setLevel(logging.ERROR)", []),
    ],
    ids=["nothing configured", "root configured", "httpx configured"],
)
def test_the_default_leaves_the_users_logging_alone(setup, shown):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setup=setup)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "a request" in line or "a pro" in line]
    assert [line.split(":")[-1] for line in lines] == shown
