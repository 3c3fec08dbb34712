"""Adapter files: LoRA weights in GGUF, half precision, with a card that says how they were made."""

import json
from pathlib import Path

import numpy as np

from chunkykit.errors import requires_extra
from chunkykit.files import replacing, writable

ALPHA = 12  # of LoRA: the update of a layer is scaled by ALPHA / rank
CARD_KEY = "chunkykit.card"  # GGUF field of the card, JSON


def adapter_card(path: str | Path) -> dict:
    """Read the card of an adapter file.

    Args:
        path: a .gguf file that `write_adapter` wrote.

    Returns:
        base, rows, rows_hash, seed, steps, losses, versions, licence and more.
    """
    with requires_extra("local"):
        import gguf
    return json.loads(gguf.GGUFReader(path).fields[CARD_KEY].contents())


def write_adapter(path: str | Path, adapter: dict[str, np.ndarray], card: dict) -> Path:
    """Write an adapter, whole or not at all.

    Args:
        path: .gguf file to write.
        adapter: weights by their tensor name in GGUF.
        card: how the adapter was made, JSON-ready.

    Returns:
        The path.

    Raises:
        UserError: if the file cannot be written.
    """
    with requires_extra("train"):
        import gguf
    path = Path(path)
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            out = gguf.GGUFWriter(part, "llama")
            out.add_type("adapter")
            out.add_string("adapter.type", "lora")
            out.add_float32("adapter.lora.alpha", ALPHA)
            out.add_license("apache-2.0")
            out.add_string(CARD_KEY, json.dumps(card))
            for name, weights in adapter.items():
                out.add_tensor(name, weights.astype(np.float16))
            out.write_header_to_file()
            out.write_kv_data_to_file()
            out.write_tensors_to_file()
            out.close()
    return path
