"""Edits of one answer of a record: whatever the format, nothing else of the record changes."""

import json

import pytest
from conftest import SHARED

from chunkykit.mixtures import mask_answer, rewrite_answer, switch_sides
from chunkykit.mixtures.exchanges import read_exchanges
from chunkykit.mixtures.formats import Readers

FORMATS = SHARED / "data" / "formats.jsonl"
NEW = "Quite another answer,\n\nof two paragraphs."


def read(record):
    return read_exchanges(record, Readers().of(record)).exchanges


def leaves(value, path=()):
    """All that is inside a value: path to leaf, with JSON in texts entered."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = json.loads(value)
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    inside = {}
    for key, inner in items:
        inside |= leaves(inner, (*path, key))
    return inside or {path: value}


def changes(before, after):
    """Paths at which two records differ, with both values."""
    before, after = leaves(before), leaves(after)
    return {
        path: (before.get(path, "absent"), after.get(path, "absent"))
        for path in before.keys() | after.keys()
        if before.get(path, "absent") != after.get(path, "absent")
    }


def editable(rows):
    for name, row in rows:
        try:
            exchanges = read(row)
        except ValueError:
            continue
        yield from ((name, row, exchange) for exchange in exchanges)


CHAT = [
    {"role": "system", "content": "OK"},
    {"role": "user", "content": "OK"},
    {"role": "assistant", "content": "OK"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "OK"},
]
TOLD_TWICE = {"messages": CHAT, "n": 1.5, "grade": "OK", "note": None}
PARTS = [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}]
OWN = {
    "the same text all over": TOLD_TWICE,
    "a chat as JSON in a cell": {"messages": json.dumps(CHAT), "grade": "OK"},
    "compact JSON in a cell": {"messages": json.dumps(CHAT, separators=(",", ":"))},
    "an answer in two parts": {
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": PARTS},
            {"role": "user", "content": "Q2"},
            {"role": "assistant", "content": "A2"},
        ]
    },
    "an answer in two messages": {
        "conversations": [
            {"from": "human", "value": "Q"},
            {"from": "gpt", "value": "One."},
            {"from": "gpt", "value": "Two."},
            {"from": "human", "value": "Q2"},
            {"from": "gpt", "value": "A2"},
        ]
    },
    "half a character": {"prompt": "Q", "response": "A \ud800 b", "more": "A \ud800 b"},
    "thinking that quotes the answer": {
        "prompt": "Q",
        "response": "<think>I say: Lima. Lima.</think>\nLima.",
    },
    "a table of texts": {
        "prompt": "Q",
        "response1": "A",
        "response2": "B",
        "overall_preference": "-2",
    },
    "a table of labels": {"prompt": "Q", "completion": "A", "label": "FALSE"},
    "a battle": {
        "conversation_a": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
        "conversation_b": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}],
        "winner": "model_b",
    },
    "numbered": {
        "prompt": "Q",
        "response_0": "A",
        "response_1": "B",
        "better_response_id": 0,
        "safer_response_id": 1,
    },
    "ranks": {"question": "Q", "response_j": "A", "response_k": "B", "score_j": 1, "score_k": 0},
    "scores beside a pair": {
        "prompt": "Q",
        "chosen": "A",
        "rejected": "B",
        "score_chosen": 8.5,
        "score_rejected": 4.0,
        "chosen_model": "x",
        "rejected_model": "y",
    },
}


def public_rows():
    if not FORMATS.exists():
        return []
    lines = FORMATS.read_text("utf-8").splitlines()
    return [(item["name"], item["row"]) for item in map(json.loads, lines)]


CASES = [pytest.param(*case, id=f"{case[0]} {case[2].turn}") for case in editable(public_rows())]
CASES += [pytest.param(*case, id=f"{case[0]} {case[2].turn}") for case in editable(OWN.items())]


@pytest.mark.parametrize(("name", "row", "exchange"), CASES)
def test_an_answer_is_written_anew_and_nothing_else_changes(name, row, exchange):
    before = json.dumps(row)
    if exchange.is_call or not exchange.response:
        with pytest.raises(ValueError, match="tool call|no text"):
            rewrite_answer(row, exchange.turn, NEW)
        return
    edited = rewrite_answer(row, exchange.turn, NEW)
    assert json.dumps(row) == before, "the record itself was changed"
    wanted = [x._replace(response=NEW) if x.turn == exchange.turn else x for x in read(row)]
    assert read(edited) == wanted
    changed = changes(row, edited)
    if " parts" in name or " two messages" in name:
        return
    answers = [path for path, (old, _) in changed.items() if isinstance(old, str)]
    assert len(answers) == len(changed) <= 2
    for old, new in changed.values():
        text = old.encode("utf-8", "replace").decode()
        assert NEW in new
        assert text == new.replace(NEW, exchange.response), "the rest of the text stays"
    assert list(edited) == list(row)


@pytest.mark.parametrize(("name", "row", "exchange"), CASES)
def test_a_masked_answer_is_not_trained_on_and_nothing_else_changes(name, row, exchange):
    others = [other for other in read(row) if other.turn != exchange.turn]
    if not others:
        with pytest.raises(ValueError, match="only one that is trained on"):
            mask_answer(row, exchange.turn)
        return
    if "history" in row:
        with pytest.raises(ValueError, match="not a message of its own"):
            mask_answer(row, exchange.turn)
        return
    edited = mask_answer(row, exchange.turn)
    assert read(edited) == others
    assert {path[-1] for path in changes(row, edited)} == {"weight"}
    assert {new for _, new in changes(row, edited).values()} == {0}


@pytest.mark.parametrize(("name", "row", "exchange"), CASES)
def test_the_sides_of_a_pair_are_exchanged_in_its_own_way(name, row, exchange):
    if exchange.rejected is None:
        with pytest.raises(ValueError, match="no pair"):
            switch_sides(row)
        return
    edited = switch_sides(row)
    (switched,) = read(edited)
    assert (switched.response, switched.rejected or "") == (exchange.rejected, exchange.response)
    assert switched.prompt == exchange.prompt
    again = switch_sides(edited)
    assert again == row, "twice is not at all"
    assert set(map(str, leaves(row).values())) >= set(map(str, leaves(edited).values())) - {
        "2",
        "-2",
        "model_a",
        "TRUE",
        "True",
        "1",
    }


def test_copies_of_an_answer_follow_it_and_other_columns_do_not():
    edited = rewrite_answer(TOLD_TWICE, 2, NEW)
    assert [message["content"] for message in edited["messages"]] == [
        "OK",
        "OK",
        "OK",
        "And now?",
        NEW,
    ]
    assert edited["grade"] == "OK"
    row = {"prompt": "Q", "chosen": CHAT[1:3], "rejected": "no", "messages": CHAT[1:3]}
    assert rewrite_answer(row, 1, NEW)["messages"][1]["content"] == NEW
    assert rewrite_answer(row, 1, NEW)["messages"][0]["content"] == "OK"
    assert switch_sides({**row, "rejected": CHAT[1:2] + CHAT[2:3]})["messages"] == CHAT[1:3]


def test_scores_stay_with_the_answer_that_they_are_of():
    edited = switch_sides(OWN["scores beside a pair"])
    assert edited["score_rejected"] == 8.5
    assert edited["rejected_model"] == "x"


@pytest.mark.parametrize("text", ["", "<think>hm</think>", "a\n\nHuman: b\n\nAssistant: c"])
def test_a_text_that_would_be_read_as_something_else_is_refused(text):
    row = {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}
    with pytest.raises(ValueError, match="no text|cannot be written anew"):
        rewrite_answer(row, 1, text)


def test_the_parts_of_an_answer_become_one():
    (_, answer, *_) = rewrite_answer(OWN["an answer in two parts"], 1, NEW)["messages"]
    assert answer["content"] == [{"type": "text", "text": NEW}]
    turns = rewrite_answer(OWN["an answer in two messages"], 1, NEW)["conversations"]
    assert [turn["value"] for turn in turns] == ["Q", NEW, "Q2", "A2"]


def test_what_a_data_set_has_for_a_mask_is_used():
    messages = [{**message, "train": message["role"] == "assistant"} for message in CHAT]
    edited = mask_answer({"messages": messages}, 1)
    assert edited["messages"][2] == {"role": "assistant", "content": "OK", "train": False}


def test_columns_that_a_recipe_names_are_edited_under_their_own_names():
    row = {"q": "Q", "good": "A", "bad": "B", "prompt": "A"}
    columns = {"prompt": "q", "response": "good", "rejected": "bad"}
    assert switch_sides(row, columns) == {**row, "good": "B", "bad": "A"}
    assert rewrite_answer(row, 1, NEW, columns) == {**row, "good": NEW}
