"""Post-training data as rows with a chunk: load, check, sample, and say what was skipped.

A *mixture* is a table of training pairs. A *chunk* is the source data set that a pair came from.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.mixtures.exchanges import TURN_CHOICES, Exchange, read_exchanges
from chunkykit.mixtures.formats import SCHEMAS, Readers, list_columns
from chunkykit.mixtures.sources import NamedRecords, open_source
from chunkykit.mixtures.turns import is_missing
from chunkykit.text import clean_text, inert_text

CHUNK_COLUMNS = ("chunk", "source", "dataset", "origin", "subset", "source_dataset")
COLUMNS = ["row", "chunk", *Exchange._fields]

MIN_ADVISED_ROWS = 20  # fewer rows may well be of one chunk, or of many
MAX_CHUNK_SHARE = 0.5  # chunks per row from which nearly every row has its own
SHOWN_CHUNKS = 5  # of a printed mixture


class Mixture(NamedTuple):
    """A mixture, or a part of one.

    Attributes:
        rows: DataFrame of exchanges with the columns row (number of its record in the source, from
            1; in JSONL the line), chunk, turn, prompt, response, and where there are any the other
            fields of `Exchange`.
        skipped: DataFrame with the columns row and reason. A record of several exchanges may have
            some of them here.
        chunk_column: the column that named the chunks; None if no column did.
        unreadable: numbers of the skipped records that are no records at all, such as broken JSON.
        read: usable exchanges of the source, of which `rows` may be a random subset; None if
            unknown.
    """

    rows: pd.DataFrame
    skipped: pd.DataFrame
    chunk_column: str | None = None
    unreadable: Sequence[int] = ()
    read: int | None = None

    @property
    def chunks(self) -> pd.Series:
        """Rows per chunk, largest first."""
        return self.rows["chunk"].value_counts()

    def __str__(self) -> str:
        """The mixture in a few lines."""
        largest = [f"{name} ({rows:,})" for name, rows in self.chunks.head(SHOWN_CHUNKS).items()]
        more = len(self.chunks) - len(largest)
        if more > 0:
            largest.append(f"{more} more")
        lines = [
            f"Mixture of {len(self.rows):,} rows in {len(self.chunks)} chunks",
            f"chunks      {', '.join(largest)}",
            f"column      {self.chunk_column or 'none: named after the source'}",
            f"skipped     {len(self.skipped):,} rows",
        ]
        return "\n".join(inert_text(line) for line in lines)

    def __repr__(self) -> str:
        """The same as a printed mixture: two tables in one line help nobody."""
        return str(self)


def load_mixture(
    source: Path | str, *, rows: int | None = None, seed: int = 0, **settings: Any
) -> Mixture:
    """Load a mixture into memory.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file, a folder of these or one that
            `datasets` saved, "hf:owner/name" on the Hugging Face hub, or "demo" or "demo:ROWS" for
            the demo mixture.
        rows: number of rows to keep, drawn at random, in their order; None keeps all.
        seed: of the draw, and of the demo.
        **settings: chunk, turns, split, revision and data_files, as of `read_batches`.

    Returns:
        The mixture.

    Raises:
        UserError: the source is missing or cannot be read, fits no schema, or has no usable row.
    """
    if rows is not None and rows < 1:
        raise UserError(f"mixture {source}: --rows must be at least 1, not {rows}.")
    (mixture,) = read_batches(source, None, seed=seed, **settings)
    table = mixture.rows.dropna(axis=1, how="all")
    flags = [name for name in ("from_tool", "is_call") if not table[name].any()]
    table = table.drop(columns=flags)
    if rows is not None and rows < len(table):
        table = table.sample(rows, random_state=seed).sort_index().reset_index(drop=True)
    return mixture._replace(rows=table)


def read_batches(
    source: Path | str,
    size: int | None,
    *,
    chunk: str | None = None,
    turns: str = "all",
    seed: int = 0,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
) -> Iterator[Mixture]:
    """Read a mixture part by part, streaming.

    Args:
        source: as of `load_mixture`.
        size: rows per part; None reads all at once.
        chunk: column that names the chunk. None: the first of CHUNK_COLUMNS that a row has.
        turns: which answers of a record are exchanges: "all" that are trained on, or only the
            "last" or the "first" of them.
        seed: of the demo.
        split: of a folder or a data set on the hub.
        revision: of a data set on the hub.
        data_files: of a folder or a data set on the hub.

    Yields:
        The parts. Each has all fields of `Exchange` as columns. The exchanges of one record are
        in one part.

    Raises:
        UserError: the source is missing or cannot be read, fits no schema, or has no usable row.
    """
    if turns not in TURN_CHOICES:
        raise UserError(f"mixture {source}: turns is {turns!r}, not {', '.join(TURN_CHOICES)}.")
    records = open_source(source, split=split, revision=revision, data_files=data_files, seed=seed)
    n_rows = 0
    for part in _read_parts(records, size, chunk, turns):
        n_rows += len(part.rows)
        if n_rows == 0:
            raise UserError(f"mixture {source}: {_why_unusable(part.skipped)}")
        if len(part.rows) or len(part.skipped):
            yield part


def chunk_advice(n_rows: int, n_chunks: int) -> str:
    """Say what is wrong with chunks that can tell a trace nothing.

    Args:
        n_rows: rows of a mixture.
        n_chunks: its chunks.

    Returns:
        What to do; "" where nothing is wrong, or the rows are too few to say.
    """
    if n_rows < MIN_ADVISED_ROWS or 1 < n_chunks <= MAX_CHUNK_SHARE * n_rows:
        return ""
    fix = "Name the column that says where a row is from: --chunk COLUMN (in Python chunk=)."
    if n_chunks == 1:
        return f"all {n_rows:,} rows are one chunk, so that traces have none to choose. {fix}"
    return f"{n_rows:,} rows are in {n_chunks:,} chunks, nearly each in one of its own. {fix}"


def row_hashes(rows: pd.DataFrame) -> np.ndarray:
    """Hash the texts of rows, to tell whether two mixtures have the same row.

    Args:
        rows: with columns prompt and response.

    Returns:
        (n,) uint64.
    """
    return pd.util.hash_pandas_object(rows[["prompt", "response"]], index=False).to_numpy()


def _read_parts(
    records: NamedRecords, size: int | None, chunk: str | None, turns: str
) -> Iterator[Mixture]:
    """Parts of at least `size` usable exchanges; the last one has the rest and may be empty."""
    rows: list[tuple] = []
    skipped: list[tuple[int, str]] = []
    unreadable: list[int] = []
    column = chunk
    readers = Readers()
    for number, record, name in records:
        try:
            _check_record(record)
            reader = readers.of(record)
            column = column or _find_chunk_column(record)
            label = _chunk_label(record, column, name, is_required=chunk is not None)
            reading = read_exchanges(record, reader, turns)
            rows += [(number, label, *exchange) for exchange in reading.exchanges]
            skipped += [(number, problem) for problem in reading.problems]
        except ValueError as error:
            skipped.append((number, str(error)))
            if isinstance(record, Exception):
                unreadable.append(number)
        if size and len(rows) >= size:
            yield _make_part(rows, skipped, column, unreadable)
            rows, skipped, unreadable = [], [], []
    yield _make_part(rows, skipped, column, unreadable)


def _check_record(record: Any) -> None:
    """Raise a ValueError unless a record can have columns."""
    if isinstance(record, Exception):
        raise record
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__} is not an object")


def _find_chunk_column(record: dict) -> str | None:
    return next((name for name in CHUNK_COLUMNS if not _is_empty(record.get(name))), None)


def _is_empty(value: Any) -> bool:
    return is_missing(value) or not str(value).strip()


def _chunk_label(record: dict, column: str | None, name: str, is_required: bool) -> str:
    """The chunk of a record; the name of its source if the record does not say."""
    if is_required and column not in record:
        raise ValueError(f"no column '{column}' (it has {list_columns(record)})")
    label = record.get(column) if column else None
    if _is_empty(label):
        return clean_text(name)
    return clean_text(str(label))


def _make_part(
    rows: list[tuple],
    skipped: list[tuple[int, str]],
    column: str | None,
    unreadable: list[int],
) -> Mixture:
    return Mixture(
        rows=pd.DataFrame(rows, columns=COLUMNS),
        skipped=pd.DataFrame(skipped, columns=["row", "reason"]),
        chunk_column=column,
        unreadable=unreadable,
        read=len(rows),
    )


def _why_unusable(skipped: pd.DataFrame) -> str:
    if skipped.empty:
        return "it has no rows. Use a file with at least one prompt and response."
    first = skipped.iloc[0]
    return (
        f"none of its {len(skipped)} rows is usable; row {first['row']}: {first['reason']}. "
        f"Schemas that load: {SCHEMAS}."
    )
