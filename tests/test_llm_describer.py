import asyncio
import json

import pytest

from chunkykit.attributes import llm_describer, parse_attributes
from chunkykit.attributes.llm import MIN_BATCH_TEXTS
from chunkykit.errors import BudgetReached, UserError
from chunkykit.types import Describer, Reply

ONE_SENTENCE = Reply('["The response is short."]', "stop")


def describe(model, texts, side="response", prefill=None):
    return asyncio.run(llm_describer(model, prefill)(texts, side))


@pytest.mark.parametrize(
    "reply, n",
    [
        ('["The query is short.", "The query asks for code."]', 2),
        ('Sure! ```json\n["The query is short.", "Something else", 5]\n```', 1),
        ('["The query is short.", "The query asks for', 0),
        ("- The query is short.\n- The query asks.", 2),
        ('["The query is short.", "The query is short."]', 1),
        ('["The query", "The query a"]', 0),
        ("I cannot.", 0),
    ],
)
def test_a_list_is_read_whole_or_not_at_all(reply, n):
    assert len(parse_attributes(reply, "query")) == n


def test_a_sentence_that_ends_with_a_quotation_keeps_it():
    sentence = 'The response opens with "Certainly, let me see."'
    reply = json.dumps({"attributes": [f"- {sentence}", "The response is short."]})
    assert parse_attributes(reply, "response") == [sentence, "The response is short."]


def test_one_failed_call_is_an_empty_list_and_an_outage_is_an_error():
    async def model(messages, **_):
        if "bad" in messages[0]["content"]:
            raise ConnectionError("content filter")
        return ONE_SENTENCE

    texts = [f"text {i}" for i in range(9)] + ["bad"]
    describer = llm_describer(model)
    lists = asyncio.run(describer(texts, "response"))
    assert lists == [["The response is short."]] * 9 + [[]]
    assert describer.counts == {"failed": 1, "partial": 9}
    with pytest.raises(UserError, match="3 of 4 texts .*content filter"):
        describe(model, ["bad 1", "bad 2", "bad 3", "good"])


def test_a_spent_budget_ends_the_describing():
    async def model(messages, **_):
        raise BudgetReached("limit of $1 reached")

    with pytest.raises(BudgetReached):
        describe(model, ["text"])


def test_an_unreadable_reply_is_asked_for_once_more_with_the_schema():
    calls = []

    async def model(messages, **settings):
        calls.append((messages, settings))
        if len(calls) == 1:
            return Reply("I would rather not.", "stop")
        return Reply('{"attributes": ["The query is short.", "Other"]}', "stop")

    assert describe(model, ["Hi"], "query") == [["The query is short."]]
    assert len(calls) == 2
    first_settings = calls[0][1]
    assert first_settings["schema"]["required"] == ["attributes"]
    second_messages = calls[1][0]
    assert "rather not" in second_messages[1]["content"]


def test_a_describer_sees_one_side_and_asks_once_per_different_text():
    prompts = []

    async def model(messages, **_):
        prompts.append(messages[0]["content"])
        return ONE_SENTENCE

    describer: Describer = llm_describer(model)
    lists = asyncio.run(describer(["Yes.", "No.", "Yes."], "response"))
    assert lists == [["The response is short."]] * 3
    assert len(prompts) == 2
    assert not any("query" in prompt for prompt in prompts)


@pytest.mark.parametrize("n, batches", [(MIN_BATCH_TEXTS - 1, 0), (MIN_BATCH_TEXTS, 1)])
def test_many_texts_are_requested_in_one_batch_first(n, batches):
    prefills = []

    async def model(messages, **_):
        return ONE_SENTENCE

    async def prefill(requests):
        prefills.append(requests)

    describe(model, [f"text {i}" for i in range(n)], prefill=prefill)
    assert [len(requests) for requests in prefills] == [n] * batches
