"""The lexical describer: attribute sentences by regular expressions, without a model.

A table of detectors (`detectors.yaml`) looks for form, wording, question, task, topic and stance,
and the sentences on language and length join what it finds. The describer is deterministic and
sees one side of an exchange at a time. It reads form and wording, not meaning; the LLM describer
(`llm.py`) has the same interface and reads more.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache, reduce
from itertools import islice
from operator import or_
from typing import NamedTuple

import pandas as pd

from chunkykit.attributes.language import detect_language
from chunkykit.attributes.sentences import (
    HEAD_CHARACTERS,
    MAX_ATTRIBUTES_PER_TEXT,
    SIDES,
    SYSTEM_PROMPT,
    count_words,
    text_window,
)
from chunkykit.files import load_packaged
from chunkykit.progress import step
from chunkykit.text import inert_text
from chunkykit.types import Context

# Detectors that fire on texts of at most so many words, on either side.
WORD_COUNT_DETECTORS = {"single_word": 1, "few_words": 5}
DESCRIBED_AS = {"reasoning": "response", SYSTEM_PROMPT: "query"}  # sides without detectors
MAX_QUOTED_CHARACTERS = 80  # of a system prompt
TEXTS_PER_ADVANCE = 200  # texts that are described between two signs of life
MAX_SPANS_PER_SENTENCE = 5  # places of a text that are marked for one sentence

# What a detector may require of a text: a word, an ideograph or a sign.
TOKEN = re.compile(r"[^\W\u3040-\u9fff]{1,40}|\S")
NO_REQUIREMENT = ""  # stands for the word that detectors without requirements require
NON_ASCII = "non-ascii"  # stands for any word with a character beyond ASCII


class Detector(NamedTuple):
    """One entry of `detectors.yaml`, ready for use.

    Attributes:
        sentence: the attribute sentence, with `{0}` and so on for the groups of the pattern.
        pattern: a regular expression for the text in lower case, or one that ignores case.
        required: words of which every match holds one; a `*` at the end stands for any ending.
        bit: the detector as a bit of the masks of `_mask_of_word`.
    """

    sentence: str
    pattern: re.Pattern[str]
    required: tuple[str, ...]
    bit: int

    def matches(self, text: str, lowered: str) -> Iterator[re.Match[str]]:
        """Find the matches in a text.

        Args:
            text: the text.
            lowered: the same text by `_lower`, so that it is made once for all detectors.

        Returns:
            The matches, in order.
        """
        searched = text if self.pattern.flags & re.IGNORECASE else lowered
        if self.pattern.pattern.startswith(r"\A"):
            # `finditer` would try every place of a long text in vain
            match = self.pattern.match(searched)
            return iter([match] if match else [])
        return self.pattern.finditer(searched)

    def fill(self, match: re.Match[str]) -> str:
        """The sentence with the groups of a match filled in."""
        return self.sentence.format(*match.groups())


@cache
def _detectors(side: str) -> dict[str, Detector]:
    """Compile the detectors of a side by name, in the order of their priority."""
    detectors: dict[str, Detector] = {}
    for name, entry in load_packaged("attributes/detectors")[side].items():
        sentence, pattern = entry[:2]
        required = entry[2].split() if len(entry) > 2 else [NO_REQUIREMENT]
        bit = 1 << len(detectors)
        detectors[name] = Detector(sentence, _compile(pattern), tuple(required), bit)
    return detectors


def _compile(pattern: str) -> re.Pattern[str]:
    """Compile a pattern to run on the text in lower case, or to ignore case if it has capitals.

    Both find the same, but matching the lowered text is twice as fast.
    """
    without_code_points = re.sub(r"\\U\w{8}", "", pattern)
    has_capitals = re.search(r"(?<!\\)[A-Z]", without_code_points)
    flags = re.MULTILINE
    if has_capitals:
        flags |= re.IGNORECASE
    return re.compile(pattern, flags)


@cache
def _masks(side: str) -> dict[str, int]:
    """The detectors that require a word, as bits, by word."""
    masks: dict[str, int] = {}
    for detector in _detectors(side).values():
        for word in detector.required:
            masks[word] = masks.get(word, 0) | detector.bit
    return masks


@lru_cache(1 << 16)
def _mask_of_word(side: str, word: str) -> int:
    """The detectors, as bits, whose requirement a word meets."""
    keys = [word]
    keys += [f"{word[:end]}*" for end in range(1, len(word) + 1)]
    if not word.isascii():
        keys.append(NON_ASCII)
    masks = _masks(side)
    return reduce(or_, [masks.get(key, 0) for key in keys])


def _candidates(side: str, lowered: str) -> Iterator[Detector]:
    """The detectors that can match a text, in the order of their priority.

    Most texts hold no word that most detectors require, so most patterns need not run.
    """
    words = {NO_REQUIREMENT, *TOKEN.findall(lowered)}
    mask = reduce(or_, [_mask_of_word(side, word) for word in words])
    return (detector for detector in _detectors(side).values() if mask & detector.bit)


def _lower(text: str) -> str:
    """The text in lower case, each character in its old place.

    The dotted capital I is the one letter whose lower case has two characters.
    """
    return text.replace("İ", "i").lower()


def describe_text(text: str, side: str, limit: int = MAX_ATTRIBUTES_PER_TEXT) -> list[str]:
    """Describe one text by the detectors that fire on it.

    Args:
        text: a prompt, a response or a model's reasoning.
        side: "query", "response", or one of DESCRIBED_AS.
        limit: how many sentences to return at most.

    Returns:
        Attribute sentences: language and length first, then the detectors' by priority.
    """
    if side in DESCRIBED_AS:
        like = DESCRIBED_AS[side]
        sentences = describe_text(text, like, limit)
        described = [s.replace(f"The {like}", f"The {side}", 1) for s in sentences]
        return [*_quotation(text, side), *described]
    window = text_window(text)
    sentences = list(_general_sentences(window, side))
    lowered = _lower(window)
    for detector in _candidates(side, lowered):
        match = next(detector.matches(window, lowered), None)
        if match:
            sentences.append(detector.fill(match))
    return sentences[:limit] or [f"The {side} is plain text of middling length"]


def _quotation(text: str, side: str) -> list[str]:
    """How a system prompt begins: one stands over many rows, so that its words are a type."""
    if side != SYSTEM_PROMPT:
        return []
    words = inert_text(text[:MAX_QUOTED_CHARACTERS]).split()
    return [f"The {side} begins with '{' '.join(words)}'"]


def _general_sentences(text: str, side: str) -> Iterator[str]:
    """What is said of the language and the length of a text."""
    language = detect_language(text)
    if language:
        yield f"The {side} is written in {language}, wholly or in part"
    length = _length_sentence(count_words(text), side)
    if length:
        yield length


def _length_sentence(words: int, side: str) -> str | None:
    """The sentence on a number of words, None for a middling one."""
    for max_words, sentence in load_packaged("attributes/detectors")["lengths"][side]:
        if words <= max_words:
            return sentence
    return None


async def describe_lexically(
    texts: Sequence[str], side: str, contexts: Sequence[Context] | None = None
) -> list[list[str]]:
    """Describe texts by the detectors; this is a `types.Describer`.

    Args:
        texts: prompts, responses, reasoning or system prompts. Identical texts are described once.
        side: "query", "response", "reasoning" or "system prompt".
        contexts: what is known of each text. Its facts are attributes, too.

    Returns:
        For each text its attribute sentences, the facts first.
    """
    descriptions: dict[str, list[str]] = {}
    unique = list(dict.fromkeys(texts))
    with step(f"describing each {side}", len(unique), "texts") as advance:
        for start in range(0, len(unique), TEXTS_PER_ADVANCE):
            described = unique[start : start + TEXTS_PER_ADVANCE]
            descriptions.update((text, describe_text(text, side)) for text in described)
            advance(len(described))
    lists = [descriptions[text] for text in texts]
    if contexts is None:
        return lists
    return [
        [*(f"The {side} {fact}" for fact in context.facts), *sentences]
        for context, sentences in zip(contexts, lists, strict=True)
    ]


def detector_table() -> pd.DataFrame:
    """List the detectors.

    Returns:
        DataFrame with the columns `side`, `name`, `sentence` and `pattern`. The order within a
        side is the priority.
    """
    tables = load_packaged("attributes/detectors")
    rows = [(side, name, *entry[:2]) for side in SIDES for name, entry in tables[side].items()]
    return pd.DataFrame(rows, columns=["side", "name", "sentence", "pattern"])


def detector_fires(name: str, side: str, text: str) -> bool:
    """Check whether one detector fires on a text.

    Args:
        name: a detector of that side, or one of `WORD_COUNT_DETECTORS`, which both sides have.
        side: "query" or "response".
        text: a prompt or a response.

    Returns:
        Whether it fires.
    """
    if name in WORD_COUNT_DETECTORS:
        return count_words(text) <= WORD_COUNT_DETECTORS[name]
    window = text_window(text)
    return any(_detectors(side)[name].matches(window, _lower(window)))


def attribute_spans(
    sentence: str, side: str, text: str, limit: int = MAX_SPANS_PER_SENTENCE
) -> list[tuple[int, int]]:
    """Find where in a text a detector sees what an attribute sentence says.

    Args:
        sentence: a sentence of the lexical describer.
        side: "query", "response", or one of DESCRIBED_AS.
        text: the text that it describes.
        limit: how many places to return at most.

    Returns:
        The first places as (start, end). The list is empty for a sentence that no detector
        gives, such as one on length or language.
    """
    if side in DESCRIBED_AS:
        lead, like = f"The {side}", DESCRIBED_AS[side]
        if not sentence.startswith(lead):
            return []
        return attribute_spans(sentence.replace(lead, f"The {like}", 1), like, text, limit)
    window = text_window(text)
    omitted = len(text) - len(window)  # characters between the head and the tail of the window
    spans = islice(_spans_in_window(sentence, side, window), limit)
    return [(_place(start, omitted), _place(end, omitted)) for start, end in spans]


def _spans_in_window(sentence: str, side: str, window: str) -> Iterable[tuple[int, int]]:
    lowered = _lower(window)
    for detector in _detectors(side).values():
        groups = detector.pattern.groups
        if not groups and detector.sentence != sentence:
            continue
        for match in detector.matches(window, lowered):
            if detector.fill(match) == sentence:
                yield (match.start(1), match.end(groups)) if groups else match.span()


def _place(position: int, omitted: int) -> int:
    """The place in the whole text of a place in its window."""
    return position + omitted if position > HEAD_CHARACTERS else position
