import asyncio

import numpy as np
from planted import RUBRIC, echo, judge, judge_harmless, search

from chunkykit.models import ChatModel
from chunkykit.surf import (
    ROBUSTNESS_COLUMNS,
    confirm_winners,
    judge_fresh_answers,
    look_ranges,
    measure_robustness,
    robustness_by_rubric,
    run_searches,
)
from chunkykit.surf.confirm import FIRST_FRESH_SAMPLE, ROBUSTNESS_SEED, SAMPLES_PER_SEED
from chunkykit.types import Reply


def confirm(probes, target, **sizes):
    model = ChatModel("target", target)
    return asyncio.run(confirm_winners(probes, model, judge, RUBRIC, **sizes))


def answer(queries, **settings):
    model = ChatModel("echo", echo)
    return asyncio.run(judge_fresh_answers(queries, model, judge, RUBRIC, **settings))


def test_winners_are_answered_afresh_and_stand_beside_the_control():
    samples = []

    async def lucky(messages, sample=0, **_):
        samples.append(sample)
        fails = sample < FIRST_FRESH_SAMPLE or sample % 2
        return Reply("7" if fails else "0", "stop")

    probes = search(run_searches, target=lucky).probes
    samples.clear()
    rates, answers = confirm(probes, lucky, prompts=20)
    assert min(samples) >= FIRST_FRESH_SAMPLE
    assert len(answers) == 20
    assert (rates["rate"], rates["n"]) == (0.0, 20)
    assert (rates["control_rate"], rates["control_n"]) == (1.0, 240)
    assert rates["search_n"] == 480


def test_without_winners_there_is_no_rate():
    probes = search(run_searches, judge=judge_harmless).probes
    rates, answers = confirm(probes, echo)
    assert rates["n"] == 0
    assert np.isnan(rates["rate"])
    assert answers.empty


def test_fresh_answers_take_the_queries_in_turn():
    answers = answer(["a", "b"], n=5)
    assert answers["query"].tolist() == ["a", "b", "a", "b", "a"]
    assert answer(["a", "b"], n=1)["query"].tolist() == ["a", "b"]
    assert answer([], n=5).empty


def test_a_winner_is_asked_again_under_its_system_prompt():
    turns_of_calls = []

    async def target(messages, **_):
        turns_of_calls.append([turn["content"] for turn in messages])
        return Reply("7", "stop")

    probes = search(run_searches).probes
    probes["system"] = "Filter: on"
    _, answers = confirm(probes, target, prompts=5)
    assert {turns[0] for turns in turns_of_calls} == {"Filter: on"}
    assert set(answers["system"]) == {"Filter: on"}
    turns_of_calls.clear()
    model = ChatModel("target", target)
    asyncio.run(measure_robustness(probes, reword, model, judge, RUBRIC, winners=2, rewrites=5))
    assert {turns[0] for turns in turns_of_calls} == {"Filter: on"}


async def reword(query, sample):
    """Eight rewrites: the query itself, two equal ones, an error, and four others."""
    if sample == 3:
        raise ValueError("the rewriter gave no whole query (length)")
    if sample == 0:
        return query
    return f"please {query}" if sample < 3 else f"{query} thanks {sample}"


def robustness(target, judge=judge, **sizes):
    probes = search(run_searches, judge=judge).probes
    model = ChatModel("target", target)
    return asyncio.run(measure_robustness(probes, reword, model, judge, RUBRIC, **sizes))


async def refuse_politeness(messages, sample=0, **_):
    """Fails like the planted target, but not where the query says please."""
    if messages[0]["content"].startswith("please"):
        return Reply("0", "stop")
    return await echo(messages)


def test_robustness_compares_fresh_answers_to_winners_and_to_rewrites():
    rows, answers = robustness(refuse_politeness, winners=4, rewrites=8, samples=2)
    assert list(rows.columns) == ROBUSTNESS_COLUMNS
    assert len(rows) == 4
    assert rows["query"].is_unique
    assert set(rows["rubric"]) == {"refusal"}
    assert (rows["rate"] == 1).all()
    assert (rows["original_n"] == 8).all(), "as many answers to the winner as rewrites"
    assert (rows["n"] == 10).all(), "five distinct rewrites, two answers each"
    assert (rows["errors"] == 1).all()
    assert (rows["perturbed_rate"] == 0.8).all()
    assert (rows["low"] < 0.8).all()
    assert (rows["high"] > 0.8).all()
    assert len(answers) == 40
    assert set(answers["original"]) == set(rows["query"])
    assert not set(answers["original"]) & set(answers["query"])


def test_robustness_uses_no_answer_of_the_search_or_its_confirmation():
    samples = []

    async def target(messages, sample=0, **_):
        samples.append(sample)
        return await echo(messages)

    robustness(target, winners=4, rewrites=8, samples=2)
    assert min(samples) >= FIRST_FRESH_SAMPLE + ROBUSTNESS_SEED * SAMPLES_PER_SEED


def test_robustness_is_summed_over_a_rubric():
    rows, _ = robustness(refuse_politeness, winners=4, rewrites=8, samples=2)
    total = robustness_by_rubric(rows).iloc[0]
    assert (total["original_n"], total["n"]) == (32, 40)
    assert total["perturbed_rate"] == 0.8
    assert total["low"] > rows["low"].max(), "more answers make a narrower interval"


def test_failed_answers_to_rewrites_are_errors_not_zeros():
    async def down(messages, sample=0, **_):
        raise TimeoutError("no answer")

    rows, answers = robustness(down, winners=2, rewrites=4, samples=1)
    assert (rows["n"] == 0).all()
    assert rows["perturbed_rate"].isna().all()
    assert (rows["errors"] == 4 + 1 + 1).all(), "answers to the winner, to a rewrite, the rewriter"
    assert answers["score"].isna().all()
    total = robustness_by_rubric(rows)
    assert total["n"].tolist() == [0]
    assert np.isnan(total["rate"][0])


def test_robustness_without_winners_is_an_empty_table():
    rows, answers = robustness(echo, judge=judge_harmless)
    assert list(rows.columns) == ROBUSTNESS_COLUMNS
    assert rows.empty
    assert answers.empty
    assert robustness_by_rubric(rows).empty


def test_confirming_ends_at_the_look_where_the_rate_is_apart_from_that_of_the_control_arm():
    probes = search(run_searches).probes
    rates, answers = confirm(probes, echo, prompts=20, look=8)
    assert len(answers) == rates["n"] == 8
    assert rates["low"] > rates["control_high"]
    assert answers.equals(confirm(probes, echo, prompts=20)[1].head(8)), "the first of all answers"

    async def harmless(messages, sample=0, **_):
        return Reply("0", "stop")

    assert confirm(probes, harmless, prompts=20, look=8)[0]["n"] == 20, "it stays undecided"


def test_looks_divide_all_answers():
    assert look_ranges(20, 8) == [range(0, 8), range(8, 16), range(16, 20)]
    assert look_ranges(20, None) == [range(20)]
    assert look_ranges(0, 8) == look_ranges(0, None) == []
