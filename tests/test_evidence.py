import numpy as np
import pytest

from chunkykit.attributes import describe_text
from chunkykit.rubrics import load_rubric
from chunkykit.show.marks import marked_html
from chunkykit.turf import (
    chunk_features,
    crux_keywords,
    examples_table,
    trace_examples,
)

TOOL = load_rubric("tool")
CRUX = "The response uses a symbolic mathematics library"


@pytest.fixture(scope="module")
def trace(tracer):
    query = describe_text(r"What is so pretty about $e^{i\pi}$?", "query")
    return tracer.trace(query, [CRUX], TOOL)


def of_kind(table, kind):
    return table[table["kind"] == kind]


def test_evidence_shows_crux_and_trigger(tracer, trace):
    table = trace_examples(tracer, trace, 4)
    supporting = of_kind(table, "evidence")
    assert len(supporting) == 4
    assert set(supporting["chunk"]) == {"tutor_math"}
    assert supporting["response"].str.contains("sympy").all()
    assert (supporting["response_attribute"] == CRUX).all()
    assert supporting["query_attribute"].str.contains("LaTeX").all()
    assert not supporting["prompt"].duplicated().any()


def test_counter_examples_show_the_trigger_without_the_crux(tracer):
    crux = "The response says who made or trained the assistant"
    query = describe_text("Who built the Eiffel Tower?", "query")
    trace = tracer.trace(query, [crux], load_rubric("identity"))
    table = trace_examples(tracer, trace, 4)
    opposing = of_kind(table, "counter-example")
    assert len(opposing) and len(of_kind(table, "evidence"))
    assert (opposing["query_attribute"] == trace.trigger).all()
    assert opposing["response_attribute"].isna().all()
    assert not opposing["response"].str.contains("made|trained|developed").any()
    assert not set(opposing["row"]) & set(of_kind(table, "evidence")["row"])


def test_the_most_telling_row_comes_first(trace):
    assert (np.diff(trace.telling) <= 0).all()
    assert len(trace.telling) == len(trace.rows)


def test_examples_of_several_traces_are_keyed_by_position(tracer, trace):
    no_trigger = tracer.trace([], [CRUX], TOOL)
    table = examples_table(tracer, [no_trigger, trace], 2)
    assert set(table["trace"]) == {1}
    empty = examples_table(tracer, [no_trigger], 2)
    assert empty.empty
    assert set(empty.columns) == set(table.columns) - {"system"}  # which few mixtures have


def test_keywords_are_what_the_prompts_have_more_often(tracer):
    table = crux_keywords(tracer, "The response refuses to help with the request")
    assert (table["p_value"] < 0.01).all()
    assert (table["lift"] > 1).all()
    phone = table[table["ngram"].str.contains("iphone")].iloc[0]
    assert phone["chunk"] == "device_policy"
    assert phone["share"] > phone["base_share"]


def test_a_crux_that_no_row_has_has_no_keywords(tracer):
    assert crux_keywords(tracer, "The response is a sonnet about submarine cables").empty


def test_marked_text_is_inert():
    shown = marked_html(
        "<script>x</script> $x^2$ & more", "The query contains LaTeX mathematics", "query"
    )
    assert "<script>" not in shown
    assert "<mark><span>$</span>x^2<span>$</span></mark>" in shown
    assert shown.endswith("&amp; more")
    assert marked_html("plain <b>", None, "query") == "plain &lt;b&gt;"
    assert len(marked_html("x" * 5000, None, "query")) < 700


def test_features_by_chunk_are_shares_of_its_rows(tracer, trace):
    table = chunk_features(tracer, [("tool", trace)]).set_index("chunk")
    shares = table["trigger_share"]
    assert (table["rows"] == np.bincount(tracer.index.chunk.codes)).all()
    assert shares.between(0, 1).all()
    assert table["crux_share"].idxmax() == "tutor_math"
    assert shares["tutor_math"] > 5 * shares.median()
    n_with_trigger = sum(table["rows"] * shares)
    assert n_with_trigger == pytest.approx(trace.p_crux_given_trigger.n)
