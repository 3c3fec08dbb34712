"""Texts with the places marked that a lexical attribute was read from."""

from chunkykit.attributes import attribute_spans
from chunkykit.text import inert_html


def attribute_places(sentence: str | None, side: str, text: str) -> list[tuple[int, int]]:
    """The [start, end) of what the lexical describer's sentence was said for, in order and apart."""
    kept, at = [], 0
    for start, end in (
        sorted(attribute_spans(sentence, side, text)) if isinstance(sentence, str) else ()
    ):
        if start >= at:
            kept.append((start, end))
            at = end
    return kept


def marked_html(text: str, sentence: str | None, side: str, most: int = 600) -> str:
    """The beginning of a text as HTML, escaped, with what the lexical describer's sentence was said for marked."""
    text, at, parts = text[:most] + "…" * (len(text) > most), 0, []
    for start, end in attribute_places(sentence, side, text):
        parts += [inert_html(text[at:start]), f"<mark>{inert_html(text[start:end])}</mark>"]
        at = end
    return "".join([*parts, inert_html(text[at:])])
