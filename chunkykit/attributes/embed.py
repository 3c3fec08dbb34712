"""Embedders: attribute sentences to unit vectors."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chunkykit.errors import UserError, requires_extra
from chunkykit.models import client_for

DEFAULT_EMBEDDER = "wordllama"
MIN_NORM = 1e-9  # a vector of zeros stays one instead of becoming NaN
ONNX_FILES = ("model.onnx", "tokenizer.json")
MAX_ONNX_TOKENS = 256  # tokens read per text; attribute sentences are far shorter
ONNX_BATCH_TEXTS = 64  # texts per pass of the encoder
ENDPOINT_BATCH_TEXTS = 256  # texts per request

Encode = Callable[[list[str]], np.ndarray]  # n texts -> (n, d)


class Embedder(NamedTuple):
    """A `types.Embedder` around a function that encodes texts.

    Attributes:
        name: the name, which every index remembers, so that vectors of two embedders are never
            compared.
        encode: n different texts to n vectors, shape (n, d), of any norm.
    """

    name: str
    encode: Encode

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
        vectors = np.asarray(self.encode(unique), np.float32)  # (n_unique, d)
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
        return Embedder(name, _wordllama())
    if name.startswith("onnx:"):
        return Embedder(name, _onnx(Path(name.removeprefix("onnx:"))))
    if name.startswith(("openai:", "http://", "https://")):
        return Embedder(name, _endpoint(name))
    raise UserError(
        f"embedder '{name}' is not known. Use wordllama, onnx:FOLDER, openai:MODEL or "
        "http(s)://host:port/v1:MODEL."
    )


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


def _onnx(folder: Path) -> Encode:
    missing = [name for name in ONNX_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"embedder onnx:{folder}: the folder has no {' and no '.join(missing)}. "
            "Export the encoder and its tokenizer there."
        )
    with requires_extra("onnx"):
        import onnxruntime
        from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_ONNX_TOKENS)
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    input_names = [node.name for node in session.get_inputs()]

    def encode(texts: list[str]) -> np.ndarray:
        encodings = tokenizer.encode_batch(texts)
        fields = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        inputs = {name: np.array(fields[name], np.int64) for name in input_names}
        states = session.run(None, inputs)[0]
        if states.ndim == 2:  # the model pools by itself
            return states
        # token states (n, tokens, d): the mean over the text's own tokens, without the padding
        mask = np.array(fields["attention_mask"], np.float32)[:, :, None]  # (n, tokens, 1)
        return (states * mask).sum(1) / mask.sum(1)

    return _in_batches(encode, ONNX_BATCH_TEXTS)


def _endpoint(name: str) -> Encode:
    client, model = client_for(name, asynchronous=False)

    def encode(texts: list[str]) -> np.ndarray:
        response = client.embeddings.create(model=model, input=texts, encoding_format="float")
        items = sorted(response.data, key=lambda item: item.index)
        return np.array([item.embedding for item in items], np.float32)

    return _in_batches(encode, ENDPOINT_BATCH_TEXTS)


def _in_batches(encode: Encode, size: int) -> Encode:
    """Encode at most `size` texts at once."""

    def encode_all(texts: list[str]) -> np.ndarray:
        starts = range(0, len(texts), size)
        return np.concatenate([encode(texts[start : start + size]) for start in starts])

    return encode_all
