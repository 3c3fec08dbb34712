"""From rows to an index in one call: describe, build, and have a model name the clusters."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from chunkykit.attributes import describer_identity
from chunkykit.index.build import finish_index
from chunkykit.index.naming import name_query_clusters
from chunkykit.index.reading import ShardReader
from chunkykit.index.shards import describe_shards
from chunkykit.index.store import TraceIndex
from chunkykit.progress import step
from chunkykit.types import Describer, Embedder, Target


async def build_described_index(
    folder: Path | str,
    batches: Iterable[pd.DataFrame],
    describe: Describer,
    embed: Embedder,
    *,
    describer: str,
    namer: Target | None = None,
    **settings,
) -> TraceIndex:
    """Describe rows and build their index, which remembers what described them.

    Args:
        folder: where the index is to be.
        batches: DataFrames of rows, as for `describe_shards`.
        describe: the describer.
        embed: the embedder.
        describer: the describer's name: a model, or "offline".
        namer: a model that names the query clusters; None for the most central sentences.
        **settings: as of `finish_index`.

    Returns:
        The index, opened.

    Raises:
        UserError: the rows cannot be described or read, or the folder cannot be written.
    """
    total = batches.expected if isinstance(batches, ShardReader) else None
    with step("describing rows", total, "rows"):
        await describe_shards(folder, batches, describe, key=describer)
    counts = getattr(describe, "counts", {})  # texts that a model failed to describe
    source = batches.memory if isinstance(batches, ShardReader) else {"skipped": 0}
    memory = {**describer_identity(describer), **counts, **source}
    index = finish_index(folder, embed, **settings, **memory)
    if namer is None:
        return index
    return await name_query_clusters(folder, namer)
