"""Our strategy in a planted world: 300 attributes, a noisy target, and failures by luck.

Four attributes fail alone, and four pairs fail only together.
"""

import numpy as np
import pytest

from chunkykit.surf import MAX_ATTRIBUTES, CoverStrategy, Pool
from chunkykit.surf.cover import (
    ANSWERS_PER_QUESTION,
    MAX_TRIES_PER_MODE,
    MIN_MODE_RATE,
    SUSPECT_Z,
)
from chunkykit.surf.effects import estimate_effects

N_ATTRIBUTES = 300
SINGLES = [{7}, {50}, {120}, {233}]
PAIRS = [{11, 190}, {33, 280}, {64, 65}, {150, 299}]
PLANTED = SINGLES + PAIRS
POOL = Pool(
    [f"The query has feature {i}" for i in range(N_ATTRIBUTES)],
    [np.random.default_rng(i).choice(N_ATTRIBUTES, 8, replace=False) for i in range(2000)],
)
WINDOW = 80  # candidates in flight


class PlantedWorld:
    """Scores candidates.

    Args:
        rng: source of randomness.
        luck: share of candidates that fail without a reason.
        fires: share of candidates with a planted failure that fail.
        errors: share of candidates that cannot be judged.
    """

    def __init__(self, rng, luck=0.01, fires=0.8, errors=0.0):
        self.rng = rng
        self.luck = luck
        self.fires = fires
        self.errors = errors

    def score(self, attributes):
        # the writer leaves out one attribute in ten
        written = {attribute for attribute in attributes if self.rng.random() > 0.1}
        if self.rng.random() < self.errors:
            return None
        planted = any(mode <= written for mode in PLANTED)
        if planted and self.rng.random() < self.fires:
            return 85.0
        if self.rng.random() < self.luck:
            return 85.0
        nearest = max(len(mode & written) / len(mode) for mode in PLANTED)
        return float(self.rng.integers(16)) + int(25 * nearest)


def explore(seed, total=2500, prior=None, **noise):
    """Run the strategy. Returns it, and (reason, attributes) of every candidate."""
    strategy = CoverStrategy(POOL, np.random.default_rng(seed), prior)
    world = PlantedWorld(np.random.default_rng(seed + 99), **noise)
    waiting = []
    draws = []
    for i in range(total):
        if len(waiting) == WINDOW:
            strategy.learn(i - WINDOW, waiting.pop(0))
        attributes = strategy.draw(i)
        draws.append((strategy.pending[i].reason, attributes))
        waiting.append({"attributes": attributes, "score": world.score(attributes), "query": ""})
    return strategy, draws


def modes(strategy):
    return [set(mode.attributes) for mode in strategy.modes]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_singles_and_pairs_are_identified(seed):
    identified = modes(explore(seed)[0])
    assert sum(mode in identified for mode in PLANTED) >= 7
    assert sum(mode not in PLANTED for mode in identified) <= 1


def test_a_candidate_has_one_to_five_distinct_attributes():
    _, draws = explore(4)
    assert {reason for reason, _ in draws} == {"explore", "pair", "follow", "measure"}
    assert all(1 <= len(attributes) <= MAX_ATTRIBUTES for _, attributes in draws)
    assert all(len(set(attributes)) == len(attributes) for _, attributes in draws)


def test_a_known_mode_is_left_alone():
    strategy, draws = explore(5)
    late = [set(attributes) for reason, attributes in draws[-500:] if reason in ("pair", "explore")]
    assert late
    for mode in strategy.modes:
        assert not any(mode.attributes <= attributes for attributes in late)


def test_a_mode_is_measured_until_its_rate_is_known():
    strategy, _ = explore(5)
    measured = [mode for mode in strategy.modes if mode.tried > 20]
    assert measured
    for mode in measured:
        assert mode.tried <= MAX_TRIES_PER_MODE + WINDOW
        assert mode.failed / mode.tried > MIN_MODE_RATE


def test_luck_is_not_a_mode():
    strategy, _ = explore(6, luck=0.05, fires=0.0)
    assert len(strategy.lucky) > 50
    assert not [mode for mode in strategy.modes if mode.failed > 2]


def test_failed_judgements_teach_nothing_and_lose_nothing():
    total = 3500
    strategy, draws = explore(7, errors=0.2, total=total)
    assert sum(mode in modes(strategy) for mode in PLANTED) >= 6
    n_explored = sum(reason == "explore" for reason, _ in draws)
    assert 0.7 * n_explored < len(strategy.explored) < 0.85 * n_explored
    assert all(score is not None for _, score in strategy.explored)


def test_what_the_data_predicts_is_tried_first():
    prior = np.zeros(N_ATTRIBUTES)
    prior[[11, 190, 20]] = 5.0
    _, with_prior = explore(8, total=40, prior=prior)
    _, without = explore(8, total=40)
    assert sum({11, 190} <= set(attributes) for _, attributes in with_prior) >= 2
    assert not any({11, 190} <= set(attributes) for _, attributes in without)


def test_a_pool_of_one_attribute():
    pool = Pool(["The query is alone"], [np.array([0])])
    strategy = CoverStrategy(pool, np.random.default_rng(0))
    for i in range(60):
        strategy.learn(i, {"attributes": strategy.draw(i), "score": 90.0, "query": ""})
    assert modes(strategy) == [{0}]


