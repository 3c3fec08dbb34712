"""Embedders: attribute sentences to unit vectors."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from chunkykit.attributes.encoder import Encode, encoder_from_folder
from chunkykit.attributes.minilm import minilm_encoder, minilm_is_installed, minilm_settings
from chunkykit.errors import UserError
from chunkykit.models import embed_through
from chunkykit.progress import step
from chunkykit.text import clean_text
from chunkykit.types import OFFLINE

DEFAULT_EMBEDDER = "wordllama"
MINILM = "minilm"
MIN_NORM = 1e-9  # a vector of zeros stays one instead of becoming NaN
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Embedder(NamedTuple):
    """A `types.Embedder` around a function that encodes texts.

    Attributes:
        name: the name, which every index remembers, so that vectors of two embedders are never
            compared.
        encode: n different texts to n vectors, shape (n, d), of any norm.
        settings: what identifies the weights, where it is known: package, version, and SHA-256
            of the model file.
    """

    name: str
    encode: Encode
    settings: Mapping[str, str] = NO_SETTINGS

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts; identical texts are encoded once.

        Args:
            texts: n texts.

        Returns:
            Unit vectors, shape (n, d), float32. Shape (0, 0) for no texts.

        Raises:
            UserError: the encoder did not return one finite vector per text.
        """
        unique = list(dict.fromkeys(texts))
        if not unique:
            return np.zeros((0, 0), np.float32)
        with step("embedding", len(unique), "texts"):
            vectors = np.asarray(self.encode([*map(clean_text, unique)]), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(unique):
            raise UserError(
                f"embedder {self.name}: returned shape {vectors.shape} for {len(unique)} texts. "
                "It must return one vector per text."
            )
        if not np.isfinite(vectors).all():
            raise UserError(
                f"embedder {self.name}: returned NaN or infinity. Every number must be finite."
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(norms, MIN_NORM)
        row_of_text = {text: row for row, text in enumerate(unique)}
        return vectors[[row_of_text[text] for text in texts]]


def load_embedder(name: str | Encode | Embedder = DEFAULT_EMBEDDER) -> Embedder:
    """Load an embedder.

    Args:
        name: one of

            - "wordllama": static word vectors of 256 dimensions. They come with the package
              wordllama (MIT) and need no network.
            - "minilm": the sentence encoder all-MiniLM-L6-v2, of 384 dimensions (Apache-2.0). It
              comes with the extra `minilm` and needs no network.
            - "onnx:FOLDER": a sentence encoder of the BERT family, as `model.onnx` and
              `tokenizer.json` (extra `onnx`).
            - "openai:MODEL" or "http://host:port/v1:MODEL": an OpenAI-compatible endpoint
              (extra `models`).
            - a function from a list of n texts to vectors of shape (n, d).

    Returns:
        The embedder.

    Raises:
        UserError: the name is not known, or a file is missing.
    """
    if isinstance(name, Embedder):
        return name
    if callable(name):
        own_name = getattr(name, "name", getattr(name, "__name__", "callable"))
        return Embedder(str(own_name), name)
    if name == DEFAULT_EMBEDDER:
        settings = {"package": "wordllama", "version": version("wordllama")}
        return Embedder(name, _wordllama(), settings)
    if name == MINILM:
        return Embedder(name, minilm_encoder(), minilm_settings())
    if name.startswith("onnx:"):
        return Embedder(name, encoder_from_folder(Path(name.removeprefix("onnx:"))))
    if name.startswith(("openai:", "http://", "https://")):
        return Embedder(name, embed_through(name))
    raise UserError(
        f"embedder '{name}' is not known. Use wordllama, minilm, onnx:FOLDER, openai:MODEL or "
        "http(s)://host:port/v1:MODEL."
    )


def default_embedder(describer: str) -> str:
    """Choose the embedder for the sentences of a describer.

    The offline describer says the same thing in the same words, which static word vectors match
    as well as an encoder does, at a fraction of the time. A language model says it in many ways.

    Args:
        describer: name of the describer, "offline" or a model.

    Returns:
        Name of the embedder: "minilm" for a model where the extra `minilm` is installed, else
        "wordllama".
    """
    if describer != OFFLINE and minilm_is_installed():
        return MINILM
    return DEFAULT_EMBEDDER


def embedder_advice(describer: str, embedder: str) -> str:
    """Say what an embedder costs a trace, if another one would trace better.

    Args:
        describer: name of the describer.
        embedder: name of the embedder.

    Returns:
        A sentence or two with the numbers of `docs/measured.md` and the fix. Empty if there is
        nothing to say.
    """
    if describer == OFFLINE or embedder != DEFAULT_EMBEDDER:
        return ""
    advice = (
        "The embedder wordllama reads sentences of a language model less well than minilm: of 80 "
        "failures it traced 67 to the right chunk, and minilm 75."
    )
    if minilm_is_installed():
        return f"{advice} Use --embedder minilm."
    return f"{advice} Install minilm: pip install 'chunkykit[minilm]'."


@cache
def _wordllama() -> Encode:
    with _root_logger_restored():
        import wordllama

    # The wheel holds weights and tokenizer. With its own folder as the cache the loader finds
    # them there and does not ask a hub.
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def encode(texts: list[str]) -> np.ndarray:
        return model.embed(texts, norm=False)

    return encode


@contextmanager
def _root_logger_restored() -> Iterator[None]:
    """Undo what an import inside does to the root logger.

    wordllama calls `logging.basicConfig(level=INFO)`. Without this every library of the user's
    program, such as an HTTP client, would begin to log each of its calls.
    """
    root = logging.getLogger()
    level = root.level
    handlers = list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
