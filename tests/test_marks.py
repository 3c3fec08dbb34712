"""Places of attributes in a text: marks cover whole words."""

import pytest

from chunkykit.show.marks import attribute_places, whole_words


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
