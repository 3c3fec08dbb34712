import json

import pytest

from chunkykit.thinking import Split, split_parts, split_thinking, whole_reply
from chunkykit.types import Reply

HARMONY = (
    "<|channel|>analysis<|message|>hm<|end|>"
    "<|start|>assistant<|channel|>final<|message|>b<|return|>"
)


@pytest.mark.parametrize(
    "text",
    [
        "<think>a</think>b",
        "<thinking>\na\n</thinking>\n\nb",
        "<reasoning>a</reasoning><answer>b</answer>",
        "<thought>a</thought> b",
        "<seed:think>a</seed:think>b",
        "[THINK]a[/THINK]b",
        "<THINK>a</Think>b",
        "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>",
        "a</think>b",
        "\n<think>a</think>\nb\n",
        "b<think>a</think>",
        HARMONY.replace("hm", "a"),
    ],
)
def test_every_kind_of_thinking_is_taken_out(text):
    assert split_thinking(text) == Split("b", "a")


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        " kept \n",
        "In prose, <think> is a word.",
        "Write `<think>` first.",
        "a < b > c",
        "",
    ],
)
def test_a_text_without_thinking_is_as_it_was(text):
    assert split_thinking(text) == Split(text)


def test_blocks_in_blocks_and_after_one_another():
    assert split_thinking("<think>a</think>b<think>c</think>d") == Split("b\n\nd", "a\n\nc")
    assert split_thinking("<think>on <think> tags</think>b") == Split("b", "on <think> tags")
    nested = split_thinking("<think>a <think>x</think> c</think>b")
    assert nested.text == "b" and not nested.is_open
    late = "<think>a</think>The tag </think> ends it."
    assert split_thinking(late) == Split("The tag </think> ends it.", "a")


def test_thinking_that_does_not_end_is_a_cut_off():
    assert split_thinking("<think>a") == Split("", "a", is_open=True)
    assert split_thinking("b\n<think>\na") == Split("b", "a", is_open=True)
    assert split_thinking("<|channel|>analysis<|message|>a").is_open
    reply = whole_reply(Reply("<think>hm", "stop", 3, 7))
    assert reply == Reply("", "unclosed thinking", 3, 7, "hm")
    assert reply.outcome == "cut off"
    assert "thought for 7 tokens and never answered" in reply.problem
    assert "--max-tokens" in reply.problem
    assert whole_reply(Reply("<think>hm", "length")).stop_reason == "length"


def test_a_last_line_that_is_an_object_ends_the_thinking():
    assert split_thinking('<think>a\n{"score": 1}') == Split('{"score": 1}', "a")
    assert split_thinking('<think>perhaps {"score": 1}, no').is_open


def test_a_whole_reply_stays_whole():
    once = whole_reply(Reply("<think>a</think>b", "stop", 1, 2))
    assert once == Reply("b", "stop", 1, 2, "a")
    assert whole_reply(once) == once
    late = whole_reply(Reply("<think>a</think>The tag </think> ends it."))
    assert whole_reply(late) == late


@pytest.mark.parametrize(
    "content, text, thinking",
    [
        (None, "", ""),
        ("b", "b", ""),
        ([{"type": "text", "text": "b"}], "b", ""),
        ([{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "b"}], "b", "a"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                {"type": "text", "text": "b"},
            ],
            "b",
            "a",
        ),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}], "", "a"),
        ([{"type": "redacted_thinking", "data": "xx"}, "b"], "b", ""),
        ([{"type": "image_url", "image_url": {}}], "", ""),
    ],
)
def test_parts_are_split_by_their_types(content, text, thinking):
    assert split_parts(content) == Split(text, thinking)


def test_a_content_that_is_none_of_these_is_an_error():
    with pytest.raises(TypeError, match="dict"):
        split_parts({"text": "b"})


@pytest.mark.parametrize(
    "reason, outcome",
    [
        (None, "answered"),
        ("stop", "answered"),
        ("end_turn", "answered"),
        ("STOP", "answered"),
        ("length", "cut off"),
        ("model_context_window_exceeded", "cut off"),
        ("never heard of", "cut off"),
        ("refusal", "declined"),
        ("content_filter", "declined"),
        ("SAFETY", "declined"),
    ],
)
def test_the_outcome_of_a_call(reason, outcome):
    reply = Reply("text", reason)
    assert reply.outcome == outcome
    assert (reply.problem is None) == (outcome == "answered")


@pytest.mark.parametrize("many", ["<think>", "a <think> ", "</think>", "<|channel|>a<|message|>"])
def test_many_tags_take_no_longer_than_their_length(many):
    text = many * 30_000
    split = split_thinking(text)
    assert len(json.dumps(split)) < 2 * len(text)
