"""Records of public sets, of their kinds, and of none: what is read from each."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from chunkykit.mixtures import load_mixture
from chunkykit.mixtures.exchanges import read_exchanges
from chunkykit.mixtures.formats import Readers

PUBLIC = ROOT / "../shared/data/formats.jsonl"
needs_public = pytest.mark.skipif(not PUBLIC.exists(), reason="needs ../shared/data")


def read(record, turns="all"):
    return read_exchanges(record, Readers().of(record), turns).exchanges


def fields(exchange):
    """What an exchange says beside what most leave out."""
    return {key: value for key, value in exchange._asdict().items() if value}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


USER = turn("user", "Q")
ASSISTANT = turn("assistant", "A")
PLAIN = {"prompt": "Q", "response": "A", "turn": 1}
PAIR = {**PLAIN, "rejected": "B"}


# One line a schema: the record, and the exchanges that it holds.
TABLE = {
    "messages": ({"messages": [USER, ASSISTANT]}, [PLAIN]),
    "a turn behind the last answer": (
        {"messages": [USER, ASSISTANT, turn("user", "Q2")]},
        [PLAIN],
    ),
    "JSON text": ({"messages": json.dumps([USER, ASSISTANT])}, [PLAIN]),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        [PLAIN],
    ),
    "prompt and response": ({"prompt": "Q", "response": "A"}, [PLAIN]),
    "query and completion": ({"query": "Q", "completion": "A"}, [PLAIN]),
    "question and answer": ({"question": "Q", "answer": "A"}, [PLAIN]),
    "problem and solution": ({"problem": "Q", "solution": "A"}, [PLAIN]),
    "inputs and targets": ({"inputs": "Q", "targets": "A"}, [PLAIN]),
    "input and output": ({"input": "Q", "output": "A"}, [PLAIN]),
    "instruction": ({"instruction": "Q", "input": "", "output": "A"}, [PLAIN]),
    "instruction without input": ({"instruction": "Q", "output": "A"}, [PLAIN]),
    "instruction with context": (
        {"instruction": "Sum up.", "context": "Text.", "response": "A"},
        [{**PLAIN, "prompt": "Sum up.\n\nText."}],
    ),
    "an empty column beside a full one": (
        {"messages": [], "prompt": "Q", "response": "A"},
        [PLAIN],
    ),
    "system column": (
        {"system_prompt": "S", "question": "Q", "response": "A"},
        [{**PLAIN, "system": "S"}],
    ),
    "two system turns": (
        {"messages": [turn("system", "S"), turn("developer", "T"), USER, ASSISTANT]},
        [{**PLAIN, "system": "S\n\nT"}],
    ),
    "custom instructions": (
        {
            "messages": [USER, ASSISTANT],
            "chat_template_kwargs": {"custom_instructions": "S"},
        },
        [{**PLAIN, "system": "S"}],
    ),
    "prompt and pair": ({"prompt": "Q", "chosen": "A", "rejected": "B"}, [PAIR]),
    "question and pair": ({"question": "Q", "chosen": "A", "rejected": "B"}, [PAIR]),
    "pair of conversations": (
        {"chosen": [USER, ASSISTANT], "rejected": [USER, turn("assistant", "B")]},
        [PAIR],
    ),
    "pair behind a conversation": (
        {
            "messages": [USER, turn("assistant", "X"), turn("user", "Q2")],
            "chosen": ASSISTANT,
            "rejected": turn("assistant", "B"),
        },
        [{**PAIR, "prompt": "Q2", "turn": 2}],
    ),
    "pair with marks": (
        {
            "chosen": "\n\nHuman: X\n\nAssistant: Y\n\nHuman: Q\n\nAssistant: A",
            "rejected": "\n\nHuman: X\n\nAssistant: Y\n\nHuman: Q\n\nAssistant: B",
        },
        [{**PAIR, "turn": 2}],
    ),
    "pair behind a prompt with marks": (
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": " A", "rejected": " B"},
        [{**PAIR, "response": " A", "rejected": " B"}],
    ),
    "pair that differs in an earlier turn": (
        {
            "chosen": [USER, ASSISTANT, turn("user", "Q2"), turn("assistant", "X")],
            "rejected": [USER, turn("assistant", "B"), turn("user", "Q2"), turn("assistant", "Y")],
        },
        [PAIR],
    ),
    "ranked by a number below 0": (
        {"context": [USER], "response1": "A", "response2": "B", "overall_preference": -1},
        [PAIR],
    ),
    "ranked by a number above 0": (
        {"prompt": "Q", "response_1": "B", "response_2": "A", "preference_strength": 3},
        [PAIR],
    ),
    "the better one by its number": (
        {"prompt": "Q", "response_0": "B", "response_1": "A", "better_response_id": 1},
        [PAIR],
    ),
    "battle": (
        {
            "conversation_a": [USER, turn("assistant", "B")],
            "conversation_b": [USER, ASSISTANT],
            "winner": "model_b",
        },
        [PAIR],
    ),
    "wanted": ({"prompt": "Q", "completion": "A", "label": True}, [PLAIN]),
    "not wanted": (
        {"prompt": "Q", "completion": "B", "label": False},
        [{"prompt": "Q", "rejected": "B", "turn": 1}],
    ),
    "not wanted, as turns": (
        {"conversations": [USER, turn("assistant", "B")], "kto_tag": False},
        [{"prompt": "Q", "rejected": "B", "turn": 1}],
    ),
    "a label that is a class": ({"prompt": "Q", "completion": "A", "label": 0}, [PLAIN]),
    "reasoning in tags": (
        {"prompt": "Q", "response": " <think>Hm.</think> A"},
        [{**PLAIN, "reasoning": "Hm."}],
    ),
    "reasoning in a column": (
        {"prompt": "Q", "response": "A", "thinking": "Hm."},
        [{**PLAIN, "reasoning": "Hm."}],
    ),
    "reasoning that is empty": ({"prompt": "Q", "response": "<think> </think>A"}, [PLAIN]),
    "reasoning as a switch": ({"prompt": "Q", "response": "A", "reasoning": "On"}, [PLAIN]),
    "harmony channels as turns": (
        {
            "messages": [
                USER,
                turn("assistant", "Hm.", channel="analysis"),
                turn("assistant", "A", channel="final"),
            ]
        },
        [{**PLAIN, "reasoning": "Hm."}],
    ),
    "weights": (
        {
            "messages": [
                USER,
                turn("assistant", "X", weight=0),
                turn("user", "Q2"),
                turn("assistant", "A", weight=1),
            ]
        },
        [{**PLAIN, "prompt": "Q2", "turn": 2}],
    ),
    "turns of one role": (
        {"messages": [USER, turn("user", "and"), turn("assistant", "A"), turn("assistant", "B")]},
        [{"prompt": "Q\n\nand", "response": "A\n\nB", "turn": 1}],
    ),
    "an answer before any question": (
        {"messages": [turn("assistant", "Hello."), USER, ASSISTANT]},
        [{**PLAIN, "turn": 2}],
    ),
    "a picture": (
        {
            "messages": [
                turn("user", [{"type": "image_url"}, {"type": "text", "text": "Q"}]),
                ASSISTANT,
            ]
        },
        [{**PLAIN, "prompt": "[image]\n\nQ"}],
    ),
    "Anthropic's tools": (
        {
            "messages": [
                USER,
                turn("assistant", [{"type": "tool_use", "name": "f", "input": {"x": 1}}]),
                turn("user", [{"type": "tool_result", "content": [{"type": "text", "text": "R"}]}]),
                ASSISTANT,
            ]
        },
        [
            {"prompt": "Q", "response": 'f({"x": 1})', "turn": 1, "is_call": True},
            {"prompt": "R", "response": "A", "turn": 2, "from_tool": True},
        ],
    ),
    "Inspect's tools": (
        {
            "messages": [
                USER,
                turn("assistant", "Look.", tool_calls=[{"function": "f", "arguments": {"x": 1}}]),
                turn("tool", "R", function="f"),
                ASSISTANT,
            ]
        },
        [
            {"prompt": "Q", "response": 'Look.\n\nf({"x": 1})', "turn": 1, "is_call": True},
            {"prompt": "R", "response": "A", "turn": 2, "from_tool": True},
        ],
    ),
    "offered tools": (
        {
            "messages": [USER, ASSISTANT],
            "tools": json.dumps([{"type": "function", "function": {"name": "f"}}, {"name": "g"}]),
        },
        [{**PLAIN, "tools": "f, g"}],
    ),
    "items of the Responses API": (
        {
            "messages": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Q"}],
                },
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"type": "function_call", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "output": "R"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
            ]
        },
        [
            {
                "prompt": "Q",
                "response": "f({})",
                "reasoning": "Hm.",
                "turn": 1,
                "is_call": True,
            },
            {"prompt": "R", "response": "A", "turn": 2, "from_tool": True},
        ],
    ),
}


@pytest.mark.parametrize("record, expected", TABLE.values(), ids=TABLE)
def test_schemas(record, expected):
    assert [fields(exchange) for exchange in read(record)] == expected


@needs_public
@pytest.mark.parametrize(
    "line",
    PUBLIC.read_text("utf-8").splitlines() if PUBLIC.exists() else [],
    ids=lambda line: json.loads(line)["name"],
)
def test_public_sets(line, tmp_path):
    entry = json.loads(line)
    expected = entry["expect"]["exchanges"]
    try:
        exchanges = [item for item in read(entry["row"]) if item.response]
    except ValueError as error:
        exchanges = []
        assert any(column in str(error) for column in [*entry["row"], "answers"])
    assert len(exchanges) == len(expected)
    for exchange, parts in zip(exchanges, expected, strict=True):
        values = exchange._asdict()
        values["tool_call"] = values["is_call"]
        assert {key: values[key] for key in parts} == parts
        assert exchange.rejected == parts.get("rejected")
        assert exchange.reasoning == parts.get("reasoning")


@needs_public
def test_a_file_of_many_schemas(tmp_path):
    entries = [json.loads(line) for line in PUBLIC.read_text("utf-8").splitlines()]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(entry["row"]) + "\n" for entry in entries))
    mixture = load_mixture(path)
    answered = mixture.rows[mixture.rows["response"] != ""]
    counts = [len(entry["expect"]["exchanges"]) for entry in entries]
    assert len(answered) == sum(counts)
    numbers = [number for number, count in enumerate(counts, 1) for _ in range(count)]
    assert answered["row"].tolist() == numbers


TURNS = [USER, ASSISTANT, turn("user", "Q2"), turn("assistant", "A2")]


@pytest.mark.parametrize(
    "turns, numbers", [("all", [1, 2]), ("last", [2]), ("first", [1])], ids=lambda value: str(value)
)
def test_turns(turns, numbers):
    assert [item.turn for item in read({"messages": TURNS}, turns)] == numbers


def test_a_turn_that_is_not_usable_is_told_and_the_others_stay():
    record = {"messages": [USER, turn("assistant", " "), *TURNS[2:]]}
    reading = read_exchanges(record, Readers().of(record))
    assert [item.turn for item in reading.exchanges] == [2]
    assert reading.problems == ["answer 1: response is empty"]


@pytest.mark.parametrize(
    "record, words",
    [
        ({"text": "Q"}, "a rendered text in 'text'.*columns .'text'."),
        ({"input_ids": [1]}, "tokens in 'input_ids'"),
        ({"prompt": "Q", "outputs": ["A"]}, "rollouts in 'outputs' and no trained response"),
        ({"prompt": "Q", "ground_truth": "A"}, "checkable answer in 'ground_truth'"),
        ({"prompt": "Q"}, "a prompt and no response in columns .'prompt'."),
        ({"id": 1}, "no prompt and response in columns .'id'."),
        ({"prompt": None, "response": "A"}, "prompt is missing"),
        ({"prompt": float("nan"), "response": "A"}, "prompt is missing"),
        ({"prompt": 5, "response": "A"}, "prompt is int, not text"),
        ({"prompt": "Q", "response": " "}, "response is empty"),
        ({"prompt": "Q", "response": "<think>Hm.</think>"}, "response without its reasoning"),
        ({"prompt": "Q", "chosen": "A", "rejected": ""}, "rejected response is empty"),
        ({"chosen": "Q A", "rejected": "Q B"}, "no column has their prompt"),
        (
            {"chosen": [USER, ASSISTANT], "rejected": [turn("user", "X"), ASSISTANT]},
            "chosen and rejected answer different prompts",
        ),
        (
            {"context": [USER], "response1": "A", "response2": "B", "overall_preference": 0},
            "overall_preference is 0: neither answer is preferred",
        ),
        ({"conversation_a": TURNS, "conversation_b": TURNS, "winner": "tie"}, "winner is 'tie'"),
        ({"messages": [ASSISTANT]}, "no user turn"),
        ({"messages": [USER]}, "no assistant turn after the user's"),
        ({"messages": [ASSISTANT, USER]}, "no assistant turn after the user's"),
        ({"messages": [USER, turn("assistant", "A", weight=0)]}, "no assistant turn is trained on"),
        ({"messages": [5, "A"]}, "turn 1: a turn is not an object"),
        ({"messages": [USER, turn("narrator", "A")]}, "turn 2: its role is 'narrator'"),
        ({"messages": [USER, turn("assistant", 5)]}, "turn 2: its text is int, not text"),
        ({"messages": None}, "the turns are NoneType"),
        ({"messages": 5}, "the turns are int, not a list"),
        ({"messages": "Q"}, "a text without marks of turns"),
        ({"instruction": "Q", "output": "A", "history": [["Q"]]}, "history is not a list of pairs"),
    ],
)
def test_a_record_without_an_exchange_is_an_error(record, words):
    with pytest.raises(ValueError, match=words):
        read(record)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_a_nested_text_is_no_crash(depth):
    nested = "[" * depth + "]" * depth
    with pytest.raises(ValueError, match="turn"):
        read({"messages": f'[{{"role": "user", "content": {nested}}}]'})


def test_the_whole_path_of_a_tool_and_a_system_prompt(tmp_path):
    path = Path(tmp_path / "m.jsonl")
    path.write_text(
        json.dumps(TABLE["Inspect's tools"][0]) + "\n" + json.dumps({"messages": TURNS})
    )
    mixture = load_mixture(path)
    rows = mixture.rows
    assert str(mixture).startswith("Mixture of 4 exchanges of 2 rows in 1 chunk")
    assert rows["row"].tolist() == [1, 1, 2, 2]
    assert rows["turn"].tolist() == [1, 2, 1, 2]
    assert rows["is_call"].tolist() == [True, False, False, False]
    assert load_mixture(path, turns="last").rows["turn"].tolist() == [2, 2]
