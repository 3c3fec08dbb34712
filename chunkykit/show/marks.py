"""Mark the places in a text that a lexical attribute was read from."""

import re
from collections.abc import Iterable

import pandas as pd

from chunkykit.attributes import SYSTEM_PROMPT, attribute_spans
from chunkykit.provenance import system_prompts
from chunkykit.text import excerpt_bounds, inert_html

# Letters of the scripts that put spaces between words: without the Thai, Lao, Burmese, Khmer, kana
# and Han letters, where a run of letters is a clause
_SPACED = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
MAX_WORD = 40  # letters that a mark grows by at each end
_WORD_END = re.compile(rf"{_SPACED}{{1,{MAX_WORD}}}")
MAX_EXCERPT = 600  # characters of a text that are shown


def attribute_places(sentence: str | None, side: str, text: str) -> list[tuple[int, int]]:
    """Find the places in a text that an attribute was read from.

    Args:
        sentence: a sentence of the lexical describer; anything that is not a string has no place.
        side: "query", "response" or "system prompt".
        text: the text that the sentence describes.

    Returns:
        [start, end) of each place, in order and without overlap. A place ends where a word does.
    """
    if not isinstance(sentence, str):
        return []
    spans = [whole_words(text, *span) for span in attribute_spans(sentence, side, text)]
    places: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if not places or start >= places[-1][1]:
            places.append((start, end))
    return places


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Grow a place to the words at its ends.

    Args:
        text: the text.
        start: where the place begins.
        end: where it ends.

    Returns:
        [start, end) without white space at its ends, and without half a word.
    """
    place = text[start:end]
    if not place.strip():
        return start, end
    start += len(place) - len(place.lstrip())
    end -= len(place) - len(place.rstrip())
    backwards = text[max(0, start - MAX_WORD) : start + 1][::-1]
    if before := _WORD_END.match(backwards):
        start -= before.end() - 1
    if after := _WORD_END.match(text, end - 1):
        end = after.end()
    return start, end


def marked_html(text: str, sentence: str | None, side: str) -> str:
    """Render a text as HTML, with the places of an attribute marked.

    Args:
        text: the text; it is escaped.
        sentence: a sentence of the lexical describer; None marks nothing.
        side: "query", "response" or "system prompt".

    Returns:
        HTML with no tags but `<mark>`, and `<span>` around what a notebook would typeset. Of a
        long text the first place is shown, with what stands around it.
    """
    places = attribute_places(sentence, side, text)
    first, last = excerpt_bounds(len(text), places[0] if places else None, MAX_EXCERPT)
    position = first
    parts = ["…" if first else ""]
    for start, end in places:
        if start >= last:
            break
        end = min(end, last)
        parts.append(inert_html(text[position:start]))
        parts.append(f"<mark>{inert_html(text[start:end])}</mark>")
        position = end
    parts.append(inert_html(text[position:last]))
    parts.append("…" if last < len(text) else "")
    return "".join(parts)


class Passage(str):
    """A text that a table shows with the places of an attribute marked."""

    sentence: str | None
    side: str

    def __new__(cls, text: str, sentence: str | None, side: str):
        """Take a text, the sentence that is true of it, and its side."""
        passage = super().__new__(cls, text)
        passage.sentence = sentence
        passage.side = side
        return passage

    def _repr_html_(self) -> str:
        return marked_html(self, self.sentence, self.side)


def mark_rows(examples: pd.DataFrame) -> pd.DataFrame:
    """Take of training rows what a reader looks at, with trigger and crux marked.

    Args:
        examples: rows of a trace (`chunkykit.turf.trace_examples`).

    Returns:
        Columns kind, chunk, prompt and response, and before the prompt the system prompt where a
        row stands under one. A notebook shows long texts around the mark.
    """
    table = examples[["kind", "chunk"]].copy()
    systems = system_prompts(examples)
    if any(systems):
        described = examples.get("query_attribute")
        table["system prompt"] = _passages(systems, described, SYSTEM_PROMPT, examples.index)
    for column, side in (("prompt", "query"), ("response", "response")):
        described = examples.get(f"{side}_attribute")
        table[column] = _passages(examples[column], described, side, examples.index)
    return table


def _passages(
    texts: Iterable[str], sentences: pd.Series | None, side: str, index: pd.Index
) -> pd.Series:
    """The texts of a side, each with the sentence that is true of it where that is known."""
    known = [None] * len(index) if sentences is None else list(sentences)
    passages = [Passage(text, known[i], side) for i, text in enumerate(texts)]
    return pd.Series(passages, index=index, dtype=object)
