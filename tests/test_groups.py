import numpy as np
import pytest
from model_world import describe_chunk, model_index

from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer
from chunkykit.turf.groups import coverage_of

REBUT = load_rubric("rebut")


@pytest.fixture(scope="module")
def tracer(minilm):
    return Tracer(model_index(minilm), minilm)


def exchanges(chunk, n, seed=100):
    rng = np.random.default_rng(seed)
    described = [describe_chunk(chunk, rng) for _ in range(n)]
    return [(query, response[:1]) for query, response in described]


def test_exchanges_of_one_kind_are_one_group_with_one_sentence(tracer):
    pairs = exchanges("births", 8)
    groups = tracer.trace_group(pairs, REBUT)
    first = groups[0]
    assert len(first.members) >= 6
    assert first.chunks["chunk"][0] == "births"
    assert first.separation.low > 0.5
    assert first.attribute is None, "a group has no query of its own"
    members = [i for group in groups for i in group.members]
    assert len(set(members)) == len(members) >= 7, "one alone makes no group"


def test_two_kinds_are_two_groups_with_their_own_chunks(tracer):
    pairs = exchanges("births", 6) + exchanges("code", 6)
    groups = [group for group in tracer.trace_group(pairs, REBUT) if group.trigger]
    by_kind = {"births": range(6), "code": range(6, 12)}
    for group in groups:
        chunk = group.chunks["chunk"][0]
        own = set(by_kind[chunk]).intersection(group.members)
        assert len(own) >= 0.8 * len(group.members)
    assert {group.chunks["chunk"][0] for group in groups} == set(by_kind)


def test_exchanges_that_name_no_trigger_are_a_group_too(tracer):
    pairs = exchanges("births", 4)
    nothing = [(["The query is about glaciers"], ["The response praises the moon"])] * 4
    groups = tracer.trace_group(pairs + nothing, REBUT)
    unnamed = [group for group in groups if group.trigger is None]
    assert [group.members for group in unnamed] == [(4, 5, 6, 7)]
    assert unnamed[0].explanation.startswith("No trigger found")


def test_a_single_exchange_is_a_group_of_its_own(tracer):
    (pair,) = exchanges("births", 1)
    (group,) = tracer.trace_group([pair], REBUT)
    assert group.members == (0,)
    assert group.trigger == tracer.trace(*pair, REBUT).trigger


def test_no_exchanges_are_no_groups(tracer):
    assert tracer.trace_group([], REBUT) == []


def test_coverage_is_high_where_a_query_says_so_in_any_words(tracer):
    queries = [query for query, _ in exchanges("births", 5) + exchanges("code", 5)]
    sentence = "The query asks for the date of a birth"
    (coverage,) = coverage_of(tracer, [*queries, []], [sentence])
    assert np.median(coverage[:5]) > np.median(coverage[5:10])
    assert coverage[10] == 0, "a query without attributes says nothing"
    assert coverage_of(tracer, queries, []).shape == (0, 10)
