"""The few statistics that every stage shares: intervals for rates, enrichment of overlaps."""

from typing import NamedTuple

import numpy as np


class Rate(NamedTuple):
    """A proportion with its interval: `rate`, `low`, `high` in 0-1 (NaN where n is 0), `n` trials."""

    rate: float
    low: float
    high: float
    n: int


def wilson(hits: int, n: int, confidence: float = 0.95) -> Rate:
    """The Wilson score interval of `hits` successes in `n` independent trials (Wilson 1927)."""
    if n == 0:
        return Rate(float("nan"), 0.0, 1.0, 0)
    from scipy.stats import binomtest

    interval = binomtest(int(hits), int(n)).proportion_ci(confidence, method="wilson")
    return Rate(hits / n, float(interval.low), float(interval.high), int(n))


def enrichment_p(hits, sample, marked, population) -> np.ndarray:
    """P(at least `hits` marked rows in a sample drawn blindly): the upper hypergeometric tail.

    hits, marked: arrays (n_tests,); sample: rows drawn; population: rows in all.
    """
    from scipy.stats import hypergeom

    return hypergeom.sf(np.asarray(hits) - 1, population, np.asarray(marked), sample)


def adjust(p_values) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values, so that a threshold bounds the false discovery rate over all tests."""
    from scipy.stats import false_discovery_control

    p_values = np.asarray(p_values, dtype=float)
    return false_discovery_control(np.clip(p_values, 0, 1)) if p_values.size else p_values
