"""Sentence encoders of the BERT family, as ONNX files, on the processor."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chunkykit.errors import UserError, requires_extra
from chunkykit.progress import parts

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from tokenizers.implementations import BaseTokenizer

FOLDER_FILES = ("model.onnx", "tokenizer.json")
MAX_TOKENS = 256  # tokens read per text; attribute sentences are far shorter
PASS_TEXTS = 16  # texts per pass: the activations of more no longer fit the cache
MAX_THREADS = 2  # of one pass
POOLED_OUTPUT = "sentence_embedding"  # as sentence-transformers exports it

Encode = Callable[[list[str]], np.ndarray]  # n texts -> (n, d)


def encoder_from_folder(folder: Path) -> Encode:
    """Load an encoder from a folder with `model.onnx` and `tokenizer.json`.

    Args:
        folder: the folder.

    Returns:
        The encoder.

    Raises:
        UserError: a file or a library is missing.
    """
    missing = [name for name in FOLDER_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"embedder onnx:{folder}: the folder has no {' and no '.join(missing)}. "
            "Export the encoder and its tokenizer there."
        )
    with requires_extra("onnx"):
        from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return sentence_encoder(folder / "model.onnx", tokenizer)


def sentence_encoder(model: Path, tokenizer: "Tokenizer | BaseTokenizer") -> Encode:
    """Load an encoder.

    Texts are encoded in the order of their lengths, so that a pass has hardly any padding.

    Args:
        model: ONNX file. Read is its output `sentence_embedding`, or else its first one of
            floats: one vector per text, or one state per token.
        tokenizer: tokenizer of the model. Its settings of truncation and padding are replaced.

    Returns:
        The encoder.

    Raises:
        UserError: a library is missing, or the model has no output of floats.
    """
    with requires_extra("onnx"):
        import onnxruntime
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(MAX_THREADS, os.cpu_count() or 1)
    # By default a thread that waits keeps its core busy, which slows other processes down.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    output = _choose_output(session)

    def encode(texts: list[str]) -> np.ndarray:
        encodings = tokenizer.encode_batch(texts)
        order = np.argsort([len(encoding.ids) for encoding in encodings], kind="stable")
        vectors = []
        for start in parts(range(0, len(order), PASS_TEXTS), "passes"):
            rows = order[start : start + PASS_TEXTS]
            vectors.append(_encode_pass(session, output, [encodings[row] for row in rows]))
        by_length = np.concatenate(vectors)  # (n, d)
        return by_length[np.argsort(order)]

    return encode


def _choose_output(session) -> str:
    """Choose the output to read: the pooled one by its usual name, else the first of floats."""
    types = {node.name: node.type for node in session.get_outputs()}
    if POOLED_OUTPUT in types:
        return POOLED_OUTPUT
    for name, kind in types.items():
        if kind.startswith("tensor(float"):
            return name
    raise UserError(f"embedder onnx: the model has no output of floats, only {types}.")


def _encode_pass(session, output: str, encodings: list["Encoding"]) -> np.ndarray:
    """Encode the texts of one pass, shape (n, d)."""
    n_tokens = max(len(encoding.ids) for encoding in encodings)
    shape = (len(encodings), n_tokens)
    fields = {
        "input_ids": np.zeros(shape, np.int64),
        "attention_mask": np.zeros(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    for row, encoding in enumerate(encodings):
        fields["input_ids"][row, : len(encoding.ids)] = encoding.ids
        fields["attention_mask"][row, : len(encoding.ids)] = 1
    inputs = {node.name: fields[node.name] for node in session.get_inputs()}
    states = session.run([output], inputs)[0]
    if states.ndim == 2:  # the model pools by itself
        return states
    # token states (n, tokens, d): the mean over the text's own tokens, without the padding
    mask = fields["attention_mask"][:, :, None].astype(np.float32)
    return (states * mask).sum(1) / mask.sum(1)
