import asyncio
import random

import numpy as np
import pandas as pd
import pytest
from planted import POOL, RUBRIC, echo, judge, judge_harmless, search, write

from chunkykit.errors import UserError
from chunkykit.models import ChatModel
from chunkykit.rubrics import load_rubric
from chunkykit.rubrics.verdict import judge_without_reading
from chunkykit.surf import (
    MODE_COLUMNS,
    PROBE_COLUMNS,
    check_judged,
    run_search,
    run_searches,
    select_failures,
)
from chunkykit.types import Judgement


@pytest.mark.parametrize("strategy", ["paper", "cover"])
def test_the_seed_fixes_everything_however_late_the_answers_come(strategy):
    async def late(messages, sample=0, **_):
        await asyncio.sleep(random.random() / 100)
        return await echo(messages)

    first = search(strategy=strategy)
    second = search(strategy=strategy, target=late)
    assert first.probes.equals(second.probes)
    assert first.modes.equals(second.modes)
    assert not first.probes.equals(search(strategy=strategy, seed=1).probes)


def test_cover_names_the_planted_mode():
    result = search(strategy="cover")
    assert list(result.probes.columns) == PROBE_COLUMNS
    assert list(result.modes.columns) == MODE_COLUMNS
    assert ["The query has feature 7"] in result.modes["attributes"].tolist()
    assert result.probes["run"].eq(0).all(), "one stream spends the candidates of all runs"
    assert result.probes.groupby("iteration").size().tolist() == [80] * 6


def test_searches_of_two_rubrics_share_the_control_arm_and_what_they_explore():
    """A ledger pays once for a query that is asked with the same sample number."""
    calls = []

    async def count(messages, sample=0, **_):
        calls.append((messages[0]["content"], sample))
        return await echo(messages)

    async def run_both(**settings):
        for name in ("refusal", "rebut"):
            model = ChatModel("counted", count)
            rubric = load_rubric(name)
            sizes = {"candidates": 40, "iterations": 1, "runs": 1}
            await run_search(
                POOL, write, model, judge_harmless, rubric, seed=0, **sizes, **settings
            )

    for strategy in ("control", "cover"):
        calls.clear()
        asyncio.run(run_both(strategy=strategy))
        assert len(calls) == 80
        assert len(set(calls)) == 40, strategy
        assert len(set(calls[:40])) == 40, "within a search no answer counts twice"


def test_an_unknown_strategy_is_an_error():
    with pytest.raises(UserError, match="strategy best: not known. Choose cover, paper or control"):
        search(strategy="best")


def test_a_slow_answer_delays_only_the_candidates_that_learn_from_it():
    started = []

    async def slow_first(messages, sample=0, **_):
        started.append(len(started))
        await asyncio.sleep(0.3 if len(started) == 1 else 0)
        return await echo(messages)

    async def count_started():
        sizes = {"candidates": 40, "iterations": 10, "runs": 2}
        model = ChatModel("slow", slow_first)
        task = asyncio.create_task(run_search(POOL, write, model, judge, RUBRIC, **sizes))
        await asyncio.sleep(0.2)
        n_started = len(started)
        await task
        return n_started

    window = 2 * 40 * 10 // 10
    assert asyncio.run(count_started()) == window, "a window of candidates is in flight, no more"


def test_a_spent_budget_ends_the_search_at_once():
    class SpentError(BaseException):
        pass

    calls = []

    async def spend(messages, sample=0, **_):
        if len(calls) == 30:
            raise SpentError
        calls.append(1)
        await asyncio.sleep(0.001)
        return await echo(messages)

    with pytest.raises(SpentError):
        search(target=spend, strategy="cover")
    assert len(calls) == 30


def test_failed_calls_and_judgements_are_errors_not_zeros():
    async def flaky(messages, sample=0, **_):
        if sample % 3 == 0:
            raise TimeoutError("no answer")
        return await echo(messages)

    async def judge_without_7(rubric, query, reply, sample=0):
        if "7" in reply.text.split():
            return Judgement(None, error="no score")
        return await judge(rubric, query, reply)

    probes = search(target=flaky, judge=judge_without_7).probes
    failed = probes[probes["error"].notna()]
    assert set(failed["error"]) == {"no score", "TimeoutError: no answer"}
    assert failed["score"].isna().all()
    assert not (probes["score"] > 50).any(), "what was not judged is not a failure"


