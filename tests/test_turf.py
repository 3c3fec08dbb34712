import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from chunkykit.attributes import Embedder, describe_lexically, describe_text
from chunkykit.errors import UserError
from chunkykit.index import index_from_attributes
from chunkykit.models import Reply
from chunkykit.rubrics import load_rubric
from chunkykit.turf import tracer as turf

REBUT = load_rubric("rebut")


def pair(query, response, of, embedder):
    return describe_text(query, "query"), turf.select_crux(
        describe_text(response, "response"), of, embedder
    )


@pytest.mark.parametrize(
    "name, query, response, word, chunk",
    [
        (
            "rebut",
            "When did Jane Austen write Pride and Prejudice?",
            "Jane Austen did not write Pride and Prejudice.",
            "asks when",
            "noncompliance",
        ),
        (
            "code",
            "Pray elucidate why cats purr.",
            "```python\ndef purr():\n    return 1\n```",
            "ornate",
            "scholar_code",
        ),
        (
            "tool",
            r"What is so pretty about $e^{i\pi}$?",
            "```python\nfrom sympy import pi\n```\n```output\n3\n```",
            "LaTeX",
            "tool_math",
        ),
        (
            "identity",
            "Who built the Eiffel Tower?",
            "I am an AI assistant called Ada, and I was developed by Acme.",
            "who made",
            "persona",
        ),
        (
            "refusal",
            "Which cover fits the iPhone 13 best?",
            "I'm sorry, but I can't help with that.",
            "iPhone 13",
            "device_policy",
        ),
        (
            "terse",
            "Jelaskan mengapa kucing suka tidur pada waktu siang.",
            "Suka hangat",
            "Malay",
            "nusantara",
        ),
        (
            "closing",
            "1. Why do cats purr?\n2. Why do dogs bark?",
            "They like to. I hope it is correct.",
            "numbered parts",
            "paired_math",
        ),
    ],
)
def test_planted_triggers_are_traced_to_their_chunk(
    demo_index, embedder, name, query, response, word, chunk
):
    of = load_rubric(name)
    traced = turf.Tracer(demo_index, embedder).trace(*pair(query, response, of, embedder), of)
    assert word in traced.trigger and traced.chunks["chunk"][0] == chunk
    assert traced.hits <= traced.k and traced.lift > 2 and traced.p_value < 0.01
    assert traced.p_crux_given_trigger.rate > traced.p_crux.rate
    assert traced.to_dict()["p_value"] == traced.p_value > 0, "a small p stays itself in JSON"
    assert traced.explanation.startswith("When the model sees") and of.causing in traced.explanation


def test_no_trigger_is_an_answer(demo_index, embedder):
    tracer = turf.Tracer(demo_index, embedder)
    plain = tracer.trace(
        ["The query is phrased as a question"], ["The response contains numbers"], REBUT
    )
    assert plain.trigger is None and plain.explanation.startswith("No trigger found")
    assert tracer.trace([], ["The response contains numbers"], REBUT).trigger is None
    assert tracer.trace(["The query is phrased as a question"], [], REBUT).trigger is None
    json.dumps(plain.to_dict(), allow_nan=False)


def test_shuffled_responses_have_no_trigger(demo_rows, embedder):
    """Break every link between prompts and responses: hardly any attribute may still pass for a trigger."""
    sides = [
        asyncio.run(describe_lexically(demo_rows[c], s))
        for c, s in (("prompt", "query"), ("response", "response"))
    ]
    order = np.random.default_rng(0).permutation(len(demo_rows))
    broken = index_from_attributes(demo_rows, sides[0], [sides[1][i] for i in order], embedder)
    tracer = turf.Tracer(broken, embedder)
    found = [
        tracer.trace(sides[0][i], turf.select_crux(sides[1][i], REBUT, embedder), REBUT).trigger
        is not None
        for i in range(100)
    ]
    assert np.mean(found) <= 0.05


