"""Carriers: which rows carry which triggers and behaviours, for a scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkykit.index.features import Features, typical_features
from chunkykit.index.incidence import (
    SameMeaning,
    column_rows,
    column_sums,
    incidence,
    same_meaning,
)
from chunkykit.index.store import IndexSide, TraceIndex


@dataclass(frozen=True)
class SideCarriers:
    """Which of n rows carries which of k clusters of one side.

    Attributes:
        matrix: (n, k) sparse, CSC.
        names: (k,) summaries of the clusters.
        counts: (k,) rows that carry each.
        features: how near the rows are to the clusters, where sentences are distinct.
    """

    matrix: Any
    names: list[str]
    counts: np.ndarray
    features: Features | None = None

    def rows(self, cluster: int) -> np.ndarray:
        """List the rows that carry a cluster, ascending.

        Args:
            cluster: its column.

        Returns:
            Numbers of rows.
        """
        return column_rows(self.matrix, cluster)


@dataclass(frozen=True)
class Carriers:
    """Which of n rows carries which trigger and behaviour, and the chunk of each row.

    Attributes:
        triggers: clusters of the queries.
        behaviours: clusters of the responses.
        chunk: (n,) number of each row's chunk.
        n_chunks: number of chunks.
    """

    triggers: SideCarriers
    behaviours: SideCarriers
    chunk: np.ndarray
    n_chunks: int

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.chunk)

    def rows_with_both(self, trigger: int, behaviour: int) -> np.ndarray:
        """List the rows that carry a trigger and a behaviour, ascending.

        Args:
            trigger: its column.
            behaviour: its column.

        Returns:
            Numbers of rows.
        """
        with_trigger = self.triggers.rows(trigger)
        return np.intersect1d(with_trigger, self.behaviours.rows(behaviour), assume_unique=True)

    def rows_with_trigger_alone(self, trigger: int, behaviour: int) -> np.ndarray:
        """List the rows that carry a trigger and lack a behaviour, ascending.

        Args:
            trigger: its column.
            behaviour: its column.

        Returns:
            Numbers of rows.
        """
        return np.setdiff1d(self.triggers.rows(trigger), self.behaviours.rows(behaviour))


def find_carriers(index: TraceIndex, same: SameMeaning | None = None) -> Carriers:
    """Find which row carries which trigger and which behaviour.

    Args:
        index: an index.
        same: cosines to P(same meaning), by which a row carries a cluster where the sentences are
            distinct; None for those of the index (`same_meaning`).

    Returns:
        The carriers. Where membership goes by meaning, only the clusters that tell a chunk from
        the others are among them.
    """
    chunk = np.asarray(index.chunk.codes)
    triggers, behaviours = (
        _carry_side(index.sides[name], chunk, same or same_meaning(index, name))
        for name in ("query", "response")
    )
    return Carriers(triggers, behaviours, chunk, len(index.chunk.categories))


def _carry_side(side: IndexSide, chunk: np.ndarray, same: SameMeaning | None) -> SideCarriers:
    from scipy.sparse import csc_matrix

    if same is None or side.has_types:
        matrix = incidence(side.clusters, len(side.centroids)).tocsc()
        return SideCarriers(matrix, side.summaries, column_sums(matrix))
    features = typical_features(side, chunk, same)
    matrix = csc_matrix(features.carried.astype(np.int32))
    names = [side.summaries[cluster] for cluster in features.clusters]
    return SideCarriers(matrix, names, column_sums(matrix), features)
