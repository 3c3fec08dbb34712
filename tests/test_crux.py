import asyncio

import pytest

from chunkykit.models import Reply
from chunkykit.rubrics import load_rubric
from chunkykit.turf import Tracer, llm_crux_judge, select_crux

REBUT = load_rubric("rebut")
REFUSAL = load_rubric("refusal")
RESPONSE = [
    "The response is long",
    "The response refuses to help with the request",
    "The response opens by agreeing to help",
]


def answers(text, stop_reason="stop"):
    """A model that always gives one answer."""

    async def model(messages, **_):
        return Reply(text, stop_reason)

    return model


def judge(model, attributes=("a", "b"), rubric=REBUT, **settings):
    return asyncio.run(llm_crux_judge(model)(list(attributes), rubric, **settings))


def test_the_crux_is_what_the_rubric_speaks_of(embedder):
    attributes = [*RESPONSE[:2], "The response contains a table"]
    assert select_crux(attributes, REFUSAL, embedder, 1) == [RESPONSE[1]]
    assert select_crux([], REBUT, embedder) == []


def test_what_merely_accompanies_the_violation_is_left_out(embedder):
    crux = select_crux(["The response contains a table", RESPONSE[1]], REFUSAL, embedder)
    assert crux == [RESPONSE[1]]


def test_the_model_judge_reads_the_list_in_its_answer():
    assert judge(answers("Top 3 of them: [2, 9, 1]")) == ["b", "a"]
    assert judge(answers('{"numbers": [2.0]}\nSee statement [1].')) == ["b"]


def test_the_model_judge_picks_each_attribute_once_and_three_at_most():
    assert judge(answers("[2, 2, 1]")) == ["b", "a"]
    assert judge(answers("[4, 2, 3, 1]"), attributes="abcd") == ["d", "b", "c"]


def test_the_model_judge_may_say_that_no_attribute_shows_the_violation():
    assert judge(answers('{"numbers": []}')) == []
    assert judge(answers("None of them: []")) == []
    assert judge(answers("[1]"), attributes=[]) == [], "nothing to ask about"


@pytest.mark.parametrize(
    "reply",
    ["", "none of the 2 statements", "Error 500", '{"numbers": null}', "[-1]", "[7]", "1 and 2"],
)
def test_what_is_no_list_of_statements_is_an_error_and_not_an_empty_list(reply):
    with pytest.raises(ValueError, match="no object|no number|cut off"):
        judge(answers(reply, "length"))


def test_the_model_judge_reads_structured_answers():
    async def structured(messages, schema, **_):
        return Reply('{"numbers": [2]}' if "numbers" in schema["required"] else "", "tool_use")

    assert judge(structured) == ["b"]


def test_a_response_that_satisfies_the_rubric_can_be_traced(demo_index, embedder):
    rubric = REFUSAL.satisfied()
    assert select_crux(RESPONSE, rubric, embedder, 1) == [RESPONSE[2]]
    trace = Tracer(demo_index, embedder).trace(
        ["The query asks for program code"],
        ["The response contains a fenced block of program code"],
        rubric,
    )
    assert "causing what the rubric asks for" in trace.explanation

    async def model(messages, **_):
        assert "keeps to this principle" in messages[0]["content"]
        return Reply("[1]", "stop")

    assert judge(model, RESPONSE, rubric) == RESPONSE[:1]
