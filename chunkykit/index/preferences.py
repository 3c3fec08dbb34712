"""What preference data prefers: behaviours that a query cluster pushes up or down."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from chunkykit.errors import UserError
from chunkykit.index.incidence import column_sums, incidence
from chunkykit.index.scan import MAX_P_VALUE, MIN_ROWS
from chunkykit.index.store import IndexSide, TraceIndex
from chunkykit.stats import adjust, wilson

PREFERENCE_COLUMNS = [
    "trigger",
    "behaviour",
    "up",
    "down",
    "rate",
    "low",
    "high",
    "base_rate",
    "p_value",
]


def scan_preferences(index: TraceIndex, top: int = 25) -> pd.DataFrame:
    """Find query clusters that push a response behaviour up or down.

    Args:
        index: an index of rows with chosen and rejected responses.
        top: number of findings at most.

    Returns:
        DataFrame, most significant first:
        trigger, behaviour: a query cluster and a response cluster.
        up: rows with the trigger whose chosen response has the behaviour and whose rejected one
        does not. down: the reverse.
        rate, low, high: up / (up + down) with its 95 % Wilson interval.
        base_rate: the same rate over all rows.
        p_value: two-sided binomial test against the base rate, so that what is preferred
        everywhere is not a finding; adjusted over all pairs that occur MIN_ROWS times.

    Raises:
        UserError: the index has no rejected responses.
    """
    if "rejected" not in index.sides:
        raise UserError(
            "scan: the index has no rejected responses, so there are no preferences in it. Index "
            "rows with `chosen` and `rejected`."
        )
    counts = _count_pairs(index)
    p_value = adjust(_two_sided_p(counts.up, counts.up + counts.down, counts.base_rate))
    ranked = np.lexsort((-np.abs(counts.up - counts.down), p_value))
    significant = [i for i in ranked if p_value[i] < MAX_P_VALUE]
    rows = []
    for i in significant[:top]:
        up = int(counts.up[i])
        down = int(counts.down[i])
        interval = wilson(up, up + down)
        row = {
            "trigger": index.query.summaries[counts.trigger[i]],
            "behaviour": counts.names[counts.behaviour[i]],
            "up": up,
            "down": down,
            "rate": interval.rate,
            "low": interval.low,
            "high": interval.high,
            "base_rate": float(counts.base_rate[i]),
            "p_value": float(p_value[i]),
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=PREFERENCE_COLUMNS)


class _Counts(NamedTuple):
    """Pairs of a trigger and a behaviour that occur in MIN_ROWS rows, up or down."""

    names: list[str]  # of the behaviours
    trigger: np.ndarray  # (n_pairs,) as all below
    behaviour: np.ndarray
    up: np.ndarray  # rows in which the chosen response alone has the behaviour
    down: np.ndarray  # rows in which the rejected response alone has it
    base_rate: np.ndarray  # of up over all rows, with the trigger or without


def _count_pairs(index: TraceIndex) -> _Counts:
    names, chosen, rejected = _behaviours(index.sides["response"], index.sides["rejected"])
    both = chosen.multiply(rejected)
    only_chosen = (chosen - both).tocsr()
    only_rejected = (rejected - both).tocsr()
    queries = incidence(index.query.clusters, len(index.query.centroids))
    up = (queries.T @ only_chosen).toarray()  # (n_triggers, n_behaviours)
    down = (queries.T @ only_rejected).toarray()
    trigger, behaviour = np.nonzero(up + down >= MIN_ROWS)
    all_up = column_sums(only_chosen)
    all_down = column_sums(only_rejected)
    base_rate = all_up / np.maximum(1, all_up + all_down)
    return _Counts(
        names=names,
        trigger=trigger,
        behaviour=behaviour,
        up=up[trigger, behaviour],
        down=down[trigger, behaviour],
        base_rate=base_rate[behaviour],
    )


def _behaviours(chosen: IndexSide, rejected: IndexSide) -> tuple[list[str], Any, Any]:
    """The names of both sides' clusters, and which row has which, 0 or 1, on either side.

    Each side numbers its clusters apart. A behaviour of both is known by its name.
    """
    names = list(dict.fromkeys([*chosen.summaries, *rejected.summaries]))
    number = {name: i for i, name in enumerate(names)}
    matrices = []
    for side in (chosen, rejected):
        # the last entry is for the padding, -1
        renumbered = np.array([*(number[name] for name in side.summaries), -1])
        matrices.append(incidence(renumbered[side.clusters], len(names)).minimum(1))
    return names, matrices[0], matrices[1]


def _two_sided_p(up: np.ndarray, n: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """P-values of a binomial test: twice the smaller tail."""
    from scipy.stats import binom

    lower_tail = binom.cdf(up, n, expected)
    upper_tail = binom.sf(up - 1, n, expected)
    return np.minimum(1, 2 * np.minimum(lower_tail, upper_tail))
