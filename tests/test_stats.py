import math

import numpy as np
import pytest
from scipy.stats import binomtest

from chunkykit.stats import adjust, enrichment_p, rate_difference, wilson


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
