"""Adapter files: LoRA weights in GGUF, half precision, with a card that says how they were made."""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chunkykit.errors import UserError, requires_extra
from chunkykit.files import regular_file, replacing, writable

ALPHA = 12  # of LoRA: the update of a layer is scaled by ALPHA / rank
CARD_KEY = "chunkykit.card"  # GGUF field of the card, JSON
# Of the header of a GGUF file: numbers of the types of its fields, and bytes of each
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT_KIND = 8
MAX_FIELDS = 1000
MAX_TEXT_BYTES = 2**24


def adapter_card(path: str | Path) -> dict:
    """Read the card of an adapter file.

    Args:
        path: a .gguf file that `write_adapter` wrote.

    Returns:
        base, rows, rows_hash, seed, steps, losses, versions, licence and more.

    Raises:
        UserError: it is not such a file.
    """
    try:
        with open(regular_file(Path(path)), "rb") as file:
            card = _read_card(file)
        if isinstance(card, dict):
            return card
        reason = "the card is not an object"
    except (OSError, ValueError, struct.error, RecursionError) as error:
        reason = str(error)
    raise UserError(f"adapter {path}: is not an adapter of `chunkykit train` ({reason}).")


def _read_card(file: BinaryIO) -> Any:
    """The card in the header of a GGUF file, each of whose lengths may be wrong on purpose.

    GGUF's own reader believes the length of an array; an adapter of ours has none.
    """
    magic, _version, _n_tensors, n_fields = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF":
        raise ValueError("it is no GGUF file")
    for _ in range(min(n_fields, MAX_FIELDS)):
        key = _read_text(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if kind == TEXT_KIND:
            text = _read_text(file)
            if key == CARD_KEY:
                return json.loads(text)
        elif kind in SCALAR_BYTES:
            file.read(SCALAR_BYTES[kind])
        else:
            raise ValueError(f"field {key!r:.40} is no text and no number")
    raise ValueError("it has no card")


def _read_text(file: BinaryIO) -> str:
    (n_bytes,) = struct.unpack("<Q", file.read(8))
    if n_bytes > MAX_TEXT_BYTES:
        raise ValueError(f"a text of {n_bytes:,} bytes")
    return file.read(n_bytes).decode("utf-8")


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
