"""Candidates: the query attributes of a failing exchange beside its cruxes, and which stand out."""

from collections.abc import Sequence

import pandas as pd

MAX_P_VALUE = 0.01  # adjusted p from which a candidate is no trigger
MIN_LIFT = 2.0  # lift below which it is none: significant, but hardly a trigger
MIN_HITS = 5  # rows below which it is none
COLUMNS = [
    "rank",
    "crux",
    "attribute",
    "cluster",
    "hits",
    "k",
    "lift",
    "p_value",
    "weight",
    "raw_hits",
]


def rank_candidates(lines: Sequence[tuple], n_cruxes: int) -> pd.DataFrame:
    """Rank the candidates for the trigger of an exchange.

    Args:
        lines: one tuple of `COLUMNS` per crux and query attribute. `rank` is the position of the
            crux. `hits`, `lift` and `p_value` are of the rows that nothing else explains,
            `raw_hits` of all retrieved rows.
        n_cruxes: cruxes of the exchange.

    Returns:
        The candidates with a column `significant`: first crux first, within a crux the significant
        ones first, and these by p-value.
    """
    table = pd.DataFrame(lines, columns=COLUMNS)
    table["significant"] = (
        # each crux is another chance to find a trigger, hence the division (Bonferroni)
        (table["p_value"] < MAX_P_VALUE / max(1, n_cruxes))
        & (table["lift"] >= MIN_LIFT)
        & (table["hits"] >= MIN_HITS)
        & (table["weight"] > 0)
    )
    table = table.sort_values(
        ["rank", "significant", "p_value", "lift"],
        ascending=[True, False, True, False],
        kind="stable",
    )
    return table.reset_index(drop=True)


def trigger_by_hits(candidates: pd.DataFrame) -> str | None:
    """Choose a trigger as the paper does: the attribute with the most raw hits (Eq. 6).

    Args:
        candidates: the ranked candidates of an exchange.

    Returns:
        The attribute; None where no candidate has a hit.
    """
    if not candidates["raw_hits"].any():
        return None
    best = int(candidates["raw_hits"].to_numpy().argmax())
    return candidates["attribute"].iloc[best]
