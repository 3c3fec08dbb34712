import json

import pytest

from chunkykit.mixtures.formats import choose_reader, read_exchange

USER = {"role": "user", "content": "Q"}
ASSISTANT = {"role": "assistant", "content": "A"}


def read(record):
    return read_exchange(record, choose_reader(record))


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "system", "content": "S"}, USER, ASSISTANT]},
        {"messages": [USER, ASSISTANT, {"role": "user", "content": "Q2"}]},
        {"messages": json.dumps([USER, ASSISTANT])},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"query": "Q", "completion": "A"},
        {"question": "Q", "answer": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "output": "A"},
        {"input": "Q", "output": "A"},
    ],
)
def test_schemas(record):
    assert read(record) == ("Q", "A", None, None)


def test_an_instruction_is_followed_by_its_input():
    exchange = read({"instruction": "Sum up.", "input": "Text.", "output": "A"})
    assert exchange.prompt == "Sum up.\n\nText."


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {
            "chosen": [USER, ASSISTANT],
            "rejected": [USER, {"role": "assistant", "content": "B"}],
        },
    ],
)
def test_preferences_have_a_rejected_response(record):
    assert read(record) == ("Q", "A", None, "B")


def test_reasoning_comes_from_its_tags_or_from_its_column():
    tagged = {"prompt": "Q", "response": " <think>Hm.</think> A"}
    assert read(tagged) == ("Q", "A", "Hm.", None)
    assert read({"prompt": "Q", "response": "A", "thinking": "Hm."}).reasoning == "Hm."
    assert read({"prompt": "Q", "response": "<think> </think>A"}).reasoning is None


@pytest.mark.parametrize(
    "record, words",
    [
        ({"text": "Q"}, "no prompt and response in columns .'text'."),
        ({"prompt": None, "response": "A"}, "prompt is missing"),
        ({"prompt": float("nan"), "response": "A"}, "prompt is missing"),
        ({"prompt": 5, "response": "A"}, "prompt is int, not text"),
        ({"prompt": "Q", "response": " "}, "response is empty"),
        ({"prompt": "Q", "response": "<think>Hm.</think>"}, "response without its reasoning"),
        ({"prompt": "Q", "chosen": "A", "rejected": ""}, "rejected response is empty"),
        ({"messages": [ASSISTANT]}, "no user turn"),
        ({"messages": [USER]}, "no assistant turn after the user's"),
        ({"messages": [ASSISTANT, USER]}, "no assistant turn after the user's"),
        ({"messages": ["Q", "A"]}, "a turn is not an object"),
        ({"messages": None}, "no user turn"),
        ({"messages": float("nan")}, "no user turn"),
        ({"messages": 5}, "the turns are int, not a list"),
    ],
)
def test_a_record_without_an_exchange_is_an_error(record, words):
    with pytest.raises(ValueError, match=words):
        read(record)
