"""Training rows cut into shards, as `describe_shards` takes them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from chunkykit.index.shards import ROWS_PER_SHARD
from chunkykit.mixtures import Mixture, load_mixture, read_batches


class ShardReader:
    """Reads a mixture shard by shard, as often as needed, and counts the rows it skips.

    Attributes:
        skipped: rows that the last pass could not use.
    """

    def __init__(
        self,
        mixture: Mixture | Path | str,
        *,
        chunk: str | None = None,
        rows: int | None = None,
        seed: int = 0,
    ):
        """Remember what to read.

        Args:
            mixture: file, folder or dataset id, which is streamed, or a loaded mixture, for which
                the other arguments do not matter.
            chunk: column that names the chunk; None to find it by name.
            rows: size of a random subset, which is loaded whole; None for all rows.
            seed: seed of the subset and of the demo.
        """
        self.mixture = mixture
        self.chunk = chunk
        self.rows = rows
        self.seed = seed
        self.skipped = 0

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the rows, at most `ROWS_PER_SHARD` at a time."""
        self.skipped = 0
        for part in self._parts():
            self.skipped += len(part.skipped)
            for start in range(0, len(part.rows), ROWS_PER_SHARD):
                yield part.rows[start : start + ROWS_PER_SHARD]

    def _parts(self) -> Iterable[Mixture]:
        if isinstance(self.mixture, Mixture):
            return [self.mixture]
        if self.rows is None:
            return read_batches(self.mixture, ROWS_PER_SHARD, chunk=self.chunk, seed=self.seed)
        subset = load_mixture(self.mixture, rows=self.rows, chunk=self.chunk, seed=self.seed)
        return [subset]
