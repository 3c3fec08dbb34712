"""Described rows in shards: the first stage of a build, which resumes where it was interrupted.

A shard holds some thousand rows with the attribute sentences of each side. It also holds a mark of
what it was made from: the rows, the describer and the code that describes. A shard whose mark
still fits is not made again. Who makes the shards, and in which order, does not change them.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from chunkykit.attributes import SYSTEM_PROMPT, query_context, response_context
from chunkykit.errors import UserError, describe_error
from chunkykit.files import replacing
from chunkykit.index.place import building_folder
from chunkykit.progress import advance_step, shown_by
from chunkykit.provenance import code_fingerprint
from chunkykit.types import ALONE, Context, Describer

ROWS_PER_SHARD = 10_000  # rows per shard by default
# Per side: its column, and what the describer takes it for. Rows may lack the last two. The
# sentences of a system prompt stand beside those of its query, since either may be the trigger.
SIDE_COLUMNS = {
    "query": ("prompt", "query"),
    "response": ("response", "response"),
    "reasoning": ("reasoning", "reasoning"),
    "rejected": ("rejected", "response"),
}
TEXT_COLUMNS = ("chunk", "prompt", "response", "reasoning", "rejected", "system", "tools")
OTHER_COLUMNS = {"turn": pa.int32(), "from_tool": pa.bool_(), "is_call": pa.bool_()}
# What makes a shard from rows: the describers, their prompts, and this module. Editing anything
# else does not invalidate a half-built index.
SHARD_CODE = ("attributes", "prompts", "text", "index/shards")


async def describe_shards(
    folder: Path | str,
    batches: Iterable[pd.DataFrame],
    describe: Describer,
    executor: Any = None,
    max_pending: int = 8,
    key: str = "",
) -> int:
    """Describe rows and write them to the shards of an index to be.

    Args:
        folder: where the index is to be. The shards grow in it, see `building_folder`.
        batches: DataFrames with the columns row, chunk, prompt, response, and perhaps the other
            fields of `mixtures.Exchange`. Each becomes a shard.
        describe: the describer. With an executor, a function that can be pickled.
        executor: anything with `submit(function, *args) -> future`, whose workers share the file
            system, such as loky's ProcessPoolExecutor or
            `dask.distributed.Client(...).get_executor()`. None: describe in this process.
        max_pending: shards that workers may have at a time, which bounds the memory.
        key: name of the describer. Shards of another describer are made again.

    Returns:
        The number of rows.

    Raises:
        UserError: the folder holds something else or cannot be written, or a worker failed.
    """
    place = building_folder(folder)
    maker = key + code_fingerprint(*SHARD_CODE)
    pending: deque = deque()
    sizes = []
    for number, rows in enumerate(batches):
        sizes.append(len(rows))
        mark = _mark_rows(rows, maker)
        is_done = _read_mark(_shard_path(place, number)) == mark
        if executor is None or is_done:
            if not is_done:
                await _describe_shard(place, number, rows, describe, mark)
            advance_step(len(rows))
            continue
        with _worker_errors(folder):
            task = executor.submit(_describe_in_worker, place, number, rows, describe, mark)
            pending.append((task, len(rows)))
        _finish_tasks(folder, pending, max_pending - 1)
    _finish_tasks(folder, pending, 0)
    for stale in shard_files(place)[len(sizes) :]:
        stale.unlink()
    return sum(sizes)


def _finish_tasks(folder: Path | str, pending: deque, n_left: int) -> None:
    """Wait for the oldest tasks, (task, number of rows) each, until so many are left."""
    with _worker_errors(folder):
        while len(pending) > n_left:
            task, n_rows = pending.popleft()
            task.result()
            advance_step(n_rows)


def count_texts(rows: pd.DataFrame) -> int:
    """Count the texts of rows that a describer is asked about.

    Args:
        rows: as of `describe_shards`.

    Returns:
        The number. A system prompt counts once, however many rows stand under it.
    """
    columns = [column for column, _ in SIDE_COLUMNS.values() if column in rows]
    n_texts = int((rows[columns].fillna("") != "").to_numpy().sum())
    return n_texts + (rows["system"].nunique() if "system" in rows else 0)


def shard_files(folder: Path) -> list[Path]:
    """List the shards of an index.

    Args:
        folder: of an index, or the folder in which one grows.

    Returns:
        Their paths, in the order of the rows.
    """
    return sorted(folder.glob("rows-*.arrow"))


def read_shards(folder: Path) -> pa.Table:
    """Open the shards of an index as one table, memory-mapped.

    Args:
        folder: of an index, or the folder in which one grows.

    Returns:
        Table with the columns row, chunk, prompt, response, perhaps other fields of an exchange,
        and for each side "@side" with the list of its attribute sentences.

    Raises:
        UserError: there are no shards.
    """
    tables = [feather.read_table(path, memory_map=True) for path in shard_files(folder)]
    if not tables:
        raise UserError(f"index {folder}: it has no rows. Describe rows first.")
    return pa.concat_tables(tables)


def write_shard(
    place: Path,
    number: int,
    rows: pd.DataFrame,
    attributes: Mapping[str, Sequence[list[str]]],
    mark: str = "",
) -> None:
    """Write one shard, complete or not at all.

    Args:
        place: the folder in which the index grows.
        number: of the shard, from 0.
        rows: DataFrame with the columns row, chunk, prompt, response, and perhaps the other fields
            of `mixtures.Exchange`.
        attributes: per side the attribute sentences of each row.
        mark: what the shard was made from.
    """
    columns = {"row": pa.array(rows["row"], pa.int64())}
    for name in TEXT_COLUMNS:
        if name in rows:
            texts = [text if isinstance(text, str) else None for text in rows[name]]
            columns[name] = pa.array(texts, pa.large_string())
    for name, kind in OTHER_COLUMNS.items():
        if name in rows:
            columns[name] = pa.array(rows[name], kind)
    for side, lists in attributes.items():
        columns[f"@{side}"] = _encode_lists(lists)
    table = pa.table(columns).replace_schema_metadata({"mark": mark})
    with replacing(_shard_path(place, number)) as part:
        # uncompressed: only then can it be mapped
        feather.write_feather(table, part, compression="uncompressed")


def _encode_lists(lists: Sequence[list[str]]) -> pa.ListArray:
    """Lists of sentences, in which each distinct sentence is stored once."""
    sentences = [sentence for row in lists for sentence in row]
    encoded = pa.array(sentences, pa.string()).dictionary_encode()
    lengths = [len(row) for row in lists]
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, encoded)


async def _describe_shard(
    place: Path, number: int, rows: pd.DataFrame, describe: Describer, mark: str
) -> None:
    attributes = {}
    for side, (column, described_as) in SIDE_COLUMNS.items():
        if column in rows:
            texts = rows[column].fillna("").to_list()
            contexts = _contexts_of(rows, side, texts)
            attributes[side] = await describe_texts(texts, described_as, describe, contexts)
    if "system" in rows:
        systems = rows["system"].fillna("").to_list()
        described = await describe_texts(systems, SYSTEM_PROMPT, describe)
        pairs = zip(attributes["query"], described, strict=True)
        attributes["query"] = [[*of_query, *of_system] for of_query, of_system in pairs]
    write_shard(place, number, rows, attributes, mark)


def _contexts_of(rows: pd.DataFrame, side: str, texts: Sequence[str]) -> list[Context]:
    """What is known of the texts of a side beside their words."""
    n = len(rows)
    if side == "query":
        columns = [
            rows[name].fillna(missing) if name in rows else [missing] * n
            for name, missing in (("system", ""), ("turn", 1), ("tools", ""), ("from_tool", False))
        ]
        return [query_context(*values) for values in zip(*columns, strict=True)]
    if side == "response" and "is_call" in rows:
        return [response_context(*pair) for pair in zip(texts, rows["is_call"], strict=True)]
    return [ALONE] * n


async def describe_texts(
    texts: Sequence[str], side: str, describe: Describer, contexts: Sequence[Context] = ()
) -> list[list[str]]:
    """Describe texts of which some may be empty.

    Args:
        texts: the texts of a side.
        side: what the describer takes them for.
        describe: the describer. One that takes no contexts is asked without them where there are
            none.
        contexts: what is known of each text.

    Returns:
        The attribute sentences of each text. An empty text has none and is not described.
    """
    positions = [i for i, text in enumerate(texts) if text]
    lists: list[list[str]] = [[] for _ in texts]
    if not positions:
        return lists
    chosen = [texts[i] for i in positions]
    if any(contexts[i] != ALONE for i in positions if contexts):
        described = await describe(chosen, side, [contexts[i] for i in positions])
    else:
        described = await describe(chosen, side)
    for position, sentences in zip(positions, described, strict=True):
        lists[position] = sentences
    return lists


def _describe_in_worker(*args) -> None:
    """`_describe_shard` as a plain function, which an executor can run."""
    with shown_by(None):  # the process that waits for it counts its rows
        asyncio.run(_describe_shard(*args))


@contextmanager
def _worker_errors(folder: Path | str) -> Iterator[None]:
    """Report what a worker died of; errors that name their cause already pass."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(
            f"index {folder}: a worker failed ({describe_error(error)}). Run the same command "
            "again: it resumes from the finished shards."
        ) from error


def _shard_path(place: Path, number: int) -> Path:
    return place / f"rows-{number:05d}.arrow"


def _mark_rows(rows: pd.DataFrame, maker: str) -> str:
    """Identify what a shard is made from."""
    hashes = pd.util.hash_pandas_object(rows, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes() + maker.encode()).hexdigest()


def _read_mark(path: Path) -> str | None:
    """What a shard was made from; None if it is missing or cut short."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).schema.metadata[b"mark"].decode()
    except (OSError, pa.ArrowInvalid, KeyError, TypeError):
        return None