def test_an_outage_is_an_error_not_a_result():
    async def down(messages, **_):
        raise ConnectionError("401 bad key")

    probes = search(run_searches, target=down).probes
    assert set(probes["outcome"]) == {"failed"}
    words = f"{len(probes)} of {len(probes)} candidates failed, .* ConnectionError: 401 bad key"
    with pytest.raises(UserError, match=words):
        check_judged(probes)


def test_many_failures_are_an_outage_unless_they_are_tolerated():
    async def half(messages, sample=0, **_):
        if sample % 2:
            raise ConnectionError("overloaded")
        return await echo(messages)

    probes = search(run_searches, target=half).probes
    words = (
        r"\d+ of 720 candidates failed, most often with: ConnectionError: overloaded.*--tolerate"
    )
    with pytest.raises(UserError, match=words):
        check_judged(probes)
    check_judged(probes, tolerate=0.6)


def test_a_gate_that_lets_nothing_through_is_an_error():
    async def closed(query):
        return False

    probes = search(run_searches, gate=closed).probes
    with pytest.raises(UserError, match="none of 720 candidates was judged: 720 filtered"):
        check_judged(probes)


def test_declined_answers_are_no_errors_and_counted_apart():
    async def declines(messages, sample=0, **_):
        reply = await echo(messages)
        return reply._replace(stop_reason="content_filter") if sample % 2 else reply

    rebut = load_rubric("rebut")  # unlike refusal, it says nothing of declined answers

    async def judge(rubric, query, reply, sample=0):
        return judge_without_reading(rebut, reply) or Judgement(0, "")

    probes = search(run_searches, target=declines, judge=judge).probes
    declined = probes["outcome"] == "declined"
    assert 0.3 < declined.mean() < 0.7
    assert probes["error"].isna().all()
    assert probes.loc[declined, "score"].isna().all()
    assert probes.loc[declined, "reason"].str.startswith("Declined").all()
    check_judged(probes)


def test_scores_from_0_to_1_are_noticed():
    async def judge(rubric, query, reply, sample=0):
        return Judgement(0.9 if sample % 2 else 0.1, "")

    probes = search(run_searches, judge=judge).probes
    with pytest.raises(UserError, match="none of 720 scores is over 1"):
        check_judged(probes)


def test_a_gate_filters_and_never_ranks():
    answered = []

    async def target(messages, sample=0, **_):
        answered.append(messages[0]["content"])
        return await echo(messages)

    async def gate(query):
        return len(query.split()) > 3

    probes = search(target=target, gate=gate).probes
    filtered = probes["reason"].str.startswith("Filtered")
    assert 0 < filtered.sum() < len(probes)
    assert len(answered) == (~filtered).sum()
    assert probes.loc[filtered, ["score", "error"]].isna().all(axis=None)
    assert probes.loc[~filtered, "score"].notna().all()


def test_failures_are_distinct_and_from_the_search_only():
    failures = select_failures(search(run_searches).probes)
    assert len(failures)
    assert not failures.duplicated(["query", "response"]).any()
    assert set(failures["arm"]) == {"search"}
    assert failures["score"].is_monotonic_decreasing


def test_queries_that_differ_only_in_case_or_punctuation_are_one_failure():
    probes = pd.DataFrame(
        {
            "rubric": "code",
            "arm": "search",
            "score": 90.0,
            "query": ["Add 1 and 2!", "add 1  and 2", "Add 1 and 3!"],
            "response": ["No.", "no", "No."],
        }
    )
    assert len(select_failures(probes)) == 2
    assert len(select_failures(probes.assign(rubric=["code", "math", "code"]))) == 3


def test_a_prior_is_tried_first():
    prior = np.zeros(len(POOL.sentences))
    prior[[7, 21]] = 5.0
    sizes = {"candidates": 20, "iterations": 1, "runs": 1, "strategy": "cover"}
    probes = search(prior=prior, **sizes).probes
    assert any({7, 21} <= set(attributes) for attributes in probes["attributes"])