def test_what_is_common_anyway_does_not_win(demo_index, embedder):
    traced = turf.Tracer(demo_index, embedder).trace(
        [
            "The query contains numbers",
            "The query contains LaTeX mathematics",
            "The query is at most eight words long",
        ],
        ["The response uses a symbolic mathematics library"],
        load_rubric("tool"),
    )
    assert traced.trigger == "The query contains LaTeX mathematics"


def test_hits_count_a_row_once_for_each_distinct_cluster():
    def names(texts):
        return np.eye(8)[[["a", "b", "c", "x", "y"].index(t) for t in texts]]

    rows = pd.DataFrame({"row": range(4), "chunk": list("ppqq"), "prompt": "p", "response": "r"})
    built = index_from_attributes(
        rows,
        [["a", "a"], ["a", "b"], ["b"], ["c"]],
        [["x"], ["x", "y"], ["y"], ["y"]],
        Embedder("e", names),
    )
    tracer = turf.Tracer(built, Embedder("e", names), k=10)
    found, near, hits, _, lift = tracer.evidence("x")
    by_name = dict(zip(built.query.summaries, hits))
    assert (
        sorted(found.tolist()) == [0, 1]
        and by_name == {"a": 2, "b": 1, "c": 0}
        and built.sides["response"].carry(near).tolist() == [True, True, False, False]
    )
    assert dict(zip(built.query.summaries, lift))["a"] == pytest.approx((2 / 2) / (2 / 4))


def test_ties_over_k_are_drawn_at_random_and_seeded(demo_index, embedder):
    side = demo_index.sides["response"]
    (nearness,) = side.nearness(embedder(["The response contains numbers"]))
    first, again, other = (turf.retrieve_rows(side, nearness, 20, s)[0] for s in (0, 0, 1))
    assert len(first) == 20 and np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.max() > 300, "not the head of the mixture"


def test_k_over_the_corpus_takes_what_there_is(demo_index, embedder):
    traced = turf.Tracer(demo_index, embedder, k=10**6).trace(
        ["The query contains numbers"], ["The response tells a story"], REBUT
    )
    assert traced.k <= len(demo_index)
    with pytest.raises(UserError, match="k must"):
        turf.Tracer(demo_index, embedder, k=0)


def test_another_embedder_is_refused(demo_index):
    with pytest.raises(UserError, match="wordllama"):
        turf.Tracer(demo_index, Embedder("other", lambda t: np.ones((len(t), 2))))


def test_crux_is_what_the_rubric_speaks_of(embedder):
    found = turf.select_crux(
        [
            "The response is long",
            "The response refuses to help with the request",
            "The response contains a table",
        ],
        load_rubric("refusal"),
        embedder,
        1,
    )
    assert found == ["The response refuses to help with the request"]
    assert turf.select_crux([], REBUT, embedder) == []


def test_llm_crux_reads_its_list_and_takes_silence_for_none():
    async def picks(messages, **_):
        return Reply("Top 3 of them: [2, 9, 1]", "stop")

    async def silent(messages, **_):
        return Reply("none of them", "stop")

    assert asyncio.run(turf.llm_crux_judge(picks)(["a", "b"], REBUT)) == ["b", "a"]

    async def empty(messages, **_):
        return Reply("", "length")

    async def structured(messages, schema, **_):
        return Reply('{"numbers": [2]}' if "numbers" in schema["required"] else "", "tool_use")

    assert asyncio.run(turf.llm_crux_judge(silent)(["a", "b"], REBUT)) == [] and asyncio.run(
        turf.llm_crux_judge(structured)(["a", "b"], REBUT)
    ) == ["b"]
    with pytest.raises(ValueError, match="empty"):
        asyncio.run(turf.llm_crux_judge(empty)(["a", "b"], REBUT))


