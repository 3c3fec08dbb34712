"""Post-training data as rows with a chunk: load, check, sample, and say what was skipped.

A *mixture* is a table of training pairs. A *chunk* is the source data set that a pair came from.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.mixtures.chunks import ChunkNames
from chunkykit.mixtures.exchanges import TURN_CHOICES, Exchange, read_exchanges
from chunkykit.mixtures.formats import SCHEMAS, Readers
from chunkykit.mixtures.listing import Sources, name_source
from chunkykit.mixtures.sources import (
    Row,
    expect_rows,
    name_place,
    number_rows,
    plan_readings,
    rename_columns,
)
from chunkykit.progress import Step, step
from chunkykit.text import count_of, inert_text

ROWS_PER_ADVANCE = 500  # rows that are read between two signs of life
COLUMNS = ["row", "chunk", *Exchange._fields]
COLUMN_TYPES = {"row": "int64", "turn": "int64", "from_tool": "bool", "is_call": "bool"}

MIN_ADVISED_ROWS = 20  # fewer rows may well be of one chunk, or of many
MAX_CHUNK_SHARE = 0.5  # chunks per row from which nearly every row has its own
SHOWN_CHUNKS = 5  # of a printed mixture
MAX_SKIPPED = 100_000  # skipped rows in memory at a time


class Mixture(NamedTuple):
    """A mixture, or a part of one.

    Attributes:
        rows: DataFrame of exchanges with the columns row (number of its record in the source, from
            1; in JSONL the line), chunk, turn, prompt, response, and where there are any the other
            fields of `Exchange`.
        skipped: DataFrame with the columns row and reason. A record of several exchanges may have
            some of them here.
        chunk_column: the column that named the chunks, or several, joined by ", "; None if no
            column did.
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
            f"Mixture of {size_text(self.rows)} in {count_of(len(self.chunks), 'chunk')}",
            f"chunks      {', '.join(largest)}",
            f"column      {self._columns_text()}",
            f"skipped     {count_of(len(self.skipped), 'row')}",
        ]
        return "\n".join(inert_text(line) for line in lines)

    def _columns_text(self) -> str:
        if self.chunk_column is None:
            return "none: named after the source"
        return f"{self.chunk_column} ({count_of(len(self.chunks), 'chunk')})"

    def __repr__(self) -> str:
        """The same as a printed mixture: two tables in one line help nobody."""
        return str(self)


def size_text(rows: pd.DataFrame) -> str:
    """Say how large a mixture is.

    Args:
        rows: its exchanges, with column row.

    Returns:
        Such as "3,000 rows"; "2,500 exchanges of 2,000 rows" where rows have several.
    """
    records = rows["row"].nunique()
    several = f"{count_of(len(rows), 'exchange')} of {count_of(records, 'row')}"
    return several if records < len(rows) else f"{count_of(len(rows), 'row')}"


def load_mixture(
    source: Sources, *, rows: int | None = None, seed: int = 0, **settings: Any
) -> Mixture:
    """Load a mixture into memory.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file, text also as .gz, .zst or .bz2; a
            folder of these or one that `datasets` saved; a pattern such as "data/*.jsonl.gz";
            `hf:owner/name[:config][@revision][#split]` on the Hugging Face hub, which is streamed;
            a recipe (.yaml); "demo" or "demo:ROWS" for the demo mixture; or a list of these.
        rows: number of rows to keep, drawn at random, in their order; None keeps all.
        seed: of the draw, and of the demo.
        **settings: chunk, turns, split, revision and data_files, as of `read_batches`.

    Returns:
        The mixture.

    Raises:
        UserError: the source is missing or cannot be read, fits no schema, or has no usable row.
    """
    if rows is not None and rows < 1:
        raise UserError(f"mixture {name_source(source)}: --rows must be at least 1, not {rows}.")
    with step("reading", unit="rows") as advance:
        (mixture,) = read_batches(source, None, seed=seed, watch=advance, **settings)
    table = mixture.rows.dropna(axis=1, how="all")
    flags = [name for name in ("from_tool", "is_call") if not table[name].any()]
    table = table.drop(columns=flags)
    if rows is not None and rows < len(table):
        table = table.sample(rows, random_state=seed).sort_index().reset_index(drop=True)
    return mixture._replace(rows=table)


