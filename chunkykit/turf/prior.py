"""Prior: which query features go with a behaviour, from the data alone, by what sentences mean."""

import numpy as np

from chunkykit.index import Features, TraceIndex, row_cosines
from chunkykit.stats import adjust

MAX_P_VALUE = 0.01  # adjusted over all features
MIN_VARIANCE = 1e-9  # of a sum of ranks, where all rows are equally near
MAX_Z = 5.0  # so that no feature takes a whole search


def predict_features(index: TraceIndex, features: Features, behaviour: np.ndarray) -> np.ndarray:
    """Predict from the data alone which query features call up a behaviour.

    A row shows the behaviour the more, the nearer its nearest response sentence is to it. Nothing
    is cut off, so that it does not matter how far a describer's words are from ours.

    Args:
        index: an index whose sentences are distinct.
        features: its query features, from `common_features`.
        behaviour: unit vector of the sentence that says the behaviour, shape (d,).

    Returns:
        The z-score of each query cluster: whether rows that carry it rank higher by behaviour
        (Mann-Whitney), at most MAX_Z. It is 0 for a cluster that does not stand out or is no
        feature. Shape (K,).
    """
    from scipy.stats import norm, rankdata

    side = index.sides["response"]
    nearness = row_cosines(side, features.rows, behaviour[None])[:, 0]
    ranks = rankdata(nearness)  # (r,)
    carried = features.carried
    carriers = carried.sum(axis=0)  # (f,)
    excess = (ranks - ranks.mean()) @ carried
    variance = ranks.var() * carriers * (1 - carriers / len(ranks))
    z = excess / np.sqrt(np.maximum(variance, MIN_VARIANCE))
    stands_out = adjust(norm.sf(z)) < MAX_P_VALUE
    predicted = np.zeros(len(index.query.centroids))
    predicted[features.clusters] = np.where(stands_out, np.minimum(z, MAX_Z), 0.0)
    return predicted