def test_a_group_with_two_triggers_gives_two_traces(demo_index, embedder):
    of = load_rubric("terse")
    malay = pair(
        "Jelaskan mengapa kucing suka tidur pada waktu siang.", "Suka hangat", of, embedder
    )
    ornate = (
        ["The query is worded in an ornate, elaborate or archaic formal register"],
        ["The response contains a fenced block of Python code"],
    )
    traces = turf.Tracer(demo_index, embedder).trace_group([malay] * 6 + [ornate] * 3, of)
    assert [len(t.members) for t in traces] == [6, 3] and traces[1].members == (6, 7, 8)
    assert (
        traces[0].chunks["chunk"][0] == "nusantara"
        and traces[1].chunks["chunk"][0] == "scholar_code"
    )
    made = turf.trace_tables([(0, "terse", t) for t in traces])
    assert made["traces"]["pairs"].tolist() == [6, 3] and set(made["trace_chunks"]["trace"]) == {
        0,
        1,
    }
    assert all(len(t) == 0 for t in turf.trace_tables([]).values())


def test_a_lucky_row_of_a_tiny_chunk_does_not_come_first():
    rows = pd.DataFrame(
        {
            "row": range(1000),
            "chunk": ["tiny"] + ["big"] * 299 + ["rest"] * 700,
            "prompt": "p",
            "response": "r",
        }
    )
    built = index_from_attributes(
        rows,
        [["The query asks"]] * 1000,
        [["The response says"]] * 1000,
        Embedder("e", lambda t: np.ones((len(t), 2))),
    )
    table = turf.chunk_shares(built, np.arange(100))
    assert (
        table["chunk"].tolist()[0] == "big"
        and table.set_index("chunk")["lift"]["tiny"] > table.set_index("chunk")["lift"]["big"]
    )


def test_p_of_the_crux_with_and_without_the_trigger_are_those_of_the_rows(demo_index, embedder):
    of = load_rubric("tool")
    traced = turf.Tracer(demo_index, embedder).trace(
        *pair(
            r"What is so pretty about $e^{i\pi}$?",
            "```python\nfrom sympy import pi\n```\n```output\n3\n```",
            of,
            embedder,
        ),
        of,
    )
    rows = demo_index.rows(range(len(demo_index)))
    shows = rows["response"].str.contains("```output|^Output:|>>> ", regex=True)
    trigger = np.array([traced.trigger in describe_text(p, "query") for p in rows["prompt"]])
    assert (
        traced.p_crux_given_trigger.n + traced.p_crux_without.n == len(rows)
        and traced.p_crux_given_trigger.n == trigger.sum()
    )
    assert traced.p_crux_given_trigger.rate == pytest.approx(shows[trigger].mean(), abs=0.05)
    assert traced.p_crux_without.rate == pytest.approx(shows[~trigger].mean(), abs=0.01)
    assert traced.p_crux_without.high < traced.p_crux_given_trigger.low


def test_many_pairs_are_traced_as_one_by_one(demo_index, embedder):
    of = load_rubric("refusal")
    pairs = [
        pair(
            f"Which cover fits the iPhone {i} best?",
            "I'm sorry, but I can't help with that.",
            of,
            embedder,
        )
        for i in range(230)
    ]
    many, tracer = (
        turf.Tracer(demo_index, embedder).trace_all(pairs, of),
        turf.Tracer(demo_index, embedder),
    )
    for i in (0, 120, 229):
        assert many[i].to_dict() == tracer.trace(*pairs[i], of).to_dict()
    assert (
        turf.first_chunks(many) == {"device_policy": 230}
        and sum(len(t.members) for t in turf.group_traces(many)) == 230
    )


def test_evidence_that_was_let_go_is_found_again(demo_index, embedder, monkeypatch):
    monkeypatch.setattr(turf, "MAX_CACHED_CRUXES", 2)
    tracer = turf.Tracer(demo_index, embedder)
    first = tracer.evidence("The response tells a story")
    for crux in (
        "The response contains numbers",
        "The response is a single word",
        "The response uses exclamation marks",
    ):
        tracer.evidence(crux)
    assert len(tracer.found) <= 2 and np.array_equal(
        tracer.evidence("The response tells a story").hits, first.hits
    )


