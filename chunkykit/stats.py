"""The few statistics that every stage shares: intervals for rates, enrichment of overlaps."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from chunkykit.types import Rate

PSEUDO_CLUSTERS = 0.1  # of hits alone, and of misses alone; see `clustered_wilson`
RESAMPLES = 99_999  # sign changes that are drawn; of up to 16 differences all are tried
Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def wilson(hits: float, n: float) -> Rate:
    """Estimate a proportion with its 95 % Wilson score interval (Wilson 1927).

    Args:
        hits: successes; an expected number where each has a probability.
        n: independent trials.

    Returns:
        The rate and its interval. Without trials the rate is NaN and the interval [0, 1].
    """
    if n == 0:
        return Rate(float("nan"), 0.0, 1.0, 0)
    return _score_interval(hits, n, Z95)._replace(n=round(n))


def clustered_wilson(hits: ArrayLike, trials: ArrayLike) -> Rate:
    """Estimate a proportion over clusters of trials that resemble each other, with its interval.

    Answers to one query are such a cluster: as independent trials they would make the interval too
    narrow. The Wilson interval is taken with the effective number of trials, by the ratio
    estimate of the variance between clusters, corrected by Student's t for their number (Korn and
    Graubard 1998). Our choice: a tenth of a cluster of hits alone, and of one of misses
    alone, are added where the variance is estimated, since few clusters that agree by luck would
    make it too small. `benchmarks/intervals.py` has the coverage.

    Args:
        hits: successes in each cluster, shape (n_clusters,).
        trials: trials in each cluster, shape (n_clusters,).

    Returns:
        The rate over all trials and its 95 % interval; `n` is the number of trials. That of
        `wilson` where no cluster has two trials, or there is one cluster.
    """
    from scipy.stats import t

    trials = np.asarray(trials, float)
    hits = np.asarray(hits, float)[trials > 0]
    trials = trials[trials > 0]
    n_clusters = len(trials)
    n = trials.sum()
    if n_clusters < 2 or trials.max() <= 1:
        return wilson(float(hits.sum()), float(n))
    size = n / n_clusters
    weight = n + 2 * PSEUDO_CLUSTERS * size
    rate = (hits.sum() + PSEUDO_CLUSTERS * size) / weight
    squares = ((hits - rate * trials) ** 2).sum()
    squares += PSEUDO_CLUSTERS * size**2 * (rate**2 + (1 - rate) ** 2)
    count = n_clusters + 2 * PSEUDO_CLUSTERS
    variance = count / (count - 1) * squares / weight**2
    design_effect = max(1.0, variance * weight / (rate * (1 - rate)))
    quantile = float(t.ppf(0.975, n_clusters - 1))
    # at the least what clusters are worth that have one answer each (Kish 1965)
    least = n**2 / (trials**2).sum()
    effective = max(n / design_effect * (Z95 / quantile) ** 2, least)
    return _score_interval(hits.sum() / n * effective, effective, Z95)._replace(n=round(n))


def _score_interval(hits: float, n: float, z: float) -> Rate:
    """The score interval of a proportion, with the quantile z."""
    # In closed form: scipy has the interval behind a test that takes a thousand times as long.
    p = hits / n
    z2 = z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(max(0.0, p * (1 - p)) / n + z2 / (4 * n * n))
    # At the ends the bound is exact, which rounding would miss by a hair.
    low = max(0.0, centre - half) if hits else 0.0
    high = min(1.0, centre + half) if hits < n else 1.0
    return Rate(p, low, high, round(n))


def enrichment_p(hits: ArrayLike, sample: int, marked: ArrayLike, population: int) -> np.ndarray:
    """Test whether marked rows are more frequent in a sample than chance allows.

    Args:
        hits: marked rows in the sample, shape (n_tests,).
        sample: rows in the sample.
        marked: marked rows in the population, shape (n_tests,).
        population: all rows.

    Returns:
        P(at least `hits` marked rows in a sample drawn without replacement), the upper tail of
        the hypergeometric distribution, shape (n_tests,).
    """
    from scipy.stats import hypergeom

    # sf(k) is P(X > k), hence the 1
    return hypergeom.sf(np.asarray(hits) - 1, population, np.asarray(marked), sample)


def adjust(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values by Benjamini and Hochberg (1995).

    Args:
        p_values: shape (n_tests,).

    Returns:
        Adjusted p-values, shape (n_tests,). A threshold on them bounds the false discovery rate
        over all tests.
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p_values, dtype=float)
    if not values.size:
        return values
    return false_discovery_control(np.clip(values, 0, 1))


def rate_difference(a: Rate, b: Rate) -> tuple[float, float, float]:
    """Estimate a difference of two independent rates (Newcombe 1998, method 10).

    Args:
        a: a rate with its Wilson interval.
        b: the rate to subtract.

    Returns:
        The difference a.rate - b.rate, and the lower and the upper end of its 95 % interval.
    """
    difference = a.rate - b.rate
    low = difference - math.hypot(a.rate - a.low, b.high - b.rate)
    high = difference + math.hypot(a.high - a.rate, b.rate - b.low)
    return difference, low, high


class PairedDifference(NamedTuple):
    """A difference of two rates on the same queries, with its interval and test.

    Attributes:
        difference: mean over the queries of the first rate less the second one; NaN without any.
        low: the lower end of the 95 % interval.
        high: the upper end of the interval.
        p_value: of the two-sided test that neither model fails more; 1 where no query differs.
        n: the number of queries.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def paired_difference(first: ArrayLike, second: ArrayLike, seed: int = 0) -> PairedDifference:
    """Compare the failure rates of two models on the same queries.

    The query is the unit, however many answers there are to it. The test is Fisher's (1935) for
    pairs: were the models alike, each query's difference would be as likely with the other sign.
    It needs no other assumption, and with one answer per query it is the exact McNemar test. The
    interval is the normal one of the mean with one query more in each direction, which with one
    answer per query is that of Bonett and Price (2012). `benchmarks/intervals.py` has the coverage.

    Args:
        first: share of the first model's answers to each query that fail, shape (n_queries,).
        second: the same of the second model.
        seed: of the sign changes that are drawn where there are too many to try all.

    Returns:
        The difference, its 95 % interval, and the p-value. Both may disagree at the border, since
        they are of different methods.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    n = len(differences)
    if n == 0:
        return PairedDifference(float("nan"), -1.0, 1.0, 1.0, 0)
    mean = differences.sum() / (n + 2)
    variance = ((differences**2).sum() + 2) / (n + 2) - mean**2
    half = Z95 * math.sqrt(variance / (n + 2))
    low = max(-1.0, mean - half)
    high = min(1.0, mean + half)
    return PairedDifference(
        float(differences.mean()), low, high, _sign_change_p(differences, seed), n
    )


def _sign_change_p(differences: np.ndarray, seed: int) -> float:
    """The two-sided p-value of the mean under changes of sign; zeros have no sign to change."""
    from scipy.stats import binomtest, permutation_test

    nonzero = differences[differences != 0]
    if len(nonzero) < 2:  # both signs of one difference are equally extreme
        return 1.0
    if np.ptp(np.abs(nonzero)) == 0:  # of one size, as with one answer per query: McNemar's test
        return float(binomtest(int((nonzero > 0).sum()), len(nonzero)).pvalue)
    result = permutation_test(
        (nonzero,),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)
