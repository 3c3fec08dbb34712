"""Names for one that is not known: those whose description is nearest in meaning."""

import re
from collections.abc import Mapping

import numpy as np

from chunkykit.attributes.embed import DEFAULT_EMBEDDER, MINILM, load_embedder
from chunkykit.attributes.minilm import minilm_is_installed

MAX_SUGGESTED = 3


def nearest_in_meaning(
    word: str, descriptions: Mapping[str, list[str]], n: int = MAX_SUGGESTED
) -> list[str]:
    """Find the names whose descriptions are nearest to a word in meaning.

    Args:
        word: a word or a few of them, such as "sycophancy" or "declining_requests".
        descriptions: name to sentences about it.
        n: names at most.

    Returns:
        Names, the nearest first. They need not be near.
    """
    text = " ".join(re.split(r"[\W_]+", word)).strip()
    if not text or not descriptions:
        return []
    if minilm_is_installed():
        scores = _by_sentences(text, descriptions)
    else:
        scores = _by_words(text, descriptions)
    return sorted(descriptions, key=lambda name: -scores[name])[:n]


def _by_sentences(text: str, descriptions: Mapping[str, list[str]]) -> dict[str, float]:
    """Cosine of a text and the nearest sentence of each description."""
    embed = load_embedder(MINILM)
    (vector,) = embed([text])
    pairs = [(name, text) for name, own in descriptions.items() for text in (name, *own)]
    cosines = embed([text for _, text in pairs]) @ vector
    scores = dict.fromkeys(descriptions, -1.0)
    for (name, _), cosine in zip(pairs, cosines, strict=True):
        scores[name] = max(scores[name], float(cosine))
    return scores


def _by_words(text: str, descriptions: Mapping[str, list[str]]) -> dict[str, float]:
    """Mean over the words of a text of the cosine to the nearest word of each description.

    Word vectors know words, and blur where a sentence is compared with one word.
    """
    embed = load_embedder(DEFAULT_EMBEDDER)
    words = embed(text.lower().split())
    scores = {}
    for name, sentences in descriptions.items():
        own = sorted({name, *re.findall(r"[^\W\d_]{3,}", " ".join(sentences).lower())})
        scores[name] = float(np.mean((embed(own) @ words.T).max(axis=0)))
    return scores
