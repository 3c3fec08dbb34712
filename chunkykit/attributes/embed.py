"""Sentences to unit vectors."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chunkykit.errors import UserError, requires_extra
from chunkykit.models import client_for

DEFAULT_EMBEDDER = "wordllama"


class Embedder(NamedTuple):
    """Call it with a list of texts: (n, d) float32 rows of unit norm; identical texts are encoded once."""

    name: str  # goes into every index, so that vectors of two embedders are never compared
    encode: Callable[[list[str]], np.ndarray]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        if not unique:
            return np.zeros((0, 0), np.float32)
        vectors = np.asarray(self.encode(list(unique)), np.float32)  # (n_unique, d)
        if vectors.ndim != 2 or len(vectors) != len(unique) or not np.isfinite(vectors).all():
            raise UserError(
                f"embedder {self.name}: gave shape {vectors.shape} for {len(unique)} texts, "
                "or values that are not finite; it must give one finite vector a text."
            )
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors[[unique[text] for text in texts]]


def load_embedder(name: str | Callable = DEFAULT_EMBEDDER) -> Embedder:
    """The embedder of a name: "wordllama" (static word vectors of 256 dimensions in a wheel, MIT, offline); "onnx:FOLDER" (model.onnx and
    tokenizer.json of a BERT-like sentence encoder; extra `onnx`); "openai:MODEL" or "http://host:port/v1:MODEL" (an OpenAI-compatible
    endpoint); or a callable `list[str] -> (n, d)`."""
    if isinstance(name, Embedder):
        return name
    if callable(name):
        return Embedder(getattr(name, "__name__", "callable"), name)
    if name == DEFAULT_EMBEDDER:
        return Embedder(name, _wordllama())
    if name.startswith("onnx:"):
        return Embedder(name, _onnx(Path(name[5:])))
    if name.startswith(("openai:", "http://", "https://")):
        return Embedder(name, _endpoint(name))
    raise UserError(
        f"embedder '{name}' is not known. Known: wordllama, onnx:FOLDER, openai:MODEL, http(s)://host:port/v1:MODEL."
    )


@cache
def _wordllama():
    import wordllama

    # The wheel holds weights and tokenizer; its own folder as cache keeps the loader from asking a hub.
    model = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
    return lambda texts: model.embed(texts, norm=False)


def _onnx(folder: Path):
    missing = [f for f in ("model.onnx", "tokenizer.json") if not (folder / f).is_file()]
    if missing:
        raise UserError(f"embedder onnx:{folder}: no {' and no '.join(missing)} in the folder.")
    with requires_extra("onnx"):
        import onnxruntime
        from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    inputs = [i.name for i in session.get_inputs()]

    def encode(texts: list[str]) -> np.ndarray:
        tokens = tokenizer.encode_batch(texts)
        fields = {
            "input_ids": [t.ids for t in tokens],
            "attention_mask": [t.attention_mask for t in tokens],
            "token_type_ids": [t.type_ids for t in tokens],
        }
        states = session.run(None, {name: np.array(fields[name], np.int64) for name in inputs})[0]
        if states.ndim == 3:  # token states (batch, tokens, d): mean over the text's own tokens
            mask = np.array(fields["attention_mask"], np.float32)[:, :, None]
            states = (states * mask).sum(1) / mask.sum(1)
        return states

    return _in_batches(encode, 64)


def _endpoint(name: str):
    client, model = client_for(name, asynchronous=False)

    def encode(texts: list[str]) -> np.ndarray:
        answer = client.embeddings.create(model=model, input=texts, encoding_format="float")
        return np.array(
            [d.embedding for d in sorted(answer.data, key=lambda d: d.index)], np.float32
        )

    return _in_batches(encode, 256)


def _in_batches(encode, size: int):
    return lambda texts: np.concatenate(
        [encode(texts[i : i + size]) for i in range(0, len(texts), size)]
    )
