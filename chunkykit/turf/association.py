"""Association: do two graded things go together over the rows, more than chance allows?

A row does not have a feature or lack it: it has it with a probability. The measures below take
such probabilities, and give the usual numbers where all of them are 0 or 1. All our choice.
"""

import numpy as np

from chunkykit.stats import wilson
from chunkykit.types import Rate

SHRINKAGE = 10.0  # of the ridge: a feature of this many rows gets half of the weight they show


def association_p(shows: np.ndarray, carries: np.ndarray) -> np.ndarray:
    """Test whether rows that show one thing carry another more often than shuffled rows would.

    The sum of the products is compared with its mean and variance over all orders of the rows. A
    gamma distribution with these moments stands in for the exact one, which has a long upper tail
    where both things are rare.

    Args:
        shows: how much each row shows the one thing, shape (n,), not negative.
        carries: how much each row carries each other thing, shape (m, n), not negative.

    Returns:
        The upper tail for each of the m things, shape (m,). 1 where one of the two is constant.
    """
    from scipy.stats import gamma

    n = len(shows)
    together = carries @ shows  # (m,)
    mean = carries.mean(axis=1) * shows.sum()
    variance = carries.var(axis=1) * shows.var() * n * n / max(1, n - 1)
    varies = _varies(shows, carries) & (mean > 0)
    scale = np.where(varies, variance, 1) / np.where(varies, mean, 1)
    tail = gamma.sf(together, np.where(varies, mean, 1) / scale, scale=scale)
    return np.where(varies, tail, 1.0)


def correlations(shows: np.ndarray, carries: np.ndarray) -> np.ndarray:
    """Correlate one thing with several others over the rows.

    Args:
        shows: how much each row shows the one thing, shape (n,).
        carries: how much each row carries each other thing, shape (m, n).

    Returns:
        Pearson correlations, shape (m,); 0 where one of the two is constant.
    """
    covariance = (carries - carries.mean(axis=1, keepdims=True)) @ (shows - shows.mean())
    spread = carries.std(axis=1) * shows.std() * len(shows)
    varies = _varies(shows, carries)
    return np.divide(covariance, spread, out=np.zeros(len(carries)), where=varies)


def _varies(shows: np.ndarray, carries: np.ndarray) -> np.ndarray:
    """Whether both things differ between rows, (m,)."""
    # the variance of equal numbers may be a little above 0
    return (np.ptp(carries, axis=1) > 0) & (np.ptp(shows) > 0)


def partial_weights(shows: np.ndarray, carries: np.ndarray) -> np.ndarray:
    """Estimate how much each of several things adds to another, with the others held fixed.

    What merely goes along with a cause has little weight beside it. A ridge regression, so that
    two things that always come together share their weight.

    Args:
        shows: what is explained, shape (n,).
        carries: what explains it, shape (m, n).

    Returns:
        The weights, shape (m,).
    """
    centred = carries - carries.mean(axis=1, keepdims=True)
    gram = (centred @ centred.T).astype(float) + SHRINKAGE * np.eye(len(carries))
    return np.linalg.solve(gram, centred @ (shows - shows.mean()))


def graded_rate(shows: np.ndarray, rows: np.ndarray) -> Rate:
    """Estimate the rate at which some rows show something.

    Args:
        shows: probability that each row shows it, shape (n,).
        rows: whether each row counts, shape (n,), bool.

    Returns:
        The expected rate with its 95 % Wilson interval. With probabilities of 0 and 1 it is the
        plain rate.
    """
    return wilson(float(shows[rows].sum()), int(rows.sum()))


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Find the largest values.

    Args:
        values: shape (n,).
        k: number of values.

    Returns:
        Positions of the k largest, largest first; equal ones in their order.
    """
    top = np.arange(len(values))
    if len(values) > k:
        top = np.sort(np.argpartition(-values, k)[:k])
    return top[np.argsort(-values[top], kind="stable")]


def nearest_rows(shows: np.ndarray, k: int) -> np.ndarray:
    """Keep what the k rows show that show most.

    Args:
        shows: how much each row shows something, shape (n,).
        k: number of rows.

    Returns:
        The same for these rows, and 0 for all others; shape (n,).
    """
    top = largest(shows, k)
    nearest = np.zeros_like(shows)
    nearest[top] = shows[top]
    return nearest


def weighted_auc(
    values: np.ndarray, weights: np.ndarray, against: np.ndarray | None = None
) -> np.ndarray:
    """Say how well values tell rows that count from rows that do not.

    Args:
        values: shape (m, n).
        weights: how much each row is one that counts, from 0 to 1, shape (n,).
        against: how much each row is one that does not, from 0 to 1, shape (n,); None for the rest
            of each weight.

    Returns:
        P(a row that counts has the larger value than one that does not), ties half; shape (m,).
        .5 where no row counts, or every one does.
    """
    rest = 1 - weights if against is None else against
    n_pairs = weights.sum() * rest.sum()
    if n_pairs <= 0:
        return np.full(len(values), 0.5)
    return np.array([_auc(row, weights, rest) / n_pairs for row in values])


def _auc(values: np.ndarray, weights: np.ndarray, rest: np.ndarray) -> float:
    """Sum over pairs of a row that counts and one that does not; a tie is half a pair."""
    _, place = np.unique(values, return_inverse=True)
    positive = np.bincount(place, weights)
    negative = np.bincount(place, rest)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2))
