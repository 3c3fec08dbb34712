"""The few statistics that every stage shares: intervals for rates, enrichment of overlaps."""

import math

import numpy as np

from chunkykit.types import Rate

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def wilson(hits: int, n: int) -> Rate:
    """The 95 % Wilson score interval of `hits` successes in `n` independent trials (Wilson 1927), in closed form: scipy has
    it behind a test that costs a thousand times as much."""
    if n == 0:
        return Rate(float("nan"), 0.0, 1.0, 0)
    p, z2 = hits / n, Z95**2
    centre, half = (
        (p + z2 / (2 * n)) / (1 + z2 / n),
        Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)),
    )
    return Rate(
        p,
        max(0.0, centre - half) if hits else 0.0,
        min(1.0, centre + half) if hits < n else 1.0,
        int(n),
    )


def enrichment_p(hits, sample, marked, population) -> np.ndarray:
    """P(at least `hits` marked rows in a sample drawn blindly): the upper hypergeometric tail.
    hits, marked: arrays (n_tests,); sample: rows drawn; population: rows in all."""
    from scipy.stats import hypergeom

    return hypergeom.sf(np.asarray(hits) - 1, population, np.asarray(marked), sample)


def adjust(p_values) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values, so that a threshold bounds the false discovery rate over all tests."""
    from scipy.stats import false_discovery_control

    p_values = np.asarray(p_values, dtype=float)
    return false_discovery_control(np.clip(p_values, 0, 1)) if p_values.size else p_values


def rate_difference(a: Rate, b: Rate) -> tuple[float, float, float]:
    """a.rate - b.rate with its 95 % interval: Newcombe's (1998, method 10), from the two Wilson intervals."""
    d = a.rate - b.rate
    return (
        d,
        d - math.hypot(a.rate - a.low, b.high - b.rate),
        d + math.hypot(a.high - a.rate, b.rate - b.low),
    )
