import pytest

from chunkykit.attributes import count_words, predicate, text_window
from chunkykit.attributes.sentences import MAX_TEXT_CHARACTERS


@pytest.mark.parametrize(
    "text, words",
    [
        ("", 0),
        ("It's a well-known fact.", 4),
        ("one_two", 2),
        ("天空是蓝色的", 3),
        ("天空是", 2),
        ("天空 is blue", 3),
    ],
)
def test_words_are_counted_in_any_script(text, words):
    assert count_words(text) == words


def test_a_long_text_is_cut_to_its_beginning_and_its_end():
    assert text_window("a" * MAX_TEXT_CHARACTERS) == "a" * MAX_TEXT_CHARACTERS
    window = text_window("a" * 5000 + "b" * 5000)
    head, tail = window.split("\n")
    assert (head, tail) == ("a" * 4000, "b" * 2000)


def test_the_predicate_of_a_sentence():
    assert predicate("The query asks for X.") == "asks for X"
    assert predicate("The reasoning is short") == "is short"
    assert predicate("Something else") == "Something else"
