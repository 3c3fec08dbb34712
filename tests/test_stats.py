import math

import numpy as np
import pytest
from scipy.stats import binomtest

from chunkykit.stats import (
    adjust,
    clustered_wilson,
    enrichment_p,
    paired_difference,
    rate_difference,
    wilson,
)


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


def test_a_paired_test_of_single_answers_is_the_exact_mcnemar_test():
    first = [1] * 9 + [0] * 3 + [1] * 5
    second = [0] * 9 + [1] * 3 + [1] * 5
    result = paired_difference(first, second)
    assert result.p_value == pytest.approx(binomtest(9, 12).pvalue)
    assert result.difference == pytest.approx(6 / 17)
    # Bonett and Price 2012: one discordant pair more in each direction
    p, q = 10 / 19, 4 / 19
    half = 1.959964 * ((p + q - (p - q) ** 2) / 19) ** 0.5
    assert (result.low, result.high) == pytest.approx((p - q - half, p - q + half))
    assert result.n == 17


def test_a_paired_test_of_many_queries_draws_the_same_changes_of_sign():
    first = [1] * 30 + [0] * 10
    second = [0] * 30 + [1] * 10
    result = paired_difference(first, second)
    assert result == paired_difference(first, second)
    assert result.p_value == pytest.approx(binomtest(30, 40).pvalue, abs=1e-3)


def test_a_paired_test_without_differences_or_queries_says_nothing():
    same = paired_difference([1, 0.5, 0], [1, 0.5, 0])
    assert (same.difference, same.p_value) == (0, 1)
    assert same.low < 0 < same.high
    assert paired_difference([1, 0], [0, 0]).p_value == 1
    nothing = paired_difference([], [])
    assert np.isnan(nothing.difference)
    assert nothing[1:] == (-1, 1, 1, 0)


@pytest.mark.parametrize("n_queries, answers", [(10, 1), (10, 4), (40, 2)])
def test_the_interval_of_a_paired_difference_covers(n_queries, answers, monkeypatch):
    """Of models that share what is hard in a query; few queries make it wider than need be."""
    monkeypatch.setattr("chunkykit.stats.RESAMPLES", 9)  # the test is not what is measured here
    rng = np.random.default_rng(n_queries * answers)
    covered = 0
    for _ in range(400):
        hard = rng.beta(1, 1, n_queries)
        rates = [rng.binomial(answers, share * hard) / answers for share in (1.0, 0.5)]
        interval = paired_difference(*rates)
        covered += interval.low <= 0.25 <= interval.high
    assert covered >= 0.93 * 400
