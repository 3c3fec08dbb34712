"""Training rows cut into shards, as `describe_shards` takes them."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import pandas as pd

from chunkykit.index.shards import ROWS_PER_SHARD
from chunkykit.mixtures import (
    Mixture,
    Sources,
    chunk_advice,
    expect_rows,
    identify_source,
    load_mixture,
    naming_note,
    plan_readings,
    read_batches,
)


class ShardReader:
    """Reads a mixture shard by shard, as often as needed, and counts the rows it skips.

    Attributes:
        skipped: rows that the last pass could not use.
        read: rows of the source that the last pass could use, of which it may have drawn some;
            None if unknown.
    """

    def __init__(
        self,
        mixture: Mixture | Sources,
        *,
        chunk: str | None = None,
        turns: str = "all",
        rows: int | None = None,
        seed: int = 0,
        digest: str | None = None,
    ):
        """Remember what to read.

        Args:
            mixture: a source or a list of them, which is streamed, or a loaded mixture.
            chunk: column that names the chunk; None to find it by name.
            turns: which answers of a record are exchanges, as of `read_batches`.
            rows: size of a random subset, which is loaded whole; None for all rows.
            seed: seed of the subset and of the demo.
            digest: what identifies the source of a loaded mixture.
        """
        self.mixture = mixture
        self.chunk = chunk
        self.turns = turns
        self.rows = rows
        self.seed = seed
        self.skipped = 0
        self.read: int | None = None
        self._digest = digest
        self._n_rows = 0
        self._chunks: set[str] = set()
        self._chunk_column: str | None = None

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the rows, at most `ROWS_PER_SHARD` at a time."""
        self.skipped = 0
        self._n_rows = 0
        self._chunks.clear()
        read = 0
        is_known = True
        for part in self._parts():
            self.skipped += len(part.skipped)
            self._n_rows += len(part.rows)
            self._chunks.update(part.rows["chunk"].unique())
            if self.chunk is None and not isinstance(self.mixture, Mixture):
                self._chunk_column = part.chunk_column
            is_known &= part.read is not None
            read += part.read or 0
            for start in range(0, len(part.rows), ROWS_PER_SHARD):
                yield part.rows[start : start + ROWS_PER_SHARD]
        self.read = read if is_known else None

    @cached_property
    def expected(self) -> int | None:
        """About how many rows there are, None if only reading them would say."""
        if isinstance(self.mixture, Mixture):
            return len(self.mixture.rows)
        return self.rows or expect_rows(plan_readings(self.mixture, seed=self.seed))

    @property
    def advice(self) -> str:
        """What is wrong with the chunks of the last pass, "" where nothing is."""
        return chunk_advice(self._n_rows, len(self._chunks))

    @property
    def naming(self) -> str:
        """Which columns were found by name to name the chunks of the last pass, "" for none."""
        return naming_note(self._chunk_column, len(self._chunks))

    @cached_property
    def digest(self) -> str | None:
        """What identifies the content of the source, None where nothing does."""
        return self._digest if isinstance(self.mixture, Mixture) else identify_source(self.mixture)

    @property
    def memory(self) -> dict[str, Any]:
        """What an index is to remember of the last pass."""
        source = {
            "digest": self.digest,
            "read": self.read,
            "chunk": self.chunk,
            "turns": self.turns,
        }
        return {"skipped": self.skipped, "source": source}

    def _parts(self) -> Iterable[Mixture]:
        if isinstance(self.mixture, Mixture):
            return [self.mixture]
        settings: dict[str, Any] = {"chunk": self.chunk, "turns": self.turns, "seed": self.seed}
        if self.rows is None:
            return read_batches(self.mixture, ROWS_PER_SHARD, **settings)
        return [load_mixture(self.mixture, rows=self.rows, **settings)]
