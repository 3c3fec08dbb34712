"""Traces of failures that a language model described, with its own cruxes.

By the embedder that installs everywhere; `benchmarks/described.py` has the better one.
"""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from sklearn.feature_extraction.text import TfidfVectorizer
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
    return pd.DataFrame([json.loads(line) for line in lines])


@pytest.fixture(scope="module")
def rows(records):
    return records[records["kind"] == "row"].reset_index(drop=True)


@pytest.fixture(scope="module")
def failures(records):
    return records[records["kind"] == "fail"].reset_index(drop=True)


def make_tracer(rows, responses, embedder):
    """A tracer over rows whose response attributes are given beside them."""
    table = rows[["chunk", "prompt", "response"]].assign(row=rows.index)
    index = index_from_attributes(table, list(rows["query_attributes"]), responses, embedder)
    return Tracer(index, embedder)


def pairs_of(failures):
    return list(zip(failures["query_attributes"], failures["crux"]))


@pytest.fixture(scope="module")
def tracer(rows, embedder):
    return make_tracer(rows, list(rows["response_attributes"]), embedder)


def separation(sentences, chunks, rows):
    """AUC of each chunk's rows by their nearest attribute, by words alone: no embedder agrees."""
    attributes = rows["query_attributes"].explode()
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectors = vectorizer.fit_transform(attributes)
    cosines = (vectorizer.transform(sentences) @ vectors.T).toarray()
    nearness = pd.DataFrame(cosines.T, index=attributes.index).groupby(level=0).max()
    is_in = [rows["chunk"] == chunk for chunk in chunks]
    return np.array([roc_auc_score(truth, nearness[i]) for i, truth in enumerate(is_in)])


def test_the_right_chunk_comes_first_and_triggers_separate_it(tracer, rows, failures):
    traces = tracer.trace_all(pairs_of(failures), REBUT)
    first = [next(iter(trace.chunks["chunk"]), None) for trace in traces]
    assert (failures["chunk"] == first).sum() >= 67, "TF-IDF of the texts reaches that"
    is_named = np.array([trace.trigger is not None for trace in traces])
    assert is_named.sum() >= 50
    triggers = [trace.trigger for trace in traces if trace.trigger]
    aucs = separation(triggers, failures.loc[is_named, "chunk"], rows)
    assert (aucs >= MIN_AUC).mean() >= 0.8


def test_shuffled_responses_have_hardly_any_trigger(rows, failures, embedder):
    order = np.random.default_rng(11).permutation(len(rows))
    shuffled = [rows["response_attributes"][i] for i in order]
    tracer = make_tracer(rows, shuffled, embedder)
    has_crux = failures["crux"].str.len() > 0
    traces = tracer.trace_all(pairs_of(failures[has_crux]), REBUT)
    assert sum(trace.trigger is not None for trace in traces) <= 0.05 * len(traces)
