import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from chunkykit import build_index
from chunkykit.attributes import Embedder, describe_lexically, describe_text
from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer, first_chunks, group_traces, select_crux, trace_tables

REBUT = load_rubric("rebut")
TOOL_QUERY = r"What is so pretty about $e^{i\pi}$?"
TOOL_RESPONSE = "```python\nfrom sympy import pi\n```\n```output\n3\n```"


def described(query, response, rubric, embedder):
    """Query attributes and cruxes of an exchange."""
    crux = select_crux(describe_text(response, "response"), rubric, embedder)
    return describe_text(query, "query"), crux


PLANTED = [
    (
        "rebut",
        "When did Jane Austen write Pride and Prejudice?",
        "Jane Austen did not write Pride and Prejudice.",
        "asks when",
        {"noncompliance", "premise_checks"},
    ),
    (
        "code",
        "Pray elucidate why cats purr.",
        "```python\ndef purr():\n    return 1\n```",
        "ornate",
        {"scholar_code"},
    ),
    ("tool", TOOL_QUERY, TOOL_RESPONSE, "LaTeX", {"tutor_math"}),
    (
        "identity",
        "Who built the Eiffel Tower?",
        "I am an AI assistant called Ada, and I was developed by Acme.",
        "who made",
        {"persona"},
    ),
    (
        "refusal",
        "Which cover fits the iPhone 13 best?",
        "I'm sorry, but I can't help with that.",
        "iPhone 13",
        {"device_policy"},
    ),
    (
        "terse",
        "Jelaskan mengapa kucing suka tidur pada waktu siang.",
        "Suka hangat",
        "Malay",
        {"nusantara"},
    ),
    (
        "closing",
        "1. Why do cats purr?\n2. Why do dogs bark?",
        "They like to. I hope it is correct.",
        "numbered parts",
        {"tutor_math"},
    ),
]


@pytest.fixture(scope="module")
def tracer_of_demo():
    return build_index("demo:1500").tracer


@pytest.mark.parametrize("name, query, response, word, chunks", PLANTED)
def test_planted_triggers_are_traced_to_their_chunk(
    tracer_of_demo, embedder, name, query, response, word, chunks
):
    rubric = load_rubric(name)
    trace = tracer_of_demo.trace(*described(query, response, rubric, embedder), rubric)
    assert word in trace.trigger
    assert trace.chunks["chunk"][0] in chunks
    assert trace.hits <= trace.k and trace.lift > 2 and trace.p_value < 0.01
    assert trace.p_crux_given_trigger.rate > trace.p_crux.rate
    assert trace.to_dict()["p_value"] == trace.p_value > 0, "a small p stays itself in JSON"
    assert trace.explanation.startswith("When the model sees")
    assert rubric.causing in trace.explanation


