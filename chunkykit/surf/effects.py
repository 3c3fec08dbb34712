"""Which attributes raise the score? The statistics of strategy `cover`."""

from collections.abc import Sequence

import numpy as np

from chunkykit.rubrics import VIOLATION_THRESHOLD

# Penalty of the ridge regression, in candidates: an attribute that was explored this often keeps
# about half of its effect. It guards against large effects of attributes that were hardly tried.
RIDGE_PENALTY = 3.0
MIN_RESIDUAL_SPREAD = 1.0  # points of score; a judge of few distinct scores may leave no residual


def estimate_effects(
    explored: Sequence[tuple[tuple[int, ...], float]], n_attributes: int, prior: np.ndarray
) -> np.ndarray:
    """Estimate the z-value of each attribute's effect on the score.

    A ridge regression of the score on the attributes. The estimate of an attribute is divided by
    its approximate standard error, spread / sqrt(times explored + penalty). The prior fades as an
    attribute is explored: after `RIDGE_PENALTY` candidates half of it is left.

    Args:
        explored: (attributes, score) of explored candidates, at least one. Candidates that were
            drawn for their scores must stay out: they are no random sample.
        n_attributes: number of attributes in the pool, K.
        prior: z-values known beforehand, shape (K,).

    Returns:
        z-values, shape (K,).
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import Ridge

    lengths = [len(attributes) for attributes, _ in explored]
    columns = np.concatenate([attributes for attributes, _ in explored])
    row_starts = np.cumsum([0, *lengths])
    has_attribute = csr_matrix(
        (np.ones(len(columns)), columns, row_starts), (len(explored), n_attributes)
    )
    # Scores are cut at the threshold. A violation is followed up by itself, so here it must not
    # outweigh the many smaller scores that show where the target begins to give way.
    scores = np.minimum([score for _, score in explored], VIOLATION_THRESHOLD)
    fit = Ridge(alpha=RIDGE_PENALTY, solver="sparse_cg").fit(has_attribute, scores)
    spread = max(MIN_RESIDUAL_SPREAD, float(np.std(scores - fit.predict(has_attribute))))
    times = np.asarray(has_attribute.sum(0)).ravel()  # (n_attributes,)
    z = fit.coef_ * np.sqrt(times + RIDGE_PENALTY) / spread
    return z + prior / (1 + times / RIDGE_PENALTY)
