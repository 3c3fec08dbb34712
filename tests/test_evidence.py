import numpy as np
import pytest

from chunkykit.attributes import describe_text
from chunkykit.rubrics import load_rubric
from chunkykit.show.marks import marked_html
from chunkykit.turf import Tracer, chunk_features, crux_keywords, trace_examples

TOOL = load_rubric("tool")


@pytest.fixture
def latex(demo_index, embedder):
    tracer = Tracer(demo_index, embedder)
    query = describe_text(r"What is so pretty about $e^{i\pi}$?", "query")
    return tracer, tracer.trace(query, ["The response uses a symbolic mathematics library"], TOOL)


def test_examples_for_and_against(latex):
    tracer, traced = latex
    table = trace_examples(tracer, traced, 4)
    for_it, against = (table[table["kind"] == kind] for kind in ("evidence", "counter-example"))
    assert len(for_it) == 4 and set(for_it["chunk"]) == {"tool_math"}
    assert (
        for_it["response"].str.contains("sympy").all()
        and (
            for_it["response_attribute"] == "The response uses a symbolic mathematics library"
        ).all()
    )
    assert table["query_attribute"].str.contains("LaTeX").all()
    assert (
        against["response_attribute"].isna().all()
        and not against["response"].str.contains("sympy").any()
    )


def test_the_most_telling_row_comes_first(latex):
    tracer, traced = latex
    clusters = traced.candidates["cluster"].unique()
    alike = np.isin(tracer.index.query.clusters[traced.rows], clusters).sum(axis=1)
    assert (np.diff(alike) <= 0).all() and alike[0] > alike[-1]


def test_keywords_are_what_the_prompts_have_more_often(demo_index, embedder):
    tracer = Tracer(demo_index, embedder)
    table = crux_keywords(tracer, "The response refuses to help with the request")
    assert (
        table["ngram"].str.contains("iphone").any()
        and (table["p_value"] < 0.01).all()
        and (table["lift"] > 1).all()
    )
    phone = table[table["ngram"].str.contains("iphone")].iloc[0]
    assert phone["chunk"] == "device_policy" and phone["share"] > phone["base_share"]
    assert crux_keywords(tracer, "The response is a sonnet about submarine cables in Iceland").empty


def test_marked_text_is_inert(latex):
    shown = marked_html(
        "<script>x</script> $x^2$ & more", "The query contains LaTeX mathematics", "query"
    )
    assert (
        "<script>" not in shown
        and "<mark><span>$</span>x^2<span>$</span></mark>" in shown
        and shown.endswith("&amp; more")
    )
    assert marked_html("plain <b>", None, "query") == "plain &lt;b&gt;"
    assert len(marked_html("x" * 5000, None, "query")) < 700


def test_features_by_chunk_are_shares_of_its_rows(latex):
    tracer, traced = latex
    table = chunk_features(tracer, [("tool", traced)]).set_index("chunk")
    assert (table["rows"] == np.bincount(tracer.index.chunk.codes)).all() and table[
        "trigger_share"
    ].between(0, 1).all()
    assert (
        table["crux_share"].idxmax() == "tool_math"
        and table.loc["tool_math", "trigger_share"] > 5 * table["trigger_share"].median()
    )
    both = sum(table["rows"] * table["trigger_share"])
    assert both == pytest.approx(traced.p_crux_given_trigger.n)