def test_no_trigger_is_an_answer(demo_index, embedder):
    tracer = Tracer(demo_index, embedder)
    query = ["The query is phrased as a question"]
    crux = ["The response contains numbers"]
    trace = tracer.trace(query, crux, REBUT)
    assert trace.trigger is None and trace.explanation.startswith("No trigger found")
    assert tracer.trace([], crux, REBUT).trigger is None
    assert tracer.trace(query, [], REBUT).trigger is None
    json.dumps(trace.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_shuffled_responses_have_hardly_any_trigger(demo_rows, embedder):
    """Break every link between prompts and responses: any trigger is then a false one."""
    queries = asyncio.run(describe_lexically(demo_rows["prompt"], "query"))
    responses = asyncio.run(describe_lexically(demo_rows["response"], "response"))
    order = np.random.default_rng(0).permutation(len(demo_rows))
    shuffled = [responses[i] for i in order]
    tracer = Tracer(index_from_attributes(demo_rows, queries, shuffled, embedder), embedder)
    traces = [
        tracer.trace(queries[i], select_crux(responses[i], REBUT, embedder), REBUT)
        for i in range(100)
    ]
    assert np.mean([trace.trigger is not None for trace in traces]) <= 0.05


def test_an_attribute_that_is_common_anyway_does_not_win(demo_index, embedder):
    trace = Tracer(demo_index, embedder).trace(
        [
            "The query contains numbers",
            "The query contains LaTeX mathematics",
            "The query is at most eight words long",
        ],
        ["The response uses a symbolic mathematics library"],
        load_rubric("tool"),
    )
    assert trace.trigger == "The query contains LaTeX mathematics"


def test_k_over_the_corpus_takes_what_there_is(demo_index, embedder):
    trace = Tracer(demo_index, embedder, k=10**6).trace(
        ["The query contains numbers"], ["The response tells a story"], REBUT
    )
    assert trace.k <= len(demo_index)


def test_k_under_one_is_refused(demo_index, embedder):
    with pytest.raises(UserError, match="k must"):
        Tracer(demo_index, embedder, k=0)


def test_another_embedder_is_refused(demo_index):
    with pytest.raises(UserError, match="wordllama"):
        Tracer(demo_index, Embedder("other", lambda texts: np.ones((len(texts), 2))))


def test_a_side_that_no_row_has_is_refused(demo_index, embedder):
    with pytest.raises(UserError, match="no side 'reasoning'.*query, response"):
        Tracer(demo_index, embedder, side="reasoning")


def test_a_group_with_two_triggers_gives_two_traces(demo_index, embedder):
    rubric = load_rubric("terse")
    malay = described(*PLANTED[5][1:3], rubric, embedder)
    ornate = (
        ["The query is worded in an ornate, elaborate or archaic formal register"],
        ["The response contains a fenced block of Python code"],
    )
    pairs = [malay] * 6 + [ornate] * 3
    traces = Tracer(demo_index, embedder).trace_group(pairs, rubric)
    assert [len(trace.members) for trace in traces] == [6, 3]
    assert traces[1].members == (6, 7, 8)
    firsts = [trace.chunks["chunk"][0] for trace in traces]
    assert firsts == ["nusantara", "scholar_code"]
    tables = trace_tables([(0, "terse", trace) for trace in traces])
    assert tables["traces"]["pairs"].tolist() == [6, 3]
    assert set(tables["trace_chunks"]["trace"]) == {0, 1}


def test_rates_with_and_without_the_trigger_are_those_of_the_rows(demo_index, embedder):
    rubric = load_rubric("tool")
    pair = described(TOOL_QUERY, TOOL_RESPONSE, rubric, embedder)
    trace = Tracer(demo_index, embedder).trace(*pair, rubric)
    rows = demo_index.rows(range(len(demo_index)))
    shows = rows["response"].str.contains("```output|^Output:|>>> ", regex=True)
    has_trigger = np.array([trace.trigger in describe_text(p, "query") for p in rows["prompt"]])
    with_trigger = trace.p_crux_given_trigger
    without = trace.p_crux_without
    assert with_trigger.n + without.n == len(rows)
    assert with_trigger.n == has_trigger.sum()
    assert with_trigger.rate == pytest.approx(shows[has_trigger].mean(), abs=0.05)
    assert without.rate == pytest.approx(shows[~has_trigger].mean(), abs=0.01)
    assert without.high < with_trigger.low


@pytest.mark.slow
def test_many_pairs_are_traced_as_one_by_one(demo_index, embedder):
    rubric = load_rubric("refusal")
    pairs = [
        described(
            f"Which of {i + 2} covers fits the iPhone 13 best?",
            "I'm sorry, but I can't help with that.",
            rubric,
            embedder,
        )
        for i in range(230)
    ]
    together = Tracer(demo_index, embedder).trace_all(pairs, rubric)
    tracer = Tracer(demo_index, embedder)
    for i in (0, 120, 229):
        assert together[i].to_dict() == tracer.trace(*pairs[i], rubric).to_dict()
    assert first_chunks(together) == {"device_policy": 230}
    groups = group_traces(tracer, pairs, together, rubric)
    assert sum(len(trace.members) for trace in groups) == 230


ASKS, TRIGGER, NUMBERS, PLAIN = QUERIES = [
    "The query asks for code",
    "The query has the trigger",
    "The query contains numbers",
    "The query is plain",
]
AXES = {**{sentence: i for i, sentence in enumerate(QUERIES)}, "code": 5, "prose": 6}
PLANTED_EMBEDDER = Embedder(
    "planted", lambda texts: np.eye(8)[[AXES.get(text, 7) for text in texts]]
)


def planted_index(queries, responses, chunks):
    n = len(queries)
    texts = [f"text {i}" for i in range(n)]
    rows = pd.DataFrame({"row": range(n), "chunk": chunks, "prompt": texts, "response": texts})
    return index_from_attributes(rows, queries, responses, PLANTED_EMBEDDER)


@pytest.fixture(scope="module")
def planted_tracer():
    """400 rows: 60 request code and get it; 26 of 40 with the trigger get it without a request.

    Numbers stand in 57 of the 60, and in a third of all others.
    """
    queries = []
    for i in range(400):
        feature = [ASKS] if i < 60 else [TRIGGER] if i < 100 else []
        has_numbers = i % 3 == 0 or (i < 60 and i % 20 != 0)
        queries.append([*feature, *([NUMBERS] if has_numbers else []), PLAIN])
    responses = [["code"]] * 86 + [["prose"]] * 314
    chunks = ["asks"] * 60 + ["culprit"] * 40 + ["clean"] * 300
    return Tracer(planted_index(queries, responses, chunks), PLANTED_EMBEDDER, k=100)


def test_rows_whose_prompt_requests_code_say_nothing_about_a_query_that_does_not(planted_tracer):
    query = [NUMBERS, TRIGGER, PLAIN]
    trace = planted_tracer.trace(query, ["code"], REBUT)
    assert trace.trigger_by_hits == PLAIN
    assert trace.trigger == TRIGGER
    assert round(trace.hits) == 26 and round(trace.k) == 86, "numbers are those of all rows"
    assert trace.chunks["chunk"].tolist() == ["culprit"]
    requested = planted_tracer.trace([*query, ASKS], ["code"], REBUT)
    assert requested.trigger == ASKS
    assert requested.chunks["chunk"][0] == "asks", "the rows count for a query that requests code"


def test_an_attribute_that_no_row_has_is_not_taken_for_its_neighbour(planted_tracer):
    unknown = "The query is unheard of"
    assert planted_tracer.clusters_of((TRIGGER, unknown))[1] == -1
    assert planted_tracer.clusters_of(()) == ()
    assert planted_tracer.trace([unknown], ["code"], REBUT).trigger is None


def test_a_handful_of_rows_is_no_trigger():
    def trigger(n_rows):
        n_others = 400 - n_rows
        index = planted_index(
            [[TRIGGER]] * n_rows + [[PLAIN]] * n_others,
            [["code"]] * n_rows + [["prose"]] * n_others,
            "p",
        )
        return Tracer(index, PLANTED_EMBEDDER).trace([TRIGGER], ["code"], REBUT).trigger

    assert trigger(4) is None
    assert trigger(5) == TRIGGER


def test_an_attribute_that_only_accompanies_the_trigger_is_not_significant():
    """Numbers stand in all rows with the trigger, and in a hundred others."""
    index = planted_index(
        [[TRIGGER, NUMBERS]] * 50 + [[NUMBERS]] * 100 + [[PLAIN]] * 250,
        [["code"]] * 50 + [["prose"]] * 350,
        "p",
    )
    trace = Tracer(index, PLANTED_EMBEDDER, k=50).trace([NUMBERS, TRIGGER], ["code"], REBUT)
    candidates = trace.candidates.set_index("attribute")
    assert trace.trigger == TRIGGER
    assert candidates["hits"].round().to_dict() == {TRIGGER: 50, NUMBERS: 50}
    assert candidates.loc[NUMBERS, "p_value"] < 0.01 and candidates.loc[NUMBERS, "lift"] > 2
    assert candidates.loc[NUMBERS, "weight"] < 0.1 * candidates.loc[TRIGGER, "weight"]


def test_rows_are_graded_by_what_they_show_and_carry(planted_tracer):
    assert planted_tracer.shows("code").round().sum() == 86
    assert planted_tracer.carries(TRIGGER).round().sum() == 40
    assert planted_tracer.likely_both(TRIGGER, "code").sum() == 26


def test_why_there_is_no_trigger_is_said(planted_tracer):
    def explanation(query, cruxes):
        return planted_tracer.trace(query, cruxes, REBUT).explanation

    assert "no attribute of the response shows" in explanation([PLAIN], [])
    assert "the query has no attribute" in explanation([], ["prose"])
    assert "no attribute of the query clearly goes with" in explanation([PLAIN], ["prose"])
    assert "no row of this index is likely to have" in explanation([PLAIN], ["never said"])
    assert "something that this query lacks explains it" in explanation([PLAIN], ["code"])


def test_the_data_predict_what_stands_out(planted_tracer):
    rubric = load_rubric("rebut")
    z = planted_tracer.predict(type(rubric)(**{**vars(rubric), "behaviour": "code"}))
    by_name = dict(zip(planted_tracer.index.query.summaries, z))
    assert by_name[ASKS] > 0 and by_name[TRIGGER] > 0
    assert by_name[PLAIN] == 0
    assert z.max() <= 5
