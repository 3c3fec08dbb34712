import math

import numpy as np
import pytest
from scipy.stats import binomtest

from chunkykit.stats import adjust, clustered_wilson, enrichment_p, rate_difference, wilson


@pytest.mark.parametrize("hits, n", [(0, 20), (20, 20), (1, 7), (15, 30), (300, 1000)])
def test_the_wilson_interval_against_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    rate = wilson(hits, n)
    assert rate.rate == hits / n
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert rate.n == n


def test_the_wilson_interval_at_its_ends():
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1


def test_without_trials_the_interval_spans_everything():
    rate = wilson(0, 0)
    assert math.isnan(rate.rate)
    assert (rate.low, rate.high, rate.n) == (0, 1, 0)


def test_enrichment_against_counting():
    rng = np.random.default_rng(0)
    draws = np.array([(rng.permutation(50)[:10] < 15).sum() for _ in range(20_000)])
    p_values = enrichment_p([6, 0], 10, [15, 15], 50)
    assert p_values[0] == pytest.approx(np.mean(draws >= 6), abs=0.01)
    assert p_values[1] == 1


def test_adjusting_bounds_the_false_discoveries():
    assert adjust([0.01, 0.5, 0.04]).tolist() == pytest.approx([0.03, 0.5, 0.06])
    assert adjust([]).size == 0


def test_a_difference_of_rates_is_antisymmetric_and_holds_the_difference():
    a = wilson(56, 70)
    b = wilson(48, 80)
    difference, low, high = rate_difference(a, b)
    assert difference == pytest.approx(0.2)
    assert low < difference < high
    assert rate_difference(b, a) == pytest.approx((-difference, -high, -low))
    # Newcombe (1998), table II a, method 10
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_one_answer_per_query_is_the_plain_interval():
    hits = np.array([1, 0, 1, 1, 0, 0])
    assert clustered_wilson(hits, np.ones(6)) == wilson(3, 6)
    assert clustered_wilson([5], [8]) == wilson(5, 8), "one query says nothing of others"
    assert clustered_wilson([], []).n == 0
    assert clustered_wilson([2, 0], [4, 0]) == wilson(2, 4), "a query without answers is none"


def test_answers_that_agree_within_queries_widen_the_interval():
    trials = np.full(20, 10)
    agree = clustered_wilson(np.repeat([0, 10], 10), trials)
    differ = clustered_wilson(np.full(20, 5), trials)
    plain = wilson(100, 200)
    assert agree.rate == differ.rate == plain.rate == 0.5
    assert agree.high - agree.low > 2.5 * (plain.high - plain.low)
    assert differ.high - differ.low == pytest.approx(plain.high - plain.low, rel=0.1)
    assert agree.n == 200


@pytest.mark.parametrize("mean", [0.1, 0.6])
def test_intervals_of_clusters_cover_the_rate_where_plain_ones_do_not(mean):
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for _ in range(400):
        hits = rng.binomial(8, rng.beta(2 * mean, 2 * (1 - mean), 30))
        for i, rate in enumerate((clustered_wilson(hits, np.full(30, 8)), wilson(hits.sum(), 240))):
            covered[i] += rate.low <= mean <= rate.high
    clustered, plain = covered / 400
    assert 0.92 < clustered < 0.99
    assert plain < 0.85
