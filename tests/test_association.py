import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import roc_auc_score

from chunkykit.stats import wilson
from chunkykit.turf.association import (
    association_p,
    correlations,
    graded_rate,
    largest,
    nearest_rows,
    partial_weights,
    weighted_auc,
)


def graded_rows(seed, rows=400, things=4):
    """Probabilities that rows show one thing and carry others, mostly small, as evidence is."""
    rng = np.random.default_rng(seed)
    return rng.random(rows) ** 4, rng.random((things, rows)) ** 4


@pytest.mark.parametrize("n_show, n_carry, n_both", [(40, 30, 12), (200, 25, 20), (15, 12, 5)])
def test_p_of_plain_counts_is_no_smaller_than_the_hypergeometric_one(n_show, n_carry, n_both):
    rows = np.arange(500)
    shows = (rows < n_show).astype(float)
    carries = ((rows >= n_show - n_both) & (rows < n_show - n_both + n_carry)).astype(float)
    exact = hypergeom.sf(n_both - 1, 500, n_show, n_carry)
    p = association_p(shows, carries[None])[0]
    assert exact / 3 < p < min(0.002, exact**0.5)


def test_p_of_shuffled_rows_is_uniform_enough_in_its_tail():
    p = []
    for seed in range(300):
        p += association_p(*graded_rows(seed)).tolist()
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08
    assert np.mean(np.array(p) < 0.001) < 0.005


def test_p_and_correlation_of_what_is_constant_say_nothing():
    shows, carries = graded_rows(0)
    carries[1] = 0.3
    assert association_p(shows, carries)[1] == 1
    assert correlations(shows, carries)[1] == 0
    assert (association_p(np.full(400, 0.2), carries) == 1).all()
    assert (correlations(np.zeros(400), carries) == 0).all()


def test_correlations_are_those_of_numpy():
    shows, carries = graded_rows(1)
    expected = np.corrcoef(np.vstack([shows, carries]))[0, 1:]
    assert correlations(shows, carries) == pytest.approx(expected)


def test_what_goes_along_with_a_cause_has_little_weight_beside_it():
    rng = np.random.default_rng(2)
    cause = rng.random(1000) < 0.2
    bystander = cause ^ (rng.random(1000) < 0.1)
    shows = np.where(cause, 0.9, 0.05) + 0.05 * rng.random(1000)
    weights = partial_weights(shows, np.stack([bystander, cause]).astype(float))
    assert weights[1] > 5 * abs(weights[0])
    alone = partial_weights(shows, bystander[None].astype(float))
    assert alone[0] > 0.3, "without the cause beside it, it would look like one"


def test_things_that_always_come_together_share_their_weight():
    shows, carries = graded_rows(3)
    both = np.stack([carries[0], carries[0]])
    weights = partial_weights(shows + carries[0], both)
    assert weights[0] == pytest.approx(weights[1])


def test_a_rate_of_certain_rows_is_the_plain_rate():
    shows = np.array([1, 0, 1, 1, 0, 0, 1.0])
    rows = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    assert graded_rate(shows, rows) == wilson(2, 3)
    assert graded_rate(np.full(7, 0.5), rows).rate == pytest.approx(0.5)


def test_largest_values_come_first_and_equal_ones_in_their_order():
    values = np.array([1, 5, 3, 5, 0.0])
    assert largest(values, 3).tolist() == [1, 3, 2]
    assert largest(values, 9).tolist() == [1, 3, 2, 0, 4]
    assert nearest_rows(values, 2).tolist() == [0, 5, 0, 5, 0]


def test_auc_is_that_of_scikit_learn_with_ties_and_weights():
    rng = np.random.default_rng(4)
    values = rng.integers(0, 6, (3, 200)).astype(float)
    labels = rng.random(200) < 0.3
    expected = [roc_auc_score(labels, row) for row in values]
    assert weighted_auc(values, labels.astype(float)) == pytest.approx(expected)
    # a row that half counts is half a row that does, and half one that does not
    weights = rng.random(200)
    both = np.concatenate([np.ones(200), np.zeros(200)])
    expected = [
        roc_auc_score(both, np.tile(row, 2), sample_weight=np.concatenate([weights, 1 - weights]))
        for row in values
    ]
    assert weighted_auc(values, weights) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_auc_is_a_half_where_there_is_nothing_to_tell_apart(weight):
    assert weighted_auc(np.eye(4), np.full(4, weight)).tolist() == [0.5] * 4
