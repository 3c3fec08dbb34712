"""Places of attributes in a text: marks cover whole words."""

import pandas as pd
import pytest

from chunkykit.show.marks import attribute_places, mark_rows, whole_words


@pytest.mark.parametrize(
    ("text", "part", "marked"),
    [
        ("She was refusing it.", "refus", "refusing"),
        ("She was refusing it.", "fus", "refusing"),
        ("She was refusing it.", "refusing", "refusing"),
        ("She was refusing it.", " refusing ", "refusing"),
        ("iPhone 13 here", "hone 13", "iPhone 13"),
        ("Größe über alles", "röße üb", "Größe über"),
        ("a-b (c)", "-b (", "-b ("),
        ("end", "en", "end"),
        ("我不能帮助你。", "不能", "不能"),  # a script without spaces: a clause is no word
        ("ฉันช่วยไม่ได้", "ช่วย", "ช่วย"),
        ("   ", "  ", "  "),
        ("😀ab c", "b", "ab"),
    ],
)
def test_a_place_grows_to_whole_words(text, part, marked):
    start = text.index(part)
    place = whole_words(text, start, start + len(part))
    assert text[slice(*place)] == marked


def test_a_very_long_word_is_not_walked_through():
    text = "x" * 100_000
    start, end = whole_words(text, 50_000, 50_003)
    assert end - start < 100


def test_places_do_not_overlap_once_they_have_grown():
    text = "I can't, I can't, sorry I cannot help with refusing to refuse."
    places = attribute_places("The response refuses to help with the request", "response", text)
    ends = [end for _, end in places]
    assert places
    assert all(start >= end for (start, _), end in zip(places[1:], ends))
    for start, end in places:
        assert not text[max(0, start - 1) : start].isalnum()
        assert not text[end : end + 1].isalnum()


def test_what_a_trigger_says_of_a_system_prompt_is_marked_in_it():
    sentence = "The system prompt sets switches or options before the task"
    system = "Browsing: off\nYou speak for a garden shop."
    places = attribute_places(sentence, "system prompt", system)
    assert [system[slice(*place)] for place in places] == ["Browsing: off"]
    assert attribute_places(sentence, "query", system) == []
    assert attribute_places("The query contains numbers", "system prompt", "Room 12") == []


def test_rows_under_system_prompts_show_them():
    row = {
        "kind": "evidence",
        "chunk": "desk",
        "system": "Browsing: off",
        "prompt": "Why do knots hold?",
        "response": "I'm sorry, I can't help with that.",
        "query_attribute": "The system prompt sets switches or options before the task",
        "response_attribute": "The response refuses to help with the request",
    }
    table = mark_rows(pd.DataFrame([row, {**row, "system": None}]))
    assert list(table) == ["kind", "chunk", "system prompt", "prompt", "response"]
    assert table["system prompt"][0]._repr_html_() == "<mark>Browsing: off</mark>"
    assert table["system prompt"][1]._repr_html_() == ""
    assert "<mark>" not in table["prompt"][0]._repr_html_()
    plain = mark_rows(pd.DataFrame([{**row, "system": ""}]))
    assert list(plain) == ["kind", "chunk", "prompt", "response"]