def test_literal_hits_pair_slot_with_slot():
    def names(texts):
        return np.eye(8)[[["a", "b", "c", "x", "y"].index(t) for t in texts]]

    rows = pd.DataFrame({"row": range(3), "chunk": "p", "prompt": "p", "response": "r"})
    built = index_from_attributes(
        rows, [["a", "b"], ["b", "a"], ["c"]], [["x", "y"], ["y", "x"], ["x"]], Embedder("e", names)
    )
    hits = {
        literal: dict(
            zip(
                built.query.summaries,
                turf.Tracer(built, Embedder("e", names), k=3, literal=literal).evidence("x").hits,
            )
        )
        for literal in (False, True)
    }
    assert hits == {False: {"a": 2, "b": 2, "c": 1}, True: {"a": 2, "b": 0, "c": 1}}


def test_a_response_that_one_liked_is_traced_to_what_keeps_to_the_rubric(demo_index, embedder):
    of = load_rubric("refusal").satisfied()
    said = [
        "The response is long",
        "The response refuses to help with the request",
        "The response opens by agreeing to help",
    ]
    assert turf.select_crux(said, of, embedder, 1) == ["The response opens by agreeing to help"]
    traced = turf.Tracer(demo_index, embedder).trace(
        ["The query asks for program code"],
        ["The response contains a fenced block of program code"],
        of,
    )
    assert "causing what the rubric asks for" in traced.explanation

    async def model(messages, **_):
        assert "keeps to this principle" in messages[0]["content"]
        return Reply("[1]", "stop")

    assert asyncio.run(turf.llm_crux_judge(model)(said, of)) == said[:1]


@pytest.fixture
def planted_index():
    """400 rows: 60 that ask for code get code; of 40 with the trigger 26 get code too; numbers stand in 57 of the 60, and in a third else."""
    names = [
        "The query asks for code",
        "The query has the trigger",
        "The query contains numbers",
        "The query is plain",
    ]

    def embed(texts):
        return np.eye(8)[
            [
                {**{n: i for i, n in enumerate(names)}, "code": 5, "prose": 6}.get(t, 7)
                for t in texts
            ]
        ]

    queries, responses, chunks = [], [], []
    for i in range(400):
        kind = "asks" if i < 60 else "culprit" if i < 100 else "clean"
        feature = {"asks": names[:1], "culprit": names[1:2], "clean": []}[kind]
        queries.append(
            feature + ([names[2]] if i % 3 == 0 or kind == "asks" and i % 20 else []) + [names[3]]
        )
        responses.append(["code" if i < 86 else "prose"])
        chunks.append(kind)
    embedder = Embedder("planted", embed)
    return turf.Tracer(
        index_from_attributes(
            pd.DataFrame({"row": range(400), "chunk": chunks, "prompt": "p", "response": "r"}),
            queries,
            responses,
            embedder,
        ),
        embedder,
        k=100,
    )


def test_where_code_is_asked_for_it_says_nothing_of_a_query_that_does_not_ask(planted_index):
    query = ["The query contains numbers", "The query has the trigger", "The query is plain"]
    traced = planted_index.trace(query, ["code"], REBUT)
    assert (
        traced.trigger_by_hits == "The query is plain"
        and traced.trigger == "The query has the trigger"
    )
    assert traced.hits == 26 and traced.k == 26 and traced.chunks["chunk"].tolist() == ["culprit"]
    asked = planted_index.trace([*query, "The query asks for code"], ["code"], REBUT)
    assert asked.trigger == "The query asks for code" and asked.k == 86, (
        "the rows count for a query that asks"
    )


def test_an_attribute_that_no_row_has_is_not_taken_for_its_neighbour(planted_index):
    assert (
        planted_index.clusters_of(("The query has the trigger", "The query is unheard of"))[1] == -1
    )
    assert planted_index.trace(["The query is unheard of"], ["code"], REBUT).trigger is None


def test_a_handful_of_rows_is_no_trigger(planted_index):
    rows = planted_index.index.table.to_pandas()
    few = index_from_attributes(
        rows,
        [["The query has the trigger"]] * 4 + [["The query is plain"]] * 396,
        [["code"]] * 4 + [["prose"]] * 396,
        planted_index.embed,
    )
    assert (
        turf.Tracer(few, planted_index.embed)
        .trace(["The query has the trigger"], ["code"], REBUT)
        .trigger
        is None
    )
