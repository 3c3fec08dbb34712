"""Traces of failures that a language model described, with its own cruxes."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from sklearn.metrics import roc_auc_score

from chunkykit.index import index_from_attributes
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer

REBUT = load_rubric("rebut")
MIN_AUC = 0.7  # of a trigger that separates the rows of its chunk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records():
    lines = shared("data/described.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def make_index(rows, responses, embed):
    """An index of rows whose response attributes are given beside them."""
    table = pd.DataFrame(rows)[["chunk", "prompt", "response"]].assign(row=range(len(rows)))
    queries = [row["query_attributes"] for row in rows]
    return index_from_attributes(table, queries, responses, embed)


@pytest.fixture(scope="module")
def rows(records):
    return [record for record in records if record["kind"] == "row"]


@pytest.fixture(scope="module")
def failures(records):
    return [record for record in records if record["kind"] == "fail"]


@pytest.fixture(scope="module")
def index(rows, minilm):
    return make_index(rows, [row["response_attributes"] for row in rows], minilm)


@pytest.fixture(scope="module")
def traces(index, failures, minilm):
    pairs = [(failure["query_attributes"], failure["crux"]) for failure in failures]
    return Tracer(index, minilm).trace_all(pairs, REBUT)


def separates(sentence, rows, chunk, embed) -> bool:
    """Whether the rows of a chunk are nearer to a sentence than the others, by another embedder."""
    vector = embed([sentence])[0]
    nearness = [(embed(row["query_attributes"]) @ vector).max() for row in rows]
    return roc_auc_score([row["chunk"] == chunk for row in rows], nearness) >= MIN_AUC


def test_the_right_chunk_comes_first_and_triggers_separate_it(traces, rows, failures, embedder):
    first = sum(
        trace.chunks["chunk"][0] == failure["chunk"]
        for trace, failure in zip(traces, failures)
        if len(trace.chunks)
    )
    assert first >= 74, "TF-IDF of the texts reaches 67 of 80, nearest texts 69"
    named = [(t.trigger, f["chunk"]) for t, f in zip(traces, failures) if t.trigger]
    assert len(named) >= 64
    wanted = Counter(named)
    right = sum(n for (s, c), n in wanted.items() if separates(s, rows, c, embedder))
    assert right >= 0.9 * len(named)


def test_the_rebuttals_are_told_together_in_general_words(index, failures, minilm):
    rebuttals = [failure for failure in failures if failure["chunk"] == "coconot"]
    pairs = [(failure["query_attributes"], failure["crux"]) for failure in rebuttals]
    group = Tracer(index, minilm).trace_group(pairs, REBUT)[0]
    assert len(group.members) >= len(rebuttals) / 2
    assert group.chunks["chunk"][0] == "coconot"
    assert group.trigger and group.separation.low > 0.7


def test_shuffled_responses_have_hardly_any_trigger(rows, failures, minilm):
    order = np.random.default_rng(11).permutation(len(rows))
    shuffled = make_index(rows, [rows[i]["response_attributes"] for i in order], minilm)
    pairs = [(f["query_attributes"], f["crux"]) for f in failures if f["crux"]]
    traces = Tracer(shuffled, minilm).trace_all(pairs, REBUT)
    assert sum(trace.trigger is not None for trace in traces) <= 0.05 * len(traces)
