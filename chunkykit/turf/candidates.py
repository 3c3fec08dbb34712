"""Candidates: the query attributes of a failing exchange, and which of them stand out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chunkykit.turf.association import (
    association_p,
    correlations,
    nearest_rows,
    partial_weights,
    weighted_auc,
)
from chunkykit.turf.graded import EVEN, Grades

MAX_P_VALUE = 0.001  # adjusted p from which a candidate is no trigger
# A candidate that is significant but has neither is hardly a trigger.
MIN_LIFT = 2.0
MIN_ROWS = 5
MIN_SEPARATION = 0.6  # AUC
MAX_COMPARED_ROWS = 4000  # rows beside those that show the cruxes most
LIKELY = 0.5  # probability from which a row counts as one that carries an attribute


def weigh_candidates(
    attributes: Sequence[str],
    shows: Grades,
    carries: Grades,
    clusters: Sequence[int],
    cluster_hits: np.ndarray,
    k: int,
) -> pd.DataFrame:
    """Weigh the attributes of a query as triggers of what rows show.

    Args:
        attributes: m sentences that describe the query.
        shows: how likely each row shows the cruxes, shape (n,).
        carries: how likely each row carries each attribute, shape (m, n).
        clusters: query cluster of each attribute, -1 for none.
        cluster_hits: the paper's count for each query cluster, shape (K,).
        k: rows that count as those that show the cruxes most.

    Returns:
        One row per attribute, in their order: attribute, cluster, hits (expected rows with the
        crux, of those that likely carry it), lift (their rate over that of all rows), p_value
        (adjusted over the attributes), separation (AUC of the rows that show the cruxes most),
        correlation, weight (what it adds beside the others), raw_hits and significant.
    """
    likely = carries.probability >= LIKELY
    together = likely @ shows.probability
    rate = together / np.maximum(likely.sum(axis=1), 1)
    separation = _separation(shows.evidence, carries.evidence, k)
    p = association_p(shows.evidence, carries.evidence) * max(1, len(attributes))  # Bonferroni
    table = pd.DataFrame(
        {
            "attribute": list(attributes),
            "cluster": list(clusters),
            "hits": together,
            "lift": rate / max(float(shows.probability.mean()), 1e-9),
            "p_value": np.minimum(1, p),
            "separation": separation,
            "correlation": correlations(shows.evidence, carries.evidence),
            "weight": partial_weights(shows.evidence, carries.evidence),
            "raw_hits": [int(cluster_hits[c]) if c >= 0 else 0 for c in clusters],
        }
    )
    # rows that rather have both than not; a pair of them is no trigger, however unlikely by chance
    enough = (shows.evidence >= EVEN) & (carries.evidence >= EVEN)
    strong = (table["lift"] >= MIN_LIFT) | (table["separation"] >= MIN_SEPARATION)
    table["significant"] = (table["p_value"] < MAX_P_VALUE) & (table["weight"] > 0) & strong
    table["significant"] &= enough.sum(axis=1) >= MIN_ROWS
    return table


def _separation(shows: np.ndarray, carries: np.ndarray, k: int) -> np.ndarray:
    """AUC of the k rows that show the cruxes most, by each attribute, (m,)."""
    positive = nearest_rows(shows, k)
    rows = np.arange(len(shows))
    if len(rows) > MAX_COMPARED_ROWS + k:  # a sample of the others will do
        others = np.linspace(0, len(rows) - 1, MAX_COMPARED_ROWS).astype(int)
        rows = np.union1d(np.flatnonzero(positive), others)
    return weighted_auc(carries[:, rows], positive[rows])


def trigger_by_hits(candidates: pd.DataFrame) -> str | None:
    """Choose a trigger as the paper does: the attribute with the most raw hits (Eq. 6).

    Args:
        candidates: the candidates of an exchange.

    Returns:
        The attribute; None where no candidate has a hit.
    """
    if not candidates["raw_hits"].any():
        return None
    best = int(candidates["raw_hits"].to_numpy().argmax())
    return candidates["attribute"].iloc[best]
