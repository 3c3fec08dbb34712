"""The files that OpenVINO reads: the embedded model, from GGUF, and adapters of it.

OpenVINO GenAI reads GGUF. Three things are in the way of the embedded model and its adapters:

- It rounds the offsets of 4-bit weights (Q4_1), which changes the model. So they are stored with
  8 bits and without an offset first (Q8_0).
- It gives the layers no names, by which an adapter would find them. So they are named after the
  weights of the GGUF file, each layer by its scales.
- GGUF keeps the rows of the query and key layers in an order of its own, and OpenVINO puts them
  back. The same is done with the rows of adapters.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from chunkykit.errors import requires_extra
from chunkykit.files import writable, write_json
from chunkykit.models.leases import lock_file

FORMAT = 2  # number of the way in which this module stores a model
MODEL_FILE = "openvino_model.xml"
HEAD_SIZE_FILE = "head_size.json"  # beside it, because GGUF takes seconds to read
# The files of a model, and those that are there while it is made
STORED = ("model.gguf", "openvino_*", "named.*", f"*{HEAD_SIZE_FILE}*")
Q8_BLOCK_BYTES = 34  # of 32 weights: their scale, two bytes, and one byte each
SCALE_BYTES = 2
# Layers by their names in GGUF, and by those in the model that GGUF was made from
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
REORDERED = ("attn_q", "attn_k")  # layers whose rows GGUF has in another order
ADAPTER_PREFIX = "base_model.model."  # of the names in an adapter, by the convention of PEFT


def openvino_folder(weights: Path, folder: Path) -> Path:
    """Store a model as OpenVINO reads it, unless it is there.

    Args:
        weights: the GGUF file of a model of the Llama architecture.
        folder: where the model is stored, in a folder that is there. It is made whole or not at
            all.

    Returns:
        The folder.

    Raises:
        UserError: if it cannot be written.
    """
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    with writable(folder.parent), _locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():  # another process was faster
            return folder
        _delete_files(part)  # of a process that was killed
        part.mkdir(exist_ok=True)
        try:
            _store(weights, part)
            part.rename(folder)
        finally:
            _delete_files(part)
    return folder


def _delete_files(part: Path) -> None:
    """Delete what `_store` wrote of a model that was not finished."""
    with suppress(OSError):
        for pattern in STORED:
            for path in part.glob(pattern):
                path.unlink()
        part.rmdir()


def _store(weights: Path, folder: Path) -> None:
    """Store a model in an empty folder."""
    with requires_extra("local"):
        import gguf
        import openvino
        import openvino_genai
    copy = folder / "model.gguf"
    reader = gguf.GGUFReader(weights)
    names = _write_with_8_bits(reader, copy)
    # writes its own files beside the copy
    openvino_genai.LLMPipeline(copy, "CPU", enable_save_ov_model=True)
    copy.unlink()
    write_json(folder / HEAD_SIZE_FILE, _head_size(reader))
    model = openvino.Core().read_model(folder / MODEL_FILE)
    _name_layers(model, names)
    named = folder / "named.xml"
    openvino.save_model(model, named, compress_to_fp16=False)
    del model  # it has the first file open
    for suffix in (".bin", ".xml"):
        named.with_suffix(suffix).replace((folder / MODEL_FILE).with_suffix(suffix))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for a lock, and hold it."""
    lock = lock_file(path)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _write_with_8_bits(reader: Any, path: Path) -> dict[bytes, str]:
    """Write a GGUF file with all weights as Q8_0.

    Returns:
        The names of its layers by their sorted scales.
    """
    import gguf

    q8 = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        is_written = field.name.startswith("GGUF.") or field.name == "general.architecture"
        if not is_written:
            kind = field.types[0]
            item_kind = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, item_kind)
    names = {}
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, np.array(tensor.data))
            continue
        blocks = gguf.quantize(gguf.dequantize(tensor.data, tensor.tensor_type), q8)
        writer.add_tensor(tensor.name, blocks, raw_dtype=q8)
        scales = blocks.reshape(-1, Q8_BLOCK_BYTES)[:, :SCALE_BYTES].copy().view(np.float16)
        names[np.sort(scales, axis=None).tobytes()] = tensor.name
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return names


