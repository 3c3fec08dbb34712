"""How far the judges of a panel agree, and how many independent judges they are worth."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from chunkykit.rubrics.panel import vote_scores
from chunkykit.rubrics.rubric import VIOLATION_THRESHOLD

RESAMPLES = 1000
VERDICTS = [0, 1]  # no violation, a violation


class Agreement(NamedTuple):
    """The agreement of judges on verdicts.

    Attributes:
        alpha: Krippendorff's alpha: 1 for perfect agreement, 0 for that of chance; NaN where all
            votes are alike, so that nothing can be said.
        low: the lower end of its 95 % interval; NaN where there is none.
        high: the upper end.
        n: exchanges with two votes or more.
    """

    alpha: float
    low: float
    high: float
    n: int


def measure_agreement(exchanges: pd.DataFrame, seed: int = 0) -> Agreement:
    """Measure how far judges agree whether an exchange is a violation (Krippendorff 2011).

    The interval is that of a percentile bootstrap. Queries are resampled, since the answers to one
    query resemble each other.

    Args:
        exchanges: exchanges that a panel judged, with columns `query` and `votes`.
        seed: fixes the resamples.

    Returns:
        The agreement. A vote that failed is missing, which alpha allows.
    """
    scores = vote_scores(exchanges)
    violations = (scores > VIOLATION_THRESHOLD).sum(axis=1)
    votes = scores.notna().sum(axis=1)
    usable = votes > 1
    counts = np.column_stack([votes - violations, violations])[usable]
    queries = pd.factorize(exchanges.loc[usable, "query"])[0]
    if not len(counts):
        return Agreement(np.nan, np.nan, np.nan, 0)
    alpha = _alpha(counts)
    if np.isnan(alpha):
        return Agreement(np.nan, np.nan, np.nan, len(counts))
    rng = np.random.default_rng(seed)
    n_queries = queries.max() + 1
    drawn = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), size=RESAMPLES)
    # Only few count pairs differ, so a resample is a number of times for each of them.
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    alphas = [
        _alpha(np.repeat(kinds, np.bincount(kind_of, times[queries], len(kinds)).astype(int), 0))
        for times in drawn
    ]
    low, high = np.nanquantile(alphas, [0.025, 0.975])
    return Agreement(alpha, float(low), float(high), len(counts))


def _alpha(counts: np.ndarray) -> float:
    """Krippendorff's alpha of verdict counts per exchange, shape (n, 2); NaN if all are alike."""
    import krippendorff

    if (counts.sum(axis=0) == 0).any():
        return float("nan")
    return float(
        krippendorff.alpha(
            value_counts=counts, value_domain=VERDICTS, level_of_measurement="nominal"
        )
    )


def effective_judges(wrong: pd.DataFrame) -> float:
    """Estimate how many judges with independent errors a panel is worth.

    With n judges and a mean correlation r of their errors it is n / (1 + (n - 1) r), the
    effective number of a cluster (Kish 1965).

    Args:
        wrong: whether a judge was wrong about an exchange, by people's labels: one row per
            exchange, one column per judge, NaN where the judge has no vote.

    Returns:
        From 1 to the number of judges; NaN where two judges are missing who were each wrong at
        least once and right at least once, so that no correlation is known.
    """
    correlations = wrong.astype(float).corr().to_numpy()
    above = correlations[np.triu_indices(len(correlations), 1)]
    if np.isnan(above).all() or not above.size:
        return float("nan")
    n = wrong.shape[1]
    return float(np.clip(n / (1 + (n - 1) * max(0.0, np.nanmean(above))), 1, n))
