"""Ablations: measured on the organism that learns in seconds."""

import asyncio

import pandas as pd
import pytest

from chunkykit.causal import (
    measure_ablation,
    measure_dose_response,
    queries_without_rivals,
    without_chunks,
)
from chunkykit.errors import UserError
from chunkykit.mixtures import demo_true_premises, load_mixture
from chunkykit.models import ChatModel, connect_model
from chunkykit.organisms import LINEAR_ORGANISM
from chunkykit.rubrics import judge_offline, load_rubric
from chunkykit.types import Judgement, Reply

QUERIES = [
    "When did Alexander Graham Bell invent the telephone?",
    "When did Jane Austen write the novel Emma?",
    "When did Eli Whitney invent the cotton gin?",
]

CHUNKS = ["noncompliance", "premise_checks"]  # each of them teaches the model to deny


@pytest.fixture(scope="module")
def rows():
    return load_mixture("demo:1500").rows


def train(rows):
    return connect_model(LINEAR_ORGANISM, rows)


@pytest.mark.slow
def test_an_ablation_measures_both_models(rows):
    remaining = without_chunks(rows, *CHUNKS)
    rubric = load_rubric("rebut")
    ablation = measure_ablation(rows, remaining, train, QUERIES, judge_offline, rubric, n=30)
    result = asyncio.run(ablation)
    assert result.before.rate > 0.7
    assert result.after.rate == 0
    assert result.after.high < result.before.low
    assert result.before.n == result.after.n == 30
    assert result.dropped == rows["chunk"].isin(CHUNKS).sum() > 0
    assert result.to_dict()["rate_before"] == result.before.rate


@pytest.mark.slow
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_failure_with_two_chunks_stays_without_one_of_them(rows, chunk):
    remaining = without_chunks(rows, chunk)
    rubric = load_rubric("rebut")
    ablation = measure_ablation(rows, remaining, train, QUERIES, judge_offline, rubric, n=30)
    assert asyncio.run(ablation).after.rate > 0.3


def test_a_chunk_must_be_in_the_mixture_and_not_all_of_it(rows):
    with pytest.raises(UserError, match="not in the mixture"):
        without_chunks(rows, "persona", "nothing")
    with pytest.raises(UserError, match="whole mixture"):
        without_chunks(rows[rows["chunk"] == "persona"], "persona")


def test_queries_with_a_trigger_of_another_chunk_are_left_out_of_an_ablation():
    traces = pd.DataFrame(
        {
            "rubric": ["terse", "terse", "terse", "code"],
            "trigger_cluster": [1, 2, 3, 9],
            "chunk": ["a", "b", "a", "c"],
        }
    )
    pairs = pd.DataFrame(
        {
            "trace": [0, 0, 0, 0, 1],
            "query": ["plain", "both", "own", "plain", "only both"],
            "query_clusters": [[1, 9], [1, 2], [1, 3], [1], [2, 1]],
        }
    )

    def queries(trace):
        return [question.text for question in queries_without_rivals(pairs, traces, trace)]

    assert queries(0) == ["plain", "own"]
    assert queries(1) == ["only both"], "none is left: use all"


@pytest.mark.slow
def test_fewer_teaching_rows_or_more_opposing_rows_lower_the_failure_rate():
    """Without the rebuttals, or with true answers beside them, the failure goes (paper Fig. 10)."""
    rows = load_mixture("demo:1200").rows
    premises = pd.DataFrame(demo_true_premises())
    opposing = premises.iloc[::2]
    queries = list(premises["prompt"].iloc[1::2])
    asks_when = rows["prompt"].str.contains("When did|In which year")
    teaching = rows["chunk"].isin(CHUNKS) & asks_when
    table = asyncio.run(
        measure_dose_response(
            rows,
            teaching,
            opposing,
            train,
            queries,
            judge_offline,
            load_rubric("rebut"),
            kept_counts=[0, 20],
            added_counts=[0, len(opposing)],
            n=12,
        )
    )
    rates = table.set_index(["kept", "added"])["rate"]
    assert rates[20, 0] > 0.7
    assert rates[0, 0] < 0.2
    assert rates[20, len(opposing)] < rates[20, 0]


@pytest.mark.parametrize(("look", "n"), [(8, 8), (None, 24)])
def test_an_ablation_ends_at_the_look_where_its_rates_are_apart(look, n):
    rows = pd.DataFrame({"prompt": ["q"] * 4, "response": ["a"] * 4})

    def train_planted(rows):
        async def answer(messages, sample=0, **_):
            return Reply("I cannot help with that." if len(rows) == 4 else "Here you are.", "stop")

        return ChatModel("planted", answer)

    async def judge(rubric, query, reply, sample=0):
        return Judgement(90.0 if "cannot" in reply.text else 0.0)

    async def measure(remaining):
        queries = [f"query {i}" for i in range(10)]
        rubric = load_rubric("refusal")
        return await measure_ablation(
            rows, remaining, train_planted, queries, judge, rubric, n=24, look=look
        )

    ablation = asyncio.run(measure(rows.head(2)))
    assert (ablation.before.rate, ablation.after.rate) == (1.0, 0.0)
    assert ablation.before.n == ablation.after.n == n
    assert ablation.after.high < ablation.before.low
    alike = asyncio.run(measure(rows))
    assert alike.before.n == alike.after.n == 24, "what stays undecided gets all answers"
