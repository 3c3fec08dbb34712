import numpy as np
import pytest
from scipy.stats import binomtest

from chunkykit.stats import adjust, enrichment_p, wilson


@pytest.mark.parametrize("hits, n", [(0, 20), (20, 20), (1, 7), (15, 30), (300, 1000)])
def test_wilson_against_scipy(hits, n):
    peer = binomtest(hits, n).proportion_ci(method="wilson")
    rate = wilson(hits, n)
    assert (rate.low, rate.high) == pytest.approx((peer.low, peer.high), abs=1e-9) and rate.n == n


def test_wilson_of_nothing_spans_everything():
    assert wilson(0, 0).n == 0 and wilson(0, 20).low == 0


def test_enrichment_against_counting():
    rng = np.random.default_rng(0)
    draws = [(rng.permutation(50)[:10] < 15).sum() for _ in range(20_000)]
    assert enrichment_p([6], 10, [15], 50)[0] == pytest.approx(
        np.mean(np.array(draws) >= 6), abs=0.01
    )
    assert enrichment_p([0], 10, [15], 50)[0] == 1


def test_adjusting_bounds_false_discoveries():
    assert adjust([0.01, 0.5, 0.04]).tolist() == pytest.approx([0.03, 0.5, 0.06])
    assert adjust([]).size == 0
