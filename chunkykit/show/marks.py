"""Mark the places in a text that a lexical attribute was read from."""

from chunkykit.attributes import attribute_spans
from chunkykit.text import inert_html

MAX_EXCERPT = 600  # characters of a text that are shown


def attribute_places(sentence: str | None, side: str, text: str) -> list[tuple[int, int]]:
    """Find the places in a text that an attribute was read from.

    Args:
        sentence: a sentence of the lexical describer; anything that is not a string has no place.
        side: "query" or "response".
        text: the text that the sentence describes.

    Returns:
        [start, end) of each place, in order and without overlap.
    """
    if not isinstance(sentence, str):
        return []
    places: list[tuple[int, int]] = []
    for start, end in sorted(attribute_spans(sentence, side, text)):
        if not places or start >= places[-1][1]:
            places.append((start, end))
    return places


def marked_html(text: str, sentence: str | None, side: str) -> str:
    """Render the beginning of a text as HTML, with the places of an attribute marked.

    Args:
        text: the text; it is escaped.
        sentence: a sentence of the lexical describer; None marks nothing.
        side: "query" or "response".

    Returns:
        HTML with no tags but `<mark>`, and `<span>` around what a notebook would typeset.
    """
    excerpt = text[:MAX_EXCERPT]
    if len(text) > MAX_EXCERPT:
        excerpt += "…"
    position = 0
    parts = []
    for start, end in attribute_places(sentence, side, excerpt):
        parts.append(inert_html(excerpt[position:start]))
        parts.append(f"<mark>{inert_html(excerpt[start:end])}</mark>")
        position = end
    parts.append(inert_html(excerpt[position:]))
    return "".join(parts)
