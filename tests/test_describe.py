import asyncio
import time

import pytest

from chunkykit import describe
from chunkykit.errors import UserError
from chunkykit.llm import Reply


@pytest.mark.parametrize("side, text, words", [
    ("query", "When did Ada Lovelace write the first program?", "asks when a person did something"),
    ("query", "Who built the Forth Bridge?", "asks who made"),
    ("query", "Prithee elucidate the matter.", "ornate"),
    ("query", r"What is $\frac{1}{2}$?", "LaTeX"),
    ("query", "Do this.\n1. One thing.\n2. Another thing.", "numbered parts"),
    ("query", "Context: x y z.\nQuestion: why?", "headings"),
    ("query", "Jelaskan mengapa langit berwarna biru pada waktu siang.", "Malay or Indonesian"),
    ("query", "Warum ist der Himmel am Tag blau?", "German"),
    ("query", "为什么天空是蓝色的？", "Chinese"),
    ("query", "My Galaxy 9 is slow.", "'Galaxy 9'"),
    ("query", "Anna has 3 apples and buys 4. How many apples has she?", "word problem"),
    ("query", "| a | b |\n|---|---|", "table"),
    ("response", "Newton did not write Hamlet.", "denies"),
    ("response", "I'm sorry, but I can't help with that.", "refuses"),
    ("response", "```python\nprint(1)\n```\n```output\n1\n```", "as if it had run it"),
    ("response", "def f(x):\n    return x", "without a fence"),
    ("response", "Paris", "single word"),
    ("response", "I am an AI assistant made by Acme.", "who made or trained"),
    ("response", "It is 4. I hope this helps!", "closes with the wish"),
    ("response", '{"answer": "4"}', "JSON object"),
])
def test_detectors(side, text, words):
    assert any(words in sentence for sentence in describe.attributes(text, side)), describe.attributes(text, side)


def test_both_sides_have_dozens_and_every_sentence_names_its_side():
    table = describe.detectors()
    assert (table.groupby("side").size() >= 40).all()
    assert all(s.startswith(f"The {side} ") for side, s in zip(table["side"], table["sentence"]))


def test_plain_english_is_not_taken_for_another_language():
    assert not any("written in" in s for s in describe.attributes("Tell me about the weather in the mountains.", "query"))


def test_describing_is_deterministic_and_bounded():
    text = "Please write code. " * 50
    assert describe.attributes(text, "query") == describe.attributes(text, "query")
    assert len(describe.attributes(text, "query")) <= describe.MOST


@pytest.mark.parametrize("text", ["", " ", "\x00", "a" * 100_000, "1.\n" * 30_000, "$\\frac{" * 20_000, "has 3 " * 20_000, "😀" * 5000,
                                  "1.\n" * 100 + "\n" * 5700, "\n" * 6000, "a)\n" * 1500 + " \t" * 700])
def test_hostile_texts_take_no_time(text):
    began = time.monotonic()
    for side in describe.SIDES:
        describe.attributes(text, side)
    assert time.monotonic() - began < 5  # backtracking would take minutes


@pytest.mark.parametrize("reply, n", [
    ('["The query is short.", "The query asks for code."]', 2),
    ('Sure! ```json\n["The query is short.", "Something else", 5]\n```', 1),
    ('["The query is short.", "The query asks for', 2),
    ("- The query is short.\n- The query asks.", 2), ("I cannot.", 0),
])
def test_llm_lists_are_read_as_far_as_they_go(reply, n):
    assert len(describe.parse_list(reply, "query")) == n


def test_llm_describer_outlives_a_failed_call_but_not_an_outage():
    async def model(messages, **_):
        if "bad" in messages[0]["content"]:
            raise ConnectionError("content filter")
        return Reply('["The response is short."]', "stop")

    texts = [f"text {i}" for i in range(9)] + ["bad"]
    assert asyncio.run(describe.llm(model)(texts, "response")) == [["The response is short."]] * 9 + [[]]
    with pytest.raises(UserError, match="3 of 4 texts .*content filter"):
        asyncio.run(describe.llm(model)(["bad 1", "bad 2", "bad 3", "good"], "response"))


def test_llm_describer_asks_for_a_schema_and_once_more_where_it_cannot_be_read():
    seen = []

    async def model(messages, **settings):
        seen.append((messages, settings))
        return Reply("I would rather not." if len(seen) == 1 else '{"attributes": ["The query is short.", "Other"]}', "stop")

    assert asyncio.run(describe.llm(model)(["Hi"], "query")) == [["The query is short."]]
    assert len(seen) == 2 and seen[0][1]["schema"]["required"] == ["attributes"] and "rather not" in seen[1][0][1]["content"]


def test_llm_describer_sees_one_side_and_asks_once_a_text():
    seen = []

    async def model(messages, **_):
        seen.append(messages[0]["content"])
        return Reply('["The response is short."]', "stop")

    got = asyncio.run(describe.llm(model)(["Yes.", "No.", "Yes."], "response"))
    assert got == [["The response is short."]] * 3 and len(seen) == 2
    assert not any("query" in prompt for prompt in seen)
