"""Names for query clusters, written by a chat model."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import parse_attributes
from chunkykit.errors import UserError
from chunkykit.files import writable, write_json
from chunkykit.index.features import SAME
from chunkykit.index.incidence import (
    SameMeaning,
    centroid_cosines,
    least_cosine,
    same_meaning,
    sentence_vectors,
)
from chunkykit.index.store import IndexSide, TraceIndex, file_entry, open_trace_index
from chunkykit.models import ask_parsed
from chunkykit.progress import gather_calls
from chunkykit.prompts import fill_prompt
from chunkykit.types import Target

MAX_NAME_TOKENS = 2000  # tokens of an answer


async def name_query_clusters(
    folder: Path | str, model: Target, members: int = 12, same: SameMeaning | None = None
) -> TraceIndex:
    """Sum up each query cluster of a saved index by one sentence of a chat model (paper Sec. 3).

    The model reads the members closest to the centroid. Where its answer holds no sentence, and
    in clusters of one member, the closest member stays the name.

    Args:
        folder: of a finished index. Its summaries are replaced.
        model: a chat model.
        members: sentences per cluster that the model reads.
        same: cosines to P(same meaning) of two sentences, for an index whose sentences are
            distinct. The model then reads only members that mean the same as the closest one, and
            a cluster without such members keeps it as its name.

    Returns:
        The index, opened again.

    Raises:
        UserError: the index cannot be read or written, a limit is reached, or a key is refused.
    """
    folder = Path(folder)
    opened = open_trace_index(folder)
    query = opened.query
    same = same or same_meaning(opened)
    closest_members = _closest_members(query, members, same)
    calls = [
        _name_cluster(model, sentences, closest)
        for sentences, closest in zip(closest_members, query.summaries)
    ]
    names = await gather_calls("naming", calls, "clusters")
    with writable(f"index {folder}"):
        _replace_summaries(folder, names)
    return open_trace_index(folder)


def _closest_members(side: IndexSide, members: int, same: SameMeaning | None) -> list[list[str]]:
    """Per cluster its sentences, closest to the centroid first."""
    closeness = centroid_cosines(side)
    order = np.lexsort((-closeness, side.cluster_of))
    borders = np.flatnonzero(np.diff(side.cluster_of[order])) + 1
    groups = np.split(order, borders)
    if same is not None and not side.has_types:
        cut = least_cosine(same, SAME)
        groups = [_same_as_first(side, group, cut) for group in groups]
    return [side.sentences.take(pa.array(group[:members])).to_pylist() for group in groups]


def _same_as_first(side: IndexSide, sentences: np.ndarray, cut: float) -> np.ndarray:
    """Those of some sentences that are at least as near to the first of them as the cut."""
    vectors = sentence_vectors(side, sentences)
    is_same = vectors @ vectors[0] >= cut
    is_same[0] = True
    return sentences[is_same]


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