def _name_layers(model: Any, names: dict[bytes, str]) -> None:
    """Give the layers of an OpenVINO model the names that adapters know them by."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        scales = _scales(node)
        if scales is not None:
            name = names.get(np.sort(scales.astype(np.float16), axis=None).tobytes(), "")
            if name.startswith("blk."):
                node.set_friendly_name(layer_name(name))


def _scales(node: Any) -> np.ndarray | None:
    """The scales of the weights that a node multiplies with; None if it has no such weights."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Convert", "Reshape"):
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Multiply":
        return None
    scales = source.input_value(1).get_node()
    while scales.get_type_name() == "Convert":
        scales = scales.input_value(0).get_node()
    return scales.get_data() if scales.get_type_name() == "Constant" else None


def _head_size(reader: Any) -> int:
    """Values per attention head of a model of the Llama architecture."""
    width, heads = (
        reader.fields[f"llama.{name}"].contents()
        for name in ("embedding_length", "attention.head_count")
    )
    return int(width // heads)


def head_size(folder: Path) -> int:
    """Read how many values an attention head of a model has.

    Args:
        folder: of the model, see `openvino_folder`.

    Returns:
        The number.
    """
    return int(json.loads((folder / HEAD_SIZE_FILE).read_text("utf-8")))


def layer_name(name: str) -> str:
    """Name a layer as the model does that GGUF was made from.

    Args:
        name: its name in GGUF, such as "blk.3.attn_q.weight".

    Returns:
        Such as "model.layers.3.self_attn.q_proj".
    """
    _, number, layer = name.split(".")[:3]
    return f"model.layers.{number}.{LAYER_NAMES[layer]}"


def adapter_tensors(path: Path, head_size: int) -> bytes:
    """Convert an adapter from GGUF to safetensors.

    Args:
        path: the GGUF file of the adapter.
        head_size: values per attention head of the model.

    Returns:
        The content of the safetensors file. LoRA's factor, alpha / rank, is in the weights.
    """
    return _as_safetensors(dict(_read_adapter(path, head_size)))


def _read_adapter(path: Path, head_size: int) -> Iterator[tuple[str, np.ndarray]]:
    with requires_extra("local"):
        import gguf
    reader = gguf.GGUFReader(path)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    for tensor in reader.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        values = np.array(tensor.data)  # lora_a: rank x inputs, lora_b: outputs x rank
        if side == "b":
            rank = values.shape[1]
            values = (values.astype(np.float32) * (alpha / rank)).astype(np.float16)
            if name.split(".")[2] in REORDERED:
                values = separate_halves(values, head_size)
        yield f"{ADAPTER_PREFIX}{layer_name(name)}.lora_{side.upper()}.weight", values


def separate_halves(rows: np.ndarray, head_size: int) -> np.ndarray:
    """Put rows of a query or key layer into the order of the model that GGUF was made from.

    There the first half of each head stands before the second one, which it is rotated with. In
    GGUF their rows alternate.

    Args:
        rows: as GGUF has them, outputs x columns.
        head_size: rows per attention head.

    Returns:
        The rows in the other order.
    """
    heads = rows.reshape(-1, head_size // 2, 2, rows.shape[1])
    return heads.swapaxes(1, 2).reshape(rows.shape)


def _as_safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A header of JSON behind its length, and the values one after another."""
    header = {}
    offset = 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {
            "dtype": {"float16": "F16", "float32": "F32"}[str(values.dtype)],
            "shape": values.shape,
            "data_offsets": [offset, end],
        }
        offset = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(np.ascontiguousarray(values).tobytes() for values in tensors.values())
    return struct.pack("<Q", len(head)) + head + body
