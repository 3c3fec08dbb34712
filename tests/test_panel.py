"""Panels: how votes are counted, how far judges agree, and what that is worth."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from chunkykit.errors import UserError
from chunkykit.rubrics import (
    VIOLATION_THRESHOLD,
    Judgement,
    effective_judges,
    judge_exchange,
    judge_panel,
    load_rubric,
    measure_agreement,
    vote_scores,
)
from chunkykit.surf import check_judged
from chunkykit.types import DECLINED, Reply

FAILS = None


def voting(score):
    async def judge(rubric, query, reply, sample=0):
        if score is FAILS:
            return Judgement(None, error="no answer")
        return Judgement(float(score), f"because of {score}")

    return judge


def panel(*scores):
    return judge_panel({f"judge {i}": voting(score) for i, score in enumerate(scores)})


def vote(*scores, reply=None):
    reply = reply or Reply("an answer", "stop")
    return asyncio.run(panel(*scores)(load_rubric("refusal"), "Q", reply))


@pytest.mark.parametrize(
    "scores, violates",
    [
        ((90, 90, 10), True),
        ((90, 10, 10), False),
        ((90, 10), False),
        ((90, 60), True),
        ((90, 90, 10, 10), False),
        ((90, 90, 60, 10), True),
        ((90, 90, FAILS), True),
        ((90, 10, FAILS), False),
        ((90, 90, FAILS, FAILS, 90), True),
        ((90, 90, FAILS, FAILS, 10), False),
        ((90, 90, 90, FAILS), True),
        ((51, 50, 100), True),
        ((50, 50, 100), False),
    ],
)
def test_a_strict_majority_of_all_judges_makes_a_violation(scores, violates):
    judgement = vote(*scores)
    assert judgement.error is None
    assert (judgement.score > VIOLATION_THRESHOLD) == violates
    assert [vote.score for vote in judgement.votes] == list(scores)


def test_the_reason_is_one_of_the_winning_side():
    assert vote(90, 80, 10).reason == "2 of 3 judges see a violation. because of 90"
    assert vote(90, 20, 10).reason == "1 of 3 judges see a violation. because of 20"


@pytest.mark.parametrize("scores", [(90, FAILS), (90, FAILS, FAILS), (FAILS,) * 3])
def test_without_a_majority_that_judged_there_is_no_verdict(scores):
    judgement = vote(*scores)
    assert judgement.score is None
    assert "judges failed: no answer" in judgement.error
    assert len(judgement.votes) == len(scores), "what was voted is not lost"


def test_nobody_votes_on_an_answer_that_was_declined():
    judgement = vote(90, 10, reply=Reply("", "refusal"))
    assert judgement == Judgement(100.0, judgement.reason)
    assert "Declined" in judgement.reason


def test_an_exchange_keeps_each_vote():
    async def target(messages, **settings):
        return Reply("an answer", "stop")

    exchange = asyncio.run(
        judge_exchange("Q", target, panel(90, 80, FAILS), load_rubric("refusal"))
    )
    assert exchange["score"] == 80
    votes = json.loads(exchange["votes"])
    assert votes["judge 1"] == {"score": 80, "reason": "because of 80", "error": None}
    assert votes["judge 2"]["error"] == "no answer"
    scores = vote_scores(pd.DataFrame([exchange, {**exchange, "votes": None}]))
    assert list(scores.columns) == ["judge 0", "judge 1", "judge 2"]
    assert scores.iloc[0].tolist()[:2] == [90, 80]
    assert scores.iloc[1].isna().all()
    assert exchange["outcome"] != DECLINED


@pytest.mark.parametrize("cell", ["x", "3", '{"a": 3}', '{"a": {"score": 500}}', "[" * 9999])
def test_a_cell_that_holds_no_votes_is_named(cell):
    with pytest.raises(UserError, match="column votes, row 2"):
        vote_scores(pd.DataFrame({"votes": [None, cell]}))


def test_a_judge_of_a_panel_that_scores_from_0_to_1_is_named():
    votes = [{"a": {"score": 90.0 * (i % 2)}, "b": {"score": 0.9 * (i % 2)}} for i in range(30)]
    probes = pd.DataFrame({"votes": map(json.dumps, votes), "score": 90.0, "error": None})
    with pytest.raises(UserError, match="judge b: none of 30 scores is over 1"):
        check_judged(probes.assign(outcome="answered"))
    check_judged(probes.assign(outcome="answered")[:10])


def exchanges(violations, queries=None):
    """Exchanges with the verdicts of judges, shape (n, judges); NaN where one failed."""
    cells = []
    for row in violations:
        votes = {f"judge {i}": None if np.isnan(v) else 100.0 * v for i, v in enumerate(row)}
        cells.append(json.dumps({name: {"score": score} for name, score in votes.items()}))
    queries = range(len(cells)) if queries is None else queries
    return pd.DataFrame({"query": queries, "votes": cells})


def test_alpha_is_that_of_the_literature():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example A: .095
    a = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    b = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    agreement = measure_agreement(exchanges(np.column_stack([a, b]).astype(float)))
    assert agreement.alpha == pytest.approx(0.095, abs=0.001)
    assert agreement.low < agreement.alpha < agreement.high
    assert agreement.n == 10


def test_agreement_says_when_it_knows_nothing():
    alike = measure_agreement(exchanges(np.zeros((5, 3))))
    assert np.isnan(alike.alpha) and alike.n == 5
    failed = np.array([[1.0, np.nan], [np.nan, 0.0]])
    assert measure_agreement(exchanges(failed)).n == 0


def test_the_interval_of_agreement_is_wider_where_answers_share_queries():
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    wrong = rng.random((60, 3)) < 0.15
    votes = (truth[:, None] ^ wrong).astype(float)
    repeated = np.repeat(votes, 5, axis=0)
    apart = measure_agreement(exchanges(repeated))
    together = measure_agreement(exchanges(repeated, np.repeat(np.arange(60), 5)))
    assert apart.alpha == together.alpha
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_judges_that_err_together_are_worth_fewer():
    rng = np.random.default_rng(1)
    independent = pd.DataFrame(rng.random((4000, 3)) < 0.1)
    assert effective_judges(independent) == pytest.approx(3, abs=0.2)
    one = independent[0]
    assert effective_judges(pd.DataFrame({0: one, 1: one, 2: one})) == pytest.approx(1)
    shared = rng.random(4000) < 0.1
    half = independent.mask(rng.random((4000, 3)) < 0.5, np.column_stack([shared] * 3))
    assert 1.3 < effective_judges(half) < 2.8
    assert np.isnan(effective_judges(pd.DataFrame({0: [False, False], 1: [False, True]})))


def test_a_panel_of_noisy_judges_is_more_precise_than_one():
    """A tenth of the benign answers looks bad, and each judge takes 30 % of these for bad."""
    rng = np.random.default_rng(2)
    n = 6000
    truth = rng.random(n) < 0.02
    looks_bad = ~truth & (rng.random(n) < 0.1)
    shared = rng.random(n) < 0.1  # mistakes that all judges make
    flags = truth[:, None] | (looks_bad[:, None] & (shared[:, None] | (rng.random((n, 3)) < 0.22)))
    by_query = {str(i): row for i, row in enumerate(flags)}

    def noisy(position):
        async def judge(rubric, query, reply, sample=0):
            return Judgement(95.0 if by_query[query][position] else 5.0)

        return judge

    async def judge_all():
        judge = judge_panel({str(j): noisy(j) for j in range(3)})
        rubric = load_rubric("refusal")
        return [await judge(rubric, query, Reply("A", "stop")) for query in by_query]

    by_panel = np.array([judgement.score > 50 for judgement in asyncio.run(judge_all())])
    precision_of_one = truth[flags[:, 0]].mean()
    precision_of_panel = truth[by_panel].mean()
    assert precision_of_one < 0.45
    assert precision_of_panel > precision_of_one + 0.05, "what they share stays"
    assert truth[by_panel].sum() == truth.sum(), "and misses none"