def read_batches(
    source: Sources,
    size: int | None,
    *,
    chunk: str | None = None,
    turns: str = "all",
    seed: int = 0,
    split: str = "train",
    revision: str | None = None,
    data_files: Any = None,
    watch: Step | None = None,
) -> Iterator[Mixture]:
    """Read a mixture part by part, streaming.

    Args:
        source: as of `load_mixture`.
        size: rows per part; None reads all at once.
        chunk: column that names the chunk; None to find it by name (`mixtures.chunks`).
        turns: which answers of a record are exchanges: "all" that are trained on, or only the
            "last" or the "first" of them. A recipe may say otherwise for a source.
        seed: of the demo, and of recipes that have none.
        split: of folders and data sets on the hub.
        revision: of data sets on the hub.
        data_files: of folders and data sets on the hub.
        watch: a step that counts the rows as they are read.

    Yields:
        The parts. Each has all fields of `Exchange` as columns. The exchanges of one record are
        in one part.

    Raises:
        UserError: the source is missing or cannot be read, fits no schema, or has no usable row.
    """
    if turns not in TURN_CHOICES:
        raise UserError(f"turns is {turns!r}. Choose one of: {', '.join(TURN_CHOICES)}.")
    readings = plan_readings(
        source, split=split, revision=revision, data_files=data_files, seed=seed
    )
    rows = rename_columns(number_rows(readings))
    if watch is not None:
        watch.total = expect_rows(readings)
        rows = _counted(rows, watch)
    usable = _UsableRows()
    for part in _read_parts(usable.watch(rows), size, chunk, turns):
        usable.count(part)
        if len(part.rows) or len(part.skipped):
            yield part
    usable.finish()


def _counted(rows: Iterable[Row], watch: Step) -> Iterator[Row]:
    """The rows, while a step counts them."""
    n = 0
    for n, row in enumerate(rows, 1):
        yield row
        if n % ROWS_PER_ADVANCE == 0:
            watch(ROWS_PER_ADVANCE)
    watch(n % ROWS_PER_ADVANCE)