def test_a_violation_becomes_a_case_and_its_needed_attributes_a_mode():
    strategy = CoverStrategy(POOL, np.random.default_rng(0))
    attributes = strategy.draw(0)
    needed = set(attributes[:2])
    assert len(attributes) == 5

    def learn(i, attributes):
        score = 85.0 if needed <= set(attributes) else 0.0
        strategy.learn(i, {"attributes": attributes, "score": score, "query": ""})

    learn(0, attributes)
    # one question with all attributes, five with one left out, two with one of the needed left out
    n_questions = 1 + 5 + 2
    for i in range(1, 1 + n_questions * ANSWERS_PER_QUESTION):
        question = strategy.draw(i)
        assert strategy.pending[i].reason == "follow"
        learn(i, question)
    assert modes(strategy) == [needed]
    strategy.draw(i + 1)
    assert strategy.pending[i + 1].reason != "follow"


def explore_in_order(total, **settings):
    """Run the strategy with one candidate at a time, as long as it is not done."""
    strategy = CoverStrategy(POOL, np.random.default_rng(3), **settings)
    world = PlantedWorld(np.random.default_rng(4), luck=0.0, fires=1.0)
    reasons = []
    for i in range(total):
        if strategy.is_done:
            break
        attributes = strategy.draw(i)
        reasons.append(strategy.pending[i].reason)
        candidate = {"attributes": attributes, "score": world.score(attributes), "query": str(i)}
        strategy.learn(i, candidate)
    return strategy, reasons


def test_a_search_ends_with_enough_failures_once_it_has_looked_for_others():
    enough, reasons = explore_in_order(2500, enough=30)
    assert 60 < len(reasons) < 1500
    assert sum(reason in ("pair", "explore") for reason in reasons) >= 60
    assert len(explore_in_order(2500)[1]) == 2500, "without `enough` the budget is spent"
    assert len(explore_in_order(50, enough=30)[1]) == 50, "and where there are too few failures"


def test_where_each_answer_counts_a_case_costs_less():
    """One answer shows that a violation is reproduced, or that an attribute is not needed."""
    n_follow = {}
    for enough in (None, 1000):
        strategy = CoverStrategy(POOL, np.random.default_rng(0), enough=enough)
        attributes = strategy.draw(0)
        needed = set(attributes[:2])
        strategy.learn(0, {"attributes": attributes, "score": 85.0, "query": ""})
        n_follow[enough] = 0
        while not strategy.modes:
            i = n_follow[enough] = n_follow[enough] + 1
            assert strategy.pending == {}
            question = strategy.draw(i)
            assert strategy.pending[i].reason == "follow"
            score = 85.0 if needed <= set(question) else 0.0
            strategy.learn(i, {"attributes": question, "score": score, "query": ""})
        assert modes(strategy) == [needed]
    assert n_follow == {None: 3 * (1 + 5 + 2), 1000: 1 + 3 + 2 * 3 + 2 * 3}


def test_a_case_is_waited_for_where_each_answer_counts():
    for enough in (None, 10):
        strategy = CoverStrategy(POOL, np.random.default_rng(0), enough=enough)
        strategy.learn(0, {"attributes": strategy.draw(0), "score": 85.0, "query": ""})
        assert not strategy.is_waiting, "its question is to be drawn"
        strategy.draw(1)
        assert strategy.is_waiting == (enough is not None)


def test_a_known_failure_is_the_first_case():
    lead = (3, 5, *sorted(PAIRS[0]))
    strategy = CoverStrategy(POOL, np.random.default_rng(0), enough=10, leads=[lead])
    for i in range(30):
        attributes = strategy.draw(i)
        assert strategy.pending[i].reason == "follow"
        score = 85.0 if PAIRS[0] <= set(attributes) else 0.0
        strategy.learn(i, {"attributes": attributes, "score": score, "query": str(i)})
        if strategy.modes:
            break
    assert modes(strategy) == [PAIRS[0]]
    assert not strategy.explored


def test_searches_explore_the_same_while_they_know_no_mode():
    drawn = []
    for seed in (1, 2):
        shared = np.random.default_rng(9)
        strategy = CoverStrategy(POOL, np.random.default_rng(seed), explore_rng=shared)
        explored = []
        for i in range(60):
            attributes = strategy.draw(i)
            explored += [attributes] if strategy.pending[i].reason == "explore" else []
            strategy.learn(i, {"attributes": attributes, "score": 0.0, "query": ""})
        drawn.append(explored)
    n = min(map(len, drawn))
    assert n > 20
    assert drawn[0][:n] == drawn[1][:n]


def test_an_effect_needs_several_candidates_and_the_prior_fades():
    explored = [((0, 1), 40.0), ((0, 2), 40.0), ((3,), 0.0), ((1, 3), 0.0)] * 10
    z = estimate_effects(explored, 5, np.zeros(5))
    assert z.argmax() == 0
    assert z[0] > SUSPECT_Z > z[1]
    assert z[4] == 0
    prior = np.array([0.0, 0.0, 0.0, 5.0, 5.0])
    added = estimate_effects(explored, 5, prior) - z
    assert added[4] == pytest.approx(5.0)
    assert 0 < added[3] < 1
