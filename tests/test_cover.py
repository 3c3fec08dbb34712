"""Our strategy in a planted world: 300 attributes, four that fail alone and four pairs, a noisy target, one-off failures."""

import numpy as np
import pytest

from chunkykit.surf import MAX_ATTRIBUTES, CoverStrategy, Pool
from chunkykit.surf.cover import MAX_VIOLATIONS_PER_MODE, MIN_MODE_RATE

K = 300
SINGLES, PAIRS = [{7}, {50}, {120}, {233}], [{11, 190}, {33, 280}, {64, 65}, {150, 299}]
POOL = Pool(
    [f"The query has feature {i}" for i in range(K)],
    [np.random.default_rng(i).choice(K, 8, replace=False) for i in range(2000)],
)


def world(rng, luck=0.01, fires=0.8, errors=0.0):
    def score(attributes):
        have = {a for a in attributes if rng.random() > 0.1}
        if rng.random() < errors:
            return None
        if (
            any(t <= have for t in (*SINGLES, *PAIRS))
            and rng.random() < fires
            or rng.random() < luck
        ):
            return 85.0
        near = max(len(t & have) / len(t) for t in (*SINGLES, *PAIRS))
        return float(rng.integers(16)) + int(25 * near)

    return score


def explore(seed, total=2500, window=80, prior=None, **noise):
    strategy, score = (
        CoverStrategy(POOL, np.random.default_rng(seed), prior),
        world(np.random.default_rng(seed + 99), **noise),
    )
    waiting, drawn = [], []
    for i in range(total):
        if len(waiting) == window:
            strategy.learn(i - window, waiting.pop(0))
        attributes = strategy.draw(i)
        drawn.append((strategy.pending[i].reason, attributes))
        waiting.append({"attributes": attributes, "score": score(attributes), "query": ""})
    return strategy, drawn


def modes(strategy):
    return [set(m.attributes) for m in strategy.modes]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_singles_and_pairs_are_found_and_named(seed):
    found = modes(explore(seed)[0])
    planted = SINGLES + PAIRS
    assert sum(t in found for t in planted) >= 7 and sum(m not in planted for m in found) <= 1


def test_a_candidate_has_one_to_five_distinct_attributes():
    _, drawn = explore(4)
    assert {reason for reason, _ in drawn} == {"explore", "pair", "follow", "measure"}
    assert all(1 <= len(a) <= MAX_ATTRIBUTES and len(set(a)) == len(a) for _, a in drawn)


def test_a_known_mode_is_left_alone():
    strategy, drawn = explore(5)
    late = [a for reason, a in drawn[-500:] if reason in ("pair", "explore")]
    assert not [a for a in late for m in strategy.modes if m.attributes <= set(a)], (
        "found long ago, never drawn again"
    )
    assert all(
        m.tried <= 3 * MAX_VIOLATIONS_PER_MODE + 80 and m.failed / m.tried > MIN_MODE_RATE
        for m in strategy.modes
        if m.tried > 20
    )


def test_luck_is_no_mode():
    strategy, _ = explore(6, luck=0.05, fires=0.0)
    assert len(strategy.lucky) > 50 and not [m for m in strategy.modes if m.failed > 2]


def test_judgements_that_failed_teach_nothing_and_lose_nothing():
    strategy, _ = explore(7, errors=0.2, total=3500)
    assert sum(t in modes(strategy) for t in SINGLES + PAIRS) >= 6
    assert len(strategy.explored) < 3500


def test_what_the_data_predicts_is_tried_first():
    prior = np.zeros(K)
    prior[[11, 190, 20]] = 5.0
    _, drawn = explore(8, total=40, prior=prior)
    assert sum({11, 190} <= set(a) for _, a in drawn) >= 2
    assert not any({11, 190} <= set(a) for _, a in explore(8, total=40)[1])


def test_a_pool_of_one_attribute():
    strategy = CoverStrategy(
        Pool(["The query is alone"], [np.array([0])]), np.random.default_rng(0)
    )
    for i in range(60):
        strategy.learn(i, {"attributes": strategy.draw(i), "score": 90.0, "query": ""})
    assert modes(strategy) == [{0}]
