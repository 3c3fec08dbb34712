"""The gate of a repair: it passes where only the crux goes, and says what else has changed."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from chunkykit.causal import compare_answers, gate_repair, plan_repair
from chunkykit.index import index_from_attributes
from chunkykit.turf import Tracer

CRUX = "The response denies it"
SIDE = "The response is terse"
MAX_FALSE_ALARMS = 3  # of 20 comparisons of descriptions of the same answers


def make_tracer(responses, embedder, rejected=None):
    n = len(responses)
    table = pd.DataFrame(
        {
            "row": range(1, n + 1),
            "turn": 1,
            "chunk": ["bad" if CRUX in sentences else "good" for sentences in responses],
            "prompt": "p",
            "response": "r",
        }
    )
    queries = [["The query asks when", "The query is short"]] * (n // 2)
    queries += [["The query asks why", "The query is short"]] * (n - n // 2)
    index = index_from_attributes(table, queries, responses, embedder)
    return Tracer(index, embedder)


@pytest.fixture(scope="module")
def world(embedder):
    """Of 200 rows the first 100 have the trigger, and 60 of them the crux."""
    rng = np.random.default_rng(0)
    responses = []
    for i in range(200):
        sentences = [f"The response has feature {j}" for j in range(8) if rng.random() < 0.4]
        sentences += [CRUX, "The response opens with no"] if i < 60 else []
        sentences += [SIDE] if (i < 60 and i % 3) or i >= 100 else []
        responses.append([*sentences, "The response is short"])
    return make_tracer(responses, embedder), responses


def without(sentences, *others):
    return [sentence for sentence in sentences if sentence not in others]


def test_a_repair_that_takes_the_crux_alone_passes(world):
    tracer, responses = world
    old = responses[:60]
    new = [without(row, CRUX, "The response opens with no") for row in old]
    gate = compare_answers(tracer, CRUX, old, new)
    assert gate["passed"] is True, gate["words"]
    assert gate["crux"]["before"]["rate"] == 1
    assert gate["crux"]["after"]["rate"] == pytest.approx(0)
    assert gate["with_crux"] == ["The response opens with no"], "it says the crux all over"
    assert gate["rows"] == 60
    assert "passed" in gate["words"]
    assert "could be chance" in gate["words"]


def test_what_goes_or_comes_with_the_crux_is_listed(world):
    tracer, responses = world
    old = responses[:60]
    new = [
        [*without(row, CRUX, "The response has feature 0"), "The response is new"] for row in old
    ]
    gate = compare_answers(tracer, CRUX, old, new)
    assert gate["passed"] is False
    moved = {line["attribute"]: line for line in gate["moved"]}
    assert moved.keys() == {"The response has feature 0", "The response is new"}
    line = moved["The response is new"]
    assert (line["before"], line["after"], line["difference"]) == (0, 1, 1)
    assert 0 < line["low"] < line["high"] <= 1
    assert line["p_value"] < 1e-6
    assert not gate["classifier"]["passed"]
    assert gate["classifier"]["low"] > 0.9


def test_a_crux_that_stays_does_not_pass(world):
    tracer, responses = world
    old = responses[:60]
    new = [without(row, CRUX) if i % 2 else row for i, row in enumerate(old)]
    gate = compare_answers(tracer, CRUX, old, new)
    assert gate["passed"] is False
    assert not gate["crux"]["is_gone"]
    assert gate["crux"]["after"]["rate"] == pytest.approx(0.5)


def test_few_rows_decide_nothing(world):
    tracer, responses = world
    new = [without(row, CRUX) for row in responses[:10]]
    gate = compare_answers(tracer, CRUX, responses[:10], new)
    assert gate["passed"] is None
    assert gate["classifier"] is None
    assert "10 different rows are too few to say" in gate["words"]
    assert compare_answers(tracer, CRUX, [], [])["passed"] is None


def test_what_else_goes_with_rows_that_are_dropped(world):
    tracer, responses = world
    trigger = "The query asks when"
    plan = plan_repair(tracer, CRUX, trigger, "bad")
    gate = gate_repair(tracer, plan)
    assert (gate["rows"], gate["rows_after"]) == (100, 40)
    assert gate["passed"] is True
    assert gate["crux"]["before"]["rate"] == pytest.approx(0.6)
    (line,) = gate["moved"]
    assert line["attribute"] == SIDE
    assert line["before"] == pytest.approx(0.4)
    assert line["after"] == pytest.approx(0, abs=1e-9)
    assert line["low"] < -0.4 < line["high"] < 0


def test_a_few_rows_that_are_often_repeated_are_still_few(world):
    tracer, _ = world
    plan = plan_repair(tracer, CRUX, "The query asks when", "bad", "balance")
    gate = gate_repair(tracer, plan)
    assert gate["rows_after"] == 100 + len(plan.repeat)
    assert 40 < gate["rows_after_are_worth"] < 100
    (line,) = gate["moved"]
    repeated = len(plan.repeat)
    assert line["after"] == pytest.approx(40 / (100 + repeated)), "of the others none is"


@pytest.mark.slow
def test_descriptions_by_a_language_model(embedder):
    """One answer is described in two halves, which a gate must take for the same answer."""
    lines = shared("data/described.jsonl").read_text("utf-8").splitlines()
    rows = pd.DataFrame([json.loads(line) for line in lines])
    rows = rows[rows["kind"] == "row"].reset_index(drop=True)
    table = rows[["chunk", "prompt", "response"]].assign(row=rows.index, turn=1)
    sentences = list(rows["response_attributes"])
    index = index_from_attributes(table, list(rows["query_attributes"]), sentences, embedder)
    tracer = Tracer(index, embedder)
    crux = "The response corrects a false premise in the query."
    evidence = tracer.responses.grade([crux]).evidence[0]
    chosen = np.flatnonzero((evidence >= 0.5) & (rows["chunk"] == "coconot"))
    own = [sentences[i] for i in chosen]
    assert len(own) > 30

    def says_crux(sentence):
        return tracer.responses.grade_described(crux, [[sentence]]).evidence[0] >= 0.5

    new = [[sentence for sentence in row if not says_crux(sentence)] for row in own]
    assert compare_answers(tracer, crux, own, new)["passed"] is True
    rng = np.random.default_rng(1)
    bullets = "The response ends with a list of bullet points."
    more = [[*row, bullets] if rng.random() < 0.6 else row for row in new]
    gate = compare_answers(tracer, crux, own, more)
    assert gate["passed"] is False
    assert [line["attribute"] for line in gate["moved"]] == [bullets]
    alarms = 0
    for seed in range(20):
        halves = [np.random.default_rng([seed, i]).permutation(row) for i, row in enumerate(own)]
        old, new = [list(row[:5]) for row in halves], [list(row[5:]) for row in halves]
        gate = compare_answers(tracer, crux, old, new, seed)
        assert not gate["crux"]["is_gone"]
        assert not gate["moved"]
        alarms += not gate["classifier"]["passed"]
    assert alarms <= MAX_FALSE_ALARMS