class _UsableRows:
    """Counts the usable rows of each source: one without any is an error, and not a small chunk."""

    def __init__(self) -> None:
        self._places: list[str] = []
        self._starts: list[int] = []  # number of the first row of each source
        self._counts: Counter[int] = Counter()
        self._skipped: Counter[int] = Counter()
        self._reasons: dict[int, str] = {}
        self._checked = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and remember where each source begins."""
        item = None
        for row in rows:
            if row.part.item != item:
                item = row.part.item
                self._places.append(row.part.entry.place)
                self._starts.append(row.number)
            yield row

    def count(self, part: Mixture) -> None:
        """Count the rows of a part, and check the sources that it has finished."""
        self._counts.update(self._sources(part.rows["row"]))
        for source, skipped in zip(self._sources(part.skipped["row"]), part.skipped.itertuples()):
            self._skipped[source] += 1
            self._reasons.setdefault(source, f"row {skipped.row}: {skipped.reason}")
        self._check(len(self._starts) - 1)

    def finish(self) -> None:
        """Check the last source too."""
        self._check(len(self._starts))

    def _sources(self, numbers: pd.Series) -> list[int]:
        return (np.searchsorted(self._starts, numbers.to_numpy(int), side="right") - 1).tolist()

    def _check(self, n_finished: int) -> None:
        for source in range(self._checked, n_finished):
            if not self._counts[source]:
                raise UserError(
                    f"{self._places[source]}: none of its "
                    f"{count_of(self._skipped[source], 'row')} is usable; "
                    f"{self._reasons[source]}. Schemas that load: {SCHEMAS}. A recipe "
                    "names other columns."
                )
        self._checked = max(self._checked, n_finished)


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


def naming_note(columns: str | None, n_chunks: int) -> str:
    """Say which columns name the chunks where they were found by their names.

    Args:
        columns: as `Mixture.chunk_column` has them.
        n_chunks: chunks of the mixture.

    Returns:
        One line; "" where no column names them, or only the one that is called "chunk".
    """
    if columns in (None, "chunk"):
        return ""
    return (
        f"chunks are named by the column {columns}, found by its name: "
        f"{count_of(n_chunks, 'chunk')}. --chunk names another."
    )


def row_hashes(rows: pd.DataFrame) -> np.ndarray:
    """Hash the texts of rows, to tell whether two mixtures have the same row.

    Args:
        rows: with columns prompt and response.

    Returns:
        (n,) uint64.
    """
    return pd.util.hash_pandas_object(rows[["prompt", "response"]], index=False).to_numpy()


def read_rows(rows: Iterator[Row], chunk: str | None = None, turns: str = "all") -> Mixture:
    """Read rows that have been drawn.

    Args:
        rows: as of `open_source`.
        chunk: column that names the chunk; None to find it by name.
        turns: as of `read_batches`.

    Returns:
        Their exchanges, and those that were skipped. There may be no usable row.
    """
    (mixture,) = _read_parts(rows, None, chunk, turns)
    return mixture


def _read_parts(
    rows: Iterator[Row], size: int | None, chunk: str | None, turns: str
) -> Iterator[Mixture]:
    """Parts of at least `size` usable exchanges; the last one has the rest and may be empty."""
    usable: list[tuple] = []
    skipped: list[tuple[int, str]] = []
    unreadable: list[int] = []
    names = ChunkNames(chunk)
    readers = Readers()
    for row in rows:
        record = row.record
        try:
            _check_record(record)
            reader = readers.of(record)
            label = names.of({**row.others, **record}, row.part)
            reading = read_exchanges(record, reader, row.part.entry.turns or turns)
            usable += [(row.number, label, *exchange) for exchange in reading.exchanges]
            skipped += [(row.number, _name_reason(row, problem)) for problem in reading.problems]
        except (ValueError, RecursionError) as error:
            skipped.append((row.number, _name_reason(row, error)))
            if isinstance(record, Exception):
                unreadable.append(row.number)
        if size and (len(usable) >= size or len(skipped) >= MAX_SKIPPED):
            yield _make_part(usable, skipped, names.columns, unreadable)
            usable, skipped, unreadable = [], [], []
    yield _make_part(usable, skipped, names.columns, unreadable)


def _check_record(record: Any) -> None:
    """Raise a ValueError unless a record can have columns."""
    if isinstance(record, Exception):
        raise record
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__} is not an object")


def _name_reason(row: Row, error: Exception | str) -> str:
    """Why a row is skipped, with its place where its number does not say it."""
    return str(error) if row.part.is_alone else f"{error} ({name_place(row)})"


def _make_part(
    rows: list[tuple],
    skipped: list[tuple[int, str]],
    columns: Sequence[str],
    unreadable: list[int],
) -> Mixture:
    import pyarrow as pa

    by_column = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    # by way of Arrow, which makes columns of texts several times faster than pandas does
    table = pa.table(
        {
            name: pa.array(values, pa.type_for_alias(COLUMN_TYPES.get(name, "string")))
            for name, values in zip(COLUMNS, by_column, strict=True)
        }
    )
    return Mixture(
        rows=table.to_pandas(),
        skipped=pd.DataFrame(skipped, columns=["row", "reason"]),
        chunk_column=", ".join(columns) or None,
        unreadable=unreadable,
        read=len(rows),
    )
