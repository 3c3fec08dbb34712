"""Names for query clusters, written by a chat model."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import parse_attributes
from chunkykit.errors import UserError
from chunkykit.files import writable, write_json
from chunkykit.index.blocks import locate_blocks, read_block
from chunkykit.index.store import IndexSide, TraceIndex, file_entry, open_trace_index
from chunkykit.models import ask_parsed
from chunkykit.prompts import fill_prompt
from chunkykit.types import Target

MAX_NAME_TOKENS = 2000  # tokens of an answer


async def name_query_clusters(folder: Path | str, model: Target, members: int = 12) -> TraceIndex:
    """Sum up each query cluster of a saved index by one sentence of a chat model (paper Sec. 3).

    The model reads the members closest to the centroid. Where its answer holds no sentence, and
    in clusters of one member, the closest member stays the name.

    Args:
        folder: of a finished index. Its summaries are replaced.
        model: a chat model.
        members: sentences per cluster that the model reads.

    Returns:
        The index, opened again.

    Raises:
        UserError: the index cannot be read or written, a limit is reached, or a key is refused.
    """
    folder = Path(folder)
    query = open_trace_index(folder).query
    closest_members = _closest_members(query, members)
    calls = [
        _name_cluster(model, sentences, closest)
        for sentences, closest in zip(closest_members, query.summaries)
    ]
    names = await asyncio.gather(*calls)
    with writable(f"index {folder}"):
        _replace_summaries(folder, names)
    return open_trace_index(folder)


def _closest_members(side: IndexSide, members: int) -> list[list[str]]:
    """Per cluster its sentences, closest to the centroid first."""
    closeness = np.empty(len(side.sentences), np.float32)
    for place, block in locate_blocks(side.blocks):
        centroids = side.centroids[side.cluster_of[place]]
        closeness[place] = np.einsum("md,md->m", read_block(block), centroids)
    order = np.lexsort((-closeness, side.cluster_of))
    borders = np.flatnonzero(np.diff(side.cluster_of[order])) + 1
    groups = np.split(order, borders)
    return [side.sentences.take(pa.array(group[:members])).to_pylist() for group in groups]


async def _name_cluster(model: Target, sentences: list[str], closest: str) -> str:
    """The model's sentence for a cluster, or the closest member."""
    if len(sentences) < 2:
        return closest
    listed = json.dumps(sentences, ensure_ascii=False, indent=0)
    messages, schema = fill_prompt("name", sentences=listed)
    try:
        names = await ask_parsed(model, messages, _parse, max_tokens=MAX_NAME_TOKENS, schema=schema)
        return names[0]
    except UserError:  # a limit or a refused key, which the next call would meet, too
        raise
    except Exception:  # any other failure costs one name, not the index
        return closest


def _parse(text: str) -> list[str]:
    return parse_attributes(text, "query")


def _replace_summaries(folder: Path, names: list[str]) -> None:
    path = folder / "query" / "summaries.arrow"
    feather.write_feather(pa.table({"sentence": names}), path, compression="uncompressed")
    meta = json.loads((folder / "index.json").read_text("utf-8"))
    meta["files"]["query/summaries.arrow"] = file_entry(path)
    write_json(folder / "index.json", meta)
