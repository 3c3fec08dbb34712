import re

import pytest
from conftest import ROOT

from chunkykit.text import clean_text, excerpt, inert_html, inert_text


def test_a_clean_text_can_be_encoded():
    assert clean_text("caf\u00e9 \ud800!") == "café ?!"
    clean_text("\udfff").encode("utf-8")


def test_an_inert_text_is_one_line_without_control_characters():
    assert inert_text("a\n\x1b[31mb\u202ec\x07 é好") == "a  [31mb c  é好"


@pytest.mark.parametrize(
    "text, html",
    [
        ("<b onclick='x()'>&", "&lt;b onclick=&#x27;x()&#x27;&gt;&amp;"),
        ('"quoted"', "&quot;quoted&quot;"),
        ("two\nlines", "two\nlines"),
        ("a\x1b\u202e\u2028b", "a   b"),
        ("$x$", "<span>$</span>x<span>$</span>"),
        (r"\(x\)", r"<span>\</span>(x<span>\</span>)"),
        (3, "3"),
    ],
)
def test_inert_html_shows_a_text_and_does_nothing_else(text, html):
    assert inert_html(text) == html


def test_no_message_leaves_singular_and_plural_to_the_reader():
    """One helper counts: no message says row(s)."""
    for path in sorted((ROOT / "chunkykit").rglob("*.py")):
        assert not re.search(r"\} [a-z]+\(s\)", path.read_text("utf-8")), path


def test_an_excerpt_holds_its_place_in_whole_words():
    text = "The old mill stood by the river, and nobody knew who had built it or why it was left."
    assert excerpt(text, None, 20) == "The old mill stood…"
    assert excerpt(text, (4, 12), 20) == "The old mill stood…"
    start = text.index("built")
    assert excerpt(text, (start, start + 5), 20) == "…had built it or why…"
    assert excerpt("no_spaces_at_all_in_this_text", None, 9) == "no_spaces…"
    assert excerpt("short", (0, 5), 9) == "short"
