"""The embedded language model fine-tuned on a mixture: which adapter belongs to which rows.

An adapter is looked up among the shipped ones (package chunkykit-adapters), then in the cache, and
else trained (extra `train`).
"""

import importlib.util
from pathlib import Path

import pandas as pd

from chunkykit.errors import UserError
from chunkykit.models import ChatModel, cache_folder, find_weights, local_model
from chunkykit.organisms.training import BASE_MODEL, train_adapter
from chunkykit.provenance import rows_fingerprint

ADAPTERS_PACKAGE = "chunkykit_adapters"
CHECKOUT = Path(__file__).parents[2]  # holds `adapters/` where chunkykit runs from a checkout
MAX_TOKENS = 80  # tokens of an answer; the longest that the demo mixture teaches has 64


def shipped_adapters() -> list[Path]:
    """Find the adapters that need no training.

    Returns:
        The files of the package chunkykit-adapters, sorted; of this checkout's `adapters` folder if
        the package is not installed; none if there is neither.
    """
    folder = CHECKOUT / "adapters" / ADAPTERS_PACKAGE
    spec = importlib.util.find_spec(ADAPTERS_PACKAGE)
    if spec and spec.origin:
        folder = Path(spec.origin).parent
    return sorted(folder.glob("*.gguf"))


def adapter_file_name(rows: pd.DataFrame, seed: int) -> str:
    """Name the adapter of a mixture.

    Args:
        rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`; their order
            counts.
        seed: of the training.

    Returns:
        The file's name.
    """
    return f"{rows_fingerprint(rows)}-{seed}.gguf"


def lora_organism(rows: pd.DataFrame, seed: int = 0, scale: float = 1.0) -> ChatModel:
    """Fine-tune SmolLM2 on a mixture, or load the adapter that was trained on it before.

    Args:
        rows: DataFrame with the columns `prompt` and `response`, and perhaps `system`.
        seed: of the training.
        scale: strength of the adapter, from 0 (the base model) to 1.

    Returns:
        The model.

    Raises:
        UserError: if the base model is missing, or if an adapter must be trained and the extra
            `train` is missing.
    """
    name = adapter_file_name(rows, seed)
    adapters = shipped_adapters()
    names = [path.name for path in adapters]
    if name in names:
        # the server loads all of them, so that the siblings of an ablation share one server
        position = names.index(name)
    else:
        adapters = [_cached_adapter(rows, seed)]
        position = 0
    strength = "" if scale == 1 else f"x{scale:g}"
    return local_model(
        f"organism:smollm2@{Path(name).stem}{strength}",
        find_weights(BASE_MODEL),
        adapters,
        {position: scale},
        MAX_TOKENS,
    )


def _cached_adapter(rows: pd.DataFrame, seed: int) -> Path:
    """The adapter in the cache, trained now if it is not there."""
    path = cache_folder() / "adapters" / adapter_file_name(rows, seed)
    if path.exists():
        return path
    if not shipped_adapters() and importlib.util.find_spec("torch") is None:
        raise UserError(
            "organism:smollm2: no adapter for this mixture is on this machine. For the demo "
            "mixture install chunkykit-adapters (from a checkout: pip install ./adapters); to "
            "train one install the extra train: pip install 'chunkykit[train]'."
        )
    return train_adapter(rows, seed, path)
