"""ChatModel: contexts, and answers that cannot be parsed."""

import asyncio

import pytest
from servers import ASK

from chunkykit.errors import UserError
from chunkykit.models import ChatModel, Reply, ask_parsed, read_context, with_context


def parse_number(text):
    if not text.isdigit():
        raise ValueError("no number")
    return int(text)


def scripted_model(*texts):
    """A model that answers with the texts in turn, and the calls that it gets."""
    calls = []

    async def call(messages, **settings):
        calls.append((messages, settings))
        return Reply(texts[len(calls) - 1])

    return ChatModel("m", call), calls


def test_a_reply_that_parses_takes_one_call():
    model, calls = scripted_model("7")
    assert asyncio.run(ask_parsed(model, ASK, parse_number)) == 7
    assert len(calls) == 1


def test_a_reply_that_does_not_parse_is_requested_once_more():
    model, calls = scripted_model("seven", "7")
    assert asyncio.run(ask_parsed(model, ASK, parse_number, sample=4)) == 7
    assert len(calls) == 2
    messages, settings = calls[1]
    assert settings == {"sample": 4}
    assert messages[:2] == ASK
    assert messages[2] == {"role": "assistant", "content": "seven"}
    assert messages[3]["role"] == "user"
    assert "no number" in messages[3]["content"]


def test_a_second_reply_that_does_not_parse_is_an_error():
    model, calls = scripted_model("", "", "7")
    with pytest.raises(ValueError, match="no number"):
        asyncio.run(ask_parsed(model, ASK, parse_number))
    assert len(calls) == 2
    assert calls[1][0][2]["content"], "servers refuse an empty turn"


def test_the_repair_keeps_its_wording():
    """The wording is part of ledger keys: another one would pay for old calls again."""
    model, calls = scripted_model("seven", "7")
    asyncio.run(ask_parsed(model, ASK, parse_number))
    assert calls[1][0][3]["content"] == (
        "This cannot be read: no number. Answer again, whole and in the form that was asked for, "
        "and nothing else."
    )


def test_a_context_precedes_every_question(tmp_path):
    path = tmp_path / "turns.json"
    path.write_text('[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]')
    model, calls = scripted_model("x")
    asyncio.run(with_context(model, read_context(path))(ASK[1:]))
    assert [turn["content"] for turn in calls[0][0]] == ["2+2?", "4", "Hello"]


def test_a_text_file_is_a_system_prompt(tmp_path):
    path = tmp_path / "system.txt"
    path.write_text("Be kind.\n")
    assert read_context(path) == [{"role": "system", "content": "Be kind."}]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.json", "{broken"),
        ("a.json", "[]"),
        ("a.json", '[{"role": "tool", "content": "x"}]'),
        ("a.json", '[{"role": "user"}]'),
        ("a.txt", " "),
        ("a.json", "[" * 100_000),
        ("a.json", '{"role": 1}'),
        ("a.JSON", "5"),
    ],
)
def test_an_invalid_context_is_one_clear_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"context .*{name}"):
        read_context(tmp_path / name)
